"""The way of a request, from the credential to the admission: what is asked, how often, and whom it is shown to."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support import Door, World, a_world, together

from tenantry import TokenValidator
from tenantry.adapters.memory import MemoryQuotaStore, OpenDirectory
from tenantry.adapters.observers import LogObserver
from tenantry.calls import CallPolicy
from tenantry.core.matching import Presented, Routes
from tenantry.core.policy import Policy
from tenantry.core.proofs import ExternalUrls
from tenantry.core.quota import Quota
from tenantry.core.tenancy import TenantRules
from tenantry.devidp.github import checksummed
from tenantry.errors import Forbidden, InternalFailure, OverQuota, Refusal, TokenInvalid, Unavailable
from tenantry.gate import Gate
from tenantry.model import Claims, Credential, Identity, MCPUserContext, Tenant, VerifiedClaims
from tenantry.observations import Admitted, InternalError, Refused
from tenantry.possession import Possession
from tenantry.providers.budget import Budgets
from tenantry.quotas import Quotas
from tenantry.replays import Replays
from tenantry.request import Request
from tenantry.strangers import Strangers
from tenantry.testing import FrozenClock, Recorder
from tenantry.verdicts import VerdictCache

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world


@pytest.fixture
def door(world: World) -> Door:
    return world.door(github_tenant_from_email=True)


MINTS: dict[str, tuple[Callable[[World], str], dict[str, int]]] = {
    "google id token": (lambda w: w.idp.google.id_token("ann"), {"certs": 1}),
    "google access token": (lambda w: w.idp.google.access_token("ann"), {"tokeninfo": 1, "userinfo": 1}),
    "auth0": (lambda w: w.idp.auth0.access_token("ann"), {"jwks": 1}),
    "github": (lambda w: w.idp.github.token("octo"), {"app_token": 1, "user_emails": 1}),
}
BAD: dict[str, Callable[[World], str]] = {
    "google access token": lambda w: "ya29.invented",
    "github": lambda w: checksummed("gho_"),
}


def made_calls(world: World) -> dict[str, int]:
    names = [call.endpoint for call in world.idp.calls]
    return {name: names.count(name) for name in names}


# How often a provider is asked


@pytest.mark.parametrize("kind", MINTS)
async def test_200_concurrent_requests_with_one_new_token_ask_once(world: World, door: Door, kind: str) -> None:
    mint, calls = MINTS[kind]
    token = mint(world)
    users = await together(200, lambda: door.admit(token))
    assert len({user.user_id for user in users}) == 1
    assert made_calls(world) == calls


@pytest.mark.parametrize("kind", MINTS)
async def test_the_next_request_asks_nobody(world: World, door: Door, kind: str) -> None:
    mint, calls = MINTS[kind]
    token = mint(world)
    first = await door.admit(token)
    again = await door.gate.validate(Credential(token.encode()))
    assert (again.user, again.cached) == (first, True)
    assert dict(again.user.claims) == dict(first.claims)
    assert made_calls(world) == calls


@pytest.mark.parametrize("kind", MINTS)
async def test_a_cancelled_request_harms_nobody(world: World, door: Door, kind: str) -> None:
    mint, calls = MINTS[kind]
    token, provider = mint(world), kind.split(" ")[0]
    fault = world.idp.faults.set(provider, "slow", times=1)
    waiting = [asyncio.ensure_future(door.admit(token)) for _ in range(10)]
    await world.idp.calls.reached(1)
    for waiter in waiting[:9]:  # the one that began the work among them
        waiter.cancel()
    await asyncio.gather(*waiting[:9], return_exceptions=True)
    fault.release.set()
    assert (await waiting[9]).provider == provider
    assert await door.admit(token)
    assert made_calls(world) == calls


async def test_the_answer_is_kept_although_everybody_who_asked_has_gone(world: World, door: Door) -> None:
    token = world.idp.google.access_token("ann")
    fault = world.idp.faults.set("google", "slow", endpoint="userinfo", times=1)
    waiter = asyncio.ensure_future(door.admit(token))
    await world.idp.calls.reached(1, "google", "userinfo")
    waiter.cancel()
    await asyncio.gather(waiter, return_exceptions=True)
    joined = asyncio.ensure_future(door.admit(token))
    await asyncio.sleep(0)
    fault.release.set()
    await joined
    assert made_calls(world) == {"tokeninfo": 1, "userinfo": 1}


async def test_200_cold_jwts_of_different_people_fetch_the_keys_once(world: World, door: Door) -> None:
    tokens = iter([world.idp.google.id_token("ann", sub=str(number)) for number in range(200)])
    users = await together(200, lambda: door.admit(next(tokens)))
    assert len({user.user_id for user in users}) == 200
    assert made_calls(world) == {"certs": 1}


async def test_one_slow_provider_does_not_hold_up_another(world: World, door: Door) -> None:
    with world.idp.faults.during("google", "slow"):
        stuck = asyncio.ensure_future(door.admit(world.idp.google.access_token("ann")))
        await world.idp.calls.reached(1, "google", "tokeninfo")
        assert await door.admit(world.idp.github.token("octo"))
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)


# Refusals


@pytest.mark.parametrize("kind", BAD)
async def test_50_repeats_of_one_bad_opaque_token_ask_once(world: World, door: Door, kind: str) -> None:
    token = BAD[kind](world)
    for _ in range(50):
        assert (await door.refuse(token)).status == 401
    assert len(world.idp.calls) == 1


@pytest.mark.parametrize("kind", BAD)
async def test_200_concurrent_requests_with_one_bad_token_ask_once(world: World, door: Door, kind: str) -> None:
    token = BAD[kind](world)
    refusals = await together(200, lambda: door.admit(token))
    assert {type(refusal) for refusal in refusals} == {TokenInvalid}
    assert len(world.idp.calls) == 1


@pytest.mark.parametrize("kind", BAD)
async def test_a_definitive_refusal_is_asked_about_again_after_ten_seconds(world: World, door: Door, kind: str) -> None:
    token = BAD[kind](world)
    await door.refuse(token)
    world.clock.advance(9.9)
    await door.refuse(token)
    assert len(world.idp.calls) == 1
    world.clock.advance(0.1)
    await door.refuse(token)
    assert len(world.idp.calls) == 2


async def test_50_requests_of_a_stranger_with_a_good_token_ask_once(world: World) -> None:
    door = world.door(allowed_domains="globex.example")
    token = world.idp.google.access_token("ann")
    for _ in range(50):
        assert await door.verdict(token) == (403, "domain_not_allowed")
    assert made_calls(world) == {"tokeninfo": 1, "userinfo": 1}


async def test_a_provider_that_is_down_is_asked_again_each_time_until_its_circuit_opens(
    world: World, door: Door
) -> None:
    token = world.idp.google.access_token("ann")
    with world.idp.faults.during("google", "error"):
        for _ in range(8):
            assert (await door.refuse(token)).status == 503
    assert len(world.idp.calls) == 5
    world.clock.advance(2)
    assert await door.admit(token)


async def test_an_outage_is_shared_by_those_who_wait_and_by_nobody_after_them(world: World, door: Door) -> None:
    token = world.idp.github.token("octo")
    world.idp.faults.set("github", "error", times=1)
    refusals = await together(50, lambda: door.admit(token))
    assert {type(refusal) for refusal in refusals} == {Unavailable}
    assert len(set(map(id, refusals))) == 50
    assert await door.admit(token)


async def test_an_outage_after_a_good_answer_does_not_reach_the_holder_of_a_proof(world: World, door: Door) -> None:
    token = world.idp.google.access_token("ann")
    await door.admit(token)
    with world.idp.faults.during("google", "reset"):
        assert await door.admit(token)


# The clock


@pytest.mark.parametrize("mint", ["id_token", "access_token"])
async def test_exp_is_looked_at_with_every_request(world: World, door: Door, mint: str) -> None:
    token = getattr(world.idp.google, mint)("ann", expires_in=100)
    await door.admit(token)
    world.clock.advance(99)
    assert (await door.gate.validate(Credential(token.encode()))).cached
    world.clock.advance(31)
    assert (await door.refuse(token)).status == 401


async def test_a_revocation_reaches_us_when_the_ttl_ends_and_not_later(world: World) -> None:
    door = world.door(token_cache_ttl=60)
    token = world.idp.google.access_token("ann")
    await door.admit(token)
    world.idp.google.revoke(token)
    world.clock.advance(59)
    assert await door.admit(token)
    world.clock.advance(1)
    assert (await door.refuse(token)).status == 401


async def test_a_proof_within_the_skew_is_good_once_and_not_kept(world: World, door: Door) -> None:
    token = world.idp.google.id_token("ann", expires_in=-10)
    for _ in range(2):
        assert not (await door.gate.validate(Credential(token.encode()))).cached
    world.clock.advance(20)
    assert (await door.refuse(token)).reason == "token_expired"


# The configuration


async def test_a_changed_configuration_is_a_changed_cache_key(world: World) -> None:
    first = world.assembly(only=["google"])
    second = world.assembly(only=["google"], default_permissions=("read",))
    same = world.assembly(only=["google"])
    credential = Credential(b"ya29.x")
    keys = [made.gate._verdicts.key(credential, None) for made in (first, second, same)]
    assert keys[0] == keys[2] != keys[1]


async def test_a_changed_secret_is_a_changed_configuration(world: World) -> None:
    doors = [world.assembly(github_client_secret=f"{n}-a-secret-of-our-own") for n in range(2)]
    assert len({made.gate._verdicts.key(Credential(b"x"), None) for made in doors}) == 2


# Independence


async def test_what_one_request_does_to_its_claims_no_other_sees(world: World, door: Door) -> None:
    token = world.idp.auth0.access_token("ann", scope="openid read:notes", permissions=["read:notes"])
    users: list[MCPUserContext] = await together(20, lambda: door.admit(token))
    users.append(await door.admit(token))
    users[0].claims["permissions"].append("admin")
    users[0].claims["aud"].clear()
    for user in [*users[1:], await door.admit(token)]:
        assert user.claims["permissions"] == ["read:notes"]
        assert user.claims["aud"]


async def test_a_context_cannot_be_changed(world: World, door: Door) -> None:
    user = await door.admit(world.idp.google.id_token("ann"))
    with pytest.raises(AttributeError):
        user.tenant_id = "victim"  # type: ignore[misc]
    with pytest.raises(TypeError):
        user.claims["sub"] = "victim"  # type: ignore[index]
    assert isinstance(user.permissions, frozenset)


async def test_junk_does_not_push_out_a_good_proof(world: World) -> None:
    door = world.door(token_cache_size=2)
    good = world.idp.google.access_token("ann")
    await door.admit(good)
    for number in range(100):
        await door.refuse(f"ya29.junk-{number}")
    assert (await door.gate.validate(Credential(good.encode()))).cached


async def test_the_cache_is_bounded_by_its_size(world: World) -> None:
    door = world.door(only=["google"], token_cache_size=2)
    tokens = [world.idp.google.id_token("ann", jti=str(n)) for n in range(3)]
    for token in tokens:
        await door.admit(token)
    cached = [(await door.gate.validate(Credential(t.encode()))).cached for t in reversed(tokens)]
    assert cached == [True, True, False]


# Routing


@pytest.mark.parametrize("kind", MINTS)
async def test_a_credential_is_shown_to_exactly_one_provider(world: World, kind: str) -> None:
    door = world.door(github_tenant_from_email=True, api_keys={"k" * 20: {"name": "k"}})
    mint, _ = MINTS[kind]
    token = mint(world)
    await door.admit(token)
    assert world.idp.calls.shown(token) <= {kind.split(" ")[0]}
    assert {call.provider for call in world.idp.calls} == {kind.split(" ")[0]}


@pytest.mark.parametrize(
    "token",
    [
        "k" * 20,
        "sk-made-up",
        "xoxb-1-2",
        "AKIAIOSFODNN7EXAMPLE",
        "glpat-x",
        "npm_x",
        "hf_x",
        "nothing",
        "a.b.c",
        "a.b.c.d.e",
        "a" * 32,
        "mcpk_live_x",
        "eyJhbGciOiJub25lIn0.e30.",
    ],
)
async def test_what_belongs_to_no_remote_provider_is_shown_to_none(world: World, token: str) -> None:
    door = world.door(api_keys={"k" * 20: {"name": "k"}})
    for hint in (None, "google", "github", "auth0"):
        if (token, hint) == ("k" * 20, None):
            assert (await door.admit(token)).provider == "api_key"
        else:
            assert (await door.refuse(token, hint)).status == 401
    assert len(world.idp.calls) == 0


@pytest.mark.parametrize("hint", ["github", "auth0", "api_key", "nobody", "https://evil.example", ""])
async def test_a_hint_only_chooses(world: World, door: Door, hint: str) -> None:
    token = world.idp.google.access_token("ann")
    refusal = await door.refuse(token, hint)
    assert (refusal.status, refusal.reason) == (401, "provider_mismatch")
    assert len(world.idp.calls) == 0
    assert await door.admit(token, "google")


async def test_a_proof_under_one_hint_is_no_proof_under_another(world: World, door: Door) -> None:
    token = world.idp.google.id_token("ann")
    await door.admit(token)
    assert (await door.refuse(token, "github")).reason == "provider_mismatch"
    assert await door.admit(token, "google")


async def test_a_provider_that_is_not_configured_is_not_asked(world: World) -> None:
    door = world.door(only=["auth0"])
    for token in (
        world.idp.google.access_token("ann"),
        world.idp.github.token("octo"),
        world.idp.google.id_token("ann"),
    ):
        assert (await door.refuse(token)).status == 401
    assert len(world.idp.calls) == 0


# The public validator


async def test_the_validator_takes_a_token_and_gives_a_context(world: World, door: Door) -> None:
    validator = TokenValidator(door.gate)
    user = await validator.validate_token(token=world.idp.google.id_token("ann"), provider_hint="google")
    assert (user.user_id, user.tenant_id) == ("google:110248495921238986420", "acme_example")


@pytest.mark.parametrize("token", ["", " ", "é", "\ud800", "a b", "a\nb", "\x00", "x" * 20_000, "Bearer x", "${TOKEN}"])
async def test_the_validator_refuses_what_is_no_token(door: Door, token: str) -> None:
    with pytest.raises(Refusal) as caught:
        await TokenValidator(door.gate).validate_token(token)
    assert caught.value.status in {400, 401}


# Mistakes of ours


class Fake:
    """A provider for "google" tokens that does what a test says."""

    name = "google"
    issuers: tuple[str, ...] = ()
    authorization_servers: tuple[str, ...] = ()
    cacheable = True

    def __init__(self, verify: Callable[[], Any], identify: Callable[[Identity], Any] | None = None) -> None:
        self.calls = 0
        self._verify, self._identify = verify, identify

    async def verify(self, presented: Presented) -> VerifiedClaims:
        self.calls += 1
        made: VerifiedClaims = self._verify()
        return made

    def identify(self, verified: VerifiedClaims) -> Identity:
        identity = Identity("google:1", "google", "1", tenant_id="acme")
        return self._identify(identity) if self._identify else identity

    async def aclose(self) -> None:
        return None


def claims(**changes: Any) -> VerifiedClaims:
    return replace(VerifiedClaims("google", "access_token", "1", Claims.of({"sub": "1"}), None), **changes)


def a_gate(
    provider: Fake, seen: Any, *, directory: Any = None, tenant: Quota | None = None, user: Quota | None = None
) -> Gate:
    clock = FrozenClock()
    return Gate(
        [provider],
        routes=Routes(frozenset({"google"}), {}),
        directory=directory or OpenDirectory(TenantRules({})),
        policy=Policy(),
        quotas=Quotas(MemoryQuotaStore(clock), tenant=tenant, user=user),
        strangers=Strangers(clock, None),
        calls=CallPolicy(),
        possession=Possession(clock, ExternalUrls.of("https://mcp.example.com/mcp", {}), {}, replays=Replays()),
        budgets=Budgets({}),
        verdicts=VerdictCache(clock, b"1", ttl=60, size=10),
        observe=seen,
    )


def broken() -> Any:
    raise RuntimeError("ya29.secret-of-the-caller")


REQUEST = Request({b"authorization": b"Bearer ya29.x"})


@pytest.mark.parametrize(
    ("provider", "calls"),
    [
        (Fake(broken), 2),  # nothing of it is remembered
        (Fake(lambda: None), 2),
        (Fake(claims, lambda identity: broken()), 1),  # the proof is good, what came after it is not
        (Fake(claims, lambda identity: None), 1),
    ],
    ids=["verify raises", "verify gives None", "identify raises", "identify gives None"],
)
async def test_a_mistake_of_ours_is_500_counted_and_never_a_context(provider: Fake, calls: int) -> None:
    seen = Recorder()
    gate = a_gate(provider, seen)
    for _ in range(2):
        with pytest.raises(InternalFailure) as caught:
            await gate.admit(REQUEST)
        assert (caught.value.status, caught.value.challenge) == (500, "none")
    assert len(seen.of(InternalError)) == 2
    assert seen.of(Admitted) == []
    assert provider.calls == calls


async def test_a_mistake_of_ours_is_logged_with_its_place_and_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = a_gate(Fake(broken), LogObserver())
    with caplog.at_level(logging.DEBUG), pytest.raises(InternalFailure) as caught:
        await gate.admit(REQUEST)
    record, refused = [record for record in caplog.records if record.name == "tenantry"]
    assert record.levelno == logging.ERROR
    assert refused.getMessage() == "refused 500 internal_failure"
    assert "RuntimeError" in record.getMessage()
    assert __file__ in record.getMessage()
    assert "secret-of-the-caller" not in caplog.text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_mistake_while_200_wait_is_500_for_each_of_them(world: World) -> None:
    gate = a_gate(Fake(broken), Recorder())
    failures = await together(200, lambda: gate.admit(REQUEST))
    assert {type(failure) for failure in failures} == {InternalFailure}


class Doorman(OpenDirectory):
    """Says whether tenants are served, and to which one everybody belongs."""

    def __init__(self, *, open: bool = True) -> None:
        super().__init__(TenantRules({}))
        self.open = open
        self.tenant = Tenant("one", "mapping", named=True)

    async def assign(self, identity: Identity) -> Tenant:
        return self.tenant

    async def admit(self, tenant: Tenant) -> None:
        if not self.open:
            raise Forbidden("tenant_unknown")


async def test_the_tenant_is_asked_for_on_every_request_also_with_a_proof_at_hand() -> None:
    directory, provider = Doorman(), Fake(claims)
    gate = a_gate(provider, Recorder(), directory=directory)
    await gate.admit(REQUEST)
    directory.open = False
    with pytest.raises(Forbidden):
        await gate.admit(REQUEST)
    directory.open = True
    assert (await gate.admit(REQUEST)).cached
    assert provider.calls == 1


async def test_when_tenants_change_the_proof_stays_and_the_tenant_is_assigned_anew() -> None:
    directory, provider = Doorman(), Fake(claims)
    gate = a_gate(provider, Recorder(), directory=directory)
    assert [(await gate.admit(REQUEST)).user.tenant_id for _ in range(2)] == ["one", "one"]
    directory.tenant = Tenant("other", "mapping", named=True)
    gate._verdicts.forget_admissions()
    assert (await gate.admit(REQUEST)).user.tenant_id == "other"
    assert provider.calls == 1


async def test_a_tenant_that_is_not_served_costs_no_quota() -> None:
    seen = Recorder()
    gate = a_gate(Fake(claims), seen, directory=Doorman(open=False), tenant=Quota(1, 60))
    for _ in range(3):
        with pytest.raises(Forbidden):
            await gate.admit(REQUEST)
    assert [refused.reason for refused in seen.of(Refused)] == ["tenant_unknown"] * 3


@pytest.mark.parametrize("whose", ["tenant", "user"])
async def test_over_quota_is_429_with_the_seconds_to_wait_and_the_limit(whose: Any) -> None:
    gate = a_gate(Fake(claims), Recorder(), **{whose: Quota(2, 60)})
    for _ in range(2):
        await gate.admit(REQUEST)
    with pytest.raises(OverQuota) as caught:
        await gate.admit(REQUEST)
    assert (caught.value.status, caught.value.retry_after) == (429, 30)
    assert [limit[:4] for limit in caught.value.limits] == [(whose, 2, 60, 0)]


async def test_a_user_over_quota_does_not_spend_what_the_tenant_shares() -> None:
    who = "flooding"
    provider = Fake(claims, lambda identity: replace(identity, user_id=f"google:{who}"))
    provider.cacheable = False
    gate = a_gate(provider, Recorder(), tenant=Quota(2, 60), user=Quota(1, 60))
    await gate.admit(REQUEST)
    for _ in range(10):
        with pytest.raises(OverQuota, match="user_quota"):
            await gate.admit(REQUEST)
    who = "quiet"
    assert (await gate.admit(REQUEST)).user.user_id == "google:quiet"
    who = "third"
    with pytest.raises(OverQuota, match="tenant_quota"):
        await gate.admit(REQUEST)


async def test_100_concurrent_requests_against_a_quota_of_10_let_exactly_10_pass() -> None:
    gate = a_gate(Fake(claims), Recorder(), tenant=Quota(10, 60))
    results = await together(100, lambda: gate.admit(REQUEST))
    assert sum(not isinstance(result, Exception) for result in results) == 10


async def test_a_credential_is_told_of_when_it_is_new_and_a_refusal_each_time() -> None:
    seen = Recorder()
    gate = a_gate(Fake(claims), seen)
    await gate.admit(REQUEST)
    await gate.admit(REQUEST)
    assert [admitted.user.user_id for admitted in seen.of(Admitted)] == ["google:1"]
    with pytest.raises(Refusal):
        await gate.admit(Request({}))
    assert [refused.reason for refused in seen.of(Refused)] == ["credential_missing"]


@pytest.mark.parametrize("expires_at", [math.inf, None])
async def test_a_proof_without_an_end_ends_with_the_ttl(expires_at: float | None) -> None:
    provider = Fake(lambda: claims(expires_at=expires_at))
    gate = a_gate(provider, Recorder())
    await gate.admit(REQUEST)
    assert (await gate.admit(REQUEST)).cached
