"""Ways around the rules by the path: whatever a router may take for the endpoint, the rules are asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.attacks.bodies import ADMIN, KEY, Host, Upload, call, policed, post
from tests.support import World, a_scope

from tenantry.devidp import serve_on_loopback
from tenantry.errors import ConfigurationError

pytestmark = pytest.mark.anyio

SAFE, BAD = call("safe"), call("admin")


@pytest.fixture
def app() -> Host:
    return Host()


@pytest.fixture
def guarded(world: World, tmp_path: Path, app: Host) -> Any:
    return policed(world, tmp_path, app)


SPELLINGS = [
    "/mcp",
    "/mcp/",
    "/mcp%0A",
    "/mcp%0a%0a",
    "/%6dcp",
    "/%6D%63%70",
    "/mcp%2F",
    "/mcp%2f%2f",
    "//mcp",
    "/mcp//",
    "/./mcp",
    "/x/../mcp",
    "/mcp/.",
    "/mcp/..",
    "/mcp%00",
    "/mcp%0d",
    "/mcp%20",
    "/mcp%09",
    "/mcp;x=1",
    "/mcp?x=1",
    "/mcp%3Fx",
    "/mcp%23",
    "/MCP",
    "/mcp%c2%85",
    "/mcp%e2%80%a8",
    "/other/%2e%2e/mcp",
    "\\mcp",
]


async def raw(url: str, path: str, body: bytes, *, method: str = "POST", headers: str = "") -> int:
    """One request with exactly this path on a socket; the status of the answer."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\nX-API-Key: {KEY}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    writer.write(head.encode() + body)
    line = await reader.readline()
    await reader.read()
    writer.close()
    return int(line.split()[1])


@pytest.mark.parametrize("paths", [None, "/mcp", "/mcp/", "/mcp,/other"])
@pytest.mark.parametrize("mounted", [False, True], ids=["alone", "mounted"])
async def test_no_spelling_of_the_path_gets_around_the_rules(
    world: World, tmp_path: Path, paths: str | None, mounted: bool
) -> None:
    """Starlette's routes take a line feed at the end (``$`` in Python matches before it), servers decode ``%6d``."""
    ran: list[str] = []

    async def tool(request: Request) -> PlainTextResponse:
        ran.append((await request.json())["params"]["name"])
        return PlainTextResponse("ran")

    inner = Starlette(routes=[Route("/mcp", tool, methods=["POST"]), Route("/mcp/", tool, methods=["POST"])])
    guarded = policed(world, tmp_path, inner, **({} if paths is None else {"mcp_paths": paths}))
    outer = Starlette(routes=[Mount("/tools", app=guarded)]) if mounted else guarded
    async with serve_on_loopback(outer, lifespan="off") as url:
        prefix = "/tools" if mounted else ""
        assert await raw(url, f"{prefix}/mcp", SAFE) == 200
        for path in SPELLINGS:
            assert await raw(url, prefix + path, BAD) != 200, path
    assert ran == ["safe"]


@pytest.mark.parametrize("paths", ["/mcp", "/tools/mcp"])
async def test_below_a_mount_the_path_may_be_given_in_either_form(world: World, tmp_path: Path, paths: str) -> None:
    """As this middleware sees it, or as clients see it: who takes the wrong one has rules all the same."""
    app = Host()
    outer = Starlette(routes=[Mount("/tools", app=policed(world, tmp_path, app, mcp_paths=paths))])
    assert (await post(outer, BAD, path="/tools/mcp")).status == 403
    assert (await post(outer, BAD, path="/mcp", root_path="/tools")).status in (403, 404)
    assert app.untouched


@pytest.mark.parametrize(
    ("path", "root"),
    [("/tools/mcp", "/tools"), ("/mcp", ""), ("/mcp", "/mcp"), ("/mcp/mcp", "/mcp"), ("/tools/mcp/", "/tools")],
)
async def test_a_root_path_that_the_server_was_given_is_no_way_around(
    world: World, tmp_path: Path, path: str, root: str
) -> None:
    app = Host()
    guarded = policed(world, tmp_path, app, mcp_paths="/mcp")
    assert (await post(guarded, BAD, path=path, root_path=root)).status == 403
    assert app.untouched


async def test_other_paths_of_the_app_keep_their_bodies_where_the_mcp_paths_are_named(
    world: World, tmp_path: Path
) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        await Host()(scope, Upload().receive, send)

    guarded = policed(world, tmp_path, app, mcp_paths="/mcp")
    form = Upload(b"a=b", whole=False)
    reply = await post(guarded, form, [("content-type", "application/x-www-form-urlencoded")], path="/forms/new")
    assert reply.status == 200
    assert seen == [{"type": "http.request", "body": b"a=b", "more_body": True}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mcp_paths": "mcp"}, "begins with a slash"),
        ({"mcp_paths": "/mcp*"}, "'/mcp\\*'"),
        ({"mcp_paths": "/%6dcp"}, "'/%6dcp'"),
        ({"mcp_paths": "/{tenant}/mcp"}, "'/{tenant}/mcp'"),
        ({"mcp_paths": "/mcp?x"}, "'/mcp\\?x'"),
        ({"mcp_paths": "/mcp,/open", "exempt_paths": "/open/"}, "EXEMPT_PATHS"),
        ({"mcp_paths": "/other", "public_url": "https://mcp.example.com/mcp"}, "/mcp of MCP_HTTP_PUBLIC_URL"),
    ],
)
async def test_paths_by_which_the_rules_would_never_be_asked_are_a_mistake_at_start(
    world: World, tmp_path: Path, app: Host, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        policed(world, tmp_path, app, **changes)


# Websockets


async def open_websocket(guarded: Any, path: str = "/mcp", key: str = KEY) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        sent.append(event)

    await guarded(a_scope("websocket", headers=[("x-api-key", key)], path=path, subprotocols=[]), receive, send)
    return sent


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/anything"])
async def test_a_websocket_is_refused_where_there_are_rules(guarded: Any, app: Host, path: str) -> None:
    """Nobody here reads what is said inside."""
    assert [event["type"] for event in await open_websocket(guarded, path, ADMIN)] == ["websocket.close"]
    assert app.untouched


async def test_a_websocket_elsewhere_is_not_the_policy_s_business(world: World, tmp_path: Path) -> None:
    opened: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        opened.append(scope["path"])
        await send({"type": "websocket.accept"})

    guarded = policed(world, tmp_path, app, mcp_paths="/mcp")
    for path in ("/chat", "/mcp", "/mcp/", "/mcp\n", "//mcp", "/x/../mcp"):
        await open_websocket(guarded, path)
    assert opened == ["/chat"]
