from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from tenantry.devidp import serve_on_loopback

pytestmark = pytest.mark.anyio


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def endless(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await asyncio.sleep(0.01)


async def test_it_is_ready_when_the_block_is_entered_and_gone_when_it_is_left() -> None:
    async with httpx.AsyncClient() as client:
        async with serve_on_loopback(hello, lifespan="off") as base_url:
            assert (await client.get(base_url)).text == "hello"
        with pytest.raises(httpx.ConnectError):
            await client.get(base_url)


async def test_it_leaves_at_once_although_a_keep_alive_client_is_connected_and_leaves_no_task() -> None:
    before = asyncio.all_tasks()
    async with httpx.AsyncClient() as client:
        async with serve_on_loopback(hello, lifespan="off") as base_url:
            await client.get(base_url)
            leaving = time.perf_counter()
        assert time.perf_counter() - leaving < 0.1
    assert asyncio.all_tasks() == before


async def test_a_request_without_an_end_is_cancelled_after_the_grace() -> None:
    before = asyncio.all_tasks()
    async with httpx.AsyncClient() as client:
        async with (
            serve_on_loopback(endless, lifespan="off", grace=0.05) as base_url,
            client.stream("GET", base_url) as answer,
        ):
            assert answer.status_code == 200
            leaving = time.perf_counter()
        assert time.perf_counter() - leaving < 1
    assert asyncio.all_tasks() == before


async def test_the_lifespan_runs_around_the_block_in_one_task() -> None:
    events: list[tuple[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for event in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{event}"
            events.append((event, asyncio.current_task()))
            await send({"type": f"lifespan.{event}.complete"})

    async with serve_on_loopback(app):
        assert [name for name, _ in events] == ["startup"]
    assert [name for name, _ in events] == ["startup", "shutdown"]
    assert len({task for _, task in events}) == 1


async def test_what_a_lifespan_raises_at_start_is_raised_to_the_caller() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with serve_on_loopback(app):
            pytest.fail("it started")


async def test_a_lifespan_that_says_it_failed_is_an_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "lifespan.startup.failed"})

    with pytest.raises(RuntimeError, match="did not start"):
        async with serve_on_loopback(app):
            pytest.fail("it started")


async def test_an_exception_in_the_block_goes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        async with serve_on_loopback(hello, lifespan="off"):
            raise ZeroDivisionError


async def test_two_can_be_served_at_once() -> None:
    async with (
        serve_on_loopback(hello, lifespan="off") as one,
        serve_on_loopback(hello, lifespan="off") as two,
        httpx.AsyncClient() as client,
    ):
        assert one != two
        assert (await client.get(one)).text == (await client.get(two)).text
