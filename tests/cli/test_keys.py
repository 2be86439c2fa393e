"""``tenantry keys create``: the key once, and an entry that a server accepts."""

from __future__ import annotations

import json
import subprocess

import pytest

from tenantry import Settings, TokenValidator
from tenantry.core.apikeys import key_id_of

from .conftest import COMMAND, environment

pytestmark = pytest.mark.anyio


def create(*words: str) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "keys", "create", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), check=False, timeout=60)


async def test_a_made_key_is_accepted_by_a_server_that_was_given_its_entry_alone() -> None:
    made = json.loads(create("--name", "ci", "--tenant", "acme_example", "--permission", "notes:read", "--json").stdout)
    settings = Settings(environment="production", api_keys=made["entry"])
    async with TokenValidator.from_settings(settings) as validator:
        user = await validator.validate_token(made["key"])
    assert (user.user_id, user.tenant_id) == (f"apikey:{key_id_of(made['key'])}", "acme_example")
    assert user.permissions == {"notes:read"}


def test_the_entry_does_not_hold_the_key() -> None:
    made = json.loads(create("--name", "ci", "--json").stdout)
    assert made["key"] not in json.dumps(made["entry"])


def test_the_key_is_the_first_line_of_standard_output_and_the_entry_the_second() -> None:
    key, entry = create("--name", "ci").stdout.splitlines()
    assert next(iter(json.loads(entry).values()))["id"] == key_id_of(key)


@pytest.mark.parametrize(
    "words",
    [("--env", "LIVE"), ("--tenant", "No Such"), ("--permission", "a b"), ("--expires-at", "tomorrow")],
)
def test_what_a_server_would_refuse_is_refused_here(words: tuple[str, str]) -> None:
    done = create("--name", "ci", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tenantry: ")
    assert "Traceback" not in done.stderr
