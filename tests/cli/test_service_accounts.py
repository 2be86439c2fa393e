"""docs/clients/service-accounts.md: every example calls a real server as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import PATIENCE, environment

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "clients" / "service-accounts.md").read_text()
KEY = "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"  # made up


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)\n```", PAGE, re.DOTALL)


@pytest.fixture
def url(start: Callable[..., Any]) -> str:
    """An MCP server of the SDK behind ``tenantry serve``."""
    words = ("serve", "--app", "mcp2_server:inner", "--port", "0")
    running = start(*words, cwd=ROOT / "examples", MCP_HTTP_API_KEY=KEY)
    return running.until(r"serving on (http://\S+)")[1] + "/mcp"


def listed(command: list[str], url: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    env = environment(MCP_URL=url, NOTES_API_KEY=key, NO_PROXY="127.0.0.1")
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.parametrize("code", blocks("python"), ids=["sdk", "httpx"])
def test_the_python_examples_list_the_tools(url: str, code: str) -> None:
    done = listed([sys.executable, "-c", code], url)
    assert (done.returncode, done.stdout) == (0, "['whoami', 'hello', 'write']\n"), done.stderr
    assert listed([sys.executable, "-c", code], url, key=KEY[::-1]).returncode != 0


def test_the_curl_examples_list_the_tools(url: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine, and no package of ours brings it")
    (workflow,) = map(yaml.safe_load, blocks("yaml"))
    (step,) = workflow["jobs"]["notes"]["steps"]
    assert step["env"].keys() == {"MCP_URL", "NOTES_API_KEY"}
    for script in (*blocks("sh"), step["run"]):
        done = listed(["bash", "-euo", "pipefail", "-c", script], url)
        assert done.returncode == 0, done.stderr
        assert '"name":"whoami"' in done.stdout.replace(" ", "")
        assert listed(["bash", "-euo", "pipefail", "-c", script], url, key=KEY[::-1]).returncode == 22  # an HTTP error
