"""The gate as pure ASGI middleware: http and websocket scopes are guarded, lifespan passes through.

A request is either answered here (metadata, CORS preflight, health, a refusal) or reaches the app with its caller
published; there is no third way. A stream that outlives its token is closed when the token ends.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from ..errors import Refusal
from ..model import MCPUserContext
from ..observations import Called
from .exchange import Exchange
from .expiry import App, Message, Receive, Scope, Send, run_until
from .front import HEALTH, METRICS, Front
from .https import upgrade_headers
from .identity import publish, withdraw
from .incoming import cleaned
from .slashes import EitherSlash
from .transport import Answer


class GateMiddleware:
    """Guards ``app``. ``start`` and ``close`` run with the server's lifespan. ``front`` may be replaced at any time; a
    request stays with the one it met."""

    def __init__(
        self,
        app: App | Any,
        front: Front,
        *,
        start: Callable[[], None] | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.app: App = app
        self._either_slash = EitherSlash()
        self.front = front
        self._start = start
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._unguarded(scope, receive, send)
            return
        front = self.front
        front.traffic.begin()
        try:
            began = front.clock.monotonic()
            path: str = _local_path(scope) if scope.get("root_path") else scope["path"]
            peer = front.proxies.peer(scope)
            request = front.request(scope, peer)
            exchange = Exchange(front, request, send, https=peer.https)
            if path in front.transport.exempt_paths and scope["type"] == "http":
                await self.app(cleaned(scope, peer), receive, exchange.of_the_app())
                return
            answer = await front.alive(scope, path) if path in HEALTH else None
            answer = answer or front.before(scope, path, peer, request)
            if answer is None:
                body = front.body(scope, path, receive, request)
                try:
                    admission = await front.admit(request)
                    answer = front.page(path, admission) if path == METRICS else None
                except Refusal as refusal:
                    answer = front.answer(refusal, request)
            if answer is not None:
                await _respond(answer, scope, receive, exchange)
            else:
                exchange.limits = admission.limits
                inside = receive if body is None else body.receive
                await self._serve(front, admission.user, began, cleaned(scope, peer), inside, exchange)
        finally:
            front.traffic.end()

    async def _serve(
        self,
        front: Front,
        user: MCPUserContext | None,
        began: float,
        scope: Scope,
        receive: Receive,
        exchange: Exchange,
    ) -> None:
        """Run the app with the caller published, and take everything back and tell of it afterwards."""
        request = exchange.request
        mine, tokens = publish(scope, user, exchange.slot)
        for variable, value in front.resources.items():
            tokens.append(variable.set(value))
        expires_at = None if user is None else user.expires_at
        if expires_at is not None and expires_at <= front.clock.now():
            expires_at += front.leeway  # let in for the skew of clocks, so its answer is not cut off at once
        try:
            if scope["type"] == "http":
                app = self._either_slash.app_for(scope["path"], front.endpoints, self.app)
                if front.gate.calls.rules:
                    app = front.around(app, request, exchange.refuse)
                await exchange.run(app, mine, receive, expires_at)
            elif expires_at is None:
                await self.app(mine, receive, exchange)
            else:
                await run_until(expires_at, front.clock, self.app, mine, receive, exchange)
        finally:
            withdraw(tokens)
            if getattr(front.observe, "calls", True):
                seconds = front.clock.monotonic() - began
                front.observe(Called(user, request.about(), exchange.status or 500, seconds))

    async def _unguarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            raise RuntimeError(f"tenantry does not know ASGI scopes of type {scope['type']!r}: refused")
        await self._lifespan(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The app's lifespan is the server's; what we own starts before the app does, and is closed before the server
        is told that all is."""

        async def starting() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup" and self._start is not None:
                self._start()
            return message

        async def closing(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                await self.aclose()
            await send(message)

        await self.app(scope, starting, closing)

    @asynccontextmanager
    async def lifespan(self, parent: object = None) -> AsyncIterator[Any]:
        """For a parent that mounts this, because a server tells the parent alone when it starts and ends:
        ``Starlette(routes=[Mount("/api", gate)], lifespan=gate.lifespan)``. The lifespan of the app inside is run with
        it, where that is one of Starlette, FastAPI or FastMCP."""
        if self._start is not None:
            self._start()
        inner = getattr(getattr(self.app, "router", None), "lifespan_context", None)
        try:
            async with nullcontext() if inner is None else inner(self.app) as state:
                yield state
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        if self._close is not None:
            await self._close()


def _local_path(scope: Scope) -> str:
    """The decoded path below where this middleware is mounted; never a URL built from Host."""
    path: str = scope["path"]
    root: str = scope["root_path"]
    return path[len(root) :] if path.startswith(root + "/") or path == root else path


async def _respond(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await _refuse_websocket(answer, scope, receive, send)
        return
    headers = list(answer.headers)
    if answer.status == 426:
        headers += upgrade_headers(scope)
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


async def _refuse_websocket(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """As an HTTP response where the server can (the "websocket.http.response" extension), else by closing."""
    await receive()  # websocket.connect
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send({"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "websocket.http.response.body", "body": answer.body})
        return
    await send({"type": "websocket.close", "code": 4000 + answer.status, "reason": "refused"})
