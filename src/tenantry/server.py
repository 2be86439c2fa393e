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
from typing import Any

import uvicorn

from .errors import ConfigurationError
from .logs import configure
from .middleware import TenantryMiddleware
from .settings import Settings

# Docker and Kubernetes kill after 10 and 30 seconds, Fly after 5; a stream has no end of its own.
_GRACE_SECONDS = 4
_BACKLOG = 2048  # uvicorn's own default

_BANNER = """\
================================================================================
  DEVELOPMENT: {url}
  Weak keys are accepted, refusals explain themselves, identity providers may be
  fakes. Only this machine is served. Never put a tunnel or a proxy before it.
================================================================================
"""


def serve(app: Any, settings: Settings, read: Callable[[], Settings] | None = None) -> None:
    """Serve ``app`` inside ``TenantryMiddleware`` until SIGINT or SIGTERM, then finish in good order.

    Belongs to the main thread. Raises ``ConfigurationError`` for an address that cannot be had, for settings
    that the gate refuses, and for an app that does not start. SIGHUP takes what ``read`` then says in the place of
    ``settings``.
    """
    if isinstance(app, TenantryMiddleware):
        raise ConfigurationError("The app is wrapped in TenantryMiddleware already: name the app inside it.")
    configure(settings)
    with contextlib.closing(listen(settings.host, settings.port)) as listener:
        port = {"port": listener.getsockname()[1]}
        settings = settings.model_copy(update=port)
        reread = None if read is None else (lambda: read().model_copy(update=port))
        gated = TenantryMiddleware(app, settings=settings, read=reread)
        server = _Server(_config(gated, settings), gated, _ready_words(settings))
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
    """uvicorn, with a line when it is ready and the gate closed whatever the app does with its lifespan."""

    def __init__(self, config: uvicorn.Config, gated: TenantryMiddleware, ready: str) -> None:
        super().__init__(config)
        self._gated = gated
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        with contextlib.suppress(NotImplementedError, AttributeError):  # Windows has no such signal
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._gated.reload)
        if self.started:
            sys.stderr.write(self._ready)
            sys.stderr.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._gated.aclose()  # an app without a lifespan has not told it; a second time does nothing


def _config(app: TenantryMiddleware, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_level=settings.log_level,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ssl_certfile=settings.tls_cert_path,
        ssl_keyfile=settings.tls_key_path,
        timeout_graceful_shutdown=_GRACE_SECONDS,
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
