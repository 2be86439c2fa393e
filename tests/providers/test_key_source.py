"""A key set that does not come at once: asked for again, then elsewhere, and nobody waits longer than a request may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tenantry.core.jws import UnverifiedToken
from tenantry.errors import Refusal, Unavailable
from tenantry.observations import KeysRefreshed, KeysRefreshFailed
from tenantry.ports import FetchFailed, HttpRequest, HttpResponse
from tenantry.providers.key_source import AGAIN_WITHIN, LONGEST_HOLD
from tenantry.providers.remote_keys import LAST_GOOD, PATIENCE, RemoteKeys
from tenantry.testing import FrozenClock, Recorder, TokenMint

pytestmark = pytest.mark.anyio

FIRST, SECOND = "https://issuer.example/jwks", "https://mirror.example/jwks"
Trouble = Exception | HttpResponse | None


class Issuer:
    """Two key endpoints, each with its own keys and its own trouble: a list is a trouble for each call."""

    def __init__(self, *, fallback: bool = True, jitter: Callable[[], float] = lambda: 0.5, **options: Any) -> None:
        self.clock = FrozenClock()
        self.seen = Recorder()
        self.mints = {FIRST: TokenMint("first"), SECOND: TokenMint("second")}
        self.trouble: dict[str, Trouble | list[Trouble]] = {FIRST: None, SECOND: None}
        self.asked: list[str] = []
        self.hung = asyncio.Event()
        second = SECOND if fallback else None
        self.keys = RemoteKeys("issuer", FIRST, self, self.clock, self.seen, fallback=second, jitter=jitter, **options)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.asked.append(request.url)
        trouble = self.trouble[request.url]
        if isinstance(trouble, list):
            trouble = trouble.pop(0) if trouble else None
        if isinstance(trouble, Hang):
            self.hung.set()
            await asyncio.Event().wait()
        if isinstance(trouble, Exception):
            raise trouble
        return trouble or HttpResponse(
            200, {"cache-control": "max-age=7200"}, json.dumps(self.mints[request.url].jwks()).encode()
        )

    async def ask(self, url: str = FIRST) -> str | None:
        """The id of the key for a token of the issuer that this URL knows."""
        kid = self.mints[url].keys.current.kid
        return (await self.keys.key_for(UnverifiedToken("RS256", kid, "jwt", b"{}", b"", b""))).kid

    async def fails(self, url: str = FIRST) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.ask(url)
        return caught.value


class Hang(Exception):
    """No answer comes, and no failure."""


def status(code: int, **headers: str) -> HttpResponse:
    return HttpResponse(code, {name.replace("_", "-"): value for name, value in headers.items()}, b"{}")


PASSING = [FetchFailed("connect"), FetchFailed("dns"), FetchFailed("protocol"), status(500), status(503)]
LASTING = [
    FetchFailed("timeout"),
    FetchFailed("tls"),
    FetchFailed("too_large"),
    FetchFailed("insecure_url"),
    status(404),
    status(302),
    status(429),
    status(503, retry_after="20"),
    HttpResponse(200, {}, b"<html>"),
]


# Once more


@pytest.mark.parametrize("trouble", PASSING, ids=str)
async def test_a_passing_failure_is_tried_once_more_and_the_caller_is_let_in(trouble: Trouble) -> None:
    issuer = Issuer(fallback=False)
    issuer.trouble[FIRST] = [trouble]
    assert await issuer.ask()
    assert issuer.asked == [FIRST, FIRST]
    assert issuer.keys.state().failing is None
    assert issuer.seen.of(KeysRefreshFailed) == []


@pytest.mark.parametrize("trouble", LASTING, ids=str)
async def test_a_failure_that_another_call_would_not_mend_is_not_repeated(trouble: Trouble) -> None:
    issuer = Issuer(fallback=False)
    issuer.trouble[FIRST] = trouble
    assert (await issuer.fails()).status == 503
    assert issuer.asked == [FIRST]


async def test_the_second_try_comes_after_a_random_part_of_a_quarter_of_a_second() -> None:
    parts = iter([0.0, 0.25, 1.0])
    issuer = Issuer(fallback=False, jitter=lambda: next(parts))
    for _ in range(3):
        issuer.trouble[FIRST] = [FetchFailed("connect")]
        await issuer.ask()
        issuer.clock.advance(LAST_GOOD)
    assert issuer.clock.slept == [0.0, 0.25 * AGAIN_WITHIN, AGAIN_WITHIN]


async def test_in_an_outage_that_goes_on_every_attempt_is_one_call() -> None:
    issuer = Issuer(fallback=False)
    issuer.trouble[FIRST] = FetchFailed("connect")
    for _ in range(5):
        assert (await issuer.fails()).status == 503
        issuer.clock.advance(1)
    assert len(issuer.asked) == 1 + 5


# Elsewhere


@pytest.mark.parametrize("trouble", [*PASSING, *LASTING], ids=str)
async def test_the_other_url_is_asked_when_the_first_one_fails(trouble: Trouble) -> None:
    issuer = Issuer()
    issuer.trouble[FIRST] = trouble
    assert await issuer.ask(SECOND)
    assert issuer.asked[-1] == SECOND
    state = issuer.keys.state()
    assert (state.fallback, state.failing) == (True, None)
    assert issuer.seen.of(KeysRefreshed) == [KeysRefreshed("issuer", 2, 0, fallback=True)]


async def test_the_other_url_is_never_asked_while_the_first_one_answers() -> None:
    issuer = Issuer()
    for _ in range(5):
        assert await issuer.ask()
        issuer.clock.advance(7200)
    assert SECOND not in issuer.asked


async def test_when_both_fail_it_is_the_first_one_s_outage() -> None:
    issuer = Issuer()
    issuer.trouble = {FIRST: FetchFailed("timeout"), SECOND: HttpResponse(200, {}, b"<html>")}
    refusal = await issuer.fails()
    assert (refusal.status, refusal.reason) == (503, "keys_unavailable")
    assert issuer.keys.state().failing == "timeout"


async def test_a_set_of_the_other_url_is_fresh_for_five_minutes_whatever_it_says() -> None:
    issuer = Issuer()
    issuer.trouble[FIRST] = FetchFailed("connect")
    await issuer.ask(SECOND)
    assert issuer.keys.state().fresh_for == 300
    issuer.trouble[FIRST] = None
    issuer.clock.advance(300)
    assert await issuer.ask()
    assert not issuer.keys.state().fallback


async def test_a_key_that_only_the_other_url_lacks_waits_with_503_and_is_not_refused() -> None:
    """It may be behind: a 401 would make clients delete tokens of a key rotated a moment ago."""
    issuer = Issuer()
    issuer.trouble[FIRST] = FetchFailed("connect")
    await issuer.ask(SECOND)
    issuer.clock.advance(5)
    for _ in range(3):
        assert (await issuer.fails()).status == 503
        issuer.clock.advance(2)
    issuer.trouble[FIRST] = None
    assert await issuer.ask()


async def test_good_keys_outlive_both() -> None:
    issuer = Issuer()
    await issuer.ask()
    issuer.trouble = {FIRST: FetchFailed("connect"), SECOND: FetchFailed("connect")}
    issuer.clock.advance(LAST_GOOD - 1)
    assert await issuer.ask()
    assert issuer.keys.state().last_good_for == 1
    issuer.clock.advance(5)
    refusal = await issuer.fails()
    assert isinstance(refusal, Unavailable)
    assert refusal.outage


# Leaving it in peace


async def test_an_issuer_that_names_a_time_is_not_asked_before_and_callers_are_told() -> None:
    issuer = Issuer(fallback=False)
    issuer.trouble[FIRST] = status(429, retry_after="20")
    assert (await issuer.fails()).retry_after == 20
    for _ in range(19):
        issuer.clock.advance(1)
        await issuer.fails()
    assert len(issuer.asked) == 1
    issuer.trouble[FIRST] = None
    issuer.clock.advance(1)
    assert await issuer.ask()


async def test_not_even_for_an_unknown_key_id() -> None:
    issuer = Issuer(fallback=False)
    await issuer.ask()
    issuer.trouble[FIRST] = status(429, retry_after="20")
    issuer.clock.advance(5)
    for _ in range(5):
        assert (await issuer.fails(SECOND)).status == 503
        issuer.clock.advance(2)
    assert len(issuer.asked) == 2


@pytest.mark.parametrize("said", ["100000", "9" * 9])
async def test_a_time_without_end_is_cut_to_a_minute(said: str) -> None:
    issuer = Issuer(fallback=False)
    issuer.trouble[FIRST] = status(503, retry_after=said)
    assert (await issuer.fails()).retry_after == LONGEST_HOLD


@pytest.mark.parametrize("said", ["", "-5", "soon", "9" * 40, "٣", "Wed, 21 Oct 2026 07:28:00 GMT"])
async def test_a_time_that_is_none_is_not_believed(said: str) -> None:
    issuer = Issuer(fallback=False)
    issuer.trouble[FIRST] = status(404, retry_after=said)
    assert (await issuer.fails()).retry_after == 1


# Waiting


async def test_nobody_waits_longer_than_a_request_may_and_the_fetch_goes_on() -> None:
    issuer = Issuer(fallback=False, patience=0.01)
    issuer.trouble[FIRST] = Hang()
    refusal = await issuer.fails()
    assert (refusal.status, refusal.reason) == (503, "keys_unavailable")
    assert len(issuer.asked) == 1
    await issuer.fails()
    assert len(issuer.asked) == 1
    await issuer.keys.aclose()


async def test_while_the_second_try_and_the_other_url_hang_who_has_keys_does_not_wait() -> None:
    issuer = Issuer(patience=3600)
    await issuer.ask()
    issuer.trouble = {FIRST: [FetchFailed("timeout")], SECOND: Hang()}
    issuer.clock.advance(7200)
    patient = asyncio.ensure_future(issuer.ask())
    await issuer.hung.wait()
    assert await issuer.ask()
    patient.cancel()
    await issuer.keys.aclose()


async def test_a_request_may_wait_a_little_longer_than_one_call() -> None:
    from tenantry.adapters.http import DEADLINE

    assert DEADLINE < PATIENCE <= DEADLINE + 1


# What an operator sees


async def test_the_state_tells_how_long_it_has_been_failing() -> None:
    issuer = Issuer(fallback=False)
    assert issuer.keys.state().failing_for is None
    issuer.trouble[FIRST] = FetchFailed("dns")
    for _ in range(3):
        await issuer.fails()
        issuer.clock.advance(10)
    assert (issuer.keys.state().failing, issuer.keys.state().failing_for) == ("dns", 30)
    issuer.trouble[FIRST] = None
    await issuer.ask()
    assert (issuer.keys.state().failing, issuer.keys.state().failing_for) == (None, None)
