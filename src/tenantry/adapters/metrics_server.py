"""``GET /metrics`` on a port of its own, and nothing else: for a scraper inside the network, without a credential."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable

from ..errors import ConfigurationError

Render = Callable[[], tuple[bytes, str]]

_LISTEN = re.compile(r"(?:(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):)?(?P<port>[0-9]{1,5})")
_HEAD_BYTES = 8192
_SECONDS = 5.0  # for the whole exchange
_AT_ONCE = 16  # a scraper is one


def listen_on(text: str) -> tuple[str, int]:
    """(host, port) of MCP_HTTP_METRICS, "9100" being loopback's. Raises ``ConfigurationError``."""
    found = _LISTEN.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise ConfigurationError(
            f"MCP_HTTP_METRICS is {text!r}: it is off, on, or where to listen, like 127.0.0.1:9100."
        )
    return (found["host"] or "127.0.0.1").strip("[]"), int(found["port"])


class MetricsServer:
    """Answers with what ``render`` gives, between ``start`` and ``aclose``."""

    def __init__(self, host: str, port: int, render: Render) -> None:
        self._wanted = (host, port)
        self._render = render
        self._listener: socket.socket | None = None
        self._serving: asyncio.Task[None] | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.address: tuple[str, int] | None = None

    def start(self) -> None:
        """Listen, in the running event loop. Raises ``ConfigurationError`` for an address that cannot be had."""
        host, port = self._wanted
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self._listener = listener = socket.create_server(address[:2], family=family)
        except OSError as error:
            problem = (error.strerror or str(error)).lower()
            raise ConfigurationError(f"MCP_HTTP_METRICS: cannot listen on {host}:{port} ({problem}).") from None
        self.address = listener.getsockname()[:2]
        self._serving = asyncio.get_running_loop().create_task(self._serve(listener))

    async def aclose(self) -> None:
        if self._serving is not None:
            serving, self._serving = self._serving, None
            serving.cancel()
            for writer in self._open:  # whoever reads from it is through then
                writer.transport.abort()
            await asyncio.gather(serving, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

    async def _serve(self, listener: socket.socket) -> None:
        async with await asyncio.start_server(self._connected, sock=listener, limit=_HEAD_BYTES) as server:
            await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= _AT_ONCE:
            writer.close()
            return
        self._open.add(writer)
        try:
            # Whoever drips, goes away or sends no request is let go without a word.
            with contextlib.suppress(TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_SECONDS):
                    writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        finally:
            self._open.discard(writer)
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if path != b"/metrics":
            return _response(b"404 Not Found", b"", "text/plain")
        if method not in (b"GET", b"HEAD"):
            return _response(b"405 Method Not Allowed", b"", "text/plain", b"allow: GET, HEAD\r\n")
        page, kind = self._render()
        return _response(b"200 OK", page, kind, with_body=method == b"GET")


def _response(status: bytes, body: bytes, kind: str, more: bytes = b"", *, with_body: bool = True) -> bytes:
    head = (
        b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n"
        b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n%s\r\n"
    )
    return head % (status, kind.encode("ascii"), len(body), more) + (body if with_body else b"")
