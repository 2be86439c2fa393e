"""RFC 7662 introspection through a real gate, over real sockets: who is let in, what is asked, what is remembered."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import Door, Echo, World, a_client, together

from tenantry.devidp import OMIT
from tenantry.devidp.faults import error, html, not_json, redirect, status
from tenantry.devidp.introspection import Introspection
from tenantry.errors import Unavailable
from tenantry.observations import Misconfigured

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(world: World) -> Introspection:
    return world.idp.introspection


def a_door(world: World, *, without: tuple[str, ...] = (), settings: Any = None, **changes: Any) -> Door:
    entry = {**world.idp.introspection.entry(), **changes}
    for member in without:
        entry.pop(member)
    return world.door(only=[], introspection_providers=[entry], **(settings or {}))


@pytest.fixture
def door(world: World) -> Door:
    return a_door(world)


def asked(world: World) -> int:
    return world.idp.calls.count("introspection", "introspection")


# --- Who is let in ----------------------------------------------------------------------------------------------------


async def test_a_person_is_admitted_over_http_under_the_name_of_the_entry(world: World, server: Introspection) -> None:
    guard = world.guard(Echo(), only=[], introspection_providers=[server.entry()])
    async with a_client(guard) as client:
        answer = await client.post("/mcp", headers={"authorization": f"Bearer {server.access_token('ann')}"})
    assert answer.status_code == 200
    assert answer.json()["user"].startswith("opaque:")
    assert "ann" not in answer.json()["user"]


async def test_what_is_known_of_him_is_what_the_server_said(door: Door, server: Introspection) -> None:
    user = await door.admit(server.access_token("ann", roles=["editor"]))
    assert (user.permissions, user.roles, user.client_id) == ({"notes:read"}, {"editor"}, server.client_id)
    assert (user.email_verified, user.name) == (True, "Ann Archer")
    assert user.tenant_id.startswith("org___")


async def test_a_client_that_calls_for_itself_is_no_person(door: Door, server: Introspection) -> None:
    user = await door.admit(server.client_token())
    assert user.subject == f"client:{server.client_id}"
    impostor = server.access_token("ann", sub=f"client:{server.client_id}")
    assert await door.verdict(impostor) == (401, "subject_invalid")


async def test_members_are_read_where_the_entry_says(world: World, server: Introspection) -> None:
    door = a_door(world, claims={"subject": "user.id", "tenant": "user.company", "roles": "groups"})
    user = await door.admit(server.access_token("ann", user={"id": "7", "company": "acme"}, groups=["staff"]))
    assert (user.user_id, user.roles) == ("opaque:7", {"staff"})


async def test_everybody_of_a_server_can_be_of_one_organization(world: World, server: Introspection) -> None:
    door = a_door(
        world, without=("claims",), organization="acme", settings={"tenant_mapping": {"opaque:acme": "acme_inc"}}
    )
    assert (await door.admit(server.access_token("ann"))).tenant_id == "acme_inc"


async def test_a_tenant_that_is_not_listed_or_not_legible_is_refused(world: World, server: Introspection) -> None:
    door = a_door(world, tenants=["acme.example"])
    assert await door.admit(server.access_token("ann", org="acme.example"))
    for org in ("globex.example", OMIT):
        assert await door.verdict(server.access_token("ann", org=org)) == (401, "organization_missing")
    assert await door.verdict(server.access_token("ann", org=["acme.example"])) == (401, "claims_malformed")


# --- The traps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"active": False}, "token_rejected"),
        ({"aud": "https://other.example"}, "audience_mismatch"),
        ({"aud": OMIT}, "audience_mismatch"),
        ({"aud": ["https://mcp.example/mcp/other"]}, "audience_mismatch"),
        ({"exp": 1_794_999_000}, "token_expired"),
        ({"exp": "1795003600"}, "claims_malformed"),
        ({"iss": "https://evil.example"}, "issuer_mismatch"),
        ({"token_type": "refresh_token"}, "token_kind_refused"),
        ({"token_use": "refresh_token"}, "token_kind_refused"),
        ({"typ": "Refresh"}, "token_kind_refused"),
        ({"sub": OMIT, "client_id": OMIT}, "subject_invalid"),
        ({"sub": 7}, "subject_invalid"),
        ({"scope": {"notes": "write"}}, "claims_malformed"),
        ({"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}, "sender_constrained"),
        ({"token_type": "DPoP"}, "sender_constrained"),
    ],
)
async def test_an_answer_that_does_not_prove_it_is_a_401(
    door: Door, server: Introspection, answer: dict[str, Any], reason: str
) -> None:
    assert await door.verdict(server.access_token("ann", **answer)) == (401, reason)


@pytest.mark.parametrize("active", ["true", 1, "yes", None, OMIT])
async def test_active_that_is_no_boolean_lets_nobody_in_and_condemns_nobody(
    door: Door, server: Introspection, active: Any
) -> None:
    assert await door.verdict(server.access_token("ann", active=active)) == (503, "provider_unavailable")


async def test_active_alone_proves_nothing_for_a_token_of_another_audience(world: World, server: Introspection) -> None:
    """The confused deputy: a token that its owner gave to another server of the same company."""
    token = server.access_token("ann", aud="https://wiki.example")
    assert await a_door(world).verdict(token) == (401, "audience_mismatch")
    by_client = a_door(world, without=("audience",), clients=["ours"])
    assert await by_client.verdict(token) == (401, "client_mismatch")
    assert await by_client.admit(server.access_token("ann", client_id="ours", aud=OMIT))


async def test_a_refresh_token_of_our_client_is_refused_where_the_client_is_the_proof(
    world: World, server: Introspection
) -> None:
    door = a_door(world, without=("audience",), clients=[server.client_id])
    assert await door.verdict(server.refresh_token("ann", aud=OMIT)) == (401, "token_kind_refused")
    silent = server.access_token("ann", aud=OMIT, token_type=OMIT)
    assert await door.verdict(silent) == (401, "token_kind_refused")


async def test_401_is_about_us_and_never_about_the_caller(world: World, server: Introspection) -> None:
    refusal = await a_door(world, client_secret="another").refuse(server.access_token("ann"))
    assert (refusal.status, refusal.reason) == (503, "provider_misconfigured")
    assert refusal.retry_after
    (seen,) = world.seen.of(Misconfigured)
    assert "'opaque'" in seen.hint
    assert "another" not in seen.hint


@pytest.mark.parametrize("fault", [html(), not_json(), error(), redirect(), status(400), status(404), status(403)])
async def test_whatever_is_no_answer_is_a_503_and_is_forgotten(
    world: World, door: Door, server: Introspection, fault: Any
) -> None:
    token = server.access_token("ann")
    with world.idp.faults.during("introspection", fault):
        refusal = await door.refuse(token)
    assert (refusal.status, type(refusal)) == (503, Unavailable)
    assert world.idp.calls.count("devidp", "redirected") == 0
    assert await door.admit(token)


# --- Which token goes where -------------------------------------------------------------------------------------------


async def test_only_tokens_with_its_prefix_are_shown_to_a_server(
    world: World, door: Door, server: Introspection
) -> None:
    other = server.access_token("ann", prefix="zzz_")
    assert await door.verdict(other) == (401, "provider_not_configured")
    assert asked(world) == 0


async def test_one_entry_may_take_all_others_and_no_more_than_those(world: World, server: Introspection) -> None:
    door = a_door(world, without=("prefixes",), default=True, settings={"api_key": "k" * 40})
    token = server.access_token("ann", prefix="0" * 8)
    assert (await door.admit(token)).provider == "opaque"
    for foreign in ("gho_" + "a" * 36, "ya29.abc", "sk-abc", "glpat-abc", "ghr_abc", "a.b.c.d.e"):
        assert (await door.refuse(foreign)).status == 401
        assert world.idp.calls.shown(foreign) == set()
    assert (await door.admit("k" * 40)).provider == "api_key"
    assert asked(world) == 1


async def test_a_jwt_goes_to_its_issuer_and_never_to_introspection(world: World, server: Introspection) -> None:
    generic = world.idp.issuers.generic
    opaque = {**server.entry(), "default": True, "name": "opaque"}
    door = world.door(only=[], introspection_providers=[opaque], oidc_providers=[generic.entry()])
    assert (await door.admit(generic.access_token("ann"))).provider == "generic"
    for token in (server.jwt("ann"), generic.access_token("ann", iss="https://evil.example")):
        assert await door.verdict(token) == (401, "issuer_unknown")
    assert asked(world) == 0


async def test_a_jwt_is_asked_about_where_the_entry_says_so_of_its_exact_issuer(
    world: World, server: Introspection
) -> None:
    door = a_door(world, without=("prefixes",), jwt=True)
    assert (await door.admit(server.jwt("ann"))).provider == "opaque"
    assert asked(world) == 1
    assert await door.verdict(server.jwt("ann", iss=server.issuer + "/")) == (401, "issuer_unknown")
    assert await door.verdict(server.jwt("ann", exp=1)) == (401, "token_expired")
    assert await door.verdict(server.jwt("ann", typ="Refresh")) == (401, "token_kind_refused")
    assert asked(world) == 1


async def test_an_introspection_response_is_no_access_token(world: World, server: Introspection) -> None:
    """RFC 9701: signed by the same server, for us, and about somebody."""
    door = a_door(world, without=("prefixes",), jwt=True)
    said = {"iss": server.issuer, "aud": server.audience, "iat": 1_795_000_000, "token_introspection": {"active": True}}
    token = server.keys.sign(said, header={"typ": "token-introspection+jwt"})
    assert await door.verdict(token) == (401, "token_type_refused")
    assert asked(world) == 0


async def test_two_servers_with_one_subject_are_two_users(world: World, server: Introspection) -> None:
    entries = [server.entry(), {**server.entry(), "name": "second", "prefixes": ["two_"]}]
    door = world.door(only=[], introspection_providers=entries)
    users = [await door.admit(server.access_token("ann", prefix=prefix)) for prefix in ("dvo_", "two_")]
    assert [user.subject for user in users] == [users[0].subject] * 2
    assert len({user.user_id for user in users}) == len({user.tenant_id for user in users}) == 2


async def test_the_metadata_names_its_issuer_once(world: World, server: Introspection) -> None:
    generic = {**world.idp.issuers.generic.entry(), "issuer": server.issuer, "jwks_uri": server.issuer + "/keys"}
    guard = world.guard(Echo(), only=[], introspection_providers=[server.entry()], oidc_providers=[generic])
    async with a_client(guard) as client:
        document = (await client.get("/.well-known/oauth-protected-resource/mcp")).json()
    assert document["authorization_servers"] == [server.issuer]


# --- What is remembered, and what that costs --------------------------------------------------------------------------


async def test_an_answer_is_believed_for_the_ttl_and_a_revoked_token_no_longer(
    world: World, door: Door, server: Introspection
) -> None:
    token = server.access_token("ann")
    await door.admit(token)
    server.revoke(token)
    world.clock.advance(299)
    assert await door.admit(token)
    assert asked(world) == 1
    world.clock.advance(2)
    assert await door.verdict(token) == (401, "token_rejected")


async def test_an_answer_is_not_believed_past_the_end_of_the_token(
    world: World, door: Door, server: Introspection
) -> None:
    token = server.access_token("ann", exp=int(world.clock.now()) + 60)
    await door.admit(token)
    world.clock.advance(100)
    assert await door.verdict(token) == (401, "token_expired")


async def test_a_jwt_is_believed_no_longer_than_it_says_itself(world: World, server: Introspection) -> None:
    door = a_door(world, jwt=True)
    token = server.jwt("ann", exp=int(world.clock.now()) + 60)
    assert (await door.admit(token)).expires_at == world.clock.now() + 60


async def test_one_question_for_everybody_who_shows_the_same_token(
    world: World, door: Door, server: Introspection
) -> None:
    token = server.access_token("ann")
    await together(20, lambda: door.admit(token))
    assert asked(world) == 1


async def test_whoever_tries_out_tokens_is_stopped_before_the_server_is_asked(
    world: World, server: Introspection
) -> None:
    """Token scanning, RFC 7662 section 4: no more questions than MCP_HTTP_RATE_LIMIT_ANONYMOUS grants an address."""
    guard = world.guard(Echo(), only=[], introspection_providers=[server.entry()], rate_limit_anonymous="10/60")
    async with a_client(guard) as client:

        async def show(token: str) -> int:
            return (await client.post("/mcp", headers={"authorization": f"Bearer {token}"})).status_code

        statuses = [await show(f"dvo_guess-{number}") for number in range(40)]
        assert statuses.count(401) == asked(world) == 10
        assert set(statuses[10:]) == {429}


async def test_a_server_that_fails_is_left_alone_and_found_again(
    world: World, door: Door, server: Introspection
) -> None:
    with world.idp.faults.during("introspection", error()):
        for _ in range(20):
            assert (await door.refuse(server.access_token("ann"))).status == 503
    assert asked(world) == 5
    world.clock.advance(30)
    assert await door.admit(server.access_token("ann"))
