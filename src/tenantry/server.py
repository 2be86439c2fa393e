"""One ASGI app behind the gate, served with uvicorn: what ``tenantry serve`` does.

uvicorn's access log stays off: it writes the query string, where a careless client puts its token; the gate's
own observations say who came. Forwarded headers are not believed, and nothing tells which server this is.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from .draining import Draining
from .errors import ConfigurationError
from .logs import configure
from .middleware import TenantryMiddleware
from .settings import Settings

# Of MCP_HTTP_SHUTDOWN_GRACE, what is kept for those who do not end when their stream does.
_LAST_SECONDS = 1
# How long a kept connection is left open for a request that is on its way.
_LINGER_SECONDS = 1.0
_LOOK_SECONDS = 0.05
# Longer than the proxies in front keep a connection to us (nginx and AWS 60): the one that closes first must be the one
# that sends, or a request meets a connection that is just being closed.
_KEEP_ALIVE_SECONDS = 75
_BACKLOG = 2048  # uvicorn's own default

_BANNER = """\
================================================================================
  DEVELOPMENT: {url}
  Weak keys are accepted, refusals explain themselves, identity providers may be
  fakes. Only this machine is served. Never put a tunnel or a proxy before it.
================================================================================
"""


def serve(app: Any, settings: Settings, read: Callable[[], Settings] | None = None) -> None:
    """Serve ``app`` inside ``TenantryMiddleware``, or as it is where it is one already, until SIGINT or SIGTERM. Then
    later connections are refused, and requests that came before have ``shutdown_grace`` seconds; a second signal ends
    at once.

    Belongs to the main thread. Raises ``ConfigurationError`` for an address that cannot be had, for settings
    that the gate refuses, and for an app that does not start. SIGHUP takes what ``read`` then says in the place of
    ``settings``.
    """
    configure(settings)
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        port = {"port": listener.getsockname()[1]}
        settings = settings.model_copy(update=port)
        reread = None if read is None else (lambda: read().model_copy(update=port))
        wrapped = isinstance(app, TenantryMiddleware)
        gated = app if wrapped else TenantryMiddleware(app, settings=settings, read=reread)
        server = _Server(gated, settings, listener)
        with _stopping(server):
            _run(server, listener)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; ``port`` 0 takes a free one. Raises ``ConfigurationError`` in one sentence."""
    try:
        # The protocol is kept because asyncio sets TCP_NODELAY only where it is named; without, an answer in two
        # writes takes 40 ms (Nagle and delayed acknowledgement).
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigurationError(f"MCP_HTTP_HOST: {host!r} is no address of this machine ({error.strerror}).") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"MCP_HTTP_PORT: cannot listen on {host}:{port} ({(error.strerror or str(error)).lower()})."
        ) from None
    return listener


class _Server(uvicorn.Server):
    """uvicorn, with a line when it is ready, an end at which no request is lost, and the gate closed whatever the app
    does with its lifespan.

    uvicorn by itself resets connections that nobody has accepted yet, and closes kept ones on which a request may be
    arriving. And hosts that look whether it is told to exit (sse-starlette does) then cut streams with answers in them;
    so it is told when the requests have ended.
    """

    def __init__(self, gated: TenantryMiddleware, settings: Settings, listener: socket.socket) -> None:
        self._draining = Draining(gated)
        super().__init__(_config(self._draining, settings))
        self._gated, self._listener = gated, listener
        self._ready = _ready_words(settings)
        self._grace = settings.shutdown_grace - _LAST_SECONDS
        self._end: asyncio.Task[None] | None = None
        self._arriving: set[asyncio.Task[Any]] = set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no such signal
            self._loop.add_signal_handler(signal.SIGHUP, self._gated.reload)
        if self.started:
            sys.stderr.write(self._ready)
            sys.stderr.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends in order, a second one at once."""
        if self.started and self._end is None:
            self._loop.call_soon_threadsafe(self._begin_to_end)
        else:
            super().handle_exit(sig, frame)

    def _begin_to_end(self) -> None:
        if self._end is None:
            self._end = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        try:
            await self._stop_listening()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._grace):
                    await self._draining.stop()
                    await self._linger()
                    await self._draining.idle()
            await self._draining.end_streams()
        finally:
            self.should_exit = True

    async def _stop_listening(self) -> None:
        """Connections that the system has completed and nobody has accepted are reset when the listener is closed, and
        those that asyncio has accepted a moment before are dropped. So it is made to accept no more, has a moment for
        what it has, and the rest is accepted here."""
        with contextlib.suppress(NotImplementedError):  # Windows
            self._loop.remove_reader(self._listener)
        await asyncio.sleep(_LOOK_SECONDS)
        arrived = list(_accepted(self._listener))
        for server in self.servers:
            server.close()
        for connection in arrived:
            serving = self._loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)
            task = self._loop.create_task(serving)
            self._arriving.add(task)
            task.add_done_callback(self._arriving.discard)

    def _protocol(self) -> asyncio.Protocol:
        """As uvicorn makes it for a connection that it accepts."""
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=self._loop
        )
        return made

    async def _linger(self) -> None:
        """Every answer closes its connection now. One without a request is left a moment: one may be on its way."""
        until = self._loop.time() + _LINGER_SECONDS
        kept = True
        while kept and self._loop.time() < until:
            await asyncio.sleep(_LOOK_SECONDS)  # uvicorn has no event for it
            kept = bool(self._arriving or self.server_state.connections)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._gated.aclose()  # an app without a lifespan has not told it; a second time does nothing


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait to be accepted now."""
    listener.setblocking(False)
    with contextlib.suppress(OSError):  # BlockingIOError: there are no more
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection


def _config(app: Any, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level=settings.log_level,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ssl_certfile=settings.tls_cert_path,
        ssl_keyfile=settings.tls_key_path,
        timeout_graceful_shutdown=_LAST_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )


def _run(server: _Server, listener: socket.socket) -> None:
    try:
        server.run(sockets=[listener])
    except SystemExit:  # how uvicorn says that the lifespan failed, after logging why
        raise ConfigurationError("The app did not start: the log above says why.") from None


@contextlib.contextmanager
def _stopping(server: uvicorn.Server) -> Iterator[None]:
    """uvicorn handles the two signals itself and then raises them once more for whoever was there before it. A
    stop in good order has no more to say; a signal before uvicorn listens to it stops it too."""

    def stop(number: int, frame: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ready_words(settings: Settings) -> str:
    scheme = "https" if settings.tls_cert_path else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"{scheme}://{host}:{settings.port}"
    banner = _BANNER.format(url=url) if settings.development else ""
    database = "on" if settings.database_connection_string else "off"
    return f"{banner}tenantry: serving on {url} (tenant database: {database}). Ctrl-C stops it.\n"
