"""The official client of MCP 1.x, in an environment of its own, against both hosts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.clients.servers import HOSTS, a_site

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("host", HOSTS)
async def test_the_client_of_mcp_1_signs_in_calls_a_tool_and_asks_for_more_where_it_must(
    mcp1_python: Path, host: str
) -> None:
    async with a_site(host) as site:
        process = await asyncio.create_subprocess_exec(
            mcp1_python,
            Path(__file__).with_name("mcp1_client.py"),
            site.url,
            "erin",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        said = json.loads(out.decode())
        assert said["who"]["user"] == site.user_id("erin")
        assert said["wrote"] == f"{site.user_id('erin')} wrote hello"
        assert "notes:write" in said["scopes"][1].split()
        assert len(site.asked("register")) == 1
