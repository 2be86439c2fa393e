"""``tenantry version --verbose``: what a bug report needs, and nothing secret."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import tenantry

Run = Callable[..., subprocess.CompletedProcess[str]]
SECRETS = {
    "MCP_HTTP_API_KEY": "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y",
    "DATABASE_URL": "postgresql://made-up-user:made-up-word@db.internal.example/x",
    "MCP_HTTP_GITHUB_CLIENT_SECRET": "made-up-github-secret",
    "MCP_HTTP_AUTH0_DOMAIN": "acme.eu.auth0.com",
    "MCP_HTTP_AUTH0_AUDIENCE": "https://internal.example/mcp",
    "MCP_HTTP_PUBLIC_URL": "https://internal.example/mcp",
    "MCP_HTTP_PROT": "a typing error",
}


def test_names_of_settings_are_shown_and_values_are_not(run: Run) -> None:
    for words in (["--verbose"], ["--verbose", "--json"]):
        done = run("version", *words, **SECRETS)
        assert done.returncode == 0
        for name, value in SECRETS.items():
            assert value not in done.stdout + done.stderr
            assert (name in done.stdout) == (name != "MCP_HTTP_PROT")


def test_settings_that_are_refused_are_no_obstacle(run: Run) -> None:
    about = json.loads(run("version", "--verbose", "--json", **SECRETS).stdout)
    assert about["version"] == tenantry.__version__
    assert about["unknown_settings"] == 1
    assert about["settings"].startswith("refused")


def test_what_is_on_is_said_where_the_settings_are_in_order(run: Run) -> None:
    given = {name: SECRETS[name] for name in ("MCP_HTTP_API_KEY", "DATABASE_URL")}
    about = json.loads(run("version", "--verbose", "--json", **given).stdout)
    assert (about["settings"], about["providers"], about["database"]) == ("in order", ["api keys"], True)
    assert {"pyjwt", "cryptography", "starlette", "asyncpg"} <= about["packages"].keys()


def test_json_alone_is_the_version(run: Run) -> None:
    assert json.loads(run("version", "--json").stdout) == {"version": tenantry.__version__}
