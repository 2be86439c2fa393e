"""What is remembered: proofs until they end, refusals for ten seconds, and nothing that a second request could feel."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.strict_json import parse_object
from tenantry.errors import Forbidden, Refusal, TokenInvalid, Unavailable
from tenantry.flights import SingleFlight
from tenantry.model import Admission, Claims, Credential, MCPUserContext, Tenant, VerifiedClaims
from tenantry.testing import FrozenClock
from tenantry.verdicts import IN_USE, REFUSAL_TTL, VerdictCache

anyio = pytest.mark.anyio
TENANT = Tenant("acme_example", "domain", named=False)


def a_cache(
    clock: FrozenClock | None = None, *, version: bytes = b"1", ttl: float = 300, size: int = 100
) -> VerdictCache:
    return VerdictCache(clock or FrozenClock(), version, ttl=ttl, size=size)


def a_proof(subject: str = "1", claims: Claims | None = None, **changes: Any) -> VerifiedClaims:
    members = {"expires_at": None, **changes}
    return VerifiedClaims("google", "id_token", subject, claims or Claims.of({"sub": subject}), **members)


def an_admission(subject: str = "1", **changes: Any) -> Admission:
    user = MCPUserContext(f"google:{subject}", "google", subject, TENANT.tenant_id, **changes)
    return Admission(user, TENANT, cached=True)


def key_of(cache: VerdictCache, secret: str, hint: str | None = None, source: Any = "bearer") -> bytes:
    return cache.key(Credential(secret.encode(), source), hint)


def alive(cache: VerdictCache, key: bytes) -> bool:
    return cache.proof(key) is not None


# Keys


def test_equal_credentials_have_equal_keys_and_nothing_else_has() -> None:
    cache, other = a_cache(), a_cache(version=b"2")
    keys = [
        key_of(cache, "token"),
        key_of(cache, "tokem"),
        key_of(cache, "token" * 2),
        key_of(cache, "token", "google"),
        key_of(cache, "token", "github"),
        key_of(cache, "token", source="x-api-key"),
        key_of(cache, "token", "google", "x-api-key"),
        key_of(other, "token"),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(cache, "token") == key_of(cache, "token")


def test_two_tokens_that_begin_alike_have_two_keys() -> None:
    cache = a_cache()
    prefix = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9." * 20
    assert len({key_of(cache, prefix + end) for end in ("a", "b", "")}) == 3


@given(
    st.tuples(st.binary(), st.sampled_from([None, "a", "b", "bearer"])),
    st.tuples(st.binary(), st.sampled_from([None, "a"])),
)
def test_no_two_pairs_of_credential_and_hint_share_a_key(one: tuple[bytes, Any], two: tuple[bytes, Any]) -> None:
    cache = a_cache()
    keys = [cache.key(Credential(secret), hint) for secret, hint in (one, two)]
    assert (keys[0] == keys[1]) is (one == two)


def test_a_key_does_not_hold_the_credential() -> None:
    key = key_of(a_cache(), "secret-secret-secret")
    assert len(key) == 32
    assert b"secret" not in key


# Proofs


def test_a_proof_dies_at_its_ttl_or_at_exp_whichever_is_first() -> None:
    clock = FrozenClock()
    cache = a_cache(clock, ttl=100)
    short, long = key_of(cache, "short"), key_of(cache, "long")
    cache.remember(short, a_proof(expires_at=clock.now() + 50))
    cache.remember(long, a_proof(expires_at=clock.now() + 500))
    clock.advance(49.9)
    assert alive(cache, short)
    clock.advance(0.1)
    assert not alive(cache, short)
    assert alive(cache, long)
    clock.advance(50)
    assert not alive(cache, long)


def test_exp_is_compared_with_the_wall_clock_even_when_that_jumps() -> None:
    class Jumping(FrozenClock):
        def jump(self, seconds: float) -> None:
            self._now += seconds

    clock = Jumping()
    cache = a_cache(clock)
    key = key_of(cache, "token")
    cache.remember(key, a_proof(expires_at=clock.now() + 50))
    clock.jump(60)
    assert not alive(cache, key)


def test_the_ttl_does_not_grow_when_the_wall_clock_is_set_back() -> None:
    class Jumping(FrozenClock):
        def jump(self, seconds: float) -> None:
            self._now += seconds

    clock = Jumping()
    cache = a_cache(clock, ttl=10)
    key = key_of(cache, "token")
    cache.remember(key, a_proof())
    clock.jump(-3600)
    clock.advance(10)
    assert not alive(cache, key)


def test_a_proof_that_ended_within_the_skew_is_not_kept() -> None:
    clock = FrozenClock()
    cache = a_cache(clock)
    key = key_of(cache, "late")
    cache.remember(key, a_proof(expires_at=clock.now()))
    assert len(cache) == 0


def test_a_hit_does_not_make_a_proof_live_longer() -> None:
    clock = FrozenClock()
    cache = a_cache(clock, ttl=10)
    key = key_of(cache, "token")
    cache.remember(key, a_proof())
    for _ in range(9):
        clock.advance(1)
        assert alive(cache, key)
    clock.advance(1)
    assert not alive(cache, key)


def test_the_size_is_bounded_and_what_is_in_use_stays() -> None:
    cache = a_cache(size=10)
    busy = key_of(cache, "busy")
    cache.remember(busy, a_proof())
    for n in range(100):
        cache.remember(key_of(cache, str(n)), a_proof(str(n)))
        if cache.admission(busy) is None:
            proof = cache.proof(busy)
            assert proof is not None
            cache.use(busy, proof, an_admission())
    assert alive(cache, busy)
    assert not alive(cache, key_of(cache, "0"))
    assert len(cache) <= 10


def test_what_was_made_of_a_proof_dies_with_it() -> None:
    clock = FrozenClock()
    cache = a_cache(clock, ttl=100)
    by_ttl, by_exp = key_of(cache, "ttl"), key_of(cache, "exp")
    for key, proof in ((by_ttl, a_proof()), (by_exp, a_proof(expires_at=clock.now() + 50))):
        cache.remember(key, proof)
        clock.advance(10)
        cache.use(key, proof, an_admission())
    clock.advance(29.9)
    assert cache.admission(by_exp) == an_admission()
    clock.advance(0.1)
    assert cache.admission(by_exp) is None
    assert not alive(cache, by_exp)
    clock.advance(49.9)
    assert cache.admission(by_ttl) == an_admission()
    clock.advance(0.1)
    assert cache.admission(by_ttl) is None


def test_nothing_is_kept_in_use_without_a_proof() -> None:
    cache = a_cache()
    key = key_of(cache, "never proved")
    cache.use(key, a_proof(), an_admission())
    assert cache.admission(key) is None


def test_the_admissions_in_use_are_bounded_and_lose_no_proof() -> None:
    cache = a_cache(size=3 * IN_USE)
    keys = [key_of(cache, str(n)) for n in range(IN_USE + 1)]
    for key in keys:
        cache.remember(key, a_proof())
        cache.use(key, a_proof(), an_admission())
    assert sum(cache.admission(key) is not None for key in keys) <= IN_USE
    assert all(alive(cache, key) for key in keys)


def test_ten_thousand_refusals_push_out_no_proof_and_stay_bounded() -> None:
    cache = a_cache(size=10)
    good = key_of(cache, "good")
    cache.remember(good, a_proof())
    keys = [key_of(cache, f"junk-{n}") for n in range(10_000)]
    for key in keys:
        cache.remember_refusal(key, TokenInvalid("token_rejected"))
    assert alive(cache, good)
    remembered = 0
    for key in keys:
        try:
            cache.proof(key)
        except TokenInvalid:
            remembered += 1
    assert 0 < remembered <= 2048


# Refusals


def test_a_definitive_refusal_is_remembered_for_ten_seconds() -> None:
    clock = FrozenClock()
    cache = a_cache(clock)
    key = key_of(cache, "bad")
    cache.remember_refusal(key, TokenInvalid("token_rejected"))
    clock.advance(REFUSAL_TTL - 0.1)
    with pytest.raises(TokenInvalid) as caught:
        cache.proof(key)
    assert caught.value.reason == "token_rejected"
    clock.advance(0.1)
    assert cache.proof(key) is None
    assert REFUSAL_TTL == 10


@pytest.mark.parametrize(
    "refusal",
    [
        Unavailable("provider_unavailable"),
        Unavailable("keys_unavailable"),
        TokenInvalid("key_unknown"),
        TokenInvalid("token_not_yet_valid"),
        Forbidden("domain_not_allowed"),
    ],
)
def test_what_time_or_a_fetch_may_turn_is_not_remembered(refusal: Refusal) -> None:
    cache = a_cache()
    key = key_of(cache, "perhaps")
    cache.remember_refusal(key, refusal)
    assert cache.proof(key) is None


def test_each_request_gets_a_refusal_of_its_own() -> None:
    cache = a_cache()
    key = key_of(cache, "bad")
    cache.remember_refusal(key, TokenInvalid("token_rejected"))
    raised = []
    for _ in range(2):
        with pytest.raises(TokenInvalid) as caught:
            cache.proof(key)
        raised.append(caught.value)
    assert raised[0] is not raised[1]


# Round trips

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["sub", "email", "name", "picture", "aud", "scope", "https://mcp.example/email", ""])
CLAIMS = st.dictionaries(NAMES | st.text(st.characters(exclude_categories=["Cs"]), max_size=10), JSON, max_size=8)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


def same(one: Any, two: Any) -> bool:
    """Equal, and of the same types all the way down: 1, 1.0 and True are three values."""
    if type(one) is not type(two):
        return False
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[name], two[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


@given(CLAIMS, TEXT, st.none() | st.floats(2e9, 3e9))
def test_a_proof_comes_out_of_the_cache_as_it_went_in(
    claims: dict[str, Any], subject: str, expires_at: float | None
) -> None:
    proof = VerifiedClaims("google", "access_token", subject, Claims.of(claims), expires_at)
    cache = a_cache()
    key = key_of(cache, "token")
    cache.remember(key, proof)
    found = cache.proof(key)
    assert found is not None
    assert same(dict(found.claims), dict(claims))
    assert len(found.claims) == len(claims)
    assert replace(found, claims=proof.claims) == proof


def test_numbers_keep_their_kind_and_their_value() -> None:
    raw = b'{"a":1,"b":1.0,"c":1795000000.5,"d":true,"e":9007199254740991,"f":-0.0,"g":1e-7}'
    cache = a_cache()
    key = key_of(cache, "token")
    cache.remember(key, a_proof(claims=Claims(raw, parse_object(raw))))
    found = cache.proof(key)
    assert found is not None
    assert same(dict(found.claims), parse_object(raw))
    assert str(found.claims["f"]) == "-0.0"


def test_what_one_request_does_to_its_claims_no_other_sees() -> None:
    cache = a_cache()
    key = key_of(cache, "token")
    proof = a_proof(claims=Claims.of({"aud": ["a"], "x": {"y": 1}}))
    cache.remember(key, proof)
    cache.use(key, proof, an_admission(claims=proof.claims))
    first = cache.admission(key)
    assert first is not None
    first.user.claims["aud"].append("evil")
    first.user.claims["x"]["y"] = 2
    for value in first.user.claims.values():
        value.clear()
    again, proved = cache.admission(key), cache.proof(key)
    assert again is not None
    assert proved is not None
    for claims in (again.user.claims, proved.claims):
        assert dict(claims) == {"aud": ["a"], "x": {"y": 1}}


# One flight


@anyio
async def test_everybody_who_wants_the_same_waits_for_one_piece_of_work() -> None:
    flights, begun, go = SingleFlight(), 0, asyncio.Event()

    async def work() -> int:
        nonlocal begun
        begun += 1
        await go.wait()
        return 7

    waiting = [asyncio.ensure_future(flights.run(b"k", work)) for _ in range(100)]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(*waiting) == [7] * 100
    assert begun == 1
    assert await flights.run(b"k", work) == 7
    assert begun == 2


@anyio
async def test_different_keys_do_not_wait_for_each_other() -> None:
    flights, never = SingleFlight(), asyncio.Event()

    async def stuck() -> None:
        await never.wait()

    async def quick() -> int:
        return 1

    waiting = asyncio.ensure_future(flights.run(b"a", stuck))
    assert await flights.run(b"b", quick) == 1
    await flights.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@anyio
async def test_cancelling_every_waiter_lets_the_work_finish() -> None:
    flights, go, done = SingleFlight(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    waiting = [asyncio.ensure_future(flights.run(b"k", work)) for _ in range(3)]
    await asyncio.sleep(0)
    for waiter in waiting:
        waiter.cancel()
    assert all(isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*waiting, return_exceptions=True))
    go.set()
    await done.wait()


@anyio
@pytest.mark.parametrize("error", [TokenInvalid("token_rejected"), RuntimeError("ours")])
async def test_everybody_who_waited_is_told_of_the_failure_and_the_next_one_tries_again(error: Exception) -> None:
    flights, attempts = SingleFlight(), 0

    async def work() -> int:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0)
        if attempts == 1:
            raise error
        return attempts

    failed = await asyncio.gather(*(flights.run(b"k", work) for _ in range(5)), return_exceptions=True)
    assert all(type(failure) is type(error) for failure in failed)
    assert await flights.run(b"k", work) == 2
