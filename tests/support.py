"""What the behaviour tests share: a development identity provider on a socket, gates that trust it, one frozen
clock for both, and a hand-held ASGI client that can send what no HTTP library would."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tenantry.adapters.asgi import GateMiddleware
from tenantry.adapters.http import HttpFetch, http_library
from tenantry.assemble import Assembly, Outside, assemble
from tenantry.devidp import DevIdp, serve_on_loopback
from tenantry.errors import Refusal
from tenantry.model import Credential, MCPUserContext
from tenantry.ports import Fetch
from tenantry.settings import Settings
from tenantry.testing import FrozenClock, Recorder

PROVIDERS = ("google", "auth0", "github")


class World:
    """One identity provider, one clock, one record of what was observed; gates are made from settings."""

    def __init__(self, fetch: HttpFetch) -> None:
        self.clock = FrozenClock()
        self.idp = DevIdp(clock=self.clock)
        self.seen = Recorder()
        self.fetch: Fetch = fetch
        self._made: list[Assembly] = []

    def settings(self, *, only: Iterable[str] = PROVIDERS, **changes: Any) -> Settings:
        """Development settings that trust the identity provider; ``only`` names the providers that are on."""
        values: dict[str, Any] = {"environment": "development"}
        for name, value in self.idp.settings().items():
            plain = name.removeprefix("MCP_HTTP_").lower()
            if plain.split("_")[0] in only:
                values[plain] = value
        return Settings(**(values | changes))

    def assembly(self, *, only: Iterable[str] = PROVIDERS, **changes: Any) -> Assembly:
        made = assemble(self.settings(only=only, **changes), Outside(self.clock, self.fetch, self.seen))
        self._made.append(made)
        return made

    def door(self, *, only: Iterable[str] = PROVIDERS, **changes: Any) -> Door:
        return Door(self.assembly(only=only, **changes))

    def guard(self, app: Any, *, only: Iterable[str] = PROVIDERS, **changes: Any) -> GateMiddleware:
        """The middleware around ``app``, on the frozen clock; the app answers the health checks itself."""
        made = self.assembly(only=only, **{"exempt_paths": ("/livez", "/readyz"), **changes})
        return GateMiddleware(app, made.front)

    async def aclose(self) -> None:
        for made in self._made:
            await made.aclose()


class Door:
    """A gate, asked with bare tokens."""

    def __init__(self, made: Assembly) -> None:
        self.made = made
        self.gate = made.gate

    async def admit(self, token: str, hint: str | None = None) -> MCPUserContext:
        return (await self.gate.validate(Credential(token.encode()), hint)).user

    async def refuse(self, token: str, hint: str | None = None) -> Refusal:
        """The refusal of ``token``; the test fails when it is let in."""
        with pytest.raises(Refusal) as caught:
            await self.admit(token, hint)
        return caught.value

    async def verdict(self, token: str) -> tuple[int, str]:
        """(status, reason) of a refusal."""
        refusal = await self.refuse(token)
        return refusal.status, refusal.reason


@contextlib.asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    # Without the CA bundle, which takes longer to read than most tests take: everything here is plain loopback.
    async with http_library().AsyncClient(verify=False, trust_env=False) as client:
        world = World(HttpFetch(allow_loopback_http=True, client=client))
        async with world.idp.serve():
            try:
                yield world
            finally:
                await world.aclose()


@contextlib.asynccontextmanager
async def a_client(app: Any, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """``app`` on a socket, and a client that talks to it."""
    async with (
        serve_on_loopback(app, **({"lifespan": "off"} | options)) as url,
        httpx.AsyncClient(base_url=url, verify=False, trust_env=False, timeout=20) as client,
    ):
        yield client


@dataclass
class Reply:
    """What an ASGI application sent."""

    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names; a header that is sent twice fails the test."""
        pairs = [(name.decode().lower(), value.decode()) for name, value in self.messages[0].get("headers", ())]
        assert len(dict(pairs)) == len(pairs), "a header was sent twice"
        return dict(pairs)

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.messages if m["type"].endswith("response.body"))

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def challenge(self) -> str | None:
        return self.headers.get("www-authenticate")


Pairs = Iterable[tuple[str, str]]


def a_scope(kind: str = "http", *, headers: Pairs = (), path: str = "/mcp", **more: Any) -> dict[str, Any]:
    """A scope as a server makes it; ``headers`` may repeat names."""
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if not any(name == b"host" for name, _ in pairs):
        pairs.insert(0, (b"host", b"127.0.0.1:8000"))
    base = {"type": kind, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": ""}
    if kind == "http":
        base |= {"method": "POST", "http_version": "1.1", "scheme": "https"}
    return base | {"headers": pairs, "state": {}} | more


async def ask(app: Any, *, headers: Pairs = (), path: str = "/mcp", body: bytes = b"", **more: Any) -> Reply:
    """One HTTP request by hand."""
    reply = Reply()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        reply.messages.append(dict(message))

    await app(a_scope(headers=headers, path=path, **more), receive, send)
    return reply


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


async def together(count: int, work: Callable[[], Any]) -> list[Any]:
    """``count`` of them at once, results or exceptions."""
    return await asyncio.gather(*(work() for _ in range(count)), return_exceptions=True)


class Echo:
    """An application that answers with its caller, and remembers the scopes it saw."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        user = scope["state"].get("user")
        words = {} if user is None else {"user": user.user_id, "tenant": user.tenant_id, "subject": user.subject}
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(words).encode()})
