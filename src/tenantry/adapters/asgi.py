"""The gate as pure ASGI middleware: http and websocket scopes are guarded, lifespan passes through.

A request is either answered here (metadata, CORS preflight, a refusal) or reaches the app with its caller
published; there is no third way. A stream that outlives its token is closed when the token ends.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

from ..core.credentials import single_headers
from ..errors import Refusal
from ..gate import Gate, Request
from ..model import Admission
from ..ports import Clock
from .expiry import App, Message, Receive, Scope, Send, run_until
from .health import LIVE, READY, Health
from .identity import publish
from .transport import Answer, Transport

_HEALTH = frozenset({LIVE, READY})


class GateMiddleware:
    """Guards ``app`` with ``gate``. ``health`` answers the health checks that are not exempt; ``resources`` maps
    context variables to what they hold during a request; ``start`` and ``close`` run with the server's lifespan."""

    def __init__(
        self,
        app: App,
        gate: Gate,
        transport: Transport,
        clock: Clock,
        *,
        health: Health | None = None,
        resources: Mapping[ContextVar[Any], Any] | None = None,
        start: Callable[[], None] | None = None,
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.app = app
        self.gate = gate
        self.transport = transport
        self._clock = clock
        self._health = health
        self._resources = tuple((resources or {}).items())
        self._start = start
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            raise RuntimeError(f"tenantry does not know ASGI scopes of type {scope['type']!r}: refused")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = _local_path(scope) if scope.get("root_path") else scope["path"]
        if path in self.transport.exempt_paths:
            await self.app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = {}
        answer = None
        try:
            headers = single_headers(scope["headers"])
            if scope["method"] == "OPTIONS" or path.startswith("/.well-known/"):
                answer = self._own_answer(scope, path, headers)
            elif path in _HEALTH and self._health is not None and scope["method"] in ("GET", "HEAD"):
                answer = await self._health.answer(path)
            if answer is None:
                admission = await self._admit(scope, headers)
        except Refusal as refusal:
            answer = self.transport.refusal(refusal, headers)
        if answer is not None:
            await _respond(answer, scope["method"], send)
            return
        if b"origin" in headers:
            send = _with_headers(send, self.transport.cors(headers))
        await self._serve(admission, scope, receive, send)

    async def _admit(self, scope: Scope, headers: dict[bytes, bytes]) -> Admission:
        self.transport.check(headers)
        return await self.gate.admit(Request(headers, scope["query_string"]))

    def _own_answer(self, scope: Scope, path: str, headers: Mapping[bytes, bytes]) -> Answer | None:
        """What needs no caller: resource metadata and a real CORS preflight."""
        answer = self.transport.well_known(path, scope["method"])
        if answer is None and scope["method"] == "OPTIONS" and b"origin" in headers:
            asked = dict(scope["headers"])
            if b"access-control-request-method" in asked:
                names = asked.get(b"access-control-request-headers", b"").decode("latin-1")
                return self.transport.preflight(headers, names)
        return answer

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = {}
        try:
            headers = single_headers(scope["headers"])
            admission = await self._admit(scope, headers)
        except Refusal as refusal:
            await _refuse_websocket(self.transport.refusal(refusal, headers), scope, receive, send)
            return
        await self._serve(admission, scope, receive, send)

    async def _serve(self, admission: Admission, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app with the caller published, and take everything back afterwards."""
        user = admission.user
        mine, take_back = publish(scope, user)
        tokens = [(variable, variable.set(value)) for variable, value in self._resources]
        try:
            if user.expires_at is None:
                await self.app(mine, receive, send)
            else:
                await run_until(user.expires_at, self._clock, self.app, mine, receive, send)
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


def _with_headers(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    """Adds CORS headers where the app has not set its own."""

    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message.get("headers", ())}
            if b"access-control-allow-origin" not in present:
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return adding


async def _respond(answer: Answer, method: str, send: Send) -> None:
    headers = list(answer.headers)
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


async def _refuse_websocket(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """As an HTTP response where the server can (the "websocket.http.response" extension), else by closing."""
    await receive()  # websocket.connect
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await send({"type": "websocket.http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "websocket.http.response.body", "body": answer.body})
        return
    await send({"type": "websocket.close", "code": 4000 + answer.status, "reason": "refused"})
