"""Where the application's logins may make nothing, an administrator runs a printed script, and serving works."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from tests.adapters.audit.trails import call, caller, running, settings
from tests.postgres.catalog import fingerprint, service_fingerprint
from tests.postgres.conftest import Dsns
from tests.postgres.servers import rewritten

from tenantry import ConfigurationError, Settings, TenantryMiddleware, current_user
from tenantry.adapters.postgres.administration.migrate import migrate
from tenantry.adapters.postgres.administration.script import script
from tenantry.adapters.postgres.statements import split
from tenantry.errors import Forbidden
from tenantry.postgres import Database, get_tenant_database
from tenantry.testing import serve_on_loopback

pytestmark = pytest.mark.anyio

NOTES = """
    create table notes (id bigint generated always as identity primary key, title text not null default '$1; -- it''s');
    create function titles() returns setof text language sql as $$ select title from notes; $$ -- the last; word
"""
TAGS = "create table tags (name text primary key)"
KEY, OTHER_KEY = "a-made-up-key-of-more-than-32-characters", "another-made-up-key-of-more-than-32-characters"


@pytest.fixture
async def dsns(server: Any, numbers: Iterator[int]) -> AsyncIterator[Dsns]:
    """An empty database of the superuser's, and two logins without any power."""
    number = next(numbers)
    name, reader, app = f"test_{number}", f"reader_{number}", f"app_{number}"
    root = await asyncpg.connect(server.dsn)
    await root.execute(f"create database {name} template template0")
    for login in (reader, app):
        await root.execute(f"create role {login} login noinherit password 'made up for {login}'")
    yield Dsns(
        rewritten(server.dsn, database=name),
        *(rewritten(server.app_dsn, login=f"{who}:made%20up%20for%20{who}", database=name) for who in (reader, app)),
    )
    await root.execute(f"drop database {name} with (force)")
    await root.close()


@pytest.fixture(params=["two logins", "one login"])
def powerless(request: pytest.FixtureRequest, dsns: Dsns, open_database: Callable[..., Database]) -> Callable:
    """The database as logins without power see it: one reads the registry and one serves, or one does both."""

    def make(**options: Any) -> Database:
        direct = dsns.admin if request.param == "two logins" else None
        return open_database(**{"admin_dsn": direct, "create_tenants": False, "migrations": [NOTES, TAGS], **options})

    return make


async def run_by_hand(dsns: Dsns, text: str) -> None:
    """As the superuser, one statement after the other, as a console does that is not psql."""
    connection = await asyncpg.connect(dsns.superuser)
    try:
        for statement in split("".join(line for line in text.splitlines(True) if not line.startswith("\\"))):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_tenant_of_a_script_that_was_run_is_served_by_logins_without_power(powerless, dsns, tenant_ids):
    tenant, unknown = next(tenant_ids), next(tenant_ids)
    async with powerless() as database:
        written = await script(database, [tenant])
    assert written.behind == []
    await run_by_hand(dsns, written.text)
    async with powerless() as database:
        await database.tenant(tenant).execute("insert into notes default values")
        assert await database.tenant(tenant).fetchval("select titles()") == "$1; -- it's"
        await database.tenant(tenant).execute("insert into tags (name) values ('new')")
        with pytest.raises(Forbidden) as refusal:
            await database.tenant(unknown).fetch("select 1")
    assert refusal.value.reason == "tenant_unknown"


async def test_the_direct_login_reads_the_registry_and_makes_nothing(powerless, dsns, tenant_ids):
    tenant = next(tenant_ids)
    async with powerless() as database:
        await run_by_hand(dsns, (await script(database, [tenant])).text)
        entry = await database.registry.find(tenant)
        assert (entry.version, entry.state, entry.bucket) == (2, "active", 0)
        async with database.clusters["main"].administering() as connection:
            for statement in (
                "create schema mine",
                "create role somebody",
                "create temporary table shadow (id int)",
                f"create table {entry.names.schema}.mine (id int)",
                f"select title from {entry.names.schema}.notes",
                "update tenantry.tenants set state = 'suspended'",
                "update tenantry.deployment set epoch = 0",
                "insert into tenantry.mappings (source, tenant_id) values ('a.example', 'b')",
                "delete from tenantry.api_keys",
                "select line from tenantry.audit",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)


async def test_what_was_used_and_when_is_noted_by_a_login_without_power(powerless, dsns, root, tenant_ids):
    tenant = next(tenant_ids)
    async with powerless() as database:
        await run_by_hand(dsns, (await script(database, [tenant])).text)
        database.marks.tenants.add(tenant)
        await database.marks.write()
        assert not database.marks.tenants
    assert await root.fetchval("select last_seen_at from tenantry.tenants") is not None


async def test_a_login_without_power_keeps_the_whole_audit_with_the_operator(powerless, dsns, root, tenant_ids):
    tenant = next(tenant_ids)
    async with powerless() as database:
        await run_by_hand(dsns, (await script(database, [tenant])).text)
        chosen = settings(audit_sinks=("postgres",), database_connection_string=dsns.app)
        async with running(chosen, database=database) as audit:
            audit.observe(call(1, caller(tenant=tenant)))
    rows = [json.loads(row["line"]) for row in await root.fetch("select line from tenantry.audit")]
    assert [(row["event"], row["tenant"], row["stream"]) for row in rows] == [("called", tenant, "operator")]


async def test_a_login_without_power_hears_of_a_suspension(powerless, dsns, root, tenant_ids):
    tenant = next(tenant_ids)
    async with powerless() as database:
        await run_by_hand(dsns, (await script(database, [tenant])).text)
        await database.ensure_tenant(tenant)
        heard = asyncio.Event()
        database.on_change.append(heard.set)
        channel = (await database.registry.deployment()).channel
        await root.execute("update tenantry.tenants set state = 'suspended'")
        await root.execute(f"update tenantry.deployment set epoch = epoch + 1; notify {channel}")
        await asyncio.wait_for(heard.wait(), 30)
        with pytest.raises(Forbidden, match="tenant_suspended"):
            await database.ensure_tenant(tenant)


async def test_a_second_script_brings_a_tenant_forward_and_makes_another(powerless, dsns, root, tenant_ids):
    old, new = next(tenant_ids), next(tenant_ids)
    async with powerless(migrations=[NOTES]) as database:
        await run_by_hand(dsns, (await script(database, [old])).text)
        await database.tenant(old).execute("insert into notes (title) values ('kept')")
    async with powerless() as database:
        assert (await script(database, [new])).behind == [old]
        with pytest.raises(ConfigurationError, match="may not make roles"):
            await migrate(database)
        await run_by_hand(dsns, (await script(database, [new, old])).text)
        assert await database.tenant(old).fetch("select name from tags") == []
        assert await database.tenant(old).fetchval("select title from notes") == "kept"
        assert await database.tenant(new).fetch("select name from tags") == []
    assert await root.fetchval("select count(*) from tenantry.deployment") == 1


async def test_a_migration_does_not_run_twice_when_its_script_does(powerless, dsns, tenant_ids):
    tenant = next(tenant_ids)
    async with powerless(migrations=[NOTES]) as database:
        await run_by_hand(dsns, (await script(database, [tenant])).text)
    async with powerless(migrations=[NOTES, "insert into notes default values"]) as database:
        text = (await script(database, [tenant])).text
        await run_by_hand(dsns, text)
        with pytest.raises(asyncpg.RaiseError, match="print it anew"):
            await run_by_hand(dsns, text)
        assert await database.tenant(tenant).fetchval("select count(*) from notes") == 1


async def test_a_replica_that_refused_a_tenant_lets_it_in_once_the_script_was_run(powerless, dsns, tenant_ids):
    first, second = next(tenant_ids), next(tenant_ids)
    async with powerless() as database:
        await run_by_hand(dsns, (await script(database, [first])).text)
        await database.confirm()
        before = await database.registry.epoch()
        await run_by_hand(dsns, (await script(database, [second])).text)
        assert await database.registry.epoch() > before


async def test_a_login_that_inherits_is_made_to_serve_without_the_rights_of_all_its_tenants(
    powerless, dsns, root, tenant_ids
):
    """Before PostgreSQL 16 that is a matter of the login, later of each membership."""
    tenant = next(tenant_ids)
    login = urlsplit(dsns.app).username
    await root.execute(f"alter role {login} inherit")
    async with powerless() as database:
        await run_by_hand(dsns, (await script(database, [tenant])).text)
        assert await database.tenant(tenant).fetch("select title from notes") == []
    assert not await root.fetchval("select has_schema_privilege($1, $2, 'USAGE')", login, f"tenant_{tenant}")


async def test_a_tenant_that_is_being_moved_or_dropped_is_refused(powerless, dsns, root, tenant_ids):
    tenant = next(tenant_ids)
    async with powerless() as database:
        await run_by_hand(dsns, (await script(database, [tenant])).text)
        await root.execute("update tenantry.tenants set state = 'dropping'")
        with pytest.raises(ConfigurationError, match="is dropping"):
            await script(database, [tenant])


async def test_a_script_changes_nothing_until_it_is_run(powerless, root, tenant_ids):
    async with powerless() as database:
        await script(database, [next(tenant_ids)])
    assert not await root.fetchval("select to_regnamespace('tenantry')")


async def test_a_script_that_fails_leaves_nothing(powerless, dsns, root, tenant_ids):
    async with powerless(migrations=[NOTES, "select 1/0"]) as database:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await run_by_hand(dsns, (await script(database, [next(tenant_ids)])).text)
    assert not await root.fetchval("select to_regnamespace('tenantry')")


async def test_no_password_is_in_a_script(powerless, dsns, tenant_ids):
    async with powerless() as database:
        text = (await script(database, [next(tenant_ids)])).text
    assert "made up for" not in text
    assert "PASSWORD" not in text.upper()


async def test_a_login_that_is_not_prepared_for_names_the_script(powerless, tenant_ids):
    async with powerless() as database:
        with pytest.raises(ConfigurationError, match="tenantry migrate --script"):
            await database.ensure_tenant(next(tenant_ids))


async def test_an_impossible_id_is_refused(powerless):
    async with powerless() as database:
        with pytest.raises(Forbidden):
            await script(database, ["no such id"])


async def test_a_schema_of_somebody_elses_is_refused(powerless, root, tenant_ids):
    tenant = next(tenant_ids)
    await root.execute(f"create schema tenant_{tenant}")
    async with powerless() as database:
        with pytest.raises(ConfigurationError, match="was not made by this deployment"):
            await script(database, [tenant])


async def test_psql_runs_the_script_and_running_it_twice_is_an_error_that_changes_nothing(powerless, dsns, tenant_ids):
    if which("psql") is None:
        pytest.skip("psql is not installed (Debian: postgresql-client)")
    tenant = next(tenant_ids)
    async with powerless() as database:
        text = (await script(database, [tenant])).text
    command = ["psql", "-X", "-q", dsns.superuser]
    first = await asyncio.to_thread(subprocess.run, command, input=text, capture_output=True, text=True, check=False)
    assert (first.returncode, "ERROR" in first.stderr) == (0, False), first.stderr
    again = await asyncio.to_thread(subprocess.run, command, input=text, capture_output=True, text=True, check=False)
    assert again.returncode == 3  # psql: an error in a script with ON_ERROR_STOP
    async with powerless() as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []


async def test_a_scripts_database_is_the_same_as_one_that_was_made_by_a_login_with_power(
    powerless, dsns, root, make_database, open_database, tenant_ids
):
    tenant, twin = next(tenant_ids), next(tenant_ids)
    async with powerless() as database:
        await run_by_hand(dsns, (await script(database, [tenant])).text)
    other = await make_database()
    async with open_database(dsn=other.app, admin_dsn=other.admin, migrations=[NOTES, TAGS]) as database:
        await database.ensure_tenant(twin)
    made = await asyncpg.connect(other.superuser)
    try:
        assert await fingerprint(root, f"tenant_{tenant}") == await fingerprint(made, f"tenant_{twin}")
        assert await service_fingerprint(root) == await service_fingerprint(made)
    finally:
        await made.close()


# --- From outside -----------------------------------------------------------------------------------------------------


async def titles(scope: Any, receive: Any, send: Any) -> None:
    db = await get_tenant_database(current_user(scope).tenant_id)
    rows = await db.fetch("select title from notes")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps([row["title"] for row in rows]).encode()})


@asynccontextmanager
async def served(dsns: Dsns, keys: dict[str, str], folder: Path) -> AsyncIterator[Callable]:
    settings = Settings(
        environment="production",
        api_keys={key: {"name": key, "tenant_id": tenant} for key, tenant in keys.items()},
        database_connection_string=dsns.app,
        direct_database_url=dsns.admin,
        tenant_provisioning="manual",
        tenant_migrations=folder,
    )
    app = TenantryMiddleware(titles, settings=settings)
    async with serve_on_loopback(app, lifespan="off") as url, httpx.AsyncClient(trust_env=False) as client:

        async def ask(key: str) -> httpx.Response:
            return await client.post(url, headers={"X-API-Key": key})

        yield ask
    await app.aclose()


async def test_a_server_with_manual_provisioning_serves_the_scripts_tenants_and_refuses_others(
    dsns, root, tenant_ids, open_database, tmp_path
):
    (tmp_path / "1_notes.sql").write_text(NOTES)
    tenant, unknown = next(tenant_ids), next(tenant_ids)
    async with open_database(migrations=[NOTES]) as database:
        await run_by_hand(dsns, (await script(database, [tenant])).text)
    await root.execute(f"insert into tenant_{tenant}.notes (title) values ('from the start')")
    async with served(dsns, {KEY: tenant, OTHER_KEY: unknown}, tmp_path) as ask:
        answer = await ask(KEY)
        assert (answer.status_code, answer.json()) == (200, ["from the start"])
        assert (await ask(OTHER_KEY)).status_code == 403
