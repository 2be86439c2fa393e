"""Clients that vanish, over sockets and by cancellation: no task, no reservation, no request under way is left."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from tests.attacks.bodies import KEY, Host, Upload, call, message, policed, post
from tests.support import World, a_client, ask, bearer

from tenantry.devidp import serve_on_loopback

pytestmark = pytest.mark.anyio

SAFE = call("safe")
META = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}


@contextlib.asynccontextmanager
async def leaving_nothing_behind(guarded: Any) -> AsyncIterator[None]:
    """After the block every request has ended, and no task is left that was not there before."""
    before = asyncio.all_tasks()
    yield
    async with asyncio.timeout(10):
        await guarded.front.traffic.idle()
        while left := asyncio.all_tasks() - before:
            await asyncio.wait(left)


class Line:
    """One connection on which anything may be said, and which ends without a word."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)

    async def __aenter__(self) -> Line:
        self.reader, self.writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def head(self, *lines: str, credential: str = f"X-API-Key: {KEY}") -> None:
        fixed = ["POST /mcp HTTP/1.1", f"Host: {self._parts.netloc}", "Content-Type: application/json", credential]
        await self.say("\r\n".join([*fixed, *lines, "", ""]).encode())

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def status(self) -> int:
        return int((await self.reader.readline()).split()[1])


class Arrived(asyncio.Event):
    """Around an application or a ``receive``: set once the request has come so far."""

    def around(self, guarded: Any) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            async def telling() -> Any:
                self.set()
                return await receive()

            await guarded(scope, telling, send)

        return app


@pytest.mark.parametrize(
    ("framing", "said"),
    [
        (["Content-Length: 100"], b""),
        (["Content-Length: 100"], SAFE[:20]),
        (["Transfer-Encoding: chunked"], b""),
        (["Transfer-Encoding: chunked"], b"5\r\n" + SAFE[:5] + b"\r\n"),
        (["Transfer-Encoding: chunked"], b"%x\r\n%s\r\n" % (len(SAFE), SAFE)),
    ],
    ids=["before the body", "in it", "before the chunks", "between chunks", "before the last chunk"],
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "anonymous"])
async def test_a_client_that_leaves_before_its_body_is_whole(
    world: World, tmp_path: Path, framing: list[str], said: bytes, known: bool
) -> None:
    app, reading = Host(), Arrived()
    guarded = policed(world, tmp_path, app, anonymous_methods="tools/call")
    credential = f"X-API-Key: {KEY}" if known else "X-Nothing: at-all"
    async with (
        serve_on_loopback(reading.around(guarded), lifespan="off") as url,
        leaving_nothing_behind(guarded),
        Line(url) as line,
    ):
        await line.head(*framing, credential=credential)
        await line.say(said)
        await reading.wait()
    assert app.untouched


async def test_a_client_that_leaves_while_its_credential_is_looked_at(world: World, tmp_path: Path) -> None:
    """The unit that its address had put aside for a bad credential is given back."""
    guarded = policed(world, tmp_path, app := Host(), rate_limit_anonymous="1/60", default_permissions="notes:read")
    tokens = [world.idp.google.access_token(person) for person in ("ann", "bob")]
    async with serve_on_loopback(guarded, lifespan="off") as url:
        fault = world.idp.faults.set("google", "slow", times=1)
        async with leaving_nothing_behind(guarded):
            async with Line(url) as line:
                await line.head("Content-Length: 100", credential=f"Authorization: Bearer {tokens[0]}")
                await world.idp.calls.reached(1)
            fault.release.set()
        assert app.untouched
    assert (await post(guarded, SAFE, bearer(tokens[1]), key=None, client=("127.0.0.1", 1))).status == 200


@pytest.mark.parametrize("kind", ["key", "token"])
async def test_a_client_that_leaves_while_its_tool_runs(world: World, tmp_path: Path, kind: str) -> None:
    heard: list[str] = []
    began = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append((await receive())["type"])
        began.set()
        heard.append((await receive())["type"])

    guarded = policed(world, tmp_path, app, default_permissions="notes:read")
    token = KEY if kind == "key" else world.idp.google.id_token("ann")
    async with serve_on_loopback(guarded, lifespan="off") as url, leaving_nothing_behind(guarded), Line(url) as line:
        await line.head(f"Content-Length: {len(SAFE)}", credential=f"Authorization: Bearer {token}")
        await line.say(SAFE)
        await began.wait()
    assert heard == ["http.request", "http.disconnect"]


@pytest.mark.parametrize("kind", ["key", "token"])
async def test_a_client_that_leaves_in_the_middle_of_a_stream(world: World, tmp_path: Path, kind: str) -> None:
    ended = asyncio.Event()

    async def events() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\n\n'
                await asyncio.sleep(0.001)
        finally:
            ended.set()

    async def endpoint(request: Request) -> StreamingResponse:
        await request.body()
        return StreamingResponse(events(), media_type="text/event-stream")

    app = Starlette(routes=[Route("/mcp", endpoint, methods=["POST"])])
    guarded = policed(world, tmp_path, app, default_permissions="notes:read")
    token = KEY if kind == "key" else world.idp.google.id_token("ann")
    async with serve_on_loopback(guarded, lifespan="off") as url, leaving_nothing_behind(guarded):
        async with Line(url) as line:
            await line.head(f"Content-Length: {len(SAFE)}", credential=f"Authorization: Bearer {token}")
            await line.say(SAFE)
            await line.reader.readuntil(b"data: ")
        async with asyncio.timeout(10):
            await ended.wait()


async def test_a_tool_of_the_sdk_ends_with_its_client(world: World, tmp_path: Path) -> None:
    server = MCPServer("tests", log_level="CRITICAL")
    began, ended = asyncio.Event(), asyncio.Event()

    async def safe() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return "never"

    server.add_tool(safe)
    guarded = policed(world, tmp_path, server.streamable_http_app())
    info = {
        f"io.modelcontextprotocol/{name}": value
        for name, value in (("clientInfo", {"name": "t", "version": "0"}), ("clientCapabilities", {}))
    }
    body = message("tools/call", {"name": "safe", "arguments": {}, "_meta": META["_meta"] | info})
    async with serve_on_loopback(guarded) as url, leaving_nothing_behind(guarded):
        async with Line(url) as line:
            mirrored = ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: safe"]
            accept = "Accept: application/json, text/event-stream"
            await line.head(f"Content-Length: {len(body)}", accept, *mirrored)
            await line.say(body)
            await began.wait()
        async with asyncio.timeout(10):
            await ended.wait()


# Servers that cancel a request when its client leaves


@pytest.mark.parametrize("stage", ["verifying", "reading", "running", "streaming"])
async def test_a_cancelled_request_leaves_nothing_behind(world: World, tmp_path: Path, stage: str) -> None:
    reached = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if stage == "streaming":
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
        reached.set()
        await asyncio.Event().wait()

    guarded = policed(world, tmp_path, app, rate_limit_anonymous="1/60", default_permissions="notes:read")
    token = world.idp.google.access_token("ann")
    upload = Upload(SAFE, whole=stage != "reading")
    fault = world.idp.faults.set("google", "slow", times=1) if stage == "verifying" else None
    async with leaving_nothing_behind(guarded):
        task = asyncio.create_task(post(guarded, upload, bearer(token), key=None))
        if fault is not None:
            await world.idp.calls.reached(1)
        elif stage == "reading":
            await upload.begun.wait()
        else:
            await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        if fault is not None:
            fault.release.set()
    guarded.app = Host()
    other = world.idp.google.access_token("bob")
    assert (await post(guarded, SAFE, bearer(other), key=None)).status == 200


# What a real server makes of bodies without an end


async def test_five_gigabytes_are_refused_while_they_come(world: World, tmp_path: Path) -> None:
    """Chunks until somebody says stop; client and server together never hold more than a few of them."""
    app, piece = Host(), b"10000\r\n" + b"x" * 65536 + b"\r\n"
    guarded = policed(world, tmp_path, app, max_body=1024 * 1024)
    async with serve_on_loopback(guarded, lifespan="off") as url, Line(url) as line:
        await line.head("Transfer-Encoding: chunked")
        answer = asyncio.create_task(line.status())
        tracemalloc.start()
        try:
            sent = 0
            while not answer.done() and sent < 5 * 1024**3:
                await line.say(piece)
                sent += len(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert await answer == 413
    assert sent < 32 * 1024 * 1024
    assert peak < 4 * 1024 * 1024
    assert app.untouched


async def test_five_announced_gigabytes_are_not_waited_for(world: World, tmp_path: Path) -> None:
    guarded = policed(world, tmp_path, app := Host())
    async with serve_on_loopback(guarded, lifespan="off") as url, Line(url) as line:
        await line.head(f"Content-Length: {5 * 1024**3}", "Expect: 100-continue")
        assert await line.status() == 413  # and no 100 before it
    assert app.untouched


@pytest.mark.parametrize(
    "lines",
    [
        [f"Content-Length: {len(SAFE)}", "Transfer-Encoding: chunked"],
        [f"Content-Length: {len(SAFE)}", f"Content-Length: {len(SAFE) + 1}"],
        [f"Content-Length: {len(SAFE)}", f"Content-Length: {len(SAFE)}"],
    ],
    ids=["both framings", "two lengths", "one length twice"],
)
async def test_two_framings_of_one_body_never_run_what_is_hidden_behind_it(
    world: World, tmp_path: Path, lines: list[str]
) -> None:
    """Request smuggling: what follows the body is a request of its own, or nothing."""
    app = Host()
    guarded = policed(world, tmp_path, app)
    hidden = b"%x\r\n%s\r\n0\r\n\r\n" % (len(call("admin")), call("admin"))
    async with serve_on_loopback(guarded, lifespan="off") as url, Line(url) as line:
        await line.head(*lines, "Connection: close")
        await line.say(hidden)
        await line.reader.read()
    assert app.ran == []


async def test_after_a_refused_body_the_connection_is_still_in_step(world: World, tmp_path: Path) -> None:
    """What is left of a refused body is not taken for the next request."""
    app = Host()
    guarded = policed(world, tmp_path, app)
    async with a_client(guarded) as client:
        headers = {"X-API-Key": KEY, "Content-Type": "text/plain"}
        inner = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n" * 2000
        assert (await client.post("/mcp", content=inner, headers=headers)).status_code == 415
        headers["Content-Type"] = "application/json"
        assert (await client.post("/mcp", content=SAFE, headers=headers)).status_code == 200
    assert app.ran == ["tools/call"]
    assert (await ask(guarded, headers=bearer(KEY))).status == 415
