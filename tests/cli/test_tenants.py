"""``tenantry tenants`` as its users have it, where no database is needed: its words, its limits, its speed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from .conftest import environment

Run = Callable[..., subprocess.CompletedProcess[str]]
ACTIONS = (
    "create list map unmap suspend resume export import drop check move".split()  # in the order of a tenant's life
)


def test_help_names_every_action(run: Run) -> None:
    said = run("tenants", "--help")
    assert said.returncode == 0
    for action in ACTIONS:
        assert f"\n    {action} " in said.stdout


@pytest.mark.parametrize("action", ACTIONS)
def test_help_of_an_action_loads_no_driver_and_no_settings(action: str) -> None:
    script = (
        "import sys, tenantry.cli\n"
        "try:\n    tenantry.cli.main(sys.argv[1:])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'asyncpg', 'pydantic', 'pydantic_settings', 'cryptography', 'idna'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", script, "tenants", action, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("destroy",),
        ("suspend",),
        ("map", "example.com"),
        ("create", "a_com", "--domain", "a.com", "--organization", "auth0:org_1"),
        ("list", "--state", "happy"),
        ("move", "a_com"),
        ("move", "a_com", "--to", "b", "--purge"),
        ("drop", "a_com", "--no-export", "--to", "a.zip"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(run: Run, words: tuple[str, ...]) -> None:
    said = run("tenants", *words)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("usage: ")


@pytest.mark.parametrize("words", [("list",), ("check",), ("suspend", "a_com"), ("drop", "a_com")])
def test_without_a_database_the_sentence_names_the_variable(run: Run, words: tuple[str, ...]) -> None:
    said = run("tenants", *words, MCP_HTTP_API_KEY="k" * 40)
    assert (said.returncode, said.stdout) == (2, "")
    assert "MCP_HTTP_DATABASE_CONNECTION_STRING" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_database_that_is_down_is_one_sentence_without_its_password(run: Run) -> None:
    nowhere: dict[str, Any] = {
        "MCP_HTTP_API_KEY": "k" * 40,
        "MCP_HTTP_DATABASE_CONNECTION_STRING": "postgresql://somebody:a-secret-word@127.0.0.1:1/none",
    }
    said = run("tenants", "list", **nowhere)
    assert (said.returncode, said.stdout) == (2, "")
    assert "cannot be reached" in said.stderr
    assert "secret" not in said.stderr
    assert "Traceback" not in said.stderr
