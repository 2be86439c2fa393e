"""The TypeScript example of docs/clients/service-accounts.md, as it stands."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from tests.clients.servers import a_site

from .conftest import ROOT, environment

pytestmark = pytest.mark.anyio
KEY = "Yq7vB2nX9sLd4KfT6hWc1ZrP8mJg3Ae5"  # made up


async def test_the_typescript_example_lists_the_tools(node: Path, node_modules: Path) -> None:
    page = (ROOT / "docs" / "clients" / "service-accounts.md").read_text()
    (code,) = re.findall(r"```ts\n(.*?)\n```", page, re.DOTALL)
    program = node_modules.parent / "service-account.mts"  # where the package is found
    program.write_text(code)
    async with a_site(api_keys={KEY: {"name": "ci"}}) as site:
        client = await asyncio.create_subprocess_exec(
            node,
            program,
            env=environment(MCP_URL=site.url, NOTES_API_KEY=KEY),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await asyncio.wait_for(client.communicate(), 60)
    assert client.returncode == 0, errors.decode()
    assert "whoami" in out.decode()
