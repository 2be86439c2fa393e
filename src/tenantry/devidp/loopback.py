"""Serve any ASGI application on 127.0.0.1 inside the running event loop, ready when the block is entered and
gone when it is left.

    async with serve_on_loopback(app) as base_url:      # "http://127.0.0.1:49213"
        ...

The parts of uvicorn that take a process over (signals, its ticking main loop, logging set-up) are left out;
so the Date header is too, since nothing would keep it right. Every request's scope carries its
``Connection``: that is how a fault resets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, Final

import anyio
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CONNECTION: Final = "tenantry.connection"
BASE_URL: Final = "tenantry.base_url"


class Connection:
    """The TCP connection below a request, under ``scope["extensions"]["tenantry.connection"]``."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def reset(self) -> None:
        """Abort with RST: the peer reads ECONNRESET."""
        # Linger on, for zero seconds: the kernel sends RST in place of FIN (socket(7), SO_LINGER).
        linger = struct.pack("ii", 1, 0)
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()

    def close(self) -> None:
        """Close after what was written: the peer reads an end where it expected more."""
        self._transport.close()


def connection_of(scope: Scope) -> Connection:
    """The connection of a request; ``RuntimeError`` when another server than ``serve_on_loopback`` runs the app."""
    connection = scope.get("extensions", {}).get(CONNECTION)
    if not isinstance(connection, Connection):
        raise RuntimeError(  # noqa: TRY004 - the server lacks it; no argument has the wrong type
            "the connection is out of reach: serve the application with serve_on_loopback"
        )
    return connection


@contextlib.asynccontextmanager
async def serve_on_loopback(app: App, *, port: int = 0, grace: float = 0.2, **options: Any) -> AsyncIterator[str]:
    """Serve ``app`` on 127.0.0.1 and yield its base URL, without a trailing slash.

    ``port`` 0 takes a free one. ``grace`` is how many seconds a request may go on after the block was left;
    then its connection is aborted and it is cancelled. ``options`` go to ``uvicorn.Config``
    (``lifespan="off"`` for an application that has none). What the application raises when its lifespan
    starts is raised here.
    """
    if options.keys() & {"host", "uds", "fd"}:
        raise ValueError("serve_on_loopback serves on 127.0.0.1 and nothing else")
    with contextlib.closing(_listen(port)) as listener:
        outermost = _Outermost(app)
        server = uvicorn.Server(uvicorn.Config(outermost, **{**_DEFAULTS, **options}))
        scheme = "https" if server.config.is_ssl else "http"
        outermost.base_url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"
        await _start(server, outermost, listener)
        try:
            yield outermost.base_url
        finally:
            with anyio.CancelScope(shield=True):
                await _stop(server, outermost, grace)


class _Protocol(H11Protocol):
    """h11 with the connection within reach of the application."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app, connection = self.app, Connection(transport)

        async def reaching(scope: Any, receive: Any, send: Any) -> None:
            scope["extensions"] = {**scope.get("extensions", {}), CONNECTION: connection}
            await app(scope, receive, send)

        self.app = reaching


# Proxy headers are off because uvicorn trusts them from 127.0.0.1, and here everybody comes from there.
_DEFAULTS: Final[dict[str, Any]] = {
    "http": _Protocol,
    "ws": "none",
    "lifespan": "on",
    "log_config": None,
    "access_log": False,
    "date_header": False,
    "proxy_headers": False,
}


class _Outermost:
    """Around the application: tells its lifespan the base URL, and keeps the lifespan's task and failure."""

    def __init__(self, app: App) -> None:
        self._app = app
        self.base_url = ""
        self.lifespan: asyncio.Task[Any] | None = None
        self.failure: BaseException | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        # Only _stop cancels a request, after its connection is gone: there is nobody left to tell.
        with contextlib.suppress(asyncio.CancelledError):
            await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.lifespan = asyncio.current_task()
        scope["extensions"] = {BASE_URL: self.base_url}
        try:
            await self._app(scope, receive, send)
        except BaseException as failure:
            self.failure = failure
            raise


def _listen(port: int) -> socket.socket:
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without, headers and body of an
    # answer are 40 ms apart (Nagle and delayed acknowledgement).
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


async def _start(server: uvicorn.Server, app: _Outermost, listener: socket.socket) -> None:
    """What ``uvicorn.Server.serve`` does before its main loop; when it returns, connections are accepted."""
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    try:
        await server.startup(sockets=[listener])
    except SystemExit:  # how uvicorn says that the lifespan did not start
        raise app.failure or RuntimeError("the application did not start") from None
    await server.on_tick(0)  # puts the configured default headers in place


async def _stop(server: uvicorn.Server, app: _Outermost, grace: float) -> None:
    """``uvicorn.Server.shutdown`` without its sleeps, and with an end for requests that have none."""
    for listening in server.servers:
        listening.close()
    for connection in list(server.server_state.connections):
        connection.shutdown()
    late = await _unfinished(server.server_state.tasks, grace)
    for connection in list(server.server_state.connections):
        connection.transport.abort()
    await asyncio.sleep(0)  # connection_lost is called in the next turn of the loop
    for task in late:
        task.cancel()
    await _unfinished(late, None)
    await server.lifespan.shutdown()
    await _unfinished({app.lifespan} if app.lifespan else set(), None)
    for listening in server.servers:
        await listening.wait_closed()


async def _unfinished(tasks: set[asyncio.Task[Any]], seconds: float | None) -> set[asyncio.Task[Any]]:
    if not tasks:
        return set()
    _, unfinished = await asyncio.wait(set(tasks), timeout=seconds)
    return unfinished
