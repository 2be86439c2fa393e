"""Servers that hang, hang up, speak garbage or never stop speaking: a bounded look, and a plain finding."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.doctor.conftest import bad, look, look_at
from tests.doctor.exemplary import Answer, Asked, Exemplary

from tenantry.doctor.outside import probe as probing
from tenantry.doctor.outside.probe import MOST_BYTES, MOST_REQUESTS, Probe
from tenantry.doctor.outside.target import Target
from tenantry.errors import ConfigurationError

pytestmark = pytest.mark.anyio

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[str]:
    """A server that is handed its connections as they are."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    finally:
        server.close()


def says(data: bytes) -> Handler:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return handler


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()


async def never_answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the other end has had enough


async def never_stops(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def never_stops_its_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 401 Unauthorized\r\n")
    while True:
        writer.write(b"x-name: " + b"x" * 65536 + b"\r\n")
        await writer.drain()


@pytest.mark.parametrize(
    "handler",
    [
        hangs_up,
        never_stops_its_head,
        says(b"SSH-2.0-OpenSSH_9.6\r\n"),
        says(b"\x00\xff" * 100),
        says(b"HTTP/1.1 "),
        says(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: many\r\n\r\n"),
    ],
)
async def test_what_is_no_http_server_is_one_finding_and_no_grade(handler: Handler) -> None:
    async with listening(handler) as url:
        report = await look(url)
    assert (report.grade, bad(report), report.requests) == (None, {("reachable", "error")}, 1)


async def test_a_server_that_hangs_is_one_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "REQUEST_SECONDS", 0.2)
    async with listening(never_answers) as url:
        report = await look(url)
    assert (report.grade, bad(report)) == (None, {("reachable", "error")})
    assert "no answer" in report.findings[0].text


async def test_nobody_listening_is_one_finding() -> None:
    async with listening(hangs_up) as url:
        pass
    report = await look(url)
    assert bad(report) == {("reachable", "error")}


async def test_a_body_without_an_end_is_read_to_its_bound_only() -> None:
    async with listening(never_stops) as url, Probe(Target.of(url)) as probe:
        reply = await probe.ask("GET")
    assert (reply.status, len(reply.body), reply.whole) == (401, MOST_BYTES, False)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n[[[[[[[[",
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: \xff=,,"\r\nWWW-Authenticate: Bearer \x80\r\nContent-Length: 0\r\n\r\n',
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer resource_metadata="http://[::"\r\nContent-Length: 0\r\n\r\n',
        b"HTTP/1.1 301 Moved\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nxxxx",
        b"HTTP/1.1 429 Too Many\r\nRetry-After: \xb2\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_any_answer_at_all_is_looked_at_to_the_end(data: bytes) -> None:
    async with listening(says(data.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))) as url:
        report = await look(url)
    assert report.grade in (None, "C", "D", "F")
    assert report.requests <= MOST_REQUESTS


@pytest.mark.parametrize(
    "document",
    [
        b"[]",
        b'{"resource": 5, "authorization_servers": {"a": 1}, "scopes_supported": 7}',
        b'{"resource": null, "authorization_servers": [1, null, "http://[", "https://"]}',
        b'{"a": ' + b"[" * 100_000,
        b"\xff\xfe",
    ],
)
async def test_any_metadata_at_all_is_looked_at_to_the_end(document: bytes) -> None:
    def fault(asked: Asked, right: Answer) -> Answer:
        return Answer(200, right.headers, document) if "protected-resource" in asked.path else right

    report = await look_at(Exemplary(fault))
    assert report.grade in ("C", "D")


@pytest.mark.parametrize(
    "members", [b'"jwks_uri": "http://["', b'"jwks_uri": 7', b'"code_challenge_methods_supported": 7']
)
async def test_any_authorization_server_at_all_is_looked_at_to_the_end(members: bytes) -> None:
    def fault(asked: Asked, right: Answer) -> Answer:
        body = b'{"issuer": ["x"], ' + members + b"}"
        return Answer(200, right.headers, body) if "authorization-server" in asked.path else right

    assert ("issuer", "error") in bad(await look_at(Exemplary(fault)))


@pytest.mark.parametrize(
    "url",
    [
        "mcp.example.com",
        "ftp://h/",
        "https://",
        "https://u:p@h/mcp",
        "https://h/mcp?token=x",
        "https://h:x/",
        "http://[",
    ],
)
def test_what_is_no_url_is_refused_and_a_password_in_it_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Target.of(url)
    assert "u:p" not in str(caught.value)
