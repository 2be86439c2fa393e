"""SQL that a tenant or a model wrote: what works, and where each limit is."""

# ruff: noqa: PT012 - a scope is a block, so what it raises comes out of a block

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from tests.postgres.conftest import NOTES

from tenantry.adapters.postgres.untrusted_login import AT_ONCE, FOR_ONE_TENANT
from tenantry.errors import ConfigurationError, Forbidden, Unavailable
from tenantry.model import MCPUserContext
from tenantry.postgres import (
    Database,
    EmbeddedPostgres,
    LimitExceeded,
    Limits,
    untrusted_connection,
    use_database,
)

pytestmark = pytest.mark.anyio

# An application's function that does not let itself be cancelled, and one that writes.
STUBBORN = """
create function stubborn() returns int language plpgsql as $$
begin
  loop
    begin
      perform pg_sleep(600);
    exception when query_canceled then null;
    end;
  end loop;
end $$
"""
WRITER = """
create function add_note(title text) returns bigint language sql as
'insert into notes (title) values ($1) returning id'
"""
QUICK = Limits(seconds=0.3)


@pytest.fixture
def tenant(tenant_ids):
    return next(tenant_ids)


@pytest.fixture
async def database(open_database) -> AsyncIterator[Database]:
    async with open_database(migrations=[NOTES, STUBBORN, WRITER]) as opened:
        yield opened


@pytest.fixture
async def notes(database, tenant):
    await database.tenant(tenant).executemany("insert into notes (title) values ($1)", [("a",), ("b",), ("c",)])
    return tenant


async def fetch(database: Database, tenant: str, query: str, *args: object, **options: Any) -> Any:
    async with database.untrusted_connection(tenant, **options) as connection:
        return await connection.fetch(query, *args)


async def execute(database: Database, tenant: str, query: str, *args: object) -> int:
    async with database.untrusted_connection(tenant, readonly=False) as connection:
        return await connection.execute(query, *args)


async def running(root: asyncpg.Connection, database: Database, tenant: str) -> bool:
    """Whether the tenant's own login runs anything in the server."""
    role = (await database.registry.find(tenant)).names.role
    look = "select exists (select from pg_stat_activity where usename = $1 and state = 'active')"
    return await root.fetchval(look, role)


async def until(wanted: bool, *where: Any) -> None:
    """Wait for ``running``: PostgreSQL tells nobody when a process begins or ends."""
    async with asyncio.timeout(20):
        while await running(*where) is not wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# --- What works -------------------------------------------------------------------------------------------------------


async def test_the_login_is_the_tenants_own_role_in_its_own_schema(database, tenant):
    (row,) = await fetch(
        database, tenant, "select session_user::text, current_user::text as now, current_setting('search_path') as path"
    )
    assert row["session_user"] == row["now"] == (await database.registry.find(tenant)).names.role
    assert row["path"] == f"tenant_{tenant}, pg_temp"


@pytest.mark.parametrize(
    "query",
    [
        "select title from notes order by title",
        "select title from notes order by title -- and a comment",
        "select title from notes order by title /* and ( a comment */",
        "table notes order by title",
        "with kept as (select id, title from notes) select title from kept order by title",
        "values ('a', 1), ('b', 2), ('c', 3)",
        "select unnest(array['a', 'b', 'c']) as \"statement\"",
        "select title, title as title, $$a)$$ as x, ')' as y, E'\\')' as z from notes order by title",
    ],
)
async def test_a_query_gives_its_rows_in_their_order(database, notes, query):
    rows = await fetch(database, notes, query)
    last = -1 if query.startswith("table") else 0
    assert [row[last] for row in rows] == ["a", "b", "c"]
    assert not rows.truncated


async def test_parameters_fetchrow_and_fetchval_work(database, notes):
    async with database.untrusted_connection(notes) as connection:
        assert await connection.fetchval("select title from notes where id = $1 -- $2", 2) == "b"
        assert await connection.fetchval("select $1::text || $2", "x", "y") == "xy"
        assert dict(await connection.fetchrow("select 1 as one, 2 as two")) == {"one": 1, "two": 2}
        assert await connection.fetchval("select 1, 2", column=1) == 2
        assert await connection.fetchrow("select id from notes where false") is None
        assert await connection.fetchval("select id from notes where false") is None
        assert await connection.execute("select title from notes") == 3


async def test_values_of_every_usual_type_arrive(database, notes):
    (row,) = await fetch(
        database,
        notes,
        "select '{1,2}'::int[] a, null b, '{}'::jsonb c, 1.5 d, true e, '\\x00'::bytea f, row(1, 'x') g, notes h,"
        " pg_sleep(0) i from notes where id = 1",
    )
    assert [row[name] for name in "abcdef"] == [[1, 2], None, "{}", pytest.approx(1.5), True, b"\0"]
    assert tuple(row["g"]) == (1, "x")
    assert row["h"]["title"] == "a"


async def test_writes_are_counted_returned_and_kept(database, notes):
    assert await execute(database, notes, "insert into notes (title) values ($1), ($2)", "d", "e") == 2
    assert await execute(database, notes, "update notes set title = upper(title) where id < 3 -- ok") == 2
    assert await execute(database, notes, "delete from notes where title = 'c' returning id") == 1
    rows = await fetch(database, notes, "insert into notes (title) values ('f') returning title", readonly=False)
    assert [row["title"] for row in rows] == ["f"]
    assert await fetch(database, notes, "insert into notes (title) values ('g')", readonly=False) == []
    assert await database.tenant(notes).fetchval("select string_agg(title, '' order by id) from notes") == "ABdefg"


async def test_a_block_that_fails_writes_nothing(database, notes):
    with pytest.raises(ZeroDivisionError):
        async with database.untrusted_connection(notes, readonly=False) as connection:
            await connection.execute("delete from notes")
            raise ZeroDivisionError
    with pytest.raises(asyncpg.InFailedSQLTransactionError):  # a swallowed error is no silent rollback
        async with database.untrusted_connection(notes, readonly=False) as connection:
            await connection.execute("delete from notes")
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetch("select 1/0")
    assert await database.tenant(notes).fetchval("select count(*) from notes") == 3


async def test_an_error_of_the_statement_is_the_servers_own(database, notes):
    with pytest.raises(asyncpg.UndefinedTableError, match='"nowhere" does not exist'):
        await fetch(database, notes, "select 1 from nowhere")


@pytest.mark.parametrize(
    "query",
    ["delete from notes", "delete from notes returning id", "select add_note('x')", "select nextval('notes_id_seq')"],
)
async def test_readonly_refuses_every_write(database, notes, query):
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await fetch(database, notes, query)
    assert await database.tenant(notes).fetchval("select count(*) from notes") == 3


async def test_readonly_cannot_be_left(database, notes):
    for query in ("select set_config('transaction_read_only', 'off', true)", "select set_config('role', 'none', true)"):
        async with database.untrusted_connection(notes) as connection:
            with pytest.raises(asyncpg.PostgresError):
                await connection.fetch(query)
                await connection.fetch("delete from notes returning id")
    assert await database.tenant(notes).fetchval("select count(*) from notes") == 3


async def test_the_user_is_visible_in_the_block(database, tenant):
    user = MCPUserContext("google:1'", "google", "1", tenant, permissions=frozenset({"notes:read", "a'b"}))
    show = "select current_setting('tenantry.user_id') as who, current_setting('tenantry.permissions') as may"
    async with database.untrusted_connection(user) as connection:
        assert tuple(await connection.fetchrow(show)) == ("google:1'", "a'b notes:read")


async def test_a_connection_is_useless_after_its_block(database, tenant):
    async with database.untrusted_connection(tenant) as connection:
        pass
    with pytest.raises(asyncpg.InterfaceError):
        await connection.fetch("select 1")


# --- Time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "select pg_sleep(1e9)",
        "select count(*) from generate_series(1, 1000000000000) as g",
        "with recursive bomb as (select 1 as n union all select n + 1 from bomb) select count(*) from bomb",
        "select count(*) from notes a, generate_series(1, 100000) b, generate_series(1, 100000) c",
        "select stubborn()",
    ],
)
async def test_a_statement_without_end_is_stopped_and_nothing_runs_on(database, root, notes, query):
    async with asyncio.timeout(30):
        with pytest.raises(LimitExceeded) as stopped:
            await fetch(database, notes, query, limits=QUICK)
    assert stopped.value.limit == "seconds"
    await until(False, root, database, notes)


async def test_the_time_is_for_the_whole_block(database, tenant):
    with pytest.raises(LimitExceeded):
        async with database.untrusted_connection(tenant, limits=QUICK) as connection:
            for _ in range(1000):
                await connection.fetch("select pg_sleep(0.01)")


async def test_a_block_that_ran_out_of_time_cannot_commit(database, notes):
    with pytest.raises(LimitExceeded):
        async with database.untrusted_connection(notes, readonly=False, limits=QUICK) as connection:
            await connection.execute("delete from notes")
            with pytest.raises(LimitExceeded):
                await connection.fetch("select pg_sleep(600)")
    assert await database.tenant(notes).fetchval("select count(*) from notes") == 3


async def test_a_caller_who_goes_away_leaves_nothing_running(database, root, notes):
    for query in ("select pg_sleep(600)", "select stubborn()"):
        task = asyncio.create_task(fetch(database, notes, query))
        await until(True, root, database, notes)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(False, root, database, notes)


# --- Rows and bytes ---------------------------------------------------------------------------------------------------


async def test_more_rows_than_allowed_are_cut_and_said_to_be(database, tenant):
    limits = Limits(rows=3)
    rows = await fetch(database, tenant, "select g from generate_series(1, 4) as g", limits=limits)
    assert ([row["g"] for row in rows], rows.truncated) == ([1, 2, 3], True)
    rows = await fetch(database, tenant, "select g from generate_series(1, 3) as g", limits=limits)
    assert (len(rows), rows.truncated) == (3, False)


async def test_a_write_that_returns_too_many_rows_is_done_all_the_same(database, notes):
    rows = await fetch(
        database, notes, "update notes set title = 'x' returning id", readonly=False, limits=Limits(rows=1)
    )
    assert (len(rows), rows.truncated) == (1, True)
    assert await database.tenant(notes).fetchval("select count(*) from notes where title = 'x'") == 3


@pytest.mark.parametrize(
    "query",
    [
        "select repeat(repeat('x', 1000), 50000)",
        "select repeat('x', 3000) from generate_series(1, 900)",
        "select array_agg(repeat('x', 1000)) from generate_series(1, 2000)",
        "select repeat(repeat('x', 1000), 50000)::int",  # an error that quotes its value
        "select 1 as limited_rows, repeat(repeat('x', 1000), 50000) as whole_row",
        "select notes, repeat(repeat('x', 1000), 50000) as measured from notes",
    ],
)
async def test_more_bytes_than_allowed_never_arrive(database, notes, query):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with database.untrusted_connection(notes, limits=Limits(seconds=60)) as connection:
        with pytest.raises((LimitExceeded, asyncpg.WrongObjectTypeError)) as stopped:
            await connection.fetch(query)
    assert getattr(stopped.value, "limit", "bytes") == "bytes"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # kB; each of them has 50 MB or more


async def test_compressed_rows_count_as_what_they_are(database, tenant):
    await database.tenant(tenant).execute(
        "insert into notes (title) values (repeat('x', 3000000)), (repeat('y', 9000))"
    )
    with pytest.raises(LimitExceeded):
        await fetch(database, tenant, "select title from notes where title like 'x%'")
    rows = await fetch(database, tenant, "select title from notes where title like 'y%'")
    assert len(rows[0]["title"]) == 9000


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0}, {"seconds": float("nan")}, {"seconds": 10**6}, {"rows": 0}, {"rows": 10**7},
        {"bytes": 0}, {"bytes": 1 << 40}, {"memory": 0}, {"memory": 1 << 40},
    ],
)  # fmt: skip
def test_a_limit_that_limits_nothing_is_refused(wrong):
    with pytest.raises(ValueError):
        Limits(**wrong)


# --- Connections ------------------------------------------------------------------------------------------------------


async def test_one_tenant_cannot_have_them_all(database, tenant, tenant_ids):
    async with AsyncExitStack() as stack:
        for _ in range(FOR_ONE_TENANT):
            await stack.enter_async_context(database.untrusted_connection(tenant))
        with pytest.raises(Unavailable):
            await fetch(database, tenant, "select 1")
        assert await fetch(database, next(tenant_ids), "select 1")
    assert await fetch(database, tenant, "select 1")


async def test_a_block_waits_for_a_place(database, tenant_ids):
    names = [next(tenant_ids) for _ in range(AT_ONCE + 1)]
    async with AsyncExitStack() as stack:
        for name in names[1:]:
            await stack.enter_async_context(database.untrusted_connection(name))
        waiting = asyncio.create_task(fetch(database, names[0], "select 1"))
        await database.tenant(names[0]).execute("select 1")
        assert not waiting.done()
    assert await waiting


async def test_a_killed_backend_is_unavailable(database, root, tenant):
    with pytest.raises(Unavailable):
        async with database.untrusted_connection(tenant) as connection:
            pid = await connection.fetchval("select pg_backend_pid()")
            await root.execute("select pg_terminate_backend($1, 5000)", pid)
            await connection.fetchval("select 1")
    assert await fetch(database, tenant, "select 1")


async def test_a_suspended_tenant_is_refused(database, tenant):
    assert await fetch(database, tenant, "select 1")
    await database.registry.set_state(tenant, "suspended", actor="test")
    with pytest.raises(Forbidden):
        async with asyncio.timeout(10):
            while True:  # until this replica has heard of it
                await fetch(database, tenant, "select 1")


async def test_a_replica_and_a_new_password_find_their_way_in(open_database, root, tenant, database):
    assert await fetch(database, tenant, "select 1")
    async with open_database() as replica:
        assert await fetch(replica, tenant, "select 1")
    role = (await database.registry.find(tenant)).names.role
    await root.execute(f"alter role {role} password 'something else'")
    assert await fetch(database, tenant, "select 1")


async def test_a_role_that_cannot_be_let_in_is_a_sentence_without_a_password(open_database, database, root, tenant):
    await database.ensure_tenant(tenant)
    await root.execute("alter role tenantry_admin nocreaterole")
    try:
        async with open_database(migrations=[NOTES, STUBBORN, WRITER]) as powerless:
            with pytest.raises(ConfigurationError, match="may not log in yet") as refused:
                await fetch(powerless, tenant, "select 1")
        assert "SCRAM" not in str(refused.value)
    finally:
        await root.execute("alter role tenantry_admin createrole")


async def test_a_pool_of_the_applications_own_cannot_serve(dsns, database, tenant):
    await database.ensure_tenant(tenant)
    async with (
        asyncpg.create_pool(dsns.app, min_size=1, max_size=1) as pool,
        Database.over(pool, admin_dsn=dsns.admin, create_tenants=False, migrations=[NOTES, STUBBORN, WRITER]) as over,
    ):
        with pytest.raises(ConfigurationError, match="connection string"):
            await fetch(over, tenant, "select 1")


async def test_another_tenants_name_is_refused_in_a_request(database, tenant, tenant_ids, monkeypatch):
    caller = MCPUserContext("google:1", "google", "1", tenant)
    monkeypatch.setattr("tenantry.postgres.peek_user", lambda: caller)
    with use_database(database):
        async with untrusted_connection(caller) as connection:
            assert await connection.fetchval("select 1") == 1
        with pytest.raises(Forbidden):
            untrusted_connection(next(tenant_ids))


# --- Behind PgBouncer -------------------------------------------------------------------------------------------------


async def test_it_works_through_a_pooler_and_leaves_nothing_there(open_database, bounced_dsns, root, tenant):
    async with open_database(dsn=bounced_dsns.app) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('a')")
        for _ in range(6):
            async with database.untrusted_connection(tenant, readonly=False) as connection:
                assert await connection.fetchval("select coalesce(current_setting('my.own', true), '')") == ""
                await connection.fetch("select set_config('my.own', 'left', false), pg_advisory_lock(42)")
                assert await connection.fetchval("select title from notes") == "a"
        assert not await root.fetchval("select count(*) from pg_locks where locktype = 'advisory'")


async def test_a_statement_without_end_is_stopped_behind_a_pooler(open_database, bounced_dsns, root, tenant):
    async with open_database(dsn=bounced_dsns.app, migrations=[NOTES, STUBBORN]) as database:
        for query in ("select pg_sleep(600)", "select stubborn()"):
            with pytest.raises(LimitExceeded):
                await fetch(database, tenant, query, limits=QUICK)
            await until(False, root, database, tenant)


# --- The embedded server ----------------------------------------------------------------------------------------------


async def test_the_embedded_servers_database_has_no_set_config_for_tenants(tenant):
    async with (
        EmbeddedPostgres() as server,
        Database.open(server.app_dsn, admin_dsn=server.admin_dsn, create_tenants=True, migrations=[NOTES]) as database,
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(database, tenant, "select set_config('work_mem', '1GB', false)")
        with pytest.raises(asyncpg.PostgresError, match="temp_file_limit"):
            await fetch(database, tenant, "select count(*) from generate_series(1, 100000000)")
        admin = await asyncpg.connect(server.admin_dsn)
        try:  # what pg_dump begins with
            assert await admin.fetchval("select pg_catalog.set_config('search_path', '', false)") == ""
        finally:
            await admin.close()
