"""SIGTERM while requests are under way: none is lost, streams end in order, and nobody waits for long."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, Running, environment
from tests.deploy.load import Load

pytestmark = pytest.mark.anyio

KEY = "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"
PATIENCE = 60.0
HEAD = f"Host: 127.0.0.1\r\nX-API-Key: {KEY}\r\n"
SERVER = """
import asyncio, sys
from mcp.server.mcpserver import MCPServer

EVENTS = [(b"content-type", b"text/event-stream")]


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("no lifespan")
    while (await receive()).get("more_body"):
        pass
    await globals()[scope["path"].strip("/")](receive, send)


async def mcp(receive, send):
    await asyncio.sleep(0.01)
    await plain(send, b"ok")


async def plain(send, body):
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def long(receive, send):
    print("begun", file=sys.stderr, flush=True)
    await asyncio.sleep(1.5)
    await plain(send, b"done")


async def listening(receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
    await send({"type": "http.response.body", "body": b"data: hello\\n\\n", "more_body": True})
    print("begun", file=sys.stderr, flush=True)
    while (await receive())["type"] != "http.disconnect":
        pass
    print("heard of the end", file=sys.stderr, flush=True)


async def forever(receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": EVENTS})
    print("begun", file=sys.stderr, flush=True)
    await asyncio.sleep(3600)


server = MCPServer("slow")


@server.tool()
async def slow() -> str:
    print("begun", file=sys.stderr, flush=True)
    await asyncio.sleep(1.5)  # hosts that watch the server's end look twice a second
    return "the answer"


sdk = server.streamable_http_app(host="0.0.0.0", stateless_http=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[Running, int]]]:
    """``start("app")``: the server and its port."""
    (tmp_path / "my_server.py").write_text(SERVER)
    started: list[Running] = []

    def serve(app: str, **more: str) -> tuple[Running, int]:
        more = {"MCP_HTTP_API_KEY": KEY, "MCP_HTTP_RATE_LIMIT_TENANT": "off", **more}
        command = [*COMMAND, "serve", "--app", f"my_server:{app}", "--port", "0"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(Running(subprocess.Popen(command, cwd=tmp_path, env=environment(**more), **pipes)))
        return started[-1], int(started[-1].until(r"serving on http://[\d.]+:(\d+)")[1])

    yield serve
    for running in started:
        running.end()


@pytest.fixture
async def ask() -> AsyncIterator[Callable]:
    """``await ask(port, "POST", "/mcp")`` sends one request; where its answer comes, and where more may be sent."""
    writers: list[asyncio.StreamWriter] = []

    async def send(port: int, method: str, path: str, *more: str, body: str = "") -> tuple:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        lines = "".join(f"{line}\r\n" for line in (*more, f"Content-Length: {len(body)}"))
        writer.write(f"{method} {path} HTTP/1.1\r\n{HEAD}{lines}\r\n{body}".encode())
        return reader, writer

    yield send
    for writer in writers:
        writer.close()


async def whole(reader: asyncio.StreamReader) -> str:
    async with asyncio.timeout(PATIENCE):
        return (await reader.read()).decode()


@pytest.mark.parametrize("round_", range(3))
async def test_under_load_no_accepted_request_is_lost_and_later_ones_are_refused(start: Callable, round_: int) -> None:
    server, port = start("app")
    load = Load(port, ["Host: 127.0.0.1", f"X-API-Key: {KEY}"], clients=24)
    running = asyncio.ensure_future(load.run())
    async with asyncio.timeout(PATIENCE):
        await load.busy.wait()
        server.process.send_signal(signal.SIGTERM)
        tally = await running
    assert tally.lost == []
    assert set(tally.answered) == {200}
    assert tally.refused == 24
    assert await asyncio.to_thread(server.process.wait, PATIENCE) == 0


async def test_a_request_under_way_is_answered_and_told_that_the_connection_ends(
    start: Callable, ask: Callable
) -> None:
    server, port = start("app")
    reader, _writer = await ask(port, "POST", "/long")
    await asyncio.to_thread(server.until, "begun")
    server.process.send_signal(signal.SIGTERM)
    said = await whole(reader)
    assert said.startswith("HTTP/1.1 200")
    assert said.endswith("done")
    assert "connection: close" in said.lower()


async def test_a_request_that_a_kept_connection_sends_after_the_signal_is_answered(
    start: Callable, ask: Callable
) -> None:
    server, port = start("app")
    kept, sending = await ask(port, "POST", "/mcp")
    head = await kept.readuntil(b"ok")
    assert b"connection: close" not in head.lower()
    listening, _writer = await ask(port, "GET", "/listening")
    await asyncio.to_thread(server.until, "begun")
    server.process.send_signal(signal.SIGTERM)
    await listening.readuntil(b"\r\n0\r\n\r\n")  # it has heard of the signal
    sending.write(f"POST /mcp HTTP/1.1\r\n{HEAD}Content-Length: 0\r\n\r\n".encode())
    said = await whole(kept)
    assert said.startswith("HTTP/1.1 200")
    assert "connection: close" in said.lower()


async def test_a_stream_that_a_client_listens_to_ends_in_order_at_once(start: Callable, ask: Callable) -> None:
    server, port = start("app", MCP_HTTP_SHUTDOWN_GRACE="600")
    reader, _writer = await ask(port, "GET", "/listening")
    await asyncio.to_thread(server.until, "begun")
    server.process.send_signal(signal.SIGTERM)
    said = await whole(reader)
    assert said.endswith("data: hello\n\n\r\n0\r\n\r\n"), "the last chunk of RFC 9112 section 7.1"
    await asyncio.to_thread(server.until, "heard of the end")


async def test_a_stream_that_outlasts_the_grace_is_ended_in_order_too(start: Callable, ask: Callable) -> None:
    server, port = start("app", MCP_HTTP_SHUTDOWN_GRACE="2")
    reader, _writer = await ask(port, "POST", "/forever")
    await asyncio.to_thread(server.until, "begun")
    assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0
    assert (await whole(reader)).endswith("\r\n0\r\n\r\n")


async def test_a_second_signal_ends_at_once(start: Callable, ask: Callable) -> None:
    server, port = start("app", MCP_HTTP_SHUTDOWN_GRACE="3000")
    await ask(port, "POST", "/forever")
    await asyncio.to_thread(server.until, "begun")
    listening, _writer = await ask(port, "GET", "/listening")
    await asyncio.to_thread(server.until, "begun")
    server.process.send_signal(signal.SIGTERM)
    await listening.readuntil(b"\r\n0\r\n\r\n")  # it has heard of the first
    assert await asyncio.to_thread(server.stop, signal.SIGTERM) == 0  # within PATIENCE and not 3000


async def test_a_tool_of_the_sdk_that_answers_with_a_stream_has_its_say(start: Callable, ask: Callable) -> None:
    """The SDK's streams end as soon as they see that the server is told to: it is told when they have ended."""
    server, port = start("sdk")
    meta = {f"io.modelcontextprotocol/{name}": {} for name in ("clientCapabilities",)}
    meta |= {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    meta |= {"io.modelcontextprotocol/clientInfo": {"name": "a test", "version": "0"}}
    params = {"name": "slow", "arguments": {}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    headers = ["Content-Type: application/json", "Accept: application/json, text/event-stream", "Connection: close"]
    headers += ["MCP-Protocol-Version: 2026-07-28", "Mcp-Method: tools/call", "Mcp-Name: slow"]
    reader, _writer = await ask(port, "POST", "/mcp", *headers, body=body)
    await asyncio.to_thread(server.until, "begun")
    server.process.send_signal(signal.SIGTERM)
    said = await whole(reader)
    assert "the answer" in said
    assert re.search(r"content-type: (text/event-stream|application/json)", said.lower())
