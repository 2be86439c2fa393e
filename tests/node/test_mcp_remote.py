"""mcp-remote, the bridge of clients that only speak stdio: with a header, with credentials of its own, and with
somebody at a browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TextIO

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from tests.clients.servers import Site, a_site, app_on, serving

from tenantry import Settings, TenantryMiddleware
from tenantry.devidp import DevIdp

from .conftest import environment

pytestmark = pytest.mark.anyio

KEY = "Yq7vB2nX9sLd4KfT6hWc1ZrP8mJg3Ae5"  # made up
UNKNOWN = "mcpk_Yq7vB2nX9sLd4KfT6hWc1ZrP8mJg3Ae5Yq7vB2nX9"
KEYS = {KEY: {"name": "ci", "tenant_id": "acme"}}
HEADERS = {"X-API-Key": f"X-API-Key: {KEY}", "Authorization": f"Authorization: Bearer {KEY}"}


def a_site_with_keys_alone() -> AbstractAsyncContextManager[Site]:
    def app(idp: DevIdp, url: str) -> Any:
        settings = Settings(environment="development", public_url=url, api_keys=KEYS)
        return TenantryMiddleware(app_on("mcp2"), settings=settings)

    return serving(DevIdp(), app)


SITES = {"keys alone": a_site_with_keys_alone, "OAuth too": lambda: a_site(api_keys=KEYS)}


@pytest.fixture
def bridge(node: Path, node_modules: Path, tmp_path: Path) -> Callable[..., StdioServerParameters]:
    """How to run it, with no browser in reach and its own memory."""

    def parameters(*arguments: str) -> StdioServerParameters:
        program = node_modules / "mcp-remote" / "dist" / "proxy.js"
        kept = environment(MCP_REMOTE_CONFIG_DIR=str(tmp_path), PATH=str(tmp_path))
        return StdioServerParameters(command=str(node), args=[str(program), *arguments], env=kept)

    return parameters


@pytest.fixture
def quiet() -> Iterator[TextIO]:
    """For what it tells its user."""
    with open(os.devnull, "w") as nowhere:
        yield nowhere


@pytest.mark.parametrize("protocol", ["legacy", "auto"])
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("site", SITES)
async def test_a_header_is_all_it_needs(bridge: Any, quiet: TextIO, site: str, header: str, protocol: str) -> None:
    async with SITES[site]() as served:
        parameters = bridge(served.url, "--header", HEADERS[header], "--protocol", protocol)
        async with Client(stdio_client(parameters, errlog=quiet), mode="legacy") as client:
            tools = await client.list_tools()
            answer = await client.call_tool("whoami")
    assert {tool.name for tool in tools.tools} == {"whoami", "write_note"}
    assert json.loads(answer.content[0].text)["tenant"] == "acme"


@pytest.mark.parametrize("header", HEADERS)
async def test_a_key_that_nobody_knows_ends_it_with_our_words(bridge: Any, header: str) -> None:
    """With keys alone nothing about OAuth is advertised: it does not send anybody to a browser."""
    async with a_site_with_keys_alone() as served:
        parameters = bridge(served.url, "--header", HEADERS[header].replace(KEY, UNKNOWN))
        process = await started(parameters)
        await say(process, "initialize")
        _, told = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 1
    assert b"The API key is not valid" in told
    assert b"Please authorize" not in told


async def test_a_service_signs_in_with_credentials_of_its_own(bridge: Any, quiet: TextIO) -> None:
    async with a_site() as served:
        auth0 = served.idp.auth0
        own = json.dumps({"client_id": auth0.client_id, "client_secret": auth0.client_secret})
        parameters = bridge(served.url, "--client-credentials", "--static-oauth-client-info", own)
        async with Client(stdio_client(parameters, errlog=quiet), mode="legacy") as client:
            answer = await client.call_tool("whoami")
    assert json.loads(answer.content[0].text)["user"] == f"auth0:{auth0.client_id}@clients"
    assert served.asked("authorize") == []


async def test_somebody_signs_in_at_a_browser(bridge: Any) -> None:
    async with a_site() as served, asked_to_sign_in() as (errlog, asked):
        async with asyncio.TaskGroup() as group:
            browser = group.create_task(sign_in(asked, "ann"))
            async with Client(stdio_client(bridge(served.url), errlog=errlog), mode="legacy") as client:
                answer = await client.call_tool("whoami")
        assert browser.result() == 200
    assert json.loads(answer.content[0].text)["user"] == served.user_id("ann")


async def started(parameters: StdioServerParameters) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = [parameters.command, *parameters.args]
    return await asyncio.create_subprocess_exec(*command, env=parameters.env, stdin=pipe, stdout=pipe, stderr=pipe)


async def say(process: asyncio.subprocess.Process, method: str) -> None:
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "tests", "version": "0"}}
    if process.stdin is None:
        raise RuntimeError("no pipe")
    process.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": client}).encode() + b"\n")
    await process.stdin.drain()


@contextlib.asynccontextmanager
async def asked_to_sign_in() -> AsyncIterator[tuple[Any, asyncio.StreamReader]]:
    """A file for a process to write to, and what it has written there."""
    reading, writing = os.pipe()
    lines = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), os.fdopen(reading, "rb")
    )
    try:
        with os.fdopen(writing, "w") as file:
            yield file, lines
    finally:
        transport.close()


async def sign_in(told: asyncio.StreamReader, person: str) -> int:
    """Open the address that it prints; the redirect leads back to it."""
    while True:
        line = await asyncio.wait_for(told.readline(), 30)
        if not line:
            raise EOFError("it ended without asking anybody to sign in")
        address = re.match(rb"http://127\.0\.0\.1:\d+/authorize\?\S+", line)
        if address is not None:
            break
    async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as browser:
        return (await browser.get(f"{address[0].decode()}&login_hint={person}")).status_code
