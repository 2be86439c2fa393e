"""Attacks on what a provider says: confused deputy (A), mutable identity (B), cache (C), amplification (G), timing (L).

The letters are those of the project's catalogue of vulnerabilities.
"""

from __future__ import annotations

import ast
import base64
import hmac
import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import Door, World, together

import tenantry
from tenantry.core import apikeys
from tenantry.core.matching import Presented
from tenantry.devidp import GoogleAccount
from tenantry.devidp.github import OTHER_CLIENT_ID as COOL_APP_AT_GITHUB
from tenantry.devidp.github import checksummed
from tenantry.devidp.google import OTHER_CLIENT_ID as COOL_APP
from tenantry.errors import TokenInvalid
from tenantry.model import ApiKeyRecord
from tenantry.providers.api_key import ApiKeyProvider
from tenantry.testing import FrozenClock, TokenMint

pytestmark = pytest.mark.anyio


@pytest.fixture
def door(world: World) -> Door:
    return world.door()


# A. Confused deputy: Mallory's "cool app" replays the tokens that its users gave to it


async def test_a_google_access_token_given_to_another_app_does_not_open_ours(world: World, door: Door) -> None:
    """better-auth GHSA-p2fr-6hmx-4528, FastMCP GHSA-5h2m-4q8j-pqpj: userinfo answers for anybody's token."""
    token = world.idp.google.access_token("ann", client_id=COOL_APP)
    assert await door.verdict(token) == (401, "audience_mismatch")
    assert world.idp.calls.count("google", "userinfo") == 0


async def test_a_google_id_token_given_to_another_app_does_not_open_ours(world: World, door: Door) -> None:
    assert (await door.refuse(world.idp.google.id_token("ann", client_id=COOL_APP))).status == 401


async def test_an_id_token_for_our_audience_that_another_app_asked_for_does_not_open_ours(
    world: World, door: Door
) -> None:
    assert await door.verdict(world.idp.google.id_token("ann", azp=COOL_APP)) == (401, "client_mismatch")


async def test_a_cloud_project_s_robot_cannot_mint_itself_in(world: World, door: Door) -> None:
    """``generateIdToken`` signs any audience for whoever owns a project."""
    ours = world.idp.google.client_id
    for changes in (
        {},
        {"azp": ours},
        {"hd": "acme.example"},
        {"email": "ann@acme.example"},
        {"sub": "110248495921238986420"},
    ):
        token = world.idp.google.service_account_id_token(ours, **changes)
        assert (await door.refuse(token)).status == 401, changes


async def test_a_github_token_of_another_app_does_not_open_ours(world: World, door: Door) -> None:
    """CVE-2026-27124: a token is anybody's until GitHub says whose app it is of."""
    for prefix in ("gho_", "ghu_"):
        token = world.idp.github.token("octo", prefix=prefix, client_id=COOL_APP_AT_GITHUB)
        assert await door.verdict(token) == (401, "token_rejected")
    assert world.idp.calls.count("github", "user") == 0


async def test_an_auth0_token_for_another_api_of_the_same_tenant_does_not_open_ours(world: World, door: Door) -> None:
    for audience in ("https://other.example", f"{world.idp.auth0.issuer}userinfo", "https://mcp.example/mcp.evil"):
        assert (await door.refuse(world.idp.auth0.access_token("ann", audience=audience))).reason == "audience_mismatch"


@pytest.mark.parametrize("audience", ["{}x", "x{}", "{} {}", "{},other", "{}/", "{}\n", '["{}"]', "*"])
async def test_an_audience_that_only_contains_ours_is_not_ours(world: World, door: Door, audience: str) -> None:
    """Substring tests: PyJWT CVE-2024-53861 for the issuer, and many home-made audience checks."""
    token = world.idp.auth0.access_token("ann", aud=audience.format(*[world.idp.auth0.audience] * 2))
    assert (await door.refuse(token)).reason == "audience_mismatch"


async def test_the_keys_of_one_provider_do_not_sign_for_another(world: World, door: Door) -> None:
    now = int(world.clock.now())
    google = {
        "iss": "https://accounts.google.com",
        "aud": world.idp.google.client_id,
        "sub": "1",
        "iat": now,
        "exp": now + 60,
    }
    for kid in (world.idp.google.keys.current.kid, world.idp.auth0.keys.current.kid):
        forged = world.idp.auth0.keys.sign(google, header={"kid": kid})
        assert (await door.refuse(forged)).status in {401, 503}
    assert (
        await door.refuse(world.idp.auth0.keys.sign(google, header={"kid": world.idp.google.keys.current.kid}))
    ).reason == ("signature_invalid")


def _good_claims(world: World) -> dict[str, Any]:
    """Everything right but the key that will sign it."""
    now = int(world.clock.now())
    auth0 = world.idp.auth0
    return {"iss": auth0.issuer, "aud": auth0.audience, "sub": "auth0|1", "iat": now, "exp": now + 60}


@pytest.mark.parametrize("name", ["jku", "x5u"])
async def test_a_url_in_a_header_is_never_fetched(world: World, door: Door, name: str) -> None:
    mallory = TokenMint("mallory")
    claims = _good_claims(world)
    token = mallory.sign(claims, header={name: f"{world.idp.base_url}/_devidp/redirected"})
    await door.refuse(token)
    assert {(call.provider, call.endpoint) for call in world.idp.calls} <= {("auth0", "jwks")}


async def test_a_key_in_a_header_is_never_believed(world: World, door: Door) -> None:
    """Authlib CVE-2026-27962."""
    mallory = TokenMint("mallory")
    claims = _good_claims(world)
    jwk = mallory.jwks()["keys"][0]
    for kid in (jwk["kid"], world.idp.auth0.keys.current.kid):
        assert (await door.refuse(mallory.sign(claims, header={"jwk": jwk, "kid": kid}))).status == 401


@pytest.mark.parametrize(
    "issuer", ["http://169.254.169.254/", "https://evil.example/", "file:///etc/passwd", "{}.evil.example/"]
)
async def test_an_issuer_of_the_caller_s_choice_is_never_a_destination(world: World, door: Door, issuer: str) -> None:
    mallory = TokenMint("mallory")
    token = mallory.sign({"iss": issuer.format(world.idp.base_url), "aud": world.idp.auth0.audience, "sub": "1"})
    for hint in (None, "auth0", issuer):
        assert (await door.refuse(token, hint)).reason == "issuer_unknown"
    assert len(world.idp.calls) == 0


async def test_our_own_secret_at_github_is_never_shown_to_another_host(world: World, door: Door) -> None:
    with world.idp.faults.during("github", "redirect", code=307):
        assert (await door.refuse(world.idp.github.token("octo"))).status == 503
    assert world.idp.calls.count("devidp", "redirected") == 0


# B. Identity by something that changes hands


async def test_two_google_accounts_with_one_address_are_two_users(world: World, door: Door) -> None:
    """nOAuth: the address is an attribute, not the person."""
    before = await door.admit(world.idp.google.id_token("ann"))
    again = await door.admit(world.idp.google.id_token("ann", sub="999"))
    assert before.email == again.email
    assert before.user_id != again.user_id


async def test_a_bought_company_domain_gives_new_users_and_not_the_old_ones(world: World, door: Door) -> None:
    """Truffle Security 2025: the same hd and addresses, another subject."""
    old = await door.admit(world.idp.google.id_token("ann"))
    account = GoogleAccount("118000000000000000001", "ann@acme.example", hd="acme.example")
    bought = world.idp.people.add(replace(world.idp.people["ann"], key="buyer", google=account))
    new = await door.admit(world.idp.google.id_token(bought))
    assert new.user_id != old.user_id


async def test_a_recycled_github_login_is_another_user(world: World, door: Door) -> None:
    old = await door.admit(world.idp.github.token("octo"))
    login = world.idp.github.login_of("octo")
    world.idp.github.rename("octo", "gone")
    new = await door.admit(world.idp.github.token(world.idp.github.recycle(login)))
    assert new.name == "octo-olsen" == old.name
    assert new.user_id != old.user_id
    assert new.tenant_id != old.tenant_id


async def test_somebody_else_s_company_address_joins_no_company(world: World, door: Door) -> None:
    ann = await door.admit(world.idp.google.id_token("ann"))
    claimed = GoogleAccount("118000000000000000002", "mallory@acme.example")  # consumer account: no hd
    mallory = world.idp.people.add(replace(world.idp.people["dave"], key="mallory", google=claimed))
    for token in (world.idp.google.id_token(mallory), world.idp.google.access_token(mallory)):
        user = await door.admit(token)
        assert user.email == "mallory@acme.example"
        assert user.tenant_id != ann.tenant_id


async def test_strangers_at_gmail_share_nothing(world: World, door: Door) -> None:
    carol = await door.admit(world.idp.google.id_token("carol"))
    other = await door.admit(world.idp.google.id_token("carol", sub="2", email="mallory@gmail.com"))
    assert carol.tenant_id != other.tenant_id
    assert "gmail_com" not in {carol.tenant_id, other.tenant_id}


@pytest.mark.parametrize(
    "address",
    ["ann@acme.example@gmail.com", "ann@gmail.com@acme.example", '"x@gmail.com"@acme.example', "ann@gmail.com\u200b"],
)
async def test_an_address_with_two_ats_is_no_address(world: World, address: str) -> None:
    """oauth2-proxy CVE-2026-40574."""
    door = world.door(personal_domains="shared", auth0_tenant_from_email=True)
    tokens = (
        world.idp.google.id_token("carol", email=address),
        world.idp.auth0.access_token("fay", email=address, email_verified=True),
    )
    for token in tokens:
        assert (await door.admit(token)).tenant_id.startswith("u___")


@pytest.mark.parametrize(
    "domain", ["evil-acme.example", "acme.example.evil.example", "acme.examples", "xacme.example", "sub.acme.example"]
)
async def test_a_domain_that_resembles_an_allowed_one_is_not_allowed(world: World, domain: str) -> None:
    door = world.door(allowed_domains="acme.example")
    assert await door.verdict(world.idp.google.id_token("ann", hd=domain)) == (403, "domain_not_allowed")
    assert await door.admit(world.idp.google.id_token("ann"))


async def test_an_action_s_address_without_its_verified_flag_is_unverified(world: World) -> None:
    door = world.door(auth0_tenant_from_email=True, auth0_email_claim="https://mcp.example/email")
    token = world.idp.auth0.access_token(
        "fay", **{"https://mcp.example/email": "ceo@acme.example"}, email_verified=True
    )
    user = await door.admit(token)
    assert (user.email, user.email_verified) == ("ceo@acme.example", False)
    assert user.tenant_id.startswith("u___")


async def test_no_two_providers_share_a_user(world: World, door: Door) -> None:
    """The same subject at Google, at Auth0 and as a key id is three people."""
    key = "a" * 20
    door = world.door(api_keys={key: {"name": "x", "id": "58323101"}})
    users = [
        await door.admit(world.idp.google.id_token("ann", sub="58323101")),
        await door.admit(world.idp.auth0.access_token("ann", sub="58323101")),
        await door.admit(world.idp.github.token("ann")),
        await door.admit(key),
    ]
    assert len({user.user_id for user in users}) == 4
    assert {user.subject for user in users} == {"58323101"}


async def test_a_subject_cannot_spell_another_provider_s_user(world: World, door: Door) -> None:
    for subject in ("x:1", "github:91827364", "1%3A", "%31"):
        user = await door.admit(world.idp.auth0.access_token("fay", sub=subject))
        assert user.user_id.count(":") == 1
        assert user.user_id.startswith("auth0:")
    spelled = await door.admit(world.idp.auth0.access_token("fay", sub="%31"))
    plain = await door.admit(world.idp.auth0.access_token("fay", sub="1"))
    assert spelled.user_id != plain.user_id


# C. Cache


async def test_two_tokens_that_begin_alike_are_two_users(world: World, door: Door) -> None:
    """LiteLLM CVE-2026-35030: a cache keyed on the first 20 characters."""
    ann, bob = world.idp.google.id_token("ann"), world.idp.google.id_token("bob")
    assert ann[:100] == bob[:100]
    assert (await door.admit(ann)).user_id != (await door.admit(bob)).user_id
    assert (await door.admit(ann)).name == "Ann Archer"


async def test_a_good_signature_once_seen_does_not_carry_another_payload(world: World, door: Door) -> None:
    """fast-jwt CVE-2026-35039 and its kin: what was verified must be what is looked up."""
    ann, bob = (world.idp.google.id_token(who).split(".") for who in ("ann", "bob"))
    await door.admit(".".join(ann))
    for parts in ([ann[0], bob[1], ann[2]], [ann[0], ann[1], bob[2]], [bob[0], bob[1], ann[2]]):
        assert await door.verdict(".".join(parts)) == (401, "signature_invalid")


async def test_no_other_spelling_of_a_cached_token_is_let_in(world: World, door: Door) -> None:
    token = world.idp.google.id_token("ann")
    await door.admit(token)
    last = token[-1]
    respelled = {chr(ord(last) + step) for step in (1, 2, 3)} - {last}
    for other in (
        f"{token}=",
        f"{token}==",
        f" {token}",
        f"{token}.",
        token + "\n",
        *(token[:-1] + end for end in respelled),
    ):
        assert (await door.refuse(other)).status in {400, 401}


async def test_a_proof_does_not_outlive_its_token(world: World, door: Door) -> None:
    token = world.idp.google.access_token("ann", expires_in=60)
    await door.admit(token)
    world.clock.advance(60)
    assert (await door.refuse(token)).status == 401


async def test_an_outage_is_not_remembered_as_a_bad_token(world: World, door: Door) -> None:
    token = world.idp.github.token("octo")
    for kind in ("error", "reset", "rate_limited", "html"):
        world.idp.faults.set("github", kind, times=1)
        assert (await door.refuse(token)).status == 503
        world.clock.advance(61)  # of the third GitHub said that nothing was left until then
    assert await door.admit(token)


async def test_a_token_refused_before_a_rotation_was_seen_is_let_in_after_it(world: World, door: Door) -> None:
    await door.admit(world.idp.google.id_token("ann"))
    world.clock.advance(5)
    world.idp.google.keys.rotate()
    token = world.idp.google.id_token("bob")
    with world.idp.faults.during("google", "error", endpoint="certs"):
        assert (await door.refuse(token)).status == 503
    world.clock.advance(5)
    assert await door.admit(token)


async def test_a_tool_that_changes_its_claims_changes_nobody_else_s(world: World, door: Door) -> None:
    token = world.idp.auth0.access_token("ann", permissions=["read:notes"])
    for user in [await door.admit(token), *(await together(5, lambda: door.admit(token)))]:
        user.claims["permissions"].append("admin")
    assert "admin" not in (await door.admit(token)).claims["permissions"]
    assert "admin" not in (await door.admit(token)).permissions


async def test_junk_cannot_evict_the_people_who_are_signed_in(world: World) -> None:
    door = world.door(token_cache_size=5)
    token = world.idp.google.access_token("ann")
    await door.admit(token)
    calls = len(world.idp.calls)
    for number in range(200):
        await door.refuse(f"ya29.{number}")
    world.idp.calls.clear()
    await door.admit(token)
    assert len(world.idp.calls) == 0
    assert calls == 2


# G. Amplification: what one request costs a provider


async def test_2_000_forged_key_ids_at_once_cost_a_provider_two_calls(world: World, door: Door) -> None:
    """PyJWT GHSA-fhv5 (CVE-2026-48524), GHSA-2gx3."""
    mallory = TokenMint("mallory")
    now = int(world.clock.now())
    claims = {"iss": world.idp.auth0.issuer, "aud": world.idp.auth0.audience, "sub": "x", "iat": now, "exp": now + 60}
    _, body, signature = mallory.sign(claims).split(".")
    tokens = []
    for number in range(2_000):
        header = json.dumps({"alg": "RS256", "kid": f"forged-{number}", "typ": "JWT"}).encode()
        tokens.append(f"{base64.urlsafe_b64encode(header).rstrip(b'=').decode()}.{body}.{signature}")
    left = iter(tokens)
    refusals = await together(len(tokens), lambda: door.admit(next(left)))
    assert all(refusal.status in {401, 503} for refusal in refusals)
    assert world.idp.calls.count("auth0", "jwks") <= 2
    assert await door.admit(world.idp.auth0.access_token("ann"))


async def test_invented_github_tokens_cost_no_call(world: World, door: Door) -> None:
    """Several bad tokens and GitHub locks out the good ones as well."""
    for number in range(100):
        assert await door.verdict(f"gho_{number:036d}") == (401, "checksum_failed")
    assert len(world.idp.calls) == 0


@pytest.mark.parametrize("token", ["ya29.invented", checksummed("gho_")])
async def test_one_bad_token_in_a_loop_costs_one_call(world: World, door: Door, token: str) -> None:
    for _ in range(50):
        await door.refuse(token)
    await together(50, lambda: door.admit(token))
    assert len(world.idp.calls) == 1


async def test_a_stranger_s_good_token_in_a_loop_costs_what_it_costs_once(world: World) -> None:
    door = world.door(personal_domains="deny")
    token = world.idp.google.access_token("carol")
    for _ in range(50):
        assert (await door.refuse(token)).status == 403
    assert len(world.idp.calls) == 2


@pytest.mark.parametrize("size", [16_385, 100_000, 5_000_000])
async def test_a_huge_token_is_refused_before_it_is_hashed_or_shown_to_anybody(
    world: World, door: Door, size: int
) -> None:
    """Authlib CVE-2025-61920."""
    for prefix in ("ya29.", "gho_", "eyJhbGciOiJSUzI1NiJ9.", ""):
        assert await door.verdict(prefix + "a" * size) == (401, "token_too_large")
    assert len(world.idp.calls) == 0


async def test_an_endless_answer_of_a_provider_is_cut_off(world: World, door: Door) -> None:
    with world.idp.faults.during("google", "huge"):
        assert (await door.refuse(world.idp.google.access_token("ann"))).status == 503
        assert (await door.refuse(world.idp.google.id_token("ann"))).status == 503


async def test_a_key_set_wiped_by_its_issuer_does_not_lock_everybody_out(world: World, door: Door) -> None:
    await door.admit(world.idp.google.id_token("ann"))
    with world.idp.faults.during("google", "empty_keys", endpoint="certs"):
        world.clock.advance(23_000)
        assert await door.admit(world.idp.google.id_token("ann"))


# L. Timing, as structure: what decides is compared in constant time, and asked in the same order for everybody

KEY = apikeys.compose_key("live", b"\x01" * 8, b"\x02" * 32)


class Guarded(bytes):
    """A digest that must not be compared with ``==``."""

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a digest was compared with ==")

    __ne__ = __eq__


@pytest.mark.parametrize("right", [True, False])
async def test_the_digest_of_a_key_is_never_compared_with_the_equality_operator(right: bool) -> None:
    """vLLM CVE-2025-59425."""
    digest = Guarded(apikeys.digest(KEY.encode() if right else b"another"))

    class Store:
        async def find(self, key_id: str, asked: bytes) -> ApiKeyRecord | None:
            return ApiKeyRecord(key_id, digest, "ci")

    provider = ApiKeyProvider(Store(), FrozenClock())
    if right:
        assert (await provider.verify(Presented("api_key", KEY))).subject == apikeys.key_id_of(KEY)
    else:
        with pytest.raises(TokenInvalid):
            await provider.verify(Presented("api_key", KEY))


async def test_an_unknown_key_takes_the_same_way_as_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Store:
        record: ApiKeyRecord | None = None

        async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
            asked.append("store")
            return self.record

    original = hmac.compare_digest

    def compare(one: Any, two: Any) -> bool:
        asked.append("compare")
        return original(one, two)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    ways = []
    for record in (None, ApiKeyRecord("x", b"\1" * 32, "ci"), ApiKeyRecord("x", b"\1" * 32, "ci", revoked=True)):
        store, asked = Store(), []
        store.record = record
        with pytest.raises(TokenInvalid) as caught:
            await ApiKeyProvider(store, FrozenClock()).verify(Presented("api_key", KEY))
        ways.append((asked, caught.value.reason, caught.value.hint))
    assert ways[0] == ways[1] == ways[2]
    assert ways[0][0] == ["store", "compare"]


def test_no_line_of_ours_compares_a_secret_or_a_digest_with_the_equality_operator() -> None:
    names = re.compile(r"(^|_)(digest|secret|token|signature|password|api_key)$")
    found = []
    for path in Path(inspect.getfile(tenantry)).parent.rglob("*.py"):
        if "devidp" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Compare) or not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                continue
            sides = [node.left, *node.comparators]
            words = [getattr(side, "attr", getattr(side, "id", "")) for side in sides]
            if any(names.search(word) for word in words) and not any(isinstance(side, ast.Constant) for side in sides):
                found.append(f"{path.name}:{node.lineno}")
    assert found == []
