"""The gate as pure ASGI middleware: http and websocket scopes are guarded, lifespan passes through.

A request is either answered here (metadata, CORS preflight, health, a refusal) or reaches the app with its caller
published; there is no third way. A stream that outlives its token is closed when the token ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import Refusal
from ..model import Admission, Anonymous
from ..observations import Called
from ..request import Request
from .exchange import Exchange
from .expiry import App, Message, Receive, Scope, Send, run_until
from .front import METRICS, Front
from .https import upgrade_headers
from .identity import publish
from .incoming import cleaned
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
        self.front = front
        self._start = start
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            front = self.front
            front.traffic.begin()
            try:
                await self._guard(front, scope, receive, send)
            finally:
                front.traffic.end()
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            raise RuntimeError(f"tenantry does not know ASGI scopes of type {scope['type']!r}: refused")

    async def _guard(self, front: Front, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = _local_path(scope) if scope.get("root_path") else scope["path"]
        peer = front.proxies.peer(scope)
        request = front.request(scope, peer)
        exchange = Exchange(front, request, send, https=peer.https)
        if path in front.transport.exempt_paths and scope["type"] == "http":
            await self.app(cleaned(scope, peer), receive, exchange.of_the_app())
            return
        began = front.clock.monotonic()
        answer = await front.before(scope, path, peer, request)
        if answer is None:
            body = front.body(scope, path, receive, request)
            try:
                admission = await front.admit(request)
                answer = front.page(path, admission) if path == METRICS else None
            except Refusal as refusal:
                answer = front.answer(refusal, request)
        if answer is not None:
            await _respond(answer, scope, receive, exchange)
            return
        exchange.limits = admission.limits
        try:
            inside = receive if body is None else body.receive
            await self._serve(front, admission, request, cleaned(scope, peer), inside, exchange)
        finally:
            if front.tells_calls:
                seconds = front.clock.monotonic() - began
                front.observe(Called(admission.user, request.about(), exchange.status or 500, seconds))

    async def _serve(
        self,
        front: Front,
        admission: Admission | Anonymous,
        request: Request,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Run the app with the caller published, and take everything back afterwards."""
        user = admission.user
        app = self.app if scope["type"] == "websocket" else front.around(self.app, request)
        mine, take_back = publish(scope, user)
        tokens = [(variable, variable.set(value)) for variable, value in front.resources.items()]
        try:
            if user is None or user.expires_at is None:
                await app(mine, receive, send)
            else:
                await run_until(user.expires_at, front.clock, app, mine, receive, send)
        finally:
            for variable, token in tokens:
                variable.reset(token)
            take_back()

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

    async def aclose(self) -> None:
        if self._close is not None:
            await self._close()


def _local_path(scope: Scope) -> str:
    """The decoded path below where this middleware is mounted; never a URL built from Host."""
    path: str = scope["path"]
    root: str = scope["root_path"]
    return path[len(root) :] if path.startswith(root + "/") else path


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
