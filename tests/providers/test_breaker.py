"""The circuit of an endpoint: it opens after failures in a row, lets one call through at a time, and closes with the
first answer. Limits hold calls back and open nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support import together

from tenantry.errors import Refusal, Unavailable
from tenantry.observations import CircuitClosed, CircuitOpened, ProviderFailed
from tenantry.ports import FetchFailed, HttpRequest, HttpResponse
from tenantry.providers.base import CALLS_AT_ONCE, ProviderClient
from tenantry.providers.breaker import FAILURES, FIRST, LONGEST, LONGEST_HOLD
from tenantry.testing import FrozenClock, Recorder

pytestmark = pytest.mark.anyio

FINE = HttpResponse(200, {}, b'{"ok": true}')
DOWN = FetchFailed("connect")
REQUEST = HttpRequest("GET", "https://provider.example/tokeninfo")


class Endpoint:
    """A provider under the test's thumb, and the client that asks it."""

    def __init__(self, **options: Any) -> None:
        self.clock, self.seen = FrozenClock(), Recorder()
        self.answer: Exception | HttpResponse = FINE
        self.calls = 0
        self.at_once = self.most_at_once = 0
        self.arrived = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.client = ProviderClient("provider", self, self.clock, self.seen, **options)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.calls += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.arrived.set()
        try:
            await self.open.wait()
        finally:
            self.at_once -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def ask(self, endpoint: str = "tokeninfo", **options: Any) -> int:
        """As a provider does it: the object of a 200, or its status."""
        response = await self.client.ask(endpoint, REQUEST, **options)
        if response.status == 200:
            self.client.object(endpoint, response)
        return response.status

    async def fails(self, endpoint: str = "tokeninfo") -> Unavailable:
        with pytest.raises(Unavailable) as caught:
            await self.ask(endpoint)
        return caught.value

    async def break_down(self, answer: Exception | HttpResponse = DOWN, times: int = FAILURES) -> None:
        self.answer = answer
        for _ in range(times):
            await asyncio.gather(self.ask(), return_exceptions=True)

    def circuit(self, endpoint: str = "tokeninfo") -> str:
        return self.client.states()[endpoint].circuit


def answer(status: int, body: bytes = b"", **headers: str) -> HttpResponse:
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


OUTAGES = [
    *(FetchFailed(kind) for kind in ("dns", "connect", "timeout", "protocol")),
    answer(500),
    answer(503, retry_after="5"),
]
DOUBTS = [FetchFailed("tls"), FetchFailed("too_large"), answer(302), answer(200, b"<html>"), answer(200, b"[]")]
ANSWERS = [answer(status) for status in (400, 401, 403, 404, 422)]


# Opening


@pytest.mark.parametrize("bad", [*OUTAGES, *DOUBTS], ids=str)
async def test_failures_in_a_row_open_it_and_then_nobody_asks(bad: Any) -> None:
    endpoint = Endpoint()
    await endpoint.break_down(bad, FAILURES - 1)
    assert endpoint.circuit() == "closed"
    await endpoint.break_down(bad, 1)
    assert endpoint.circuit() == "open"
    for _ in range(100):
        refusal = await endpoint.fails()
        assert (refusal.status, refusal.reason, refusal.retry_after) == (503, "provider_unavailable", FIRST)
    assert endpoint.calls == FAILURES


@pytest.mark.parametrize("good", [FINE, *ANSWERS], ids=str)
async def test_one_answer_in_between_begins_the_count_anew(good: HttpResponse) -> None:
    endpoint = Endpoint()
    for _ in range(5):
        await endpoint.break_down(times=FAILURES - 1)
        endpoint.answer = good
        await endpoint.ask()
    assert endpoint.circuit() == "closed"


@pytest.mark.parametrize("good", ANSWERS, ids=str)
async def test_a_refused_token_is_an_answer_however_many_there_are(good: HttpResponse) -> None:
    endpoint = Endpoint()
    await endpoint.break_down(good, 100)
    assert (endpoint.circuit(), endpoint.calls) == ("closed", 100)


async def test_each_endpoint_has_its_own() -> None:
    endpoint = Endpoint()
    await endpoint.break_down()
    endpoint.answer = FINE
    assert await endpoint.ask("userinfo") == 200
    assert (endpoint.circuit("tokeninfo"), endpoint.circuit("userinfo")) == ("open", "closed")


async def test_what_was_under_way_when_it_opened_adds_nothing() -> None:
    endpoint = Endpoint()
    endpoint.answer = DOWN
    endpoint.open.clear()
    waiting = asyncio.ensure_future(together(CALLS_AT_ONCE, endpoint.ask))
    await endpoint.arrived.wait()
    await asyncio.sleep(0)
    endpoint.open.set()
    await waiting
    assert endpoint.client.states()["tokeninfo"].wait == FIRST


async def test_opening_and_closing_are_told_once() -> None:
    endpoint = Endpoint()
    await endpoint.break_down(answer(500))
    for _ in range(10):
        endpoint.clock.advance(LONGEST)
        await endpoint.break_down(answer(500), 1)
    endpoint.clock.advance(LONGEST)
    endpoint.answer = FINE
    assert await endpoint.ask() == 200
    assert endpoint.seen.of(CircuitOpened) == [CircuitOpened("provider", "tokeninfo", "status", FIRST)]
    assert endpoint.seen.of(CircuitClosed) == [CircuitClosed("provider", "tokeninfo", 11 * LONGEST)]


# Half open


async def test_one_call_at_a_time_looks_whether_it_is_over_and_the_others_hear_at_once() -> None:
    endpoint = Endpoint()
    await endpoint.break_down()
    endpoint.clock.advance(FIRST)
    assert endpoint.circuit() == "half_open"
    endpoint.answer = FINE
    endpoint.arrived.clear()
    endpoint.open.clear()
    probe = asyncio.ensure_future(endpoint.ask())
    await endpoint.arrived.wait()
    refusals = await together(100, endpoint.fails)
    assert {refusal.retry_after for refusal in refusals} == {FIRST}
    assert endpoint.calls == FAILURES + 1
    endpoint.open.set()
    assert await probe == 200
    assert endpoint.circuit() == "closed"
    assert set(await together(100, endpoint.ask)) == {200}


async def test_it_waits_twice_as_long_after_each_failed_look_at_most_half_a_minute() -> None:
    endpoint = Endpoint()
    await endpoint.break_down()
    waits = []
    for _ in range(7):
        waits.append(endpoint.client.states()["tokeninfo"].wait)
        endpoint.clock.advance(waits[-1])
        await endpoint.break_down(times=1)
    assert waits == [2, 4, 8, 16, 30, 30, 30]


@pytest.mark.parametrize("good", [FINE, *ANSWERS, answer(429)], ids=str)
async def test_the_first_answer_closes_it_also_one_that_refuses(good: HttpResponse) -> None:
    endpoint = Endpoint()
    await endpoint.break_down()
    endpoint.clock.advance(FIRST)
    endpoint.answer = good
    await endpoint.ask()
    assert endpoint.circuit() == "closed"


async def test_a_page_of_html_does_not_close_it() -> None:
    endpoint = Endpoint()
    await endpoint.break_down()
    endpoint.clock.advance(FIRST)
    endpoint.answer = answer(200, b"<html>")
    await endpoint.fails()
    assert endpoint.circuit() == "open"


async def test_a_look_that_told_nothing_does_not_keep_it_shut() -> None:
    endpoint = Endpoint()
    await endpoint.break_down()
    endpoint.clock.advance(FIRST)
    endpoint.answer = FINE
    await endpoint.client.ask("tokeninfo", REQUEST)  # and its reader never says what the 200 was
    assert (await endpoint.fails()).retry_after == FIRST
    endpoint.clock.advance(10)
    assert await endpoint.ask() == 200


# Limits


@pytest.mark.parametrize(
    ("limit", "held"),
    [
        (answer(429), 1),
        (answer(429, retry_after="20"), 20),
        (answer(429, retry_after="3600"), LONGEST_HOLD),
        (answer(403, retry_after="20"), 20),
        (answer(403, x_ratelimit_remaining="0"), 1),
    ],
    ids=str,
)
async def test_a_limit_holds_calls_back_and_opens_nothing(limit: HttpResponse, held: int) -> None:
    endpoint = Endpoint()
    await endpoint.break_down(limit, 1)
    endpoint.answer = FINE
    for _ in range(50):
        refusal = await endpoint.fails()
        assert (refusal.reason, refusal.retry_after, refusal.outage) == ("provider_rate_limited", held, False)
    assert (endpoint.calls, endpoint.circuit()) == (1, "closed")
    endpoint.clock.advance(held)
    assert await endpoint.ask() == 200


async def test_the_limit_of_one_user_holds_nobody_else_back() -> None:
    endpoint = Endpoint()
    endpoint.answer = answer(403, retry_after="20")
    await endpoint.ask(ours=False)
    endpoint.answer = FINE
    assert await endpoint.ask() == 200


# Whether old proofs may go on


@pytest.mark.parametrize("bad", OUTAGES, ids=str)
async def test_an_outage_is_called_one_when_it_happens_and_while_it_is_open(bad: Any) -> None:
    endpoint = Endpoint()
    await endpoint.break_down(bad)
    assert (await endpoint.fails()).outage


@pytest.mark.parametrize("bad", DOUBTS, ids=str)
async def test_where_somebody_answered_it_is_no_outage(bad: Any) -> None:
    endpoint = Endpoint()
    await endpoint.break_down(DOWN, FAILURES - 1)
    await endpoint.break_down(bad, 1)
    assert endpoint.circuit() == "open"
    assert not (await endpoint.fails()).outage


# Waiting


async def test_no_more_than_some_calls_are_made_at_once_and_all_are_made() -> None:
    endpoint = Endpoint()
    endpoint.open.clear()
    waiting = asyncio.ensure_future(together(5 * CALLS_AT_ONCE, endpoint.ask))
    await endpoint.arrived.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    assert endpoint.at_once == CALLS_AT_ONCE
    endpoint.open.set()
    assert set(await waiting) == {200}
    assert (endpoint.calls, endpoint.most_at_once) == (5 * CALLS_AT_ONCE, CALLS_AT_ONCE)


async def test_who_waits_for_a_turn_at_a_provider_that_hangs_waits_no_longer_than_a_call() -> None:
    endpoint = Endpoint(deadline=0.05)
    endpoint.open.clear()
    results = await together(3 * CALLS_AT_ONCE, endpoint.ask)
    assert {result.status for result in results if isinstance(result, Refusal)} == {503}
    assert len(results) == 3 * CALLS_AT_ONCE
    assert endpoint.calls <= 2 * CALLS_AT_ONCE
    assert {seen.kind for seen in endpoint.seen.of(ProviderFailed)} == {"timeout"}
    assert endpoint.circuit() == "open"
    assert endpoint.at_once == 0
