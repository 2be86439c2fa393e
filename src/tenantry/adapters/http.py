"""The one HTTP client: httpx2 when it is importable, else httpx (the same interface).

One client and one TLS context for the life of the process: making them anew for every call costs forty times the
call (``bench/``). Everything that can happen becomes an ``HttpResponse`` or a ``FetchFailed``.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import ssl
from http.cookiejar import DefaultCookiePolicy
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from ..ports import FetchFailed, HttpRequest, HttpResponse

DEADLINE = 5.0  # seconds for one whole call, body included
KEPT = 50  # idle connections
# Front ends close an idle connection after a minute or more; the library's 5 s would make a quiet server shake hands
# for nearly every call.
KEPT_SECONDS = 30.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def http_library() -> ModuleType:
    """httpx2, the maintained successor, or httpx."""
    try:
        return importlib.import_module("httpx2")
    except ImportError:
        return importlib.import_module("httpx")


class HttpFetch:
    """``ports.Fetch`` over a pooled client.

    ``allow_loopback_http`` permits plain http to this machine (development). ``client`` is an ``httpx2`` or
    ``httpx`` AsyncClient of the caller's own; it is then not closed here.
    """

    def __init__(self, *, allow_loopback_http: bool = False, client: Any = None, deadline: float = DEADLINE) -> None:
        self._allow_loopback_http = allow_loopback_http
        self._given = client
        self._client = client
        self._deadline = deadline

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self._check_url(request.url)
        try:
            async with asyncio.timeout(self._deadline):
                return await self._send(request)
        except TimeoutError:
            raise FetchFailed("timeout") from None

    async def aclose(self) -> None:
        if self._client is not None and self._given is None:
            client, self._client = self._client, None
            await client.aclose()

    def _check_url(self, url: str) -> None:
        parts = urlsplit(url)
        local = parts.scheme == "http" and parts.hostname in _LOOPBACK and self._allow_loopback_http
        if parts.scheme != "https" and not local:
            raise FetchFailed("insecure_url")

    async def _send(self, request: HttpRequest) -> HttpResponse:
        client = self.open()
        library = importlib.import_module(type(client).__module__.partition(".")[0])
        headers = {"accept-encoding": "identity", **request.headers}  # nothing to inflate past max_bytes
        try:
            async with client.stream(
                request.method, request.url, headers=headers, content=request.body, follow_redirects=False
            ) as response:
                return await _read(response, request.max_bytes)
        except library.TimeoutException:
            raise FetchFailed("timeout") from None
        except library.ConnectError as error:
            raise FetchFailed(_kind_of(error)) from None
        except (library.HTTPError, library.InvalidURL, library.StreamError):
            raise FetchFailed("protocol") from None

    def open(self) -> Any:
        """The client, made at start or on first use: its pool belongs to the event loop that serves requests."""
        if self._client is None:
            library = http_library()
            self._client = library.AsyncClient(
                timeout=self._deadline,
                # How many are used at once is bounded for each provider (``providers/base.py``): a bound for all of
                # them would let one that hangs take the connections of the others.
                limits=library.Limits(
                    max_connections=None, max_keepalive_connections=KEPT, keepalive_expiry=KEPT_SECONDS
                ),
                trust_env=False,  # a proxy variable must not decide who sees tokens
            )
            # What a provider sets while it answers for one caller is not sent with the next one's token.
            self._client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
        return self._client


def _kind_of(error: BaseException) -> str:
    """Why there is no connection, from what the library's error was raised for."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "tls"
        if isinstance(cause, socket.gaierror):
            return "dns"
        cause = cause.__cause__ or cause.__context__
    return "connect"


async def _read(response: Any, max_bytes: int) -> HttpResponse:
    """The whole body, or ``FetchFailed("too_large")`` as soon as it is."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > max_bytes:
            raise FetchFailed("too_large")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return HttpResponse(response.status_code, headers, bytes(body))
