"""The keys of an issuer: fetched once, kept fresh, kept through an outage, and no lever for a flood."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.support import World, together

from tenantry.core.jws import UnverifiedToken
from tenantry.errors import Refusal, TokenInvalid, Unavailable
from tenantry.observations import KeysRefreshed, KeysRefreshFailed
from tenantry.ports import FetchFailed, HttpRequest, HttpResponse
from tenantry.providers.key_source import lifetime
from tenantry.providers.remote_keys import RemoteKeys
from tenantry.testing import FrozenClock, Recorder, TokenMint

pytestmark = pytest.mark.anyio

URL = "https://issuer.example/jwks"
DAY = 86_400.0


class Issuer:
    """A key endpoint under the test's thumb, and the keys that read it."""

    def __init__(self, **headers: str) -> None:
        self.clock = FrozenClock()
        self.mint = TokenMint("issuer")
        self.seen = Recorder()
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.failure: Exception | HttpResponse | None = None
        self.fetches: list[float] = []
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.started = self.clock.monotonic()
        self.keys = RemoteKeys("issuer", URL, self, self.clock, self.seen)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        assert (request.method, request.url) == ("GET", URL)
        self.fetches.append(self.clock.monotonic() - self.started)
        answer = HttpResponse(200, self.headers, json.dumps(self.mint.jwks()).encode())
        self.asked.set()
        await self.open.wait()
        if isinstance(self.failure, Exception):
            raise self.failure
        return self.failure or answer

    def token(self, kid: str | None = None) -> UnverifiedToken:
        return UnverifiedToken("RS256", kid or self.mint.keys.current.kid, "jwt", b"{}", b"", b"")

    async def ask(self, kid: str | None = None) -> str | None:
        return (await self.keys.key_for(self.token(kid))).kid

    async def fails(self, kid: str | None = None) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.ask(kid)
        return caught.value

    async def settle(self) -> None:
        """Let what runs in the background end."""
        for _ in range(20):
            await asyncio.sleep(0)


# Fresh and stale


async def test_one_fetch_serves_everybody_who_waits_for_it() -> None:
    issuer = Issuer()
    issuer.open.clear()
    waiting = asyncio.ensure_future(together(200, issuer.ask))
    await issuer.asked.wait()
    await issuer.settle()
    issuer.open.set()
    assert set(await waiting) == {issuer.mint.keys.current.kid}
    assert len(issuer.fetches) == 1


async def test_a_waiter_that_gives_up_does_not_stop_the_fetch() -> None:
    issuer = Issuer()
    issuer.open.clear()
    first = asyncio.ensure_future(issuer.ask())
    await issuer.asked.wait()
    second = asyncio.ensure_future(issuer.ask())
    await issuer.settle()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    issuer.open.set()
    assert await second == issuer.mint.keys.current.kid
    assert len(issuer.fetches) == 1


async def test_fresh_keys_are_not_fetched_again() -> None:
    issuer = Issuer(cache_control="max-age=1000")
    await issuer.ask()
    issuer.clock.advance(799)
    await issuer.ask()
    await issuer.settle()
    assert len(issuer.fetches) == 1


async def test_keys_are_fetched_in_the_background_before_they_are_stale() -> None:
    issuer = Issuer(cache_control="max-age=1000")
    await issuer.ask()
    issuer.clock.advance(801)
    issuer.open.clear()
    assert await issuer.ask()  # served from what is there, while the fetch hangs
    await issuer.asked.wait()
    await together(50, issuer.ask)
    assert len(issuer.fetches) == 2
    issuer.open.set()
    await issuer.settle()
    issuer.clock.advance(798)
    assert await issuer.ask()
    assert len(issuer.fetches) == 2


async def test_stale_keys_are_waited_for() -> None:
    issuer = Issuer(cache_control="max-age=1000")
    await issuer.ask()
    issuer.clock.advance(1001)
    await issuer.ask()
    assert len(issuer.fetches) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 600),
        ({"cache-control": "no-store"}, 600),
        ({"cache-control": "public, max-age=22000, must-revalidate, no-transform"}, 22000),
        ({"cache-control": "public, max-age=22000", "age": "2000"}, 20000),
        ({"cache-control": "MAX-AGE=7200"}, 7200),
        ({"cache-control": "max-age=15, stale-while-revalidate=15"}, 300),
        ({"cache-control": "max-age=0"}, 300),
        ({"cache-control": "max-age=400", "age": "399"}, 300),
        ({"cache-control": "max-age=400", "age": "nonsense"}, 400),
        ({"cache-control": "max-age=999999999"}, DAY),
        ({"cache-control": "max-age=99999999999999"}, 600),
        ({"cache-control": "s-maxage=7200"}, 600),
        ({"cache-control": "max-age=-5"}, 600),
    ],
)
def test_cache_control_is_honoured_between_five_minutes_and_a_day(headers: dict[str, str], seconds: float) -> None:
    assert lifetime(headers) == seconds


# Outages


BROKEN: list[Any] = [
    FetchFailed("timeout"),
    FetchFailed("connect"),
    FetchFailed("too_large"),
    *(HttpResponse(code, {"location": "https://evil.example/"}, b'{"keys": []}') for code in (204, 301, 304, 404, 500)),
    *(
        HttpResponse(200, {}, body)
        for body in (
            b"",
            b"<html>",
            b"[]",
            b"{}",
            b'{"keys": []}',
            b'{"keys": {}}',
            b'{"keys": [1]}',
            b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}',
            b'{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "weak"}]}',
            b'{"keys": [], "keys": []}',
        )
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=str)
async def test_an_empty_or_broken_answer_never_replaces_good_keys(broken: Any) -> None:
    issuer = Issuer()
    await issuer.ask()
    issuer.failure = broken
    issuer.clock.advance(DAY - 1)
    assert await issuer.ask() == issuer.mint.keys.current.kid
    assert issuer.keys.state().failing is not None
    (failed,) = issuer.seen.of(KeysRefreshFailed)
    assert failed.age == DAY - 1


@pytest.mark.parametrize("broken", BROKEN, ids=str)
async def test_a_cold_outage_is_503_and_over_as_soon_as_the_issuer_is_back(broken: Any) -> None:
    issuer = Issuer()
    issuer.failure = broken
    refusal = await issuer.fails()
    assert (refusal.status, refusal.reason, refusal.retry_after) == (503, "keys_unavailable", 1)
    issuer.failure = None
    issuer.clock.advance(1)
    assert await issuer.ask()


async def test_the_last_good_keys_end_after_a_day_of_outage() -> None:
    issuer = Issuer()
    await issuer.ask()
    issuer.failure = FetchFailed("connect")
    issuer.clock.advance(DAY)
    assert (await issuer.fails()).status == 503
    issuer.failure = None
    issuer.clock.advance(5)
    assert await issuer.ask()


async def test_an_outage_is_asked_about_once_a_second_when_cold_and_every_five_when_warm() -> None:
    issuer = Issuer()
    issuer.failure = FetchFailed("connect")
    for _ in range(50):
        await issuer.fails()
        issuer.clock.advance(0.1)
    assert len(issuer.fetches) == 5 + 1  # the first failure is looked at twice
    issuer.failure = None
    await issuer.ask()
    issuer.failure, issuer.fetches = FetchFailed("connect"), []
    issuer.clock.advance(601)
    for _ in range(100):
        assert await issuer.ask()
        await issuer.settle()
        issuer.clock.advance(0.1)
    assert len(issuer.fetches) == 2 + 1


async def test_after_an_outage_the_keys_are_fresh_again() -> None:
    issuer = Issuer()
    await issuer.ask()
    issuer.failure = FetchFailed("timeout")
    issuer.clock.advance(601)
    await issuer.ask()
    issuer.failure = None
    issuer.clock.advance(5)
    await issuer.ask()
    await issuer.settle()
    assert issuer.keys.state().failing is None
    assert issuer.keys.state().age == 0.0


# Unknown key ids


async def test_a_rotated_key_is_accepted_at_its_first_use() -> None:
    issuer = Issuer()
    await issuer.ask()
    issuer.mint.keys.rotate()
    issuer.clock.advance(2)
    assert await issuer.ask() == issuer.mint.keys.current.kid
    assert len(issuer.fetches) == 2


async def test_an_emergency_rotation_takes_the_old_key_away_with_the_next_fetch() -> None:
    issuer = Issuer()
    old = issuer.mint.keys.current.kid
    await issuer.ask()
    issuer.mint.keys.rotate(keep_previous=False)
    issuer.clock.advance(2)
    await issuer.ask()
    assert (await issuer.fails(old)).reason in {"key_unknown", "keys_unconfirmed"}


async def test_an_id_that_a_fetched_set_does_not_have_is_refused_definitively_without_another_fetch() -> None:
    issuer = Issuer()
    await issuer.ask()
    issuer.clock.advance(2)
    for _ in range(50):
        refusal = await issuer.fails("invented")
        assert (refusal.status, refusal.reason) == (401, "key_unknown")
    assert len(issuer.fetches) == 2


async def flood(issuer: Issuer, seconds: float, *, per_second: int = 10, number: int = 0) -> int:
    """Unknown ids for a while, ten a second, a new one each time."""
    for _ in range(int(seconds * per_second)):
        number += 1
        await issuer.fails(f"forged-{number}")
        issuer.clock.advance(1 / per_second)
    return number


async def test_ten_thousand_unknown_ids_cost_six_fetches_in_the_first_minute_and_two_a_minute_after() -> None:
    issuer = Issuer()
    await flood(issuer, 240, per_second=42)  # 10,080 of them
    minutes = [sum(1 for at in issuer.fetches if 60 * n <= at < 60 * (n + 1)) for n in range(4)]
    assert minutes[0] <= 6
    assert all(count <= 2 for count in minutes[1:])


async def test_ten_thousand_unknown_ids_at_once_cost_two_fetches() -> None:
    issuer = Issuer()
    await asyncio.gather(*(issuer.ask(f"forged-{n}") for n in range(10_000)), return_exceptions=True)
    assert len(issuer.fetches) <= 2


async def test_a_flood_never_costs_the_caller_with_a_known_key() -> None:
    issuer = Issuer()
    await flood(issuer, 30)
    assert await issuer.ask()


@pytest.mark.parametrize("begun", [0.5, 1.0, 2.0, 2.9, 3.5, 4.9, 10, 29, 60, 300])
async def test_a_key_rotated_in_the_middle_of_a_flood_is_accepted_within_two_seconds(begun: float) -> None:
    issuer = Issuer()
    number = await flood(issuer, begun)
    issuer.mint.keys.rotate()
    rotated_at = issuer.clock.monotonic()
    while True:
        try:
            await issuer.ask()
            break
        except Unavailable:
            number = await flood(issuer, 0.1, number=number)
        assert issuer.clock.monotonic() - rotated_at <= 2.0
    assert len(issuer.fetches) <= 6 + 2 * (begun // 60)


async def test_many_holders_of_a_new_key_are_let_in_together_in_the_middle_of_a_flood() -> None:
    issuer = Issuer()
    await flood(issuer, 20)
    issuer.mint.keys.rotate()
    answers = await asyncio.gather(*(issuer.ask() for _ in range(10)), return_exceptions=True)
    assert any(answer == issuer.mint.keys.current.kid for answer in answers)
    assert await issuer.ask()


async def test_a_flood_that_repeats_its_ids_makes_a_new_key_wait_with_503_never_with_401() -> None:
    """Who knows of the reserve can spend it: then the budget is what it is, and nobody is told that a token is bad."""
    issuer = Issuer()
    for number in range(20):
        for _ in range(3):
            await issuer.fails(f"forged-{number}")
            issuer.clock.advance(1)
    issuer.mint.keys.rotate()
    rotated_at = issuer.clock.monotonic()
    reasons = set()
    while True:
        try:
            await issuer.ask()
            break
        except Refusal as refusal:
            reasons.add((refusal.status, refusal.reason))
            number += 1
            for _ in range(2):
                await issuer.fails(f"forged-{number}")
                issuer.clock.advance(0.5)
        assert issuer.clock.monotonic() - rotated_at <= 121
    assert reasons <= {(503, "keys_unconfirmed")}


async def test_a_known_id_with_another_algorithm_costs_no_fetch() -> None:
    issuer = Issuer()
    await issuer.ask()
    issuer.clock.advance(60)
    wrong = UnverifiedToken("ES256", issuer.mint.keys.current.kid, "jwt", b"{}", b"", b"")
    with pytest.raises(TokenInvalid, match="key_unknown"):
        await issuer.keys.key_for(wrong)
    assert len(issuer.fetches) == 1


async def test_a_token_without_an_id_is_refused_where_several_keys_could_have_signed_it() -> None:
    issuer = Issuer()
    await issuer.ask()
    with pytest.raises(TokenInvalid, match="key_unknown"):
        await issuer.keys.key_for(UnverifiedToken("RS256", None, "jwt", b"{}", b"", b""))
    assert len(issuer.fetches) == 1


async def test_a_failed_fetch_for_an_unknown_id_is_an_outage_and_the_known_keys_stay() -> None:
    issuer = Issuer()
    await issuer.ask()
    issuer.clock.advance(5)
    issuer.failure = FetchFailed("timeout")
    assert (await issuer.fails("new")).status == 503
    assert await issuer.ask()


async def test_a_failed_fetch_proves_no_id_absent() -> None:
    """The token of a key rotated during an outage waits with 503; a 401 would make its client delete it."""
    issuer = Issuer()
    await issuer.ask()
    issuer.clock.advance(5)
    issuer.mint.keys.rotate()
    issuer.failure = FetchFailed("timeout")
    for _ in range(2):
        assert (await issuer.fails(issuer.mint.keys.current.kid)).status == 503
        issuer.clock.advance(2)
    issuer.failure = None
    assert await issuer.ask() == issuer.mint.keys.current.kid


# What an operator sees


async def test_the_state_tells_how_many_keys_how_old_and_what_failed() -> None:
    issuer = Issuer()
    cold = issuer.keys.state()
    assert (cold.usable, cold.age, cold.fresh_for, cold.failing, cold.refetches) == (0, None, None, None, 0)
    await issuer.ask()
    issuer.clock.advance(100)
    warm = issuer.keys.state()
    assert (warm.usable, warm.age, warm.fresh_for) == (2, 100.0, 500.0)
    issuer.failure = FetchFailed("connect")
    issuer.clock.advance(600)
    await issuer.ask()
    failing = issuer.keys.state()
    assert (failing.fresh_for, failing.failing) == (0.0, "connect")
    await issuer.fails("new")
    assert issuer.keys.state().refetches == 1


async def test_a_refresh_says_how_many_keys_are_usable_and_how_many_were_left_out() -> None:
    issuer = Issuer()
    issuer.mint.keys.extras.append({"kty": "oct", "k": "c2VjcmV0", "kid": "mac", "use": "enc"})
    await issuer.ask()
    assert issuer.seen.of(KeysRefreshed) == [KeysRefreshed("issuer", 2, 1)]


async def test_closing_ends_a_fetch_in_flight() -> None:
    issuer = Issuer()
    issuer.open.clear()
    waiting = asyncio.ensure_future(issuer.ask())
    await issuer.asked.wait()
    await issuer.keys.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


# Over a socket


async def test_a_redirect_of_the_key_endpoint_is_not_followed(world: World) -> None:
    door = world.door(only=["google"])
    with world.idp.faults.during("google", "redirect", endpoint="certs"):
        assert (await door.refuse(world.idp.google.id_token("ann"))).status == 503
    assert world.idp.calls.count("devidp", "redirected") == 0


async def test_a_rotated_key_of_google_is_accepted_and_the_keys_were_fetched_twice(world: World) -> None:
    door = world.door(only=["google"])
    await door.admit(world.idp.google.id_token("ann"))
    world.idp.google.keys.rotate()
    world.clock.advance(5)
    await door.admit(world.idp.google.id_token("ann"))
    assert world.idp.calls.count("google", "certs") == 2


async def test_the_key_endpoint_is_never_shown_a_token(world: World) -> None:
    door, token = world.door(only=["google"]), world.idp.google.id_token("ann")
    await door.admit(token)
    (call,) = world.idp.calls
    assert (call.endpoint, call.credential, call.query) == ("certs", "none", {})
    assert world.idp.calls.shown(token) == set()


# Outages that hang


async def test_while_the_issuer_hangs_one_caller_waits_once_and_nobody_after_him() -> None:
    issuer = Issuer()
    good = await issuer.ask()
    issuer.clock.advance(700)  # the set is stale now
    issuer.failure = FetchFailed("timeout")
    assert await issuer.ask() == good
    issuer.open.clear()  # from now on it never answers
    for _ in range(3):
        issuer.clock.advance(10)
        async with asyncio.timeout(5):
            assert await issuer.ask() == good
    assert issuer.keys.state().failing == "timeout"
    issuer.open.set()
    await issuer.settle()
    await issuer.keys.aclose()


async def test_after_a_hanging_outage_the_new_set_is_taken_up_without_a_caller_s_wait() -> None:
    issuer = Issuer()
    await issuer.ask()
    issuer.clock.advance(700)
    issuer.failure = FetchFailed("timeout")
    await issuer.ask()
    issuer.failure = None
    issuer.clock.advance(10)
    await issuer.ask()
    await issuer.settle()
    assert issuer.keys.state().failing is None


async def test_without_good_keys_a_caller_waits_for_the_fetch_that_brings_them() -> None:
    issuer = Issuer()
    issuer.open.clear()
    waiting = asyncio.ensure_future(issuer.ask())
    await issuer.settle()
    assert not waiting.done()
    issuer.open.set()
    assert await waiting == issuer.mint.keys.current.kid


async def test_starting_fetches_before_anybody_asks_and_an_outage_then_harms_nothing() -> None:
    issuer = Issuer()
    issuer.failure = FetchFailed("connect")
    issuer.keys.start()
    await issuer.settle()
    assert len(issuer.fetches) == 2
    issuer.failure = None
    issuer.clock.advance(2)
    assert await issuer.ask() == issuer.mint.keys.current.kid
    issuer.keys.start()
    await issuer.settle()
    assert len(issuer.fetches) == 3
