"""What no HTTP library sends: a body that is announced and never comes; and what the TLS handshake shows."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from urllib.parse import urlsplit

from .probe import REQUEST_SECONDS, USER_AGENT
from .target import Target

_ANNOUNCED = 100 * 1024 * 1024
_LONGEST_LINE = 1024
_PATIENCE = 3.0  # seconds for a refusal that needs nothing more from us

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _connect(url: str, tls: ssl.SSLContext | None) -> _Streams:
    """Raises ``OSError`` (also for TLS) and ``TimeoutError``."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    async with asyncio.timeout(REQUEST_SECONDS):
        return await asyncio.open_connection(
            parts.hostname,
            parts.port or (443 if secure else 80),
            ssl=(tls or ssl.create_default_context()) if secure else None,
            limit=2 * _LONGEST_LINE,
        )


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, TimeoutError, ssl.SSLError):
        async with asyncio.timeout(1):
            await writer.wait_closed()


async def certificate_end(url: str, tls: ssl.SSLContext | None) -> float | None:
    """When the server's certificate ends, in seconds since the epoch; None where that cannot be seen."""
    try:
        _, writer = await _connect(url, tls)
    except (OSError, TimeoutError):
        return None
    try:
        end = (writer.get_extra_info("peercert") or {}).get("notAfter")
        return None if end is None else ssl.cert_time_to_seconds(end)
    finally:
        await _closed(writer)


async def announce_a_large_body(target: Target, tls: ssl.SSLContext | None) -> int | None:
    """The status of a POST without a token that announces 100 MB and sends one byte: None where the server waits for
    more, 100 where it asks for it, 0 where it hangs up."""
    try:
        reader, writer = await _connect(target.url, tls)
    except (OSError, TimeoutError):
        return 0
    try:
        async with asyncio.timeout(_PATIENCE):
            writer.write(_head(target))
            await writer.drain()
            return _status(await reader.readline())
    except TimeoutError:
        return None
    except (OSError, ValueError):  # hung up, or a first line without an end
        return 0
    finally:
        await _closed(writer)


def _head(target: Target) -> bytes:
    own = [(name, value) for name, value in target.headers if name.lower() != "host"]
    host = next((value for name, value in target.headers if name.lower() == "host"), urlsplit(target.url).netloc)
    headers = [
        ("Host", host),
        ("User-Agent", USER_AGENT),
        ("Content-Type", "application/json"),
        ("Content-Length", str(_ANNOUNCED)),
        ("Connection", "close"),
        *own,
    ]
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", "{"]
    return "\r\n".join(lines).encode("latin-1", "replace")


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    return int(rest[:3]) if version.startswith(b"HTTP/") and rest[:3].isdigit() else 0
