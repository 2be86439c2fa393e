"""``tenantry init``: a file that a server accepts, that a shell and Compose read alike, and that nobody else can."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tenantry import TokenValidator
from tenantry.core.apikeys import key_id_of
from tenantry.settings import Settings

from .conftest import environment
from .terminals import terminal

Run = Callable[..., subprocess.CompletedProcess[str]]
ALL = ["--provider=google", "--provider=auth0", "--provider=github", "--provider=api-key"]
GIVEN = [
    "--google-client-id=1-web.apps.googleusercontent.com,1-ios.apps.googleusercontent.com",
    "--auth0-domain=acme.eu.auth0.com",
    "--auth0-audience=https://mcp.example.com/mcp",
    "--github-client-id=Iv1.0123456789abcdef",
    "--public-url=https://mcp.example.com/mcp",
]
SECRETS = {"MCP_HTTP_GITHUB_CLIENT_SECRET": "made-up $ecret & more"}
PLATFORMS = ["local", "docker", "railway", "render", "fly", "kubernetes"]
LOAD = "import json, os; from tenantry.settings import Settings; Settings(); print(json.dumps(dict(os.environ)))"


def by_a_shell(file: Path) -> dict[str, str]:
    """The settings of a process that a POSIX shell started, and that a server there would accept."""
    line = f"set -a; . {shlex.quote(str(file))}; set +a; exec {shlex.quote(sys.executable)} -c {shlex.quote(LOAD)}"
    done = subprocess.run(["sh", "-euc", line], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: value for name, value in json.loads(done.stdout).items() if name.startswith("MCP_HTTP_")}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_is_written_is_accepted_and_read_alike_by_shell_and_dotenv(
    run: Run, tmp_path: Path, platform: str
) -> None:
    words = [*ALL, *GIVEN, "--platform", platform]
    done = run("init", *words, cwd=tmp_path, **SECRETS)
    assert done.returncode == 0, done.stderr
    file = tmp_path / ".env"
    found = by_a_shell(file)
    assert found == dict(dotenv_values(file, interpolate=False))
    assert found["MCP_HTTP_GITHUB_CLIENT_SECRET"] == SECRETS["MCP_HTTP_GITHUB_CLIENT_SECRET"]
    assert found["MCP_HTTP_ENVIRONMENT"] == ("development" if platform == "local" else "production")


@pytest.mark.parametrize("provider", ["google", "auth0", "github", "api-key"])
@pytest.mark.parametrize("platform", ["local", "fly"])
def test_each_provider_alone_is_enough(run: Run, tmp_path: Path, provider: str, platform: str) -> None:
    words = [f"--provider={provider}", f"--platform={platform}", *GIVEN]
    assert run("init", *words, cwd=tmp_path, **SECRETS).returncode == 0
    by_a_shell(tmp_path / ".env")


@pytest.mark.anyio
async def test_the_key_is_shown_once_works_and_is_not_in_the_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("init", "--provider=api-key", "--tenant=acme_example", cwd=tmp_path)
    (key,) = done.stdout.splitlines()
    text = (tmp_path / ".env").read_text()
    assert key not in text + done.stderr
    for name, value in by_a_shell(tmp_path / ".env").items():
        monkeypatch.setenv(name, value)
    async with TokenValidator.from_settings(Settings()) as validator:
        user = await validator.validate_token(key)
    assert (user.user_id, user.tenant_id) == (f"apikey:{key_id_of(key)}", "acme_example")


def test_nobody_else_can_read_it_and_nothing_is_left_beside_it(run: Run, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        run("init", "--provider=api-key", cwd=tmp_path)
    finally:
        os.umask(old)
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_what_is_there_is_not_written_over_unless_it_is_said(run: Run, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("precious\n")
    done = run("init", "--provider=api-key", cwd=tmp_path)
    assert (done.returncode, done.stdout, file.read_text()) == (2, "", "precious\n")
    assert run("init", "--provider=api-key", "--force", cwd=tmp_path).returncode == 0
    assert "precious" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_is_not_followed(run: Run, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / ".env").symlink_to(elsewhere)
    assert run("init", "--provider=api-key", cwd=tmp_path).returncode == 2
    assert run("init", "--provider=api-key", "--force", cwd=tmp_path).returncode == 0
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "--provider is missing"),
        (["--provider=google"], "--google-client-id is missing"),
        (["--provider=auth0", "--auth0-domain=acme.eu.auth0.com"], "--auth0-audience is missing"),
        (["--provider=github", "--github-client-id=Iv1.x"], "MCP_HTTP_GITHUB_CLIENT_SECRET is not set"),
        (["--provider=google", "--google-client-id=x", "--platform=fly"], "--public-url is missing"),
        (["--provider=google", "--google-client-id=x", "--public-url=mcp.example.com"], "MCP_HTTP_PUBLIC_URL is"),
        (["--provider=google", "--google-client-id=it's"], "MCP_HTTP_GOOGLE_CLIENT_ID has a quote"),
        (["--provider=api-key", "--tenant=No Such"], "impossible tenant_id"),
        (["--provider=api-key", "--database"], "MCP_HTTP_DATABASE_CONNECTION_STRING is not set"),
    ],
)
def test_what_is_missing_or_wrong_is_named_and_nothing_is_written(
    run: Run, tmp_path: Path, words: list[str], named: str
) -> None:
    done = run("init", *words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_s_connection_string_comes_from_the_environment(run: Run, tmp_path: Path) -> None:
    dsn = "postgresql://app:made-up&word@db.example/notes?sslmode=require"
    words = ["--provider=api-key", "--platform=docker", "--database"]
    done = run("init", *words, cwd=tmp_path, DATABASE_URL=dsn)
    assert done.returncode == 0, done.stderr
    assert "made-up" not in done.stdout + done.stderr
    assert by_a_shell(tmp_path / ".env")["MCP_HTTP_DATABASE_CONNECTION_STRING"] == dsn
    assert "tenantry migrate" in done.stderr


def test_json_has_the_key_the_file_and_what_comes_next(run: Run, tmp_path: Path) -> None:
    made = json.loads(run("init", "--provider=api-key", "--json", cwd=tmp_path).stdout)
    assert made["file"] == ".env"
    assert set(made["settings"]) == set(dotenv_values(tmp_path / ".env"))
    assert key_id_of(made["api_key"])
    assert any("TenantryMiddleware(" in line for line in made["next"])


def test_every_comment_of_a_setting_is_one_that_can_be_switched_on(run: Run, tmp_path: Path) -> None:
    run("init", "--provider=api-key", "--platform=docker", cwd=tmp_path)
    file = tmp_path / ".env"
    file.write_text(re.sub(r"^# (MCP_HTTP_\w+=)", r"\1", file.read_text(), flags=re.MULTILINE))
    found = by_a_shell(file)
    assert {"MCP_HTTP_TENANT_MAPPING", "MCP_HTTP_AUDIT_SINKS", "MCP_HTTP_TRUSTED_PROXIES"} <= found.keys()


@pytest.mark.parametrize(
    ("platform", "file"),
    [
        ("railway", "docs/deploy/railway.md"),
        ("render", "deploy/render.yaml"),
        ("fly", "fly.toml"),
        ("kubernetes", "deploy/kubernetes/settings.env"),
    ],
)
def test_the_proxies_that_are_believed_are_those_of_the_platform_s_own_files(
    run: Run, tmp_path: Path, platform: str, file: str
) -> None:
    run("init", "--provider=api-key", f"--platform={platform}", cwd=tmp_path)
    found = by_a_shell(tmp_path / ".env")
    text = (Path(__file__).parents[2] / file).read_text()
    assert found["MCP_HTTP_TRUSTED_PROXIES"] in text
    header = found.get("MCP_HTTP_CLIENT_ADDRESS_HEADER")
    assert (header in text) if header else ("MCP_HTTP_CLIENT_ADDRESS_HEADER" not in text)


def test_on_a_terminal_it_asks_and_secrets_are_not_shown(tmp_path: Path) -> None:
    answers: list[tuple[str, str]] = [
        ("Where does it run?", "docker"),
        ("Who may vouch", "github api-key"),
        ("Client id of your GitHub app", "Iv1.0123456789abcdef"),
        ("Public URL", "https://mcp.example.com/mcp"),
        ("A tenant database?", "n"),
        ("MCP_HTTP_GITHUB_CLIENT_SECRET (not shown)", "made-up-secret"),
    ]
    file = tmp_path / "made.env"
    with terminal("init", "--file", str(file)) as screen:
        for question, answer in answers:
            screen.until(question)
            screen.until(": ")
            screen.type(answer)
        screen.until("client-config")
        assert screen.code() == 0
    assert "made-up-secret" not in screen.shown
    found = by_a_shell(file)
    assert found["MCP_HTTP_GITHUB_CLIENT_SECRET"] == "made-up-secret"
    assert re.search(r"mcpk_live_\w+", screen.shown)
