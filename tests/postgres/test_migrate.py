"""All tenants brought to a version: whole, once each, and nobody waits for the one that cannot be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from tests.postgres.catalog import definitions, fingerprint
from tests.postgres.servers import rewritten

from tenantry import ConfigurationError, Settings, TenantryMiddleware, current_user
from tenantry.adapters.postgres.administration.migrate import Outcome, Progress, migrate
from tenantry.adapters.postgres.administration.plan import plan
from tenantry.adapters.postgres.migrations import Migrations
from tenantry.errors import Unavailable
from tenantry.postgres import Database, get_tenant_database
from tenantry.testing import serve_on_loopback

pytestmark = pytest.mark.anyio

NOTES = "create table notes (id bigint generated always as identity primary key, title text not null)"
DONE = "alter table notes add column done boolean not null default false"
TAGS = "create table tags (name text primary key)"
# For the schema that a setting of the database names, and only as long as it does.
STOPS = f"{DONE}; select pg_sleep(600) where current_schema() = current_setting('app.stops', true)"


@pytest.fixture
def make_tenants(open_database: Callable[..., Database], tenant_ids: Iterator[str]) -> Callable:
    """Make so many, in the order in which they are migrated, with the migrations of an older release."""

    async def make(number: int, *migrations: str, **options: Any) -> list[str]:
        ids = sorted(next(tenant_ids) for _ in range(number))
        async with open_database(migrations=migrations, **options) as database:
            for tenant in ids:
                await database.ensure_tenant(tenant)
        return ids

    return make


@pytest.fixture
def run(open_database: Callable[..., Database]) -> Callable:
    """A whole run of a release with these migrations."""

    async def run(*migrations: str, dsn: dict[str, Any] | None = None, **options: Any) -> Outcome:
        async with open_database(migrations=migrations, **(dsn or {})) as database:
            return await migrate(database, **options)

    return run


async def versions(root: asyncpg.Connection) -> dict[str, int]:
    return dict(await root.fetch("select tenant_id, version from tenantry.tenants order by 1"))


async def with_column(root: asyncpg.Connection, column: str) -> set[str]:
    """The tenants whose notes have it."""
    rows = await root.fetch("select table_schema from information_schema.columns where column_name = $1", column)
    return {row[0].removeprefix("tenant_") for row in rows}


@pytest.fixture
async def stopping_at(root: asyncpg.Connection) -> Callable:
    """Stop migration ``STOPS`` at a tenant, or (None) nowhere; connections opened from now on obey."""
    database = await root.fetchval("select current_database()")

    async def stop(tenant: str | None) -> None:
        where = "" if tenant is None else f"tenant_{tenant}"
        await root.execute(f"alter database {database} set app.stops = '{where}'")

    return stop


async def stopped(root: asyncpg.Connection) -> int:
    """The backend that has come to the place, once it has."""
    query = "select pid from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    async with asyncio.timeout(30):
        while (pid := await root.fetchval(query)) is None:
            pass
    return pid


# --- What a run does --------------------------------------------------------------------------------------------------


async def test_every_tenant_gets_what_it_lacks_and_keeps_its_rows(make_tenants, open_database, run, root):
    old = await make_tenants(13, NOTES)
    older_and_newer = await make_tenants(2, NOTES, DONE)
    async with open_database(migrations=[NOTES]) as database:
        await database.tenant(old[0]).execute("insert into notes (title) values ('kept')")
    outcome = await run(NOTES, DONE, TAGS)
    assert (outcome.version, outcome.migrated, outcome.skipped, outcome.left_behind) == (3, 15, {}, {})
    assert set((await versions(root)).values()) == {3}
    async with open_database(migrations=[NOTES, DONE, TAGS]) as database:
        assert tuple(await database.tenant(old[0]).fetchrow("select title, done from notes")) == ("kept", False)
        for tenant in (*old, *older_and_newer):  # the role may use what is new
            await database.tenant(tenant).execute("insert into tags (name) values ('new')")


async def test_a_second_run_has_nothing_to_do(make_tenants, run):
    await make_tenants(3, NOTES)
    await run(NOTES, DONE)
    outcome = await run(NOTES, DONE)
    assert (outcome.migrated, outcome.left_behind) == (0, {})


async def test_progress_is_told_after_every_batch_up_to_the_whole(make_tenants, run):
    await make_tenants(25, NOTES)
    told: list[Progress] = []
    await run(NOTES, DONE, report=told.append, workers=1)
    assert [progress.migrated for progress in told[:3]] == [10, 20, 25]
    assert {progress.total for progress in told} == {25}
    assert told[-1].seconds_left == 0


async def test_phase_pre_stops_at_the_last_migration_that_serving_needs(make_tenants, open_database, root, tmp_path):
    for name, text in (("1_notes.sql", NOTES), ("2_done.sql", DONE), ("3_tags.post.sql", TAGS)):
        (tmp_path / name).write_text(text)
    migrations = Migrations.read(tmp_path)
    (tenant,) = await make_tenants(1, NOTES)
    async with open_database(migrations=migrations) as database:
        assert (await migrate(database, phase="pre")).version == 2
        assert await versions(root) == {tenant: 2}
        await migrate(database)
        assert await versions(root) == {tenant: 3}


async def test_only_the_tenants_that_were_named(make_tenants, run, root):
    one, other, third = await make_tenants(3, NOTES)
    assert (await run(NOTES, DONE, tenants=[third, one])).migrated == 2
    assert await versions(root) == {one: 2, other: 1, third: 2}


async def test_a_tenant_that_is_not_there_is_one_sentence(make_tenants, run, root):
    (tenant,) = await make_tenants(1, NOTES)
    with pytest.raises(ConfigurationError, match="no tenant 'nobody_com'"):
        await run(NOTES, DONE, tenants=[tenant, "nobody_com"])
    assert await versions(root) == {tenant: 1}


async def test_suspended_ones_are_migrated_and_those_on_their_way_are_left_alone(make_tenants, run, root):
    active, suspended, moving, dropping = await make_tenants(4, NOTES)
    for tenant, state in ((suspended, "suspended"), (moving, "moving"), (dropping, "dropping")):
        await root.execute("update tenantry.tenants set state = $2 where tenant_id = $1", tenant, state)
    outcome = await run(NOTES, DONE)
    assert (outcome.migrated, outcome.skipped) == (2, {moving: "moving", dropping: "dropping"})
    assert await versions(root) == {active: 2, suspended: 2, moving: 1, dropping: 1}
    states = dict(await root.fetch("select tenant_id, state from tenantry.tenants"))
    assert states[suspended] == "suspended"


async def test_what_was_left_half_made_is_completed(make_tenants, make_database, open_database, dsns, tenant_ids):
    other = await make_database()
    options = {"databases": {"other": (other.app, other.admin)}}
    tenant = next(tenant_ids)
    async with open_database(migrations=["select 1/0"], **options) as database:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await database.provisioner.make(tenant, dsn_id="other")
    async with open_database(migrations=[NOTES], **options) as database:
        assert (await migrate(database)).migrated == 1
        assert await database.tenant(tenant).fetch("select title from notes") == []


async def test_what_a_newer_release_brought_further_is_left_alone(make_tenants, run, root):
    (newer,) = await make_tenants(1, NOTES, DONE, TAGS)
    (older,) = await make_tenants(1, NOTES)
    await run(NOTES, DONE)
    assert await versions(root) == {newer: 3, older: 2}


async def test_a_role_that_was_lost_with_its_cluster_comes_back(make_tenants, open_database, run, root):
    (tenant,) = await make_tenants(1, NOTES)
    role = await root.fetchval("select role_name from tenantry.tenants")
    await root.execute(f"drop owned by {role}; drop role {role}")
    assert (await run(NOTES, DONE)).left_behind == {}
    async with open_database(migrations=[NOTES, DONE]) as database:
        assert await database.tenant(tenant).fetch("select done from notes") == []


async def test_what_one_migration_sets_reaches_neither_the_next_nor_another_tenant(make_tenants, run):
    await make_tenants(3, NOTES)
    hasty = f"{DONE}; set local statement_timeout = '1ms'; set local search_path to pg_catalog"
    with pytest.raises(ConfigurationError, match="search path"):
        await run(NOTES, hasty)
    hasty = f"{DONE}; set local statement_timeout = '20ms'"
    outcome = await run(NOTES, hasty, "select pg_sleep(0.1)", workers=1)
    assert (outcome.migrated, outcome.left_behind) == (3, {})


async def test_tenants_of_all_databases_are_migrated(make_database, open_database, root, tenant_ids):
    further = await make_database()
    options = {"databases": {"further": (further.app, further.admin)}}
    here, there = next(tenant_ids), next(tenant_ids)
    async with open_database(migrations=[NOTES], **options) as database:
        await database.provisioner.make(here)
        await database.provisioner.make(there, dsn_id="further")
    async with open_database(migrations=[NOTES, DONE], **options) as database:
        assert (await migrate(database)).migrated == 2
        assert await versions(root) == {here: 2, there: 2}
        assert await database.tenant(there).fetch("select done from notes") == []


async def test_the_registry_learns_what_a_killed_run_could_no_longer_tell_it(
    make_database, open_database, root, tenant_ids
):
    """The further database has committed, and the main one does not know."""
    further = await make_database()
    options = {"databases": {"further": (further.app, further.admin)}}
    tenant = next(tenant_ids)
    async with open_database(migrations=[NOTES, DONE], **options) as database:
        await database.provisioner.make(tenant, dsn_id="further")
        await root.execute("update tenantry.tenants set version = 1")
        assert (await migrate(database)).left_behind == {}
        assert await versions(root) == {tenant: 2}


# --- What goes wrong --------------------------------------------------------------------------------------------------


async def test_a_bad_tenant_stops_only_itself(make_tenants, run, root):
    tenants = await make_tenants(12, NOTES)
    bad = tenants[4]
    await root.execute(f"alter table tenant_{bad}.notes add column done text")
    outcome = await run(NOTES, TAGS, f"select 1; {DONE}")
    assert outcome.migrated == 11
    assert outcome.left_behind.keys() == {bad}
    assert "already exists (statement 2 of migration '003')" in outcome.left_behind[bad]
    assert (await versions(root))[bad] == 1  # and not half-way, at 2
    assert not await root.fetchval(f"select to_regclass('tenant_{bad}.tags')")


async def test_a_migration_that_fails_for_the_first_ones_is_not_tried_on_all(make_tenants, run, root):
    tenants = await make_tenants(21, NOTES)
    outcome = await run(NOTES, "select 1/0", workers=1)
    assert outcome.left_behind.keys() == set(tenants)
    assert sum(reason.startswith("not tried") for reason in outcome.left_behind.values()) == 11


async def test_bad_tenants_of_an_earlier_run_do_not_keep_the_others_from_being_tried(make_tenants, run, root):
    tenants = await make_tenants(13, NOTES)
    for tenant in tenants[:12]:
        await root.execute(f"alter table tenant_{tenant}.notes add column done text")
    assert len((await run(NOTES, DONE)).left_behind) == 12
    await root.execute(f"alter table tenant_{tenants[11]}.notes drop column done")
    assert (await run(NOTES, DONE)).left_behind.keys() == set(tenants[:11])


async def test_a_migration_that_failed_may_be_mended(make_tenants, run, root):
    await make_tenants(2, NOTES)
    assert (await run(NOTES, "select 1/0")).left_behind
    assert (await run(NOTES, DONE)).left_behind == {}


async def test_a_busy_tenant_is_left_behind_alone_and_the_next_run_finds_it(make_tenants, run, root, dsns):
    tenants = await make_tenants(12, NOTES)
    busy = tenants[3]
    async with root.transaction():
        await root.execute(f"lock table tenant_{busy}.notes in access share mode")
        outcome = await run(NOTES, DONE, pauses=())
        assert (outcome.migrated, list(outcome.left_behind)) == (11, [busy])
        assert outcome.left_behind[busy].startswith("busy")
    assert (await run(NOTES, DONE)).migrated == 1


async def test_a_tenant_that_was_busy_for_a_while_is_tried_again(make_tenants, run, root, dsns):
    tenants = await make_tenants(12, NOTES)
    reader = await asyncpg.connect(dsns.superuser)
    await reader.execute(f"begin; lock table tenant_{tenants[0]}.notes in access share mode")

    def all_but_one(progress: Progress) -> None:
        if progress.migrated == 11 and not reader.is_closed():
            reader.terminate()

    assert (await run(NOTES, DONE, report=all_but_one)).left_behind == {}


async def test_a_tenant_somebody_else_works_on_is_left_for_later(make_tenants, run, open_database, root, stopping_at):
    tenants = await make_tenants(3, NOTES)
    await stopping_at(tenants[0])
    first = asyncio.create_task(run(NOTES, STOPS, tenants=[tenants[0]]))
    pid = await stopped(root)
    outcome = await run(NOTES, STOPS, pauses=())
    assert (outcome.migrated, list(outcome.left_behind)) == (2, [tenants[0]])
    await stopping_at(None)
    await root.execute("select pg_cancel_backend($1)", pid)
    assert list((await first).left_behind) == [tenants[0]]  # who cancels a statement means it
    assert (await run(NOTES, STOPS)).left_behind == {}


async def test_runs_at_once_share_the_work(make_tenants, run, root):
    """Each migration fails where it runs twice."""
    tenants = await make_tenants(60, NOTES)
    outcomes = await asyncio.gather(*(run(NOTES, TAGS, DONE) for _ in range(3)))
    assert [outcome.left_behind for outcome in outcomes] == [{}] * 3
    assert await versions(root) == dict.fromkeys(tenants, 3)


async def test_a_killed_backend_costs_a_try_and_no_tenant(make_tenants, run, root, stopping_at):
    tenants = await make_tenants(25, NOTES)
    await stopping_at(tenants[14])
    running = asyncio.create_task(run(NOTES, STOPS))
    pid = await stopped(root)
    await stopping_at(None)
    await root.execute("select pg_terminate_backend($1)", pid)
    outcome = await running
    assert (outcome.migrated, outcome.left_behind) == (25, {})
    assert await with_column(root, "done") == set(tenants)


async def test_a_cancelled_run_leaves_whole_tenants_and_the_next_one_goes_on(make_tenants, run, root, stopping_at):
    tenants = await make_tenants(25, NOTES)
    await stopping_at(tenants[14])
    running = asyncio.create_task(run(NOTES, STOPS))
    await stopped(root)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    at = await versions(root)
    assert {tenant for tenant in tenants if at[tenant] == 2} == await with_column(root, "done")
    assert at[tenants[14]] == 1
    await stopping_at(None)
    assert (await run(NOTES, STOPS)).left_behind == {}
    assert await with_column(root, "done") == set(tenants)


async def test_a_tenant_that_is_made_meanwhile_is_born_at_the_newest_version(
    make_tenants, open_database, run, root, tenant_ids, stopping_at
):
    tenants = await make_tenants(3, NOTES)
    await stopping_at(tenants[1])
    running = asyncio.create_task(run(NOTES, STOPS))
    pid = await stopped(root)
    born = next(tenant_ids)
    async with open_database(migrations=[NOTES, STOPS]) as database:
        assert await database.tenant(born).fetch("select done from notes") == []
    assert (await versions(root))[born] == 2
    await stopping_at(None)
    await root.execute("select pg_terminate_backend($1)", pid)
    assert (await running).left_behind == {}
    assert set((await versions(root)).values()) == {2}


async def test_a_database_that_stays_away_ends_the_run(make_tenants, open_database, dsns):
    await make_tenants(1, NOTES)
    async with open_database(admin_dsn=rewritten(dsns.admin, address="127.0.0.1:1")) as database:
        with pytest.raises(Unavailable):
            await migrate(database)


async def test_a_login_without_the_right_is_told_and_changes_nothing(make_tenants, open_database, root, dsns):
    (tenant,) = await make_tenants(1, NOTES)
    await root.execute("grant usage on schema tenantry to tenantry_app")
    await root.execute("grant select on tenantry.deployment, tenantry.tenants, tenantry.migrations to tenantry_app")
    async with open_database(migrations=[NOTES, DONE], admin_dsn=dsns.app) as database:
        with pytest.raises(ConfigurationError, match="may not make roles"):
            await migrate(database)
    assert await versions(root) == {tenant: 1}


# --- Files that are no longer what they were --------------------------------------------------------------------------


def folder_of(path: Path, **files: str) -> Migrations:
    for old in path.iterdir():
        old.unlink()
    for name, text in files.items():
        (path / f"{name}.sql").write_text(text)
    return Migrations.read(path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"m1_notes": NOTES, "m2_tags": f"{TAGS} ", "m3_done": DONE}, "'m2_tags.sql' was changed after"),
        ({"m1_notes": NOTES, "m3_done": DONE}, "'m3_done.sql' stands where 'm2_tags.sql' was"),
        ({"m1_notes": NOTES, "m2_labels": TAGS, "m3_done": DONE}, "'m2_labels.sql' stands where 'm2_tags.sql' was"),
        ({"m0_early": "select 1", "m1_notes": NOTES, "m2_tags": TAGS}, "'m0_early.sql' stands where 'm1_notes.sql'"),
    ],
    ids=["changed", "removed", "renamed", "put before"],
)
async def test_a_file_that_was_applied_and_is_another_now_is_refused_before_anything_runs(
    open_database, root, tenant_ids, tmp_path, files, words
):
    tenant, other = next(tenant_ids), next(tenant_ids)
    async with open_database(migrations=folder_of(tmp_path, m1_notes=NOTES)) as database:
        await database.ensure_tenant(tenant)
    async with open_database(migrations=folder_of(tmp_path, m1_notes=NOTES, m2_tags=TAGS)) as database:
        await database.ensure_tenant(other)
    async with open_database(migrations=folder_of(tmp_path, **files)) as database:
        with pytest.raises(ConfigurationError, match=words):
            await migrate(database)
        with pytest.raises(ConfigurationError, match=words):
            await plan(database)
    assert await versions(root) == {tenant: 1, other: 2}


async def test_an_older_release_with_fewer_files_is_no_fault(make_tenants, run):
    await make_tenants(1, NOTES, DONE, TAGS)
    assert (await run(NOTES, DONE)).left_behind == {}


# --- Looking first ----------------------------------------------------------------------------------------------------


async def test_a_plan_makes_nothing_not_even_the_control_schema(open_database, root):
    async with open_database(migrations=[NOTES]) as database:
        (found,) = await plan(database)
    assert (found.dsn_id, found.prepared, found.versions, found.files) == ("main", False, {}, {})
    assert not await root.fetchval("select to_regnamespace('tenantry')")
    assert await root.fetchval("select has_database_privilege('public', current_database(), 'TEMP')")


async def test_a_plan_counts_what_would_run_and_changes_nothing(make_tenants, open_database, root, tmp_path):
    files = {"m1_notes": NOTES, "m2_tags": TAGS, "m3_done": DONE}
    await make_tenants(2, NOTES)
    (moving,) = await make_tenants(1, NOTES)
    await make_tenants(1, NOTES, TAGS)
    await root.execute("update tenantry.tenants set state = 'moving' where tenant_id = $1", moving)
    async with open_database(migrations=folder_of(tmp_path, **files)) as database:
        (found,) = await plan(database)
    assert found.prepared
    assert found.versions == {1: 2, 2: 1}
    assert found.files == {"m2_tags.sql": 2, "m3_done.sql": 3}
    assert found.skipped == {moving: "moving"}
    assert set((await versions(root)).values()) == {1, 2}
    assert await root.fetchval("select count(*) from tenantry.migrations") == 2


# --- The databases themselves -----------------------------------------------------------------------------------------


async def test_without_a_tenant_the_database_is_prepared(open_database, root):
    async with open_database(migrations=[]) as database:
        assert (await migrate(database)).version == 0
    assert await root.fetchval("select count(*) from tenantry.deployment") == 1
    assert not await root.fetchval("select has_database_privilege('public', current_database(), 'TEMP')")


async def test_the_logins_of_ours_get_the_password_that_follows_from_a_new_secret(
    open_database, dsns, root, server, tenant_ids
):
    """One connection string, whose password the operator has changed."""
    tenant, login = next(tenant_ids), f"one_{next(tenant_ids)}"
    name = await root.fetchval("select current_database()")
    await root.execute(f"create role {login} login createrole password 'the first one'")
    await root.execute(f"alter database {name} owner to {login}")
    first = rewritten(dsns.admin, login=f"{login}:the%20first%20one")
    async with open_database(dsn=first, admin_dsn=None) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('kept')")
    await root.execute(f"alter role {login} password 'the second one'")
    second = rewritten(dsns.admin, login=f"{login}:the%20second%20one")
    async with open_database(dsn=second, admin_dsn=None) as database:
        await migrate(database)
    async with open_database(dsn=second, admin_dsn=None, create_tenants=False) as database:
        assert await database.tenant(tenant).fetchval("select title from notes") == "kept"


async def test_a_password_that_still_holds_is_not_set_again(open_database, dsns, root, tenant_ids):
    async with open_database(dsn=dsns.admin, admin_dsn=None) as database:
        await database.ensure_tenant(next(tenant_ids))
        verifiers = "select rolname, rolpassword from pg_authid where rolname like 'tenantry_%_app_%'"
        before = await root.fetch(verifiers)
        await migrate(database)
    assert before
    assert await root.fetch(verifiers) == before


# --- The schema is the sum of its migrations --------------------------------------------------------------------------

RELEASES = [
    """
    create table people (id bigint generated always as identity primary key, name text not null, address text);
    create table notes (
        id bigserial primary key, title text not null, author bigint references people on delete cascade
    );
    create index on notes (author);
    """,
    "alter table notes add column done boolean not null default false; alter table people drop column address;",
    """
    alter table notes alter column title set default 'untitled';
    alter table notes add constraint short check (length(title) < 100);
    create view open_notes as select id, title from notes where not done;
    create function note_count() returns bigint language sql stable as $$ select count(*) from notes $$;
    """,
    """
    insert into people (name) values ('nobody');
    update notes set author = 1;
    alter table notes alter column author set not null;
    alter table notes rename column title to heading;
    alter table people add column at timestamptz not null default now(), add unique (name);
    comment on table people is 'who writes';
    """,
    """
    drop view open_notes;
    alter table notes drop constraint short, alter column heading type varchar(200);
    create or replace function note_count() returns bigint language sql stable as $$ select count(*) + 0 from notes $$;
    create unique index by_heading on notes (lower(heading)) where done;
    """,
]


async def test_the_schema_equals_the_sum_of_its_migrations(open_database, root, tenant_ids):
    """Born at the newest version, brought there from every older one and through all of them, and run by hand."""
    born, stepwise = next(tenant_ids), next(tenant_ids)
    older = [next(tenant_ids) for _ in RELEASES[:-1]]
    for number, _ in enumerate(RELEASES[:-1], 1):
        async with open_database(migrations=RELEASES[:number]) as database:
            await database.ensure_tenant(older[number - 1])
            if number == 1:
                await database.ensure_tenant(stepwise)
            await migrate(database, tenants=[stepwise])
    async with open_database(migrations=RELEASES) as database:
        assert (await migrate(database)).left_behind == {}
        await database.ensure_tenant(born)
    await root.execute("create schema by_hand; set search_path = by_hand")
    for release in RELEASES:
        await root.execute(release)
    await root.execute("reset search_path")

    by_hand = await definitions(root, "by_hand")
    assert {"relation", "column", "constraint", "index", "function", "sequence", "comment"} <= {
        kind for kind, *_ in by_hand
    }
    for tenant in (born, stepwise, *older):
        assert await definitions(root, f"tenant_{tenant}") == by_hand
        assert await fingerprint(root, f"tenant_{tenant}") == await fingerprint(root, f"tenant_{born}")


async def test_two_schemas_that_differ_are_told_apart(open_database, root, tenant_ids):
    """Else the test above could not fail."""
    for number in range(1, len(RELEASES) + 1):
        async with open_database(migrations=RELEASES[:number]) as database:
            await database.ensure_tenant(next(tenant_ids))
    schemas = [row[0] for row in await root.fetch("select schema_name from tenantry.tenants")]
    found = [await definitions(root, schema) for schema in schemas]
    assert all(one != other for number, one in enumerate(found) for other in found[:number])


# --- From outside -----------------------------------------------------------------------------------------------------

KEY = "a-made-up-key-of-more-than-32-characters"


async def titles(scope: Any, receive: Any, send: Any) -> None:
    db = await get_tenant_database(current_user(scope).tenant_id)
    rows = await db.fetch("select title, done from notes")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps([list(row.values()) for row in rows]).encode()})


@pytest.fixture
async def ask(dsns: Any, tenant_ids: Iterator[str], tmp_path: Path) -> AsyncIterator[Callable]:
    """Ask a served app whose release needs ``DONE``, as the one tenant there is."""
    (tmp_path / "1_notes.sql").write_text(NOTES)
    async with Database.open(
        dsns.app, admin_dsn=dsns.admin, create_tenants=True, migrations=Migrations.read(tmp_path)
    ) as old:
        tenant = next(tenant_ids)
        await old.tenant(tenant).execute("insert into notes (title) values ('kept')")
    (tmp_path / "2_done.sql").write_text(DONE)
    settings = Settings(
        environment="production",
        api_keys={KEY: {"name": "ci", "tenant_id": tenant}},
        database_connection_string=dsns.app,
        direct_database_url=dsns.admin,
        tenant_migrations=tmp_path,
    )
    app = TenantryMiddleware(titles, settings=settings)
    async with serve_on_loopback(app, lifespan="off") as url, httpx.AsyncClient(trust_env=False) as client:

        async def ask() -> httpx.Response:
            return await client.post(url, headers={"X-API-Key": KEY})

        yield ask
    await app.aclose()


async def test_a_tenant_that_is_behind_is_503_until_it_is_migrated_and_then_200_without_a_restart(
    ask, open_database, tmp_path
):
    for _ in range(2):
        answer = await ask()
        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
    async with open_database(migrations=Migrations.read(tmp_path)) as database:
        assert (await migrate(database)).migrated == 1
    answer = await ask()
    assert (answer.status_code, answer.json()) == (200, [["kept", False]])
