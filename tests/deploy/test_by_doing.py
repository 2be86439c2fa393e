"""The Dockerfile's result, started as each platform starts it: migrated, served, looked at, stopped and restarted."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from anyio.from_thread import BlockingPortal
from tests.deploy.conftest import Databases
from tests.deploy.image import PATIENCE, Image, Process
from tests.deploy.load import Load
from tests.deploy.platforms import CLIENT, PLATFORMS, PUBLIC, Platform
from tests.postgres.servers import rewritten

TENANT = "acme_com"
_META = "io.modelcontextprotocol"
REVISION = "2026-07-28"


def call(tool: str, **arguments: object) -> str:
    meta = {f"{_META}/protocolVersion": REVISION, f"{_META}/clientCapabilities": {}}
    meta |= {f"{_META}/clientInfo": {"name": "a test", "version": "0"}}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


@dataclass
class Deployed:
    """One platform's service: its image, its environment, its secrets."""

    platform: Platform
    image: Image
    databases: Databases
    folder: Path
    secrets: dict[str, str] = field(default_factory=dict)
    port: int = 0
    server: Process | None = None

    @property
    def env(self) -> dict[str, str]:
        # The proxy's place is taken by this test, on the loopback.
        proxies = f"{self.platform.env['MCP_HTTP_TRUSTED_PROXIES']},127.0.0.1"
        env = {"MCP_HTTP_RATE_LIMIT_TENANT": "100000/60", **self.platform.env, "PORT": str(self.port)}
        env |= {"MCP_HTTP_PUBLIC_URL": PUBLIC, "MCP_HTTP_TRUSTED_PROXIES": proxies}
        return env | ({"MCP_HTTP_SECRETS_DIR": str(self.folder)} if self.platform.files else self.secrets)

    def say(self, **changes: str) -> None:
        """Set secrets, as the platform hands them over."""
        self.secrets |= changes
        if self.platform.files:
            for name, value in changes.items():
                fresh = self.folder / f"..{name}"
                fresh.write_text(f"{value}\n")
                fresh.chmod(0o444)
                fresh.replace(self.folder / name.lower())

    def done(self, *command: str) -> str:
        done = self.image.run(list(command), **self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serve(self) -> Process:
        self.port = _free_port()
        self.server = self.image.start(self.platform.serve, **self.env)
        assert self.server.port() == self.port
        return self.server

    def stop(self) -> float:
        """Seconds that it took."""
        assert self.server is not None
        began = time.monotonic()
        self.server.signal(self.image.stage.stop)
        assert self.server.wait() == 0, self.server.heard
        return time.monotonic() - began

    def headers(self, key: str | None) -> dict[str, str]:
        headers = {"Host": "mcp.example.com", **self.platform.sends, "Accept": "application/json, text/event-stream"}
        headers |= {"MCP-Protocol-Version": REVISION, "Mcp-Method": "tools/call", "Mcp-Name": "list_todos"}
        return headers if key is None else {**headers, "X-API-Key": key}

    def ask(self, key: str | None) -> httpx.Response:
        headers = {**self.headers(key), "Content-Type": "application/json"}
        with httpx.Client(trust_env=False, verify=False, timeout=PATIENCE) as client:
            return client.post(f"http://127.0.0.1:{self.port}/mcp", headers=headers, content=call("list_todos"))


@pytest.fixture(params=PLATFORMS, ids=lambda make: make.__name__)
def deployed(request: pytest.FixtureRequest, image: Image, make_databases: Callable[[str], Databases]) -> Deployed:
    platform: Platform = request.param()
    databases = make_databases(platform.name)
    folder = image.stage.root.parents[1] / f"secrets-{platform.name}-{secrets.token_hex(4)}"
    folder.mkdir()
    made = Deployed(platform, image, databases, folder)
    made.say(DATABASE_URL=databases.pooled, DIRECT_DATABASE_URL=databases.direct)
    return made


def keys(*values: str) -> str:
    entry = {"name": "ci", "tenant_id": TENANT, "permissions": ["memory:read"]}
    return json.dumps(dict.fromkeys(values, entry))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_migrates_serves_is_healthy_and_sound_and_keeps_every_promise_at_the_end(
    deployed: Deployed, portal: BlockingPortal
) -> None:
    old, new = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    platform, image = deployed.platform, deployed.image
    deployed.say(MCP_HTTP_API_KEYS=keys(old))
    deployed.done(*platform.release)
    deployed.done("tenantry", "tenants", "create", TENANT)
    server = deployed.serve()
    _runs_as_the_image_says(server, image)

    deployed.done(*image.stage.health)
    with httpx.Client(base_url=f"http://127.0.0.1:{deployed.port}", trust_env=False, verify=False) as client:
        assert client.get(platform.ready, headers={"Host": platform.host}).status_code == 200

    answer = deployed.ask(old)
    assert answer.status_code == 200, (answer.text, server.heard)
    assert '"isError":true' not in answer.text.replace(" ", ""), answer.text
    assert deployed.ask(None).status_code == 401
    assert json.loads(server.until(r".*credential_missing.*\n")[0])["address"] == CLIENT

    sends = [word for name, value in platform.sends.items() for word in ("--header", f"{name}:{value}")]
    url, host = f"http://127.0.0.1:{deployed.port}/mcp", ("--header", "Host:mcp.example.com")
    said = image.run(["tenantry", "doctor", url, "--behind-tls", *sends, *host, "--json"], **deployed.env)
    report = json.loads(said.stdout)
    assert (said.returncode, report["grade"]) == (0, "A"), report["findings"]

    tally = portal.call(_stopped_under_load, deployed, old)
    assert tally.lost == []
    assert set(tally.answered) == {200}
    assert tally.refused == 16, "everybody has been told to go elsewhere, and nobody serves here any more"
    assert server.wait() == 0, server.heard

    deployed.say(MCP_HTTP_API_KEYS=keys(new), DATABASE_URL=portal.call(_new_password, deployed.databases))
    deployed.done(*platform.release)
    deployed.serve()
    assert [deployed.ask(key).status_code for key in (old, new)] == [401, 200]
    assert deployed.stop() < platform.grace


async def _stopped_under_load(deployed: Deployed, key: str) -> object:
    headers = [f"{name}: {value}" for name, value in deployed.headers(key).items()]
    load = Load(deployed.port, headers, body=call("list_todos"), busy_after=100)
    running = asyncio.ensure_future(load.run())
    async with asyncio.timeout(PATIENCE):
        await load.busy.wait()
        assert deployed.server is not None
        deployed.server.signal(deployed.image.stage.stop)
        return await running


async def _new_password(databases: Databases) -> str:
    """The requests' login has another password from now on; the connection string with it."""
    login, password = urlsplit(databases.pooled).username, secrets.token_urlsafe(24)
    root = await asyncpg.connect(databases.root)
    try:
        await root.execute(f"alter role {login} password '{password}'")
    finally:
        await root.close()
    return rewritten(databases.pooled, login=f"{login}:{password}")


def _runs_as_the_image_says(server: Process, image: Image) -> None:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    user = int(re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)[1])  # type: ignore[index]
    assert user != 0
    if os.geteuid() == 0:
        assert f"{user}:{user}" == image.stage.user
    writable = [path for path in image.stage.root.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o222]
    assert writable == []
