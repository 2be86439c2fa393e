"""``tenantry keys``: a key shown once, stored where there is a database, and else an entry that a server accepts."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tenantry import Settings, TokenValidator
from tenantry.adapters.postgres.database import Database
from tenantry.core.apikeys import compose_key, digest, key_id_of
from tenantry.errors import TokenInvalid
from tenantry.model import Credential
from tenantry.postgres import EmbeddedPostgres

from .conftest import COMMAND, PATIENCE, environment

pytestmark = pytest.mark.anyio

Done = subprocess.CompletedProcess[str]
BAD_WORDS = [
    ("--env", "LIVE"),
    ("--tenant", "No Such"),
    ("--permission", "a b"),
    ("--expires-at", "tomorrow"),
    ("--expires-at", "2099-01-01T00:00:00"),
    ("--not-before", "2099-13-01T00:00:00Z"),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def keys(run: Callable[..., Done]) -> Callable[..., Done]:
    """``tenantry keys ...`` without a database."""

    def command(*words: str, **env: str) -> Done:
        return run("keys", *words, **env)

    return command


@pytest.fixture(scope="module")
async def server(anyio_backend: str) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres() as running:
        yield running


@pytest.fixture
def stored(keys: Callable[..., Done], server: EmbeddedPostgres) -> Callable[..., Done]:
    """``tenantry keys ...`` with a database."""

    def command(*words: str) -> Done:
        database = {
            "MCP_HTTP_DATABASE_CONNECTION_STRING": server.app_dsn,
            "MCP_HTTP_DIRECT_DATABASE_URL": server.admin_dsn,
        }
        return keys(*words, **database)

    return command


@pytest.fixture
async def validator(server: EmbeddedPostgres) -> AsyncIterator[TokenValidator]:
    """A server on that database."""
    settings = Settings(database_connection_string=server.app_dsn, direct_database_url=server.admin_dsn)
    async with TokenValidator.from_settings(settings) as made:
        yield made


def said(done: Done) -> Any:
    """The JSON object of a command that went well."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(done: Done) -> str:
    """The sentence of a command that was refused, and nothing else."""
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tenantry: ")
    assert "Traceback" not in done.stderr
    return done.stderr


# --- Without a database ------------------------------------------------------------------------------------------


async def test_a_made_key_is_accepted_by_a_server_that_was_given_its_entry_alone(keys: Callable[..., Done]) -> None:
    made = said(keys("create", "--name", "ci", "--tenant", "acme_example", "--permission", "notes:read", "--json"))
    settings = Settings(environment="production", api_keys=made["entry"])
    async with TokenValidator.from_settings(settings) as validator:
        user = await validator.validate_token(made["key"])
    assert (user.user_id, user.tenant_id) == (f"apikey:{key_id_of(made['key'])}", "acme_example")
    assert user.permissions == {"notes:read"}


def test_the_entry_does_not_hold_the_key(keys: Callable[..., Done]) -> None:
    made = said(keys("create", "--name", "ci", "--json"))
    assert made["key"] not in json.dumps(made["entry"])


def test_the_key_is_the_first_line_of_standard_output_and_the_entry_the_second(keys: Callable[..., Done]) -> None:
    key, entry = keys("create", "--name", "ci").stdout.splitlines()
    assert next(iter(json.loads(entry).values()))["id"] == key_id_of(key)


def test_an_entry_can_be_made_where_a_server_would_listen_to_the_world(keys: Callable[..., Done]) -> None:
    assert keys("create", "--name", "ci", MCP_HTTP_HOST="0.0.0.0").returncode == 0


@pytest.mark.parametrize("words", BAD_WORDS)
def test_what_a_server_would_refuse_is_refused_here(keys: Callable[..., Done], words: tuple[str, str]) -> None:
    refused(keys("create", "--name", "ci", *words))


def test_an_owner_has_no_place_in_an_entry(keys: Callable[..., Done]) -> None:
    assert "--owner" in refused(keys("create", "--name", "ci", "--owner", "ann"))


@pytest.mark.parametrize("words", [("list",), ("rotate", "00000000000"), ("revoke", "00000000000")])
def test_what_only_a_database_has_names_the_setting(keys: Callable[..., Done], words: tuple[str, ...]) -> None:
    assert "MCP_HTTP_DATABASE_CONNECTION_STRING" in refused(
        keys(*words, MCP_HTTP_API_KEY="k" * 16 + "0123456789abcdef")
    )


# --- With one ----------------------------------------------------------------------------------------------------


async def test_a_stored_key_is_the_only_line_of_standard_output_and_works_at_once(
    stored: Callable[..., Done], validator: TokenValidator
) -> None:
    done = stored("create", "--name", "ci", "--tenant", "acme_example", "--permission", "notes:read")
    (key,) = done.stdout.splitlines()
    user = await validator.validate_token(key)
    assert (user.user_id, user.tenant_id) == (f"apikey:{key_id_of(key)}", "acme_example")
    assert user.permissions == {"notes:read"}
    assert key not in done.stderr
    assert "no tenant acme_example yet" in done.stderr


async def test_create_says_what_it_stored_as_json(stored: Callable[..., Done]) -> None:
    words = ["--name", "ci", "--owner", "ann", "--expires-at", "2099-01-01T01:00:00+01:00", "--env", "test", "--json"]
    made = said(stored("create", *words))
    entry = made["entry"]
    assert made["key"].startswith(f"mcpk_test_{entry['key_id']}_")
    assert (entry["name"], entry["owner"], entry["tenant_id"], entry["permissions"]) == ("ci", "ann", None, [])
    assert (entry["expires_at"], entry["not_before"], entry["state"]) == ("2099-01-01T00:00:00Z", None, "active")
    assert made["key"] not in json.dumps(entry)


async def test_no_database_leaves_the_database_alone(stored: Callable[..., Done]) -> None:
    made = said(stored("create", "--name", "alone", "--no-database", "--json"))
    assert next(iter(made["entry"])).startswith("sha256:")
    assert "alone" not in [entry["name"] for entry in said(stored("list", "--json"))["keys"]]


async def test_the_list_shows_each_key_and_nothing_secret(stored: Callable[..., Done]) -> None:
    one = said(stored("create", "--name", "one", "--tenant", "list_example", "--permission", "notes:read", "--json"))
    two = said(stored("create", "--name", "two", "--json"))
    table = stored("list")
    header, *lines = table.stdout.splitlines()
    assert header.split() == ["ID", "STATE", "NAME", "TENANT", "EXPIRES", "LAST", "USED", "PERMISSIONS"]
    (line,) = [line for line in lines if "list_example" in line]
    assert line.split() == [one["entry"]["key_id"], "active", "one", "list_example", *["never"] * 2, "notes:read"]
    entries = said(stored("list", "--json"))["keys"]
    assert [entry for entry in entries if entry["name"] in ("one", "two")] == [one["entry"], two["entry"]]
    for made in (one, two):
        for secret in (made["key"].rsplit("_", 1)[1], digest(made["key"].encode()).hex()):
            assert secret not in table.stdout + table.stderr + json.dumps(entries)


async def test_the_list_of_one_tenant_has_no_other_s(stored: Callable[..., Done]) -> None:
    made = said(stored("create", "--name", "mine", "--tenant", "mine_example", "--json"))
    said(stored("create", "--name", "other", "--tenant", "other_example", "--json"))
    assert said(stored("list", "--tenant", "mine_example", "--json"))["keys"] == [made["entry"]]
    empty = stored("list", "--tenant", "nobody")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "No keys.\n")
    assert said(stored("list", "--tenant", "nobody", "--json")) == {"keys": []}


async def test_a_rotated_key_ends_in_seven_days_unless_it_is_said_when(
    stored: Callable[..., Done], validator: TokenValidator
) -> None:
    old = said(stored("create", "--name", "ci", "--json"))
    new = said(stored("rotate", old["entry"]["key_id"], "--json"))
    assert (new["replaces"]["replaced_by"], new["replaces"]["state"]) == (new["entry"]["key_id"], "replaced")
    end = datetime.fromisoformat(new["replaces"]["expires_at"])
    assert timedelta(days=6) < end - datetime.now(UTC) <= timedelta(days=7)
    for key in (old["key"], new["key"]):
        assert (await validator.validate_token(key)).name == "ci"
    third = stored("rotate", new["entry"]["key_id"], "--overlap", "60")
    (key,) = third.stdout.splitlines()
    assert (await validator.validate_token(key)).name == "ci"
    assert f"The old key {new['entry']['key_id']} works until " in third.stderr


async def test_a_key_rotated_now_is_worthless(stored: Callable[..., Done], validator: TokenValidator) -> None:
    old = said(stored("create", "--name", "ci", "--json"))
    new = said(stored("rotate", old["entry"]["key_id"], "--now", "--json"))
    assert new["replaces"]["state"] == "revoked"
    with pytest.raises(TokenInvalid):
        await validator.validate_token(old["key"])
    assert (await validator.validate_token(new["key"])).name == "ci"


async def test_a_revoked_key_is_worthless(stored: Callable[..., Done], validator: TokenValidator) -> None:
    made = said(stored("create", "--name", "ci", "--json"))
    done = stored("revoke", made["entry"]["key_id"])
    assert (done.returncode, done.stdout) == (0, "")
    assert f"The key {made['entry']['key_id']} (ci) has been revoked" in done.stderr
    with pytest.raises(TokenInvalid):
        await validator.validate_token(made["key"])
    assert said(stored("revoke", made["entry"]["key_id"], "--json"))["entry"]["state"] == "revoked"


@pytest.mark.parametrize("action", ["rotate", "revoke"])
async def test_an_unknown_id_is_a_sentence_and_two(stored: Callable[..., Done], action: str) -> None:
    assert "There is no key 00000000000" in refused(stored(action, "00000000000"))


@pytest.mark.parametrize("action", ["rotate", "revoke"])
async def test_a_whole_key_in_the_place_of_an_id_is_refused_and_not_repeated(
    stored: Callable[..., Done], action: str
) -> None:
    key = said(stored("create", "--name", "ci", "--json"))["key"]
    assert key.rsplit("_", 1)[1] not in refused(stored(action, key))


@pytest.mark.parametrize("words", [BAD_WORDS[3], ("--owner", ""), ("--expires-at", "2020-01-01T00:00:00Z")])
async def test_what_a_server_would_refuse_is_not_stored(stored: Callable[..., Done], words: tuple[str, str]) -> None:
    refused(stored("create", "--name", "refused", *words))
    assert "refused" not in [entry["name"] for entry in said(stored("list", "--json"))["keys"]]


def test_an_overlap_and_now_are_not_said_together(keys: Callable[..., Done]) -> None:
    assert keys("rotate", "00000000000", "--overlap", "60", "--now").returncode == 2


def test_a_database_out_of_reach_is_one_sentence_without_its_password(keys: Callable[..., Done]) -> None:
    nowhere = "postgresql://somebody:a-very-secret-word@127.0.0.1:1/none"
    for words in (("create", "--name", "ci"), ("list",), ("rotate", "00000000000"), ("revoke", "00000000000")):
        assert "secret" not in refused(keys(*words, DATABASE_URL=nowhere))


# --- Import -----------------------------------------------------------------------------------------------------------

PLAIN = "Rk7w2NqVt5XbJ9fLc3HsDm8PgZ4yTa6E"  # as another system made it: no form of ours


def csv_of(*rows: str) -> str:
    return "\n".join(["name,key,tenant,permissions,expires_at", *rows]) + "\n"


@pytest.fixture
def imported(server: EmbeddedPostgres) -> Callable[..., Done]:
    """``tenantry keys import -`` with a database and a text on standard input."""

    def command(text: str, *words: str) -> Done:
        return subprocess.run(
            [*COMMAND, "keys", "import", "-", *words],
            input=text,
            env=environment(
                MCP_HTTP_DATABASE_CONNECTION_STRING=server.app_dsn, MCP_HTTP_DIRECT_DATABASE_URL=server.admin_dsn
            ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return command


def a_key() -> tuple[str, str]:
    """A key of our form, and what is stored of it."""
    key = compose_key("live", secrets.token_bytes(8), secrets.token_bytes(32))
    return key, f"sha256:{digest(key.encode()).hex()}"


async def test_imported_keys_work_at_once_and_are_nowhere_in_the_output(
    imported: Callable[..., Done], validator: TokenValidator
) -> None:
    key, _ = a_key()
    other, its_digest = a_key()
    rows = [
        {"name": "one", "key": key, "tenant": "acme_example", "permissions": ["notes:read", "notes:write"]},
        {"name": "two", "key": its_digest, "id": key_id_of(other), "expires_at": "2099-01-01T00:00:00Z"},
    ]
    done = imported("\n".join(map(json.dumps, rows)), "--json")
    first, second = said(done)["keys"]
    assert (first["tenant_id"], first["permissions"]) == ("acme_example", ["notes:read", "notes:write"])
    assert (second["key_id"], second["expires_at"]) == (key_id_of(other), "2099-01-01T00:00:00Z")
    assert (await validator.validate_token(key)).tenant_id == "acme_example"
    assert (await validator.validate_token(other)).user_id == f"apikey:{key_id_of(other)}"
    for secret in (key, digest(key.encode()).hex(), its_digest):
        assert secret not in done.stdout + done.stderr


async def test_a_key_of_another_form_is_known_in_x_api_key_alone(
    imported: Callable[..., Done], validator: TokenValidator
) -> None:
    done = imported(csv_of(f"old system,{PLAIN},acme_example,notes:read notes:write,"))
    assert done.returncode == 0, done.stderr
    assert "good in X-API-Key only" in done.stderr
    admitted = await validator.gate.validate(Credential(PLAIN.encode(), "x-api-key"))
    assert (admitted.user.name, admitted.user.permissions) == ("old system", {"notes:read", "notes:write"})
    with pytest.raises(TokenInvalid):
        await validator.validate_token(PLAIN)


async def test_a_dry_run_changes_nothing(imported: Callable[..., Done], stored: Callable[..., Done]) -> None:
    key, _ = a_key()
    done = imported(csv_of(f"dry,{key},,,"), "--dry-run", "--json")
    assert (said(done)["imported"], said(done)["keys"][0]["key_id"]) == (False, key_id_of(key))
    assert key_id_of(key) not in stored("list").stdout
    assert imported(csv_of(f"dry,{key},,,")).returncode == 0


async def test_one_bad_line_and_nothing_is_imported(imported: Callable[..., Done], stored: Callable[..., Done]) -> None:
    good, _ = a_key()
    taken, its_digest = a_key()
    assert imported(csv_of(f"taken,{taken},,,")).returncode == 0
    bad_lines = {
        f"again,{taken},,,": "line 3: this key is in the database already",
        f"again,{its_digest},,,": "line 3: this key is in the database already",
        f"twice,{good},,,": "line 3: the same key stands at line 2",
        "short,changeme,,,": "line 3: key is too short",
        f"cut,{good[:-1]},,,": "line 3: key begins as one of tenantry's",
        "digest,sha256:12,,,": "line 3: key is not sha256:",
        f"tenant,{a_key()[0]},No Such,,": "line 3: 'No Such' cannot be the id of a tenant",
        f"late,{a_key()[0]},,,2001-01-01T00:00:00Z": "line 3: The key would expire",
        f"zone,{a_key()[0]},,,2099-01-01": "line 3: expires_at is '2099-01-01', without a time zone",
        f",{a_key()[0]},,,": "line 3: The name of a key",
        f"cells,{a_key()[0]}": "line 3: not as many cells",
    }
    for line, words in bad_lines.items():
        sentence = refused(imported(csv_of(f"good,{good},,,", line)))
        assert words in sentence
        assert line.split(",")[1] not in sentence
    assert key_id_of(good) not in stored("list").stdout


@pytest.mark.parametrize(
    "text",
    ["", "name,tenant\na,b\n", "mcpk_live_x,y\n", '{"name": "x"}\n', '{"name": "x", "key": 1}\n', "{nonsense\n"],
)
def test_a_file_that_is_no_list_of_keys_is_refused(imported: Callable[..., Done], text: str) -> None:
    refused(imported(text))


async def test_an_import_is_in_the_audit(imported: Callable[..., Done], server: EmbeddedPostgres) -> None:
    key, _ = a_key()
    imported(csv_of(f"audited,{key},,,"))
    database = Database.open(server.app_dsn, admin_dsn=server.admin_dsn, create_tenants=False)
    async with database, database.clusters["main"].administering() as connection:
        lines = [row["line"] for row in await connection.fetch("SELECT line::text AS line FROM tenantry.audit")]
    (line,) = [line for line in lines if key_id_of(key) in line]
    assert "key.created" in line
    assert "imported" in line
