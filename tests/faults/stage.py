"""Where the matrix plays: the development identity provider, whose clock can be wrong, and the road to it, which can be
blocked."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from tests.support import World

from tenantry.adapters.http import HttpFetch, http_library
from tenantry.devidp.keyring import SigningKey
from tenantry.ports import HttpRequest, HttpResponse
from tenantry.testing import DevIdp, FrozenClock

SHORT = 0.05  # seconds: the deadline of a call that cannot be answered in time anyway

Block = Literal["refused", "dns", "tls"]


class SkewedClock:
    """The provider's clock: ours, and ``ahead`` seconds."""

    def __init__(self, ours: FrozenClock) -> None:
        self._ours = ours
        self.ahead = 0.0

    def now(self) -> float:
        return self._ours.now() + self.ahead


class Road:
    """``ports.Fetch`` over real sockets. ``block`` leads every call to a closed port, a name that is none, or a server
    with a certificate that nobody vouches for; ``hurried`` shortens the deadline. ``calls`` counts what was asked."""

    def __init__(self, client: Any, closed: int, untrusted: int) -> None:
        self._patient = HttpFetch(allow_loopback_http=True, client=client)
        self._hurried = HttpFetch(allow_loopback_http=True, client=client, deadline=SHORT)
        self._places: dict[Block, str] = {
            "refused": f"http://127.0.0.1:{closed}",
            "dns": "https://provider.invalid",
            "tls": f"https://127.0.0.1:{untrusted}",
        }
        self.block: Block | None = None
        self.hurried = False
        self.calls = 0

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.calls += 1
        if self.block is not None:
            parts = urlsplit(request.url)
            request = replace(request, url=f"{self._places[self.block]}{parts.path}")
        return await (self._hurried if self.hurried else self._patient)(request)


class Stage(World):
    """A world whose provider's clock can be wrong, over a road that can be blocked."""

    def __init__(self, road: Road) -> None:
        super().__init__(road)  # type: ignore[arg-type]
        self.road = road
        self.theirs = SkewedClock(self.clock)
        self.idp = DevIdp(clock=self.theirs)


@contextlib.asynccontextmanager
async def a_stage() -> AsyncIterator[Stage]:
    """One for each test; nothing in it leaves this machine."""
    async with (
        untrusted_server() as untrusted,
        # It verifies certificates, and trusts nobody: everything but the untrusted server is plain loopback.
        http_library().AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False) as client,
    ):
        with _closed_port() as closed, no_names():
            stage = Stage(Road(client, closed, untrusted))
            async with stage.idp.serve():
                try:
                    yield stage
                finally:
                    stage.idp.faults.clear()
                    await stage.aclose()


@contextlib.contextmanager
def _closed_port() -> Any:
    """A port that is taken and that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextlib.contextmanager
def no_names() -> Any:
    """Names are not looked up: a question for one that is none would leave this machine."""
    loop = asyncio.get_running_loop()
    looked_up = loop.getaddrinfo

    async def getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return await looked_up(host, *args, **options)

    loop.getaddrinfo = getaddrinfo  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.getaddrinfo = looked_up  # type: ignore[method-assign]


@contextlib.asynccontextmanager
async def untrusted_server() -> AsyncIterator[int]:
    """A TLS server with a certificate that it signed itself."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    key = SigningKey("untrusted", 0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "server.pem"
        private = key.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(private + ssl.DER_cert_to_PEM_cert(key.certificate()).encode())
        context.load_cert_chain(path)
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
