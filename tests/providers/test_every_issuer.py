"""What holds for every issuer of MCP_HTTP_OIDC_PROVIDERS alike, whatever product it is of."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from tests.providers.issuers import a_door, mints
from tests.support import Echo, World, a_client, ask, together

from tenantry.devidp import OMIT
from tenantry.devidp.faults import error
from tenantry.devidp.issuers import Issuers
from tenantry.errors import Refusal
from tenantry.testing import FrozenClock, TokenMint

pytestmark = pytest.mark.anyio
EVERY = tuple(Issuers(clock=FrozenClock(), people=None, base_url=lambda: ""))  # type: ignore[arg-type]
every = pytest.mark.parametrize("name", EVERY)
# They prove in another way than by aud that a token is for us; their own tests show it.
WITHOUT_AUDIENCE = ("cognito", "clerk")


@every
async def test_an_honest_token_is_admitted_over_http_and_its_user_is_called_after_the_entry(
    world: World, name: str
) -> None:
    entries = world.idp.issuers.entries(name)
    guard = world.guard(Echo(), only=[], oidc_providers=entries)
    async with a_client(guard) as client:
        answer = await client.post("/mcp", headers={"authorization": f"Bearer {mints(world)[name]()}"})
    assert answer.status_code == 200
    assert answer.json()["user"].startswith(f"{name}:")


@every
async def test_a_token_of_another_issuer_costs_no_call(world: World, name: str) -> None:
    door = a_door(world, name)
    for issuer in ("https://evil.example", world.idp.issuers[name].issuer + "/x", "", OMIT, 7, [name]):
        assert await door.verdict(mints(world)[name](iss=issuer)) == (401, "issuer_unknown"), issuer
    assert len(world.idp.calls) == 0


@every
async def test_another_spelling_of_the_issuer_is_another_issuer(world: World, name: str) -> None:
    door = a_door(world, name)
    issuer = str(door.made.gate.providers[name].issuers[0])
    other = issuer.removesuffix("/") if issuer.endswith("/") else f"{issuer}/"
    for spelling in (other, issuer.upper(), issuer.replace("127.0.0.1", "localhost"), f" {issuer}"):
        assert await door.verdict(mints(world)[name](iss=spelling)) == (401, "issuer_unknown")


@pytest.mark.parametrize("name", [name for name in EVERY if name not in WITHOUT_AUDIENCE])
async def test_a_token_for_another_audience_is_refused_without_a_call(world: World, name: str) -> None:
    door = a_door(world, name)
    for audience in ("https://other.example", [], ["https://other.example", 7], {"a": 1}, 7, OMIT):
        status, reason = await door.verdict(mints(world)[name](aud=audience))
        assert (status, reason) == (401, "audience_mismatch"), audience
    assert len(world.idp.calls) == 0


@every
@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "RS512", "PS256"])
async def test_an_algorithm_that_is_not_configured_is_refused_before_any_key_is_fetched(
    world: World, name: str, algorithm: str
) -> None:
    issuer = world.idp.issuers[name]
    claims = _claims_of(mints(world)[name]())
    refusal = await a_door(world, name).refuse(issuer.keys.sign(claims, alg=algorithm))
    assert refusal.status == 401
    assert len(world.idp.calls) == 0


@every
@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "secevent+jwt", "unheard-of+jwt"])
async def test_a_jwt_of_another_type_is_refused(world: World, name: str, kind: str) -> None:
    token = world.idp.issuers[name].keys.sign(_claims_of(mints(world)[name]()), header={"typ": kind})
    assert await a_door(world, name).verdict(token) == (401, "token_type_refused")


@pytest.mark.parametrize("name", ["apple", "firebase"])
async def test_an_access_token_is_not_taken_where_only_id_tokens_are(world: World, name: str) -> None:
    token = world.idp.issuers[name].keys.sign(_claims_of(mints(world)[name]()), header={"typ": "at+jwt"})
    assert await a_door(world, name).verdict(token) == (401, "token_type_refused")


@every
async def test_a_token_that_is_bound_to_a_key_is_refused_without_its_proof(world: World, name: str) -> None:
    token = mints(world)[name](cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})
    assert await a_door(world, name).verdict(token) == (401, "sender_constrained")


@every
async def test_a_token_that_another_key_signed_is_refused(world: World, name: str) -> None:
    token = TokenMint(f"forger of {name}").sign(_claims_of(mints(world)[name]()))
    refusal = await a_door(world, name).refuse(token)
    assert refusal.reason in ("key_unknown", "algorithm_refused")


@every
async def test_a_token_is_good_until_its_end_and_not_before_its_beginning(world: World, name: str) -> None:
    door = a_door(world, name, settings={"clock_skew": 0})
    now = int(world.clock.now())
    assert await door.admit(mints(world)[name](iat=now, exp=now + 1))
    assert await door.verdict(mints(world)[name](exp=now)) == (401, "token_expired")
    assert await door.verdict(mints(world)[name](nbf=now + 60)) == (401, "token_not_yet_valid")
    for times in ({"exp": OMIT}, {"iat": OMIT}, {"exp": str(now + 60)}, {"exp": True}):
        assert await door.verdict(mints(world)[name](**times)) == (401, "claims_malformed")


@every
async def test_a_rotated_key_is_fetched_once_for_everybody(world: World, name: str) -> None:
    door = a_door(world, name)
    assert await door.admit(mints(world)[name]())
    world.idp.issuers[name].keys.rotate()
    world.clock.advance(5)
    token = mints(world)[name](jti="after the rotation")
    seen = await together(20, lambda: door.admit(token))
    assert not [answer for answer in seen if isinstance(answer, BaseException)]
    assert world.idp.calls.count(name, "jwks") == 2


@every
async def test_an_issuer_that_is_down_is_a_503_and_recovers_without_a_restart(world: World, name: str) -> None:
    door = a_door(world, name)
    token = mints(world)[name]()
    with world.idp.faults.during(name, error()):
        refusal = await door.refuse(token)
        assert (refusal.status, refusal.reason) == (503, "keys_unavailable")
        assert refusal.retry_after
    world.clock.advance(10)
    assert await door.admit(token)


@every
async def test_the_token_is_shown_to_nobody(world: World, name: str) -> None:
    token = mints(world)[name]()
    await a_door(world, name).admit(token)
    assert world.idp.calls.shown(token) == set()


@every
async def test_whatever_type_a_claim_has_the_answer_is_a_refusal_or_a_user(world: World, name: str) -> None:
    """Correctly signed, so that every line that reads a claim is reached."""
    door, issuer = a_door(world, name), world.idp.issuers[name]
    honest = _claims_of(mints(world)[name]())
    also = ("typ", "token_use", "_claim_names", "groups", "act", "o", "org_id", "amr", "picture", "roles", "scope")
    for claim in (*honest, *also):
        for junk in (None, True, 7, "x", [], [[]], {}, {"roles": 7, "id": []}):
            token = issuer.signed({}, {**honest, claim: junk})
            (answer,) = await together(1, partial(door.admit, token))
            if isinstance(answer, Refusal):
                assert answer.status == 401, (claim, junk, answer.reason)
            else:
                assert answer.user_id.startswith(f"{name}:"), (claim, junk)


async def test_each_token_goes_to_its_own_issuer_where_all_are_configured(world: World) -> None:
    door = world.door(only=["google", "auth0"], oidc_providers=world.idp.issuers.entries())
    for name, mint in mints(world).items():
        assert (await door.admit(mint())).provider == name
    assert (await door.admit(world.idp.auth0.access_token("ann"))).provider == "auth0"
    assert (await door.admit(world.idp.google.id_token("ann"))).provider == "google"


@every
async def test_no_other_issuer_s_token_passes_under_this_one_s_name(world: World, name: str) -> None:
    """The same claims, with this issuer's name, under every other issuer's key."""
    door = world.door(only=[], oidc_providers=world.idp.issuers.entries())
    claims = _claims_of(mints(world)[name]())
    for other in world.idp.issuers.values():
        if other.name == name:
            continue
        refusal = await door.refuse(other.keys.sign(claims))
        assert refusal.reason in ("key_unknown", "keys_unconfirmed", "algorithm_refused"), other.name


async def test_the_hint_may_only_confirm_what_the_issuer_says(world: World) -> None:
    door = world.door(only=[], oidc_providers=world.idp.issuers.entries("okta", "generic"))
    token = world.idp.issuers.okta.access_token("ann")
    assert (await door.admit(token, "okta")).provider == "okta"
    assert (await door.refuse(token, "generic")).reason == "provider_mismatch"


async def test_the_metadata_names_the_issuers_that_a_client_can_sign_in_with(world: World) -> None:
    guard = world.guard(None, only=["auth0"], oidc_providers=world.idp.issuers.entries())
    reply = await ask(guard, **_get("/.well-known/oauth-protected-resource/mcp"))
    issuers = world.idp.issuers
    named = [name for name in EVERY if set(_providers(guard)[name].authorization_servers) & set(reply.json()[SERVERS])]
    assert named == ["generic", "entra", "okta", "keycloak", "cognito", "workos"]
    assert issuers.keycloak.issuer in reply.json()[SERVERS]


async def test_a_reload_keeps_the_keys_of_entries_that_have_not_changed(world: World) -> None:
    issuers = world.idp.issuers
    door = world.door(only=[], oidc_providers=issuers.entries("okta", "generic"))
    for name in ("okta", "generic"):
        await door.admit(mints(world)[name]())
    from tenantry.assemble import assemble

    changed = [issuers.okta.entry(), {**issuers.generic.entry(), "clients": [issuers.generic.client_id]}]
    made = assemble(world.settings(only=[], oidc_providers=changed), before=door.made)
    try:
        after, before = made.gate.providers, door.made.gate.providers
        assert after["okta"] is before["okta"]
        assert after["generic"] is not before["generic"]
    finally:
        await made.aclose()


SERVERS = "authorization_servers"


def _providers(guard: Any) -> Any:
    return guard.front.gate.providers


def _get(path: str) -> dict[str, Any]:
    return {"path": path, "method": "GET"}


def _claims_of(token: str) -> dict[str, Any]:
    from tenantry.core.jws import parse_claims, parse_jws

    return parse_claims(parse_jws(token.encode()))
