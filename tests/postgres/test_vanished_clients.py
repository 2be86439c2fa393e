"""A client that vanishes while its tool uses the database leaves no connection, no statement and no lock behind."""

# ruff: noqa: ASYNC110 - what the server does sets no event here

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from mcp.server.mcpserver import Context, MCPServer

from tenantry import Settings, TenantryMiddleware, current_user
from tenantry.devidp import serve_on_loopback
from tenantry.postgres import tenant_connection

pytestmark = pytest.mark.anyio

KEY = "k" * 40
META = "io.modelcontextprotocol"
POOL = 2
BUSY = """
    select count(*) from pg_stat_activity
    where datname = current_database() and query like '%pg_sleep%' and pid <> pg_backend_pid() and state <> 'idle'
"""
LOCKS = """
    select count(*) from pg_locks
    where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
"""


def request(tool: str) -> bytes:
    info = {"clientInfo": {"name": "t", "version": "0"}, "clientCapabilities": {}, "protocolVersion": "2026-07-28"}
    params = {"name": tool, "arguments": {}, "_meta": {f"{META}/{name}": value for name, value in info.items()}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    head = [
        "POST /mcp HTTP/1.1",
        "Host: 127.0.0.1:8000",
        f"X-API-Key: {KEY}",
        "Content-Type: application/json",
        "Accept: application/json, text/event-stream",
        "MCP-Protocol-Version: 2026-07-28",
        "Mcp-Method: tools/call",
        f"Mcp-Name: {tool}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


async def until(root: asyncpg.Connection, statement: str, wanted: Callable[[int], bool]) -> None:
    async with asyncio.timeout(20):
        while not wanted(await root.fetchval(statement)):
            await asyncio.sleep(0.005)


async def test_what_a_tool_held_is_given_back(
    dsns: Any, root: asyncpg.Connection, tenant_ids: Iterator[str], tmp_path: Path
) -> None:
    """As many clients as the pool has connections vanish in the middle of a statement, several times over."""
    (tmp_path / "001.sql").write_text("create table notes (id bigint generated always as identity, title text)")
    (tmp_path / "policy.toml").write_text('[[rule]]\ntool = "*"\npermissions = ["notes:read"]\n')
    server = MCPServer("tests", log_level="CRITICAL")

    @server.tool()
    async def wait(ctx: Context[Any, Any]) -> str:
        async with tenant_connection(current_user(ctx)) as connection:
            await connection.execute("insert into notes (title) values ('half done')")
            await connection.execute("select pg_sleep(600)")
        return "never"

    @server.tool()
    async def count(ctx: Context[Any, Any]) -> int:
        async with tenant_connection(current_user(ctx)) as connection:
            return int(await connection.fetchval("select count(*) from notes"))

    settings = Settings(
        environment="development",
        api_keys={KEY: {"name": "ci", "tenant_id": next(tenant_ids), "permissions": ["notes:read"]}},
        database_connection_string=dsns.app,
        direct_database_url=dsns.admin,
        db_pool_size=POOL,
        tenant_migrations=tmp_path,
        policy_file=tmp_path / "policy.toml",
        rate_limit_store="postgres",
    )
    gated = TenantryMiddleware(server.streamable_http_app(), settings=settings)
    async with serve_on_loopback(gated) as url:
        place = urlsplit(url)

        async def say(tool: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.write(request(tool))
            return reader, writer

        for _ in range(3):
            clients = [await say("wait") for _ in range(POOL)]
            await until(root, BUSY, lambda busy: busy == POOL)
            for _, writer in clients:
                writer.transport.abort()
            await until(root, BUSY, lambda busy: busy == 0)
            async with asyncio.timeout(10):
                await gated.front.traffic.idle()
        assert await root.fetchval(LOCKS) == 0
        reader, writer = await say("count")
        async with asyncio.timeout(10):  # without a connection in the pool there is no answer
            assert b'"text":"0"' in await reader.readuntil(b"}")
        writer.close()
