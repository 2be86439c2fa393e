"""What is measured: the gate as it runs in production, and the bare application behind it.

Production settings, one public host, Google configured, no rate limit, only errors logged, on plain http. What Google
would answer over HTTPS is handed in (``FakeFetch``): nothing here leaves the process.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenantry.adapters.asgi import GateMiddleware
from tenantry.adapters.clock import SystemClock
from tenantry.adapters.expiry import App, Message, Receive, Scope, Send
from tenantry.adapters.observers import LogObserver
from tenantry.adapters.response_headers import SecurityHeaders
from tenantry.adapters.transport import limit_headers
from tenantry.assemble import Assembly, Outside, assemble
from tenantry.limits import Limit
from tenantry.ports import Clock, Fetch, HttpResponse
from tenantry.settings import Settings
from tenantry.testing import DevIdp, FakeFetch

HOST = "mcp.example.com"
CERTS = "https://www.googleapis.com/oauth2/v3/certs"
TOKENINFO = "https://oauth2.googleapis.com/tokeninfo"
USERINFO = "https://openidconnect.googleapis.com/v1/userinfo"
BODY = b'{"jsonrpc": "2.0", "id": 1, "result": {"ok": true}}'
_HEAD: dict[str, Any] = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
_REST: dict[str, Any] = {"type": "http.response.body", "body": BODY}


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    """The baseline: an application that does nothing but answer."""
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    await send(_HEAD)
    await send(_REST)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


@dataclass(frozen=True, slots=True)
class Stack:
    """The gate around an application, a Google ID token and an opaque access token that it lets in."""

    app: GateMiddleware
    made: Assembly
    idp: DevIdp
    id_token: str
    access_token: str


def stack(app: App, *, fetch: Fetch | None = None, clock: Clock | None = None, **options: Any) -> Stack:
    """``app`` behind the gate of a production server. ``options`` override settings."""
    logging.getLogger("tenantry").setLevel(logging.ERROR)
    idp = DevIdp(clock=clock)
    settings = Settings(
        **{
            "public_url": f"https://{HOST}/mcp",
            "google_client_id": idp.google.client_id,
            "rate_limit_tenant": "off",
            "rate_limit_anonymous": "off",
            "require_https": False,  # what is measured comes over plain sockets of this machine
            **options,
        }
    )
    outside = Outside(clock or SystemClock(), fetch or google_answers(idp), LogObserver())
    made = assemble(settings, outside)
    gated = GateMiddleware(app, made.front, start=made.start, close=made.aclose)
    return Stack(gated, made, idp, id_token(idp), "ya29." + "x" * 160)


def id_token(idp: DevIdp, **claims: Any) -> str:
    """A Google ID token of the usual size: about 1,000 bytes."""
    return idp.google.id_token("ann", **{"nonce": "n" * 22, "picture": picture("ann"), **claims})


def picture(name: str) -> str:
    """As long as Google's."""
    return f"https://lh3.googleusercontent.com/a/ACg8ocK{name:x<70}=s96-c"


def google_answers(idp: DevIdp) -> FakeFetch:
    """Key set, tokeninfo and userinfo, as Google would answer."""
    account = idp.people["ann"].at_google()
    info = {
        "aud": idp.google.client_id,
        "azp": idp.google.client_id,
        "sub": account.sub,
        "scope": "openid https://www.googleapis.com/auth/userinfo.email",
        "exp": str(int(time.time()) + 3600),
        "email": account.email,
        "email_verified": "true",
    }
    person = {"sub": account.sub, "name": "Ann Archer", "picture": picture("ann"), "hd": "acme.example"}
    return FakeFetch({CERTS: lambda _: _ok(idp.google.keys.jwks()), TOKENINFO: _ok(info), USERINFO: _ok(person)})


def _ok(document: Mapping[str, Any]) -> HttpResponse:
    return HttpResponse(200, {"cache-control": "public, max-age=20000"}, json.dumps(document).encode())


def headers(token: str | None, *, length: int = 0, tool: str = "add") -> list[tuple[bytes, bytes]]:
    """What an MCP client sends with a tools/call of revision 2026-07-28, in the order of one."""
    sent = {
        "host": HOST,
        "accept": "application/json, text/event-stream",
        "accept-encoding": "gzip, deflate, br, zstd",
        "connection": "keep-alive",
        "user-agent": "python-httpx2/2.16.2",
        "content-type": "application/json",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": tool,
        "content-length": str(length),
    }
    if token is not None:
        sent["authorization"] = f"Bearer {token}"
    return [(name.encode(), value.encode()) for name, value in sent.items()]


def scope(token: str | None, **options: Any) -> dict[str, Any]:
    """An ASGI scope as uvicorn makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8000),
        "client": ("127.0.0.1", 50000),
        "scheme": "http",
        "method": "POST",
        "root_path": "",
        "path": "/mcp",
        "raw_path": b"/mcp",
        "query_string": b"",
        "headers": headers(token, **options),
        "state": {},
    }


def raw_request(token: str | None, body: bytes, **options: Any) -> bytes:
    """The same request as bytes on the wire."""
    lines = [name + b": " + value for name, value in headers(token, length=len(body), **options)]
    return b"\r\n".join([b"POST /mcp HTTP/1.1", *lines, b"", body])


async def nothing() -> dict[str, Any]:
    """``receive`` of a request without a body."""
    return {"type": "http.request", "body": b"", "more_body": False}


async def drop(message: Any) -> None:
    """``send`` to nobody."""


def whole_options(kind: str, folder: Path) -> dict[str, Any]:
    """Settings of the whole path ("whole": quotas and an audit; "rules": a policy of ten tools as well)."""
    quota = "1000000/1"  # never reached
    options: dict[str, Any] = {
        "rate_limit_tenant": quota,
        "rate_limit_user": quota,
        "audit_sinks": (f"file:{folder}/audit.jsonl",),
    }
    if kind == "rules":
        tools = {f"tool_{number}": "tools:call" for number in range(9)} | {"add": "tools:call"}
        options |= {"tool_permissions": tools, "default_permissions": ("tools:call",)}
    return options


def sends_headers(app: App) -> App:
    """``app``, which itself sends what answers behind the gate carry: what the server makes of so many headers."""
    quotas = [Limit(name, 1_000_000, 1, 999_999, 0.5) for name in ("user", "tenant")]
    ours = [*SecurityHeaders().add([], https=False), *limit_headers(quotas), (b"x-request-id", b"0123456789ab-1234")]

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *ours]}
            await send(message)

        await app(scope, receive, sending)

    return outer


async def status_of(app: App, token: str | None, body: bytes = b"") -> int:
    """The status one request is answered with."""
    seen: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            seen.append(message["status"])

    await app(scope(token, length=len(body)), receive, send)
    return seen[0]


def tool_server() -> Any:
    """The smallest server with one tool. The MCP SDK is imported only where it is measured."""
    from mcp.server.mcpserver import MCPServer
    from mcp.server.transport_security import TransportSecuritySettings

    server = MCPServer("bench", log_level="WARNING")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    return server.streamable_http_app(
        json_response=True, stateless_http=True, transport_security=TransportSecuritySettings(allowed_hosts=[HOST])
    )
