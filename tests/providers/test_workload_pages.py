"""What the pages of CI jobs and service accounts print is done: settings are read, jobs call a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.providers.issuers import PAGES, settings_of_page
from tests.providers.workloads import OURS, rule
from tests.support import World

from tenantry.devidp.google import ROBOT_ID
from tenantry.testing import KeyRing, serve_on_loopback

pytestmark = pytest.mark.anyio
NAMES = ("github-actions", "gitlab-ci", "google-workload", "kubernetes")
PATIENCE = 60


@pytest.fixture(autouse=True)
def curl(request: pytest.FixtureRequest) -> None:
    if "curl" in request.node.name and shutil.which("curl") is None:
        pytest.skip("curl is not on this machine, and no package of ours brings it")


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)\n```", (PAGES / f"{name}.md").read_text(), re.DOTALL)


@contextlib.asynccontextmanager
async def a_server(world: World, entry: dict[str, Any]) -> AsyncIterator[str]:
    """The URL of an MCP server of the SDK whose one tool is ``hello``, and whose callers come by ``entry``."""
    server = MCPServer("tests", log_level="ERROR")
    server.add_tool(lambda: "hello", name="hello")
    guard = world.guard(server.streamable_http_app(stateless_http=True), only=[], oidc_providers=[entry])
    async with serve_on_loopback(guard) as url:
        yield f"{url}/mcp"


@contextlib.asynccontextmanager
async def a_mint(token: str, header: tuple[str, str], shape: str) -> AsyncIterator[str]:
    """Where a job asks its platform for a token: GET, with ``header`` and our audience; ``shape`` is the answer's."""

    async def mint(request: Request) -> Response:
        honest = request.headers.get(header[0]) == header[1] and request.query_params["audience"] == OURS
        return PlainTextResponse(shape % token) if honest else Response(status_code=403)

    async with serve_on_loopback(Starlette(routes=[Route("/{path:path}", mint)])) as url:
        yield url


async def run(*command: str, **variables: str) -> tuple[int, str]:
    """(exit code, what was written) of a program of a job."""
    env = {"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", **variables}
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    async with asyncio.timeout(PATIENCE):
        written, _ = await program.communicate()
    return program.returncode or 0, written.decode()


async def bash(script: str, **variables: str) -> tuple[int, str]:
    return await run("bash", "-euo", "pipefail", "-c", script, **variables)


def entry_of(world: World, name: str) -> dict[str, Any]:
    return {**world.idp.issuers[name].entry(), "audience": OURS}


@contextlib.asynccontextmanager
async def a_github_job(world: World, token: str) -> AsyncIterator[dict[str, str]]:
    """The variables of a job that GitHub runs, and of the page's workflow."""
    async with (
        a_mint(token, ("authorization", "Bearer of-this-job"), '{"count":1,"value":"%s"}') as platform,
        a_server(world, entry_of(world, "github-actions")) as server,
    ):
        yield {
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{platform}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-this-job",
            "MCP_AUDIENCE": OURS,
            "MCP_URL": server,
        }


async def test_the_workflow_calls_the_server_with_curl(world: World) -> None:
    (workflow,) = map(yaml.safe_load, blocks("github-actions", "yaml"))
    assert workflow["permissions"]["id-token"] == "write"
    (step,) = workflow["jobs"]["notes"]["steps"]
    token = world.idp.issuers.github_actions.id_token("ann", aud=OURS)
    async with a_github_job(world, token) as variables:
        assert workflow["jobs"]["notes"]["env"].keys() <= variables.keys()
        code, written = await bash(step["run"], **variables)
    assert code == 0, written
    assert written.startswith(f"::add-mask::{token}\n")
    assert '"name":"hello"' in written.replace(" ", "")


async def test_the_workflow_of_a_stranger_is_refused_with_curl_s_error(world: World) -> None:
    (workflow,) = map(yaml.safe_load, blocks("github-actions", "yaml"))
    (step,) = workflow["jobs"]["notes"]["steps"]
    async with a_github_job(world, world.idp.issuers.github_actions.stranger_token("ann", aud=OURS)) as variables:
        code, written = await bash(step["run"], **variables)
    assert code == 22, written
    assert "workload that is not accepted" in written


async def test_the_program_in_python_calls_the_server(world: World) -> None:
    (code,) = blocks("github-actions", "python")
    token = world.idp.issuers.github_actions.id_token("ann", aud=OURS)
    async with a_github_job(world, token) as variables:
        done, written = await run(sys.executable, "-c", code, **variables)
    assert (done, written) == (0, "['hello']\n"), written


async def test_the_job_of_gitlab_calls_the_server_with_curl(world: World) -> None:
    (pipeline,) = map(yaml.safe_load, blocks("gitlab-ci", "yaml"))
    job = pipeline["notes"]
    assert job["id_tokens"] == {"MCP_TOKEN": {"aud": OURS}}
    token = world.idp.issuers.gitlab_ci.id_token("ann", aud=OURS)
    async with a_server(world, entry_of(world, "gitlab-ci")) as server:
        code, written = await bash("\n".join(job["script"]), MCP_URL=server, MCP_TOKEN=token)
    assert code == 0, written
    assert '"name":"hello"' in written.replace(" ", "")


async def test_the_pod_calls_the_server_with_curl(world: World, tmp_path: Path) -> None:
    (manifests,) = blocks("kubernetes", "yaml")
    _, job = yaml.safe_load_all(manifests)
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,), (volume,) = pod["containers"], pod["volumes"]
    projected = volume["projected"]["sources"][0]["serviceAccountToken"]
    assert (projected["audience"], projected["expirationSeconds"]) == (OURS, 600)
    file = tmp_path / projected["path"]
    file.write_text(world.idp.issuers.kubernetes.id_token("ann", aud=[OURS]))
    script = container["args"][0].replace(container["volumeMounts"][0]["mountPath"], str(tmp_path))
    async with a_server(world, entry_of(world, "kubernetes")) as server:
        code, written = await run("sh", "-euc", script, MCP_URL=server)
    assert code == 0, written
    assert '"name":"hello"' in written.replace(" ", "")


async def test_the_program_on_google_cloud_calls_the_server_with_curl(world: World) -> None:
    (script,) = blocks("google-workload", "bash")
    token = world.idp.google.service_account_id_token(OURS)
    entry = {
        "name": "google-workload",
        "preset": "google-workload",
        "audience": OURS,
        "jwks_uri": f"{world.idp.base_url}/oauth2/v3/certs",
        "rules": [rule({"sub": ROBOT_ID})],
    }
    async with a_mint(token, ("metadata-flavor", "Google"), "%s") as platform, a_server(world, entry) as server:
        local = script.replace("http://metadata.google.internal", platform).replace('"$audience" \\', f"{server} \\")
        code, written = await bash(local)
    assert code == 0, written
    assert '"name":"hello"' in written.replace(" ", "")


@pytest.mark.parametrize("name", NAMES)
def test_the_page_s_settings_are_settings(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = (PAGES / f"{name}.md").read_text()
    file = tmp_path / "keys.json"  # of some cluster, where the page says that they are
    file.write_text(json.dumps(KeyRing("a cluster").jwks()))
    (tmp_path / f"{name}.md").write_text(page.replace("/etc/tenantry/cluster-keys.json", str(file)))
    monkeypatch.setattr("tests.providers.issuers.PAGES", tmp_path)
    (entry,) = settings_of_page(name, monkeypatch).oidc_providers or ()
    assert entry.preset == name
    assert entry.issuer_settings(30).authorization_servers == ()
