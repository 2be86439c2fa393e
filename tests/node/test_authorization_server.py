"""The development identity provider against the conformance suite's scenarios for authorization servers: what the tests
of clients sign in at behaves as the specification says."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.clients.servers import free_port

from tenantry.devidp import DevIdp

from .conftest import environment
from .test_conformance import PASSED

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_it_passes_the_scenarios_for_authorization_servers(
    node: Path, suite_program: Path, tmp_path: Path, revision: str
) -> None:
    idp = DevIdp(sign_in="ann")
    async with idp.serve(), httpx2.AsyncClient(trust_env=False, follow_redirects=True) as browser:
        port = free_port()
        redirect = f"http://127.0.0.1:{port}/callback"
        wish = {"redirect_uris": [redirect], "token_endpoint_auth_method": "none"}
        client_id = (await browser.post(f"{idp.base_url}/oidc/register", json=wish)).json()["client_id"]
        told = ["--url", idp.auth0.issuer, "--client-id", client_id, "--resource", idp.auth0.audience]
        where = ["--port", str(port), "--spec-version", revision, "--output-dir", str(tmp_path)]
        pipe = asyncio.subprocess.PIPE
        suite = await asyncio.create_subprocess_exec(
            node, suite_program, "authorization", *told, *where, stdout=pipe, env=environment()
        )
        if suite.stdout is None:
            raise RuntimeError("no pipe")
        asked = None
        async with asyncio.timeout(60):
            async for line in suite.stdout:
                # It prints the address and then listens for the one who comes back.
                asked = re.match(rb"http://127\.0\.0\.1:\d+/authorize\?\S+", line) or asked
                if b"Callback server started" in line and asked is not None:
                    assert (await browser.get(asked[0].decode())).status_code == 200
            await suite.wait()
    checks = checks_in(tmp_path)
    assert {"authorization-server-metadata", "authorization-code-grant"} <= {check["id"] for check in checks}
    assert [check for check in checks if check["status"] not in PASSED] == []


def checks_in(folder: Path) -> list[dict[str, Any]]:
    return [check for found in folder.glob("*/checks.json") for check in json.loads(found.read_text())]
