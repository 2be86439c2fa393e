"""What every test stands on: no network but this machine's, no setting from the developer's shell, one event loop
kind, and property tests that say the same thing twice in CI."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("here"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# A shell's background job ignores it, and so would every command that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Read by Settings without the prefix as well.
_FALLBACKS = """
    PORT DATABASE_URL DIRECT_DATABASE_URL GOOGLE_CLIENT_ID GOOGLE_CLIENT_SECRET AUTH0_DOMAIN AUTH0_AUDIENCE
""".split()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class NetworkClosed(BaseException):
    """A test tried to leave this machine. Not an ``Exception``: no error handling under test may swallow it."""


def _stays_here(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a unix socket
    host = str(address[0])
    try:
        return host == "localhost" or ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def _network_closed() -> Iterator[None]:
    """Connections go to the loopback only (event loops connect through these two methods as well)."""
    originals = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}

    def guarded(name: str) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if not _stays_here(address):
                raise NetworkClosed(f"a test connected to {address!r}")
            return originals[name](self, address)

        return connect

    for name in originals:
        setattr(socket.socket, name, guarded(name))
    yield
    for name in originals:
        delattr(socket.socket, name)  # they live in the C base class


@pytest.fixture(scope="session", autouse=True)
def _nothing_from_the_shell() -> Iterator[None]:
    """Settings say what a test says."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("MCP_HTTP_")}
    kept |= {name: os.environ.pop(name) for name in _FALLBACKS if name in os.environ}
    yield
    os.environ.update(kept)
