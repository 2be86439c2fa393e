"""``tenantry migrate``: the step of a release, as whoever releases has it."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from tenantry.adapters.postgres.migrations import Migrations
from tenantry.postgres import Database, EmbeddedPostgres

from .conftest import COMMAND, PATIENCE, environment

NOTES = "create table notes (id bigint generated always as identity primary key, title text not null);\n"
DONE = "alter table notes add column done boolean not null default false;\n"
TENANTS = [f"t{number:02}_com" for number in range(12)]


class Deployment:
    """A server, a folder of migrations, and ``tenantry migrate`` with the settings that name them."""

    def __init__(self, server: EmbeddedPostgres, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.settings = {
            "MCP_HTTP_DATABASE_CONNECTION_STRING": server.app_dsn,
            "MCP_HTTP_DIRECT_DATABASE_URL": server.admin_dsn,
            "MCP_HTTP_TENANT_MIGRATIONS": str(folder),
        }

    def file(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    async def make(self, *tenants: str) -> None:
        """As a release with the present files makes them."""
        async with Database.open(
            self.server.app_dsn,
            admin_dsn=self.server.admin_dsn,
            create_tenants=True,
            migrations=Migrations.read(self.folder),
        ) as database:
            for tenant in tenants:
                await database.ensure_tenant(tenant)

    async def ask(self, query: str) -> list[tuple]:
        connection = await asyncpg.connect(self.server.dsn)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


@pytest.fixture
async def deployment(anyio_backend: str, tmp_path: Path):
    async with EmbeddedPostgres() as server:
        made = Deployment(server, tmp_path)
        made.file("001_notes.sql", NOTES)
        yield made


@pytest.fixture
def migrate(deployment: Deployment, run: Callable) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *words: run("migrate", *words, **deployment.settings)


pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def versions(deployment: Deployment) -> dict[str, int]:
    return dict(await deployment.ask("select tenant_id, version from tenantry.tenants"))


async def test_tenants_are_brought_forward_and_a_second_run_has_nothing_to_do(deployment, migrate):
    await deployment.make(*TENANTS)
    deployment.file("002_done.sql", DONE)
    done = await asyncio.to_thread(migrate)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"12 tenants brought to version 2 in \d+\.\d s\.\n", done.stdout)
    assert await versions(deployment) == dict.fromkeys(TENANTS, 2)
    done = await asyncio.to_thread(migrate)
    assert (done.returncode, done.stdout) == (0, "Every tenant has version 2.\n")
    query = "select line::jsonb ->> 'actor' from tenantry.audit where event = 'tenant.migrated'"
    ((actor,),) = await deployment.ask(query)
    assert actor.startswith("cli:")


async def test_one_command_shows_every_way_to_ask(deployment, migrate):
    """A dry run, a phase, one tenant, JSON: on one server, because each takes a second to start."""
    assert (await asyncio.to_thread(migrate, "--dry-run")).stdout.splitlines()[1] == (
        "database main: would be prepared first"
    )
    assert await deployment.ask("select 1 from pg_namespace where nspname = 'tenantry'") == []
    await deployment.make(*TENANTS[:3])
    deployment.file("002_done.sql", DONE)
    deployment.file("003_log.post.sql", "create table log (at timestamptz);\n")

    said = (await asyncio.to_thread(migrate, "--dry-run")).stdout.splitlines()
    assert said[1:] == [
        "database main",
        "  3 tenants at version 1",
        "  002_done.sql for 3 tenants",
        "  003_log.post.sql for 3 tenants",
    ]
    said = json.loads((await asyncio.to_thread(migrate, "--dry-run", "--json", "--phase", "pre")).stdout)
    assert (said["version"], said["databases"][0]["files"]) == (2, {"002_done.sql": 3})
    assert set((await versions(deployment)).values()) == {1}

    outcome = json.loads((await asyncio.to_thread(migrate, "--phase", "pre", "--json")).stdout)
    assert {key: outcome[key] for key in ("version", "migrated", "skipped", "left_behind")} == {
        "version": 2,
        "migrated": 3,
        "skipped": {},
        "left_behind": {},
    }
    assert (await asyncio.to_thread(migrate, "--tenant", TENANTS[1], "--workers", "1")).returncode == 0
    assert await versions(deployment) == {TENANTS[0]: 2, TENANTS[1]: 3, TENANTS[2]: 2}


async def test_a_tenant_left_behind_is_exit_code_1_with_its_reason(deployment, migrate):
    await deployment.make(*TENANTS)
    await deployment.ask(f"alter table tenant_{TENANTS[3]}.notes add column done text")
    deployment.file("002_done.sql", DONE)
    done = await asyncio.to_thread(migrate)
    assert done.returncode == 1
    assert "11 tenants brought to version 2" in done.stdout
    assert "\n1 tenant left behind." in done.stdout
    assert done.stderr == (
        f'left behind: {TENANTS[3]}: column "done" of relation "notes" already exists '
        "(statement 1 of migration '002_done.sql')\n"
    )


async def test_what_citus_would_refuse_is_a_warning_with_the_files_name(deployment, migrate):
    deployment.file("002_trigger.sql", "create trigger a before insert on notes execute function b();\n")
    done = await asyncio.to_thread(migrate, "--dry-run")
    assert done.returncode == 0
    assert done.stderr == "warning: 002_trigger.sql: statement 1 has a trigger, which Citus refuses\n"


async def test_a_changed_file_is_one_sentence_and_exit_code_2(deployment, migrate):
    await deployment.make(TENANTS[0])
    deployment.file("001_notes.sql", NOTES.replace("title", "heading"))
    for words in ((), ("--dry-run",)):
        done = await asyncio.to_thread(migrate, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("tenantry: Migration '001_notes.sql' was changed after it was applied")
        assert done.stderr.count("\n") == 1


async def test_a_run_that_is_killed_leaves_whole_tenants_and_the_next_one_goes_on(deployment, migrate, start):
    await deployment.make(*TENANTS)
    deployment.file(
        "002_done.sql", f"{DONE} select pg_sleep(600) where current_schema() = current_setting('app.stops', true);\n"
    )
    ((database,),) = await deployment.ask("select datname from pg_database where datname = current_database()")
    await deployment.ask(f"alter database {database} set app.stops = 'tenant_{TENANTS[11]}'")
    process = start("migrate", **deployment.settings).process
    sleeping = "select pid from pg_stat_activity where wait_event = 'PgSleep'"
    async with asyncio.timeout(PATIENCE):
        while not (found := await deployment.ask(sleeping)):
            assert process.poll() is None
        while (await versions(deployment))[TENANTS[0]] == 1:
            assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    columns = await deployment.ask("select table_schema from information_schema.columns where column_name = 'done'")
    assert {schema.removeprefix("tenant_") for (schema,) in columns} == set(TENANTS[:10])
    assert {tenant for tenant, version in (await versions(deployment)).items() if version == 2} == set(TENANTS[:10])
    await deployment.ask(f"alter database {database} reset app.stops")
    await deployment.ask(f"select pg_terminate_backend({found[0][0]})")  # it hears of the kill when it would answer
    assert (await asyncio.to_thread(migrate)).returncode == 0
    assert await versions(deployment) == dict.fromkeys(TENANTS, 2)


async def test_on_a_terminal_progress_is_one_line_that_changes(deployment):
    await deployment.make(*TENANTS)
    deployment.file("002_done.sql", DONE)
    code, text = await asyncio.to_thread(on_a_terminal, "migrate", deployment.settings)
    assert code == 0
    assert re.search(r"\r\S*12 of 12 tenants, \d+ a second, 0 s left\s*$", text)
    assert text.count("\n") == 1


def on_a_terminal(command: str, settings: dict[str, str]) -> tuple[int, str]:
    """Exit code and standard error of a command that somebody watches."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, command], env=environment(**settings), stderr=theirs, stdout=subprocess.DEVNULL
    )
    os.close(theirs)
    text = "".join(read_all(ours))
    return process.wait(PATIENCE), text


def read_all(terminal: int) -> Iterator[str]:
    while True:
        try:
            yield os.read(terminal, 4096).decode()
        except OSError:  # Linux: the other end is closed
            os.close(terminal)
            return


async def test_the_printed_script_is_for_psql_and_has_no_password(deployment, migrate):
    await deployment.make(TENANTS[0])
    deployment.file("002_done.sql", DONE)
    done = await asyncio.to_thread(migrate, "--script", "--tenant", "new_example")
    assert done.returncode == 0
    assert done.stdout.startswith("-- tenantry, deployment ")
    assert done.stdout.endswith("\nCOMMIT;\n")
    assert 'CREATE SCHEMA "tenant_new_example"' in done.stdout
    assert "PASSWORD" not in done.stdout
    assert done.stderr == f"behind, and not in the script (name them with --tenant): {TENANTS[0]}\n"
    assert set(await versions(deployment)) == {TENANTS[0]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--script", "--json"), "--script goes with --tenant alone"),
        (("--script", "--dry-run"), "not allowed with argument"),
        (("--workers", "0"), "between 1 and 16"),
        (("--phase", "later"), "invalid choice"),
    ],
)
async def test_what_does_not_go_together_is_exit_code_2(run, words, said):
    done = run("migrate", *words, MCP_HTTP_DATABASE_CONNECTION_STRING="postgresql://a@127.0.0.1:1/b")
    assert done.returncode == 2
    assert said in done.stderr


async def test_without_a_database_it_names_the_setting(run):
    done = run("migrate", MCP_HTTP_ENVIRONMENT="development", MCP_HTTP_API_KEY="only-here")
    assert done.returncode == 2
    assert "MCP_HTTP_DATABASE_CONNECTION_STRING" in done.stderr


async def test_a_database_that_is_away_is_one_sentence(run):
    done = run("migrate", "--dry-run", MCP_HTTP_DATABASE_CONNECTION_STRING="postgresql://a:a-secret@127.0.0.1:1/b")
    assert done.returncode == 2
    assert done.stderr.startswith("tenantry: The database cannot be reached")
    assert "a-secret" not in done.stderr
