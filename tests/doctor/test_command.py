"""``tenantry doctor`` as a process: what it prints, what it returns, and that nothing secret is in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.doctor.exemplary import GOOD_TOKEN, Answer, Asked, Exemplary

import tenantry
from tenantry.testing import DevIdp, serve_on_loopback

pytestmark = pytest.mark.anyio

SECRET = "s3cret-of-the-settings-0123456789abcdef"
SOURCES = str(Path(tenantry.__file__).parents[1])
PATIENCE = 60.0


async def doctor(*arguments: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, while this event loop serves."""
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tenantry", "doctor", *arguments),
        env={**os.environ, "PYTHONPATH": path, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), PATIENCE)
    return subprocess.CompletedProcess(arguments, process.returncode or 0, out.decode(), err.decode())


@contextlib.asynccontextmanager
async def serving(server: Exemplary) -> AsyncIterator[str]:
    async with serve_on_loopback(server, server_header=False, date_header=False) as base:
        server.base = base
        yield f"{base}/mcp"


async def test_a_good_server_is_told_in_a_few_lines_that_end_with_its_grade() -> None:
    async with serving(Exemplary()) as url:
        done = await doctor(url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(f"Grade A for {url}: 0 errors, 0 warnings, ")
    assert len(done.stdout.splitlines()) < 12
    assert "\x1b" not in done.stdout


async def test_verbose_names_what_is_in_order() -> None:
    async with serving(Exemplary()) as url:
        done = await doctor(url, "-v")
    assert "[token-unsigned]" in done.stdout


async def test_a_bad_server_is_told_the_worst_first_each_with_its_mend() -> None:
    def fault(asked: Asked, right: Answer) -> Answer:
        return Answer(200, right.headers, b"{}") if asked.method == "GET" and right.status == 401 else right

    async with serving(Exemplary(fault)) as url:
        done = await doctor(url)
    first, second, *_ = done.stdout.splitlines()
    assert done.returncode == 1
    assert first.startswith("error    GET let")
    assert second.startswith("         -> ")
    assert done.stdout.splitlines()[-1].startswith("Grade F")


async def test_json_is_one_object_of_the_documented_form() -> None:
    async with serving(Exemplary()) as url:
        done = await doctor(url, "--json")
    told = json.loads(done.stdout)
    assert set(told) == {"grade", "url", "findings", "requests", "seconds"}
    assert told["grade"] == "A"
    assert all(set(each) == {"id", "area", "state", "text", "mend"} for each in told["findings"])


@pytest.mark.parametrize("way", ["file", "stdin", "environment"])
async def test_a_token_comes_from_a_file_standard_input_or_the_environment_and_is_never_printed(
    way: str, tmp_path: Path
) -> None:
    def echoes(asked: Asked, right: Answer) -> Answer:
        words = f'Bearer realm="{asked.token}", scope=x'
        return right.having(www_authenticate=words, server=f"x/1.0 {asked.token}") if right.status == 401 else right

    file = tmp_path / "token"
    file.write_text(f"{GOOD_TOKEN}\n")
    server = Exemplary(echoes)
    async with serving(server) as url:
        if way == "file":
            done = await doctor(url, "-v", "--json", "--token-file", str(file))
        elif way == "stdin":
            done = await doctor(url, "-v", "--token-file", "-", stdin=f"{GOOD_TOKEN}\n")
        else:
            done = await doctor(url, "-v", MCP_TOKEN=GOOD_TOKEN)
    assert any(asked.token == GOOD_TOKEN for asked in server.asked)
    assert "good-token" in done.stdout
    assert GOOD_TOKEN not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("ftp://host/",),
        ("--header", "X-Name:value"),
        ("http://127.0.0.1:1/mcp", "--header", f"no colon {SECRET}"),
        ("http://127.0.0.1:1/mcp", "--token-file", "/nowhere/at/all"),
        ("http://127.0.0.1:1/mcp", "--no-such-option"),
        ("http://127.0.0.1:1/mcp", "--ca-file", "/nowhere/at/all"),
    ],
)
async def test_a_mistake_in_the_command_line_is_a_2(arguments: tuple[str, ...]) -> None:
    done = await doctor(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert SECRET not in done.stderr


async def test_a_token_is_not_sent_in_the_clear_to_another_machine() -> None:
    done = await doctor("http://mcp.example.com/mcp", MCP_TOKEN=GOOD_TOKEN)
    assert done.returncode == 2
    assert GOOD_TOKEN not in done.stderr


async def test_nobody_there_is_a_1_and_no_grade() -> None:
    done = await doctor("http://127.0.0.1:1/mcp", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["grade"] is None


async def test_settings_that_cannot_be_used_are_findings_and_a_1() -> None:
    done = await doctor("--json", MCP_HTTP_GITHUB_CLIENT_SECRET=SECRET, MCP_HTTP_API_KEY=SECRET)
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["id"], finding["state"], done.returncode) == ("settings", "error", 1)
    assert "MCP_HTTP_GITHUB_ENABLED" in finding["text"]
    assert SECRET not in done.stdout + done.stderr


async def test_nothing_secret_of_the_settings_is_printed() -> None:
    secrets = {
        "MCP_HTTP_API_KEY": SECRET,
        "MCP_HTTP_GITHUB_ENABLED": "true",
        "MCP_HTTP_GITHUB_CLIENT_ID": "id",
        "MCP_HTTP_GITHUB_CLIENT_SECRET": SECRET,
        "MCP_HTTP_GITHUB_API_URL": "http://127.0.0.1:1",
        "DATABASE_URL": f"postgresql://user:{SECRET}@127.0.0.1:1/name",
        "MCP_HTTP_RATE_LIMIT_STORE": "redis",
        "MCP_HTTP_REDIS_URL": f"redis://user:{SECRET}@127.0.0.1:1/0",
        "MCP_HTTP_AUDIT_HMAC_KEY": SECRET,
        "MCP_HTTP_AUDIT_SINKS": "stdout",
        "MCP_HTTP_ENVIRONMENT": "development",
    }
    done = await doctor("-v", **secrets)
    assert done.returncode == 1
    assert "[redis]" in done.stdout
    assert "[database]" in done.stdout
    assert SECRET not in done.stdout + done.stderr


async def test_settings_and_a_server_are_looked_at_together() -> None:
    idp = DevIdp()
    async with idp.serve(), serving(Exemplary()) as url:
        done = await doctor(url, "--settings", "--json", **idp.settings())
    told = json.loads(done.stdout)
    assert told["grade"] == "A"
    assert {"resource", "provider-keys", "provider-client"} <= {each["id"] for each in told["findings"]}
