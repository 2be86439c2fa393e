"""The official TypeScript client binds its tokens to a key of its own, and proves with every request to hold it."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.clients.servers import a_site

from .conftest import HERE, environment

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("nonce", ["off", "required"])
@pytest.mark.parametrize("mode", ["accept", "require"])
async def test_the_client_signs_in_and_calls_a_tool_with_bound_tokens(
    node: Path, node_modules: Path, tmp_path: Path, mode: str, nonce: str
) -> None:
    program = Path(shutil.copy(HERE / "client.mjs", node_modules.parent))
    async with a_site(auth0_dpop=mode, dpop_nonce=nonce) as site:
        run: dict[str, Any] = {"package": "@modelcontextprotocol/client", "revision": "auto", "url": site.url}
        run |= {"person": "ann", "dpop": True, "memory": str(tmp_path / "kept"), "calls": [["whoami", {}]] * 3}
        client = await asyncio.create_subprocess_exec(
            node, program, json.dumps(run), stdout=asyncio.subprocess.PIPE, env=environment()
        )
        out, _ = await asyncio.wait_for(client.communicate(), 60)
        told = json.loads(out)
        assert [call["structuredContent"]["user"] for call in told["calls"]] == [site.user_id("ann")] * 3
        assert told["memory"]["tokens"]["token_type"] == "DPoP"
        (asked,) = site.asked("token")
        assert "dpop" in asked.headers
        refused = [status for _, url, status in told["seen"] if url == site.url and status == 401]
        # Before there is a token; and once to hear of the nonce.
        assert len(refused) == (2 if nonce == "required" else 1)
