"""A tenant, or a model that a tenant talked to, writes SQL. Facts of PostgreSQL: docs/tenancy.md.

Each attack is tried twice: through ``untrusted_connection``, and on a bare connection with the same login, without our
fence around the text. The login is the wall; the fence only comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest

# The servers, and a database for each test, are those of the database tests.
from tests.postgres.conftest import (  # noqa: F401 - fixtures and the hook work by being here
    NOTES,
    anyio_backend,
    dsns,
    make_database,
    numbers,
    open_database,
    pytest_generate_tests,
    root,
    server,
    source,
    tenant_ids,
)
from tests.postgres.test_untrusted import until

from tenantry.adapters.postgres.migrations import Migrations
from tenantry.errors import ConfigurationError, Unavailable
from tenantry.postgres import Database, LimitExceeded, Limits

pytestmark = pytest.mark.anyio

SECRET = "what the other tenant wrote"
QUICK = Limits(seconds=0.5)
Attack = Callable[..., Any]


@pytest.fixture
async def database(open_database) -> AsyncIterator[Database]:  # noqa: F811
    async with open_database(pool_size=2) as opened:
        yield opened


@pytest.fixture
async def mine(database, tenant_ids):  # noqa: F811
    name = next(tenant_ids)
    await database.tenant(name).execute("insert into notes (title) values ('my own')")
    return name


@pytest.fixture
async def other(database, tenant_ids):  # noqa: F811
    name = next(tenant_ids)
    await database.tenant(name).execute("insert into notes (title) values ($1)", SECRET)
    return name


@asynccontextmanager
async def bare(database: Database, tenant: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the tenant's login, as if its password were known."""
    async with database.untrusted_connection(tenant):
        pass  # it may log in from now on
    entry = await database.registry.find(tenant)
    cluster = database.clusters["main"]
    credentials = (await cluster.ready()).logins.derived(entry.names.role)
    connection = await cluster.log_in(credentials, statement_cache_size=0)
    try:
        yield connection
    finally:
        connection.terminate()


@pytest.fixture(params=["fenced", "bare", "bare script"])
def attack(request, database, mine) -> Attack:
    """Run SQL of the tenant ``mine``; what came back, or the error."""

    async def run(text: str) -> str:
        try:
            if request.param == "fenced":
                async with database.untrusted_connection(mine, readonly=False, limits=QUICK) as connection:
                    return repr([dict(row) for row in await connection.fetch(text)])
            async with bare(database, mine) as connection, asyncio.timeout(QUICK.seconds):
                if request.param == "bare script":  # the simple protocol: several statements in one text
                    return await connection.execute(text)
                return repr([dict(row) for row in await connection.fetch(text)])
        except (asyncpg.PostgresError, asyncpg.InterfaceError, LimitExceeded, TimeoutError, Unavailable) as error:
            return f"{type(error).__name__}: {error}"

    return run


def denied(answer: str) -> bool:
    """An error of the server's or a limit of ours, and nothing of anybody else's in it."""
    return "Error" in answer.split(":")[0] or answer.startswith(("LimitExceeded", "Unavailable"))


async def roles(database: Database, *tenants: str) -> list[str]:
    return [(await database.registry.find(tenant)).names.role for tenant in tenants]


# --- Row 6: become somebody else --------------------------------------------------------------------------------------


async def test_nobody_else_can_be_become(database, attack, mine, other):
    (role,) = await roles(database, other)
    deployment = await database.registry.deployment()
    login = (await database.clusters["main"].ready()).logins.of(0).login
    for text in (
        "set role {other}",
        "set local role {other}",
        "set session authorization {other}",
        "select set_config('role', '{other}', false)",
        "select set_config('session_authorization', '{other}', false)",
        "set role {owner}",
        "set role {login}",
        "set role postgres",
        "begin; set local role {other}; select title from tenant_{tenant}.notes",
        "reset role; set role {other}; select title from tenant_{tenant}.notes",
        "grant {other} to current_user",
        "alter role current_user superuser",
        "alter role current_user createrole",
        "alter role {other} password 'mine'",
    ):
        answer = await attack(text.format(other=role, owner=deployment.owner, login=login, tenant=other))
        assert denied(answer), (text, answer)
        assert SECRET not in answer


async def test_resetting_the_role_leads_back_to_the_same_one(database, mine):
    async with bare(database, mine) as connection:
        await connection.execute("reset role; reset session authorization; set role none")
        assert [await connection.fetchval("select current_user::text")] == await roles(database, mine)


# --- Row 7: one SELECT that does it all -------------------------------------------------------------------------------


async def test_one_select_reads_nothing_of_another_tenant(database, attack, mine, other):
    (role,) = await roles(database, other)
    for text in (
        "select set_config('role', '{other}', true), query_to_xml('select title from {notes}', true, true, '')",
        "select set_config('role', '{other}', true), ts_stat('select to_tsvector(title) from {notes}')",
        "select set_config('search_path', '{schema}', true), query_to_xml('select title from notes', true, true, '')",
        "select word from ts_stat('select to_tsvector(''simple'', title) from {notes}')",
        "select query_to_xml('select title from {notes}', true, true, '')",
        "select table_to_xml('{notes}'::regclass, true, true, '')",
        "select schema_to_xml('{schema}', true, true, '')",
        "select database_to_xml(true, true, '')",
        "select cursor_to_xml('c', 10, true, true, '')",
        "select ts_rewrite('a'::tsquery, 'select ''a''::tsquery, title::tsquery from {notes}')",
        "update pg_settings set setting = '{other}' where name = 'role' returning setting",
        "select title from {notes}",
        "select count(*) from {notes}",
        "insert into {notes} (title) values ('x') returning id",
        "delete from {notes} returning title",
        "select pg_relation_filepath('{notes}'), pg_read_file(pg_relation_filepath('{notes}'))",
        "select lo_get(oid) from pg_largeobject_metadata where lo_get(oid) = '' or true and 1 / 0 = 1",
    ):
        answer = await attack(text.format(other=role, schema=f"tenant_{other}", notes=f"tenant_{other}.notes"))
        assert not any(word in answer for word in (SECRET, "tenant wrote", "'wrote'")), (text, answer)
        assert await database.tenant(other).fetchval("select string_agg(title, '') from notes") == SECRET


# --- Row 8: statements under the driver's names -----------------------------------------------------------------------


async def test_prepared_statements_of_others_are_out_of_reach(database, attack, mine, other):
    query = "select title from notes where id = $1"
    for _ in range(3):  # prepared on every connection of the pool
        assert await database.tenant(other).fetchval(query, 1) == SECRET
    for text in (
        'deallocate "__asyncpg_stmt_1__"',
        "deallocate all",
        "discard all",
        "prepare \"__asyncpg_stmt_1__\" as select 'poisoned'",
        "deallocate all; prepare \"__asyncpg_stmt_1__\"(bigint) as select 'poisoned'",
    ):
        await attack(text)
        async with bare(database, mine) as connection:
            assert not await connection.fetch("select name from pg_prepared_statements where from_sql")
        for _ in range(3):
            assert await database.tenant(other).fetchval(query, 1) == SECRET


# --- The fence --------------------------------------------------------------------------------------------------------

COMMANDS = """
set work_mem = '1GB'|set local work_mem = '1GB'|set search_path = public|reset all|show all
begin|commit|rollback|savepoint a|abort|start transaction read write|set transaction read write
do $$ begin end $$|call x()|listen a|unlisten a|notify a|lock table notes|vacuum|analyze notes|checkpoint
copy notes to stdout|copy notes from stdin|copy (select 1) to program 'id'|copy notes to '/tmp/x'
create table a (id int)|create temp table a (id int)|create view a as select 1|create function f() returns int
create table a as select 1|select 1 into a|drop table notes|truncate notes|alter table notes disable trigger all
alter role current_user set work_mem = '1GB'|grant all on notes to public|comment on table notes is 'x'
declare c cursor for select 1|fetch all from c|close all|move c|explain select 1|explain analyze select 1
load 'x'|prepare x as select 1|deallocate all|execute x|discard all
security label on table notes is 'x'|refresh materialized view a|reindex table notes|cluster|import foreign schema
"""


# What the parser says first: it does not know the word there, or cannot find what it would be about.
NO_ROWS = (
    asyncpg.PostgresSyntaxError,
    asyncpg.UndefinedObjectError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedTableError,
    asyncpg.InvalidCursorNameError,
    asyncpg.FeatureNotSupportedError,
)


@pytest.mark.parametrize("method", ["fetch", "execute"])
async def test_only_what_reads_or_writes_rows_passes_the_fence(database, mine, method):
    for text in COMMANDS.strip().replace("\n", "|").split("|"):
        async with database.untrusted_connection(mine) as connection:
            with pytest.raises(NO_ROWS):
                await getattr(connection, method)(text)


@pytest.mark.parametrize("method", ["fetch", "execute"])
async def test_a_text_does_not_get_out_of_its_brackets(database, mine, method):
    for text in (
        "select 1; select 2",
        "select 1; commit; set role none",
        "select 1;;",
        "select 1; -- and",
        "select 1) as a; select (2",
        "select 1) select 2 --",
        "select 1) select 2 /*",
        "select 1), more as (select 2",
        "select 1), more as (insert into notes (title) values ('x') returning id",
        "select 1) as q union all select * from (select 2",
        "select 1 limit 1) --",
        "select 1 /*",
        "select 1 */",
        "select 'a",
        "select E'a\\'",
        "select $$a",
        "select $a$ $b$",
        'select 1 as "a',
        "select U&'\\0061' uescape",
        "select (1",
        "select 1)",
        ")",
        "(",
        "",
        "-- nothing",
        "select 1\0",
        "select 1\0) union (select 2",
        "select '\ud800'",
        "{statement}",
        "select {rows}",
        "$1",
        "select 1 from $1",
        "select 1 -- \r select 2",
    ):
        async with database.untrusted_connection(mine) as connection:
            with pytest.raises(asyncpg.PostgresError):
                await getattr(connection, method)(text)
    assert await database.tenant(mine).fetchval("select count(*) from notes") == 1


async def test_a_text_that_only_looks_like_getting_out_is_read_as_it_is(database, mine):
    for text, value in (
        ("select '{statement}{rows}'", "{statement}{rows}"),
        ("select $a$) limit 1 --$a$", ") limit 1 --"),
        ("select ')' -- ) select 2", ")"),
        ("select E'\\')\\''", "')'"),
        ("select U&'\\0029'", ")"),
        ("select 1 /* /* nested */ ) */ as x", 1),
        ("(select 1)", 1),
        ("((select 1) union (select 1))", 1),
        ("select 1 --", 1),
        ("select 1 ; \n", 1),
        ("select 1 -- ;", 1),
    ):
        async with database.untrusted_connection(mine) as connection:
            assert [row[0] for row in await connection.fetch(text)] == [value]


async def test_settings_that_change_how_text_is_read_open_nothing(database, mine):
    """Where set_config is still everybody's: quotes and bytes mean something else in the next statement."""
    for setting, value, text in [
        ("standard_conforming_strings", "off", "select '\\') union select title from notes -- '"),
        ("client_encoding", "SJIS", "select 'a\u30bd') --'"),
        ("backslash_quote", "on", "select '\\''"),
        ("search_path", "nowhere", "select 1"),
    ]:
        async with database.untrusted_connection(mine, limits=Limits(rows=1)) as connection:
            await connection.fetch("select set_config($1, $2, false)", setting, value)
            try:
                rows = await connection.fetch(text)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, UnicodeError):
                continue
            assert len(rows) <= 1


# --- Row 12: helpers with their owner's rights ------------------------------------------------------------------------


def test_a_migration_with_an_unpinned_helper_is_refused():
    helper = "create function peek() returns setof text language sql security definer as 'select title from notes'"
    with pytest.raises(ConfigurationError, match="search_path"):
        Migrations.of([helper])


async def test_a_superusers_unpinned_helper_cannot_be_led_elsewhere_through_the_fence(database, root, mine, other):  # noqa: F811
    """Made behind our back. A bare login could say SET search_path: that function is the hole, not the login."""
    await root.execute("revoke execute on function pg_catalog.set_config(text, text, boolean) from public")
    await root.execute("create schema helpers")
    await root.execute("grant usage on schema helpers to public")
    await root.execute(
        "create function helpers.peek() returns setof text language plpgsql security definer as"
        " $$ begin return query execute 'select title from notes'; end $$"
    )
    for text in (
        f"set search_path = tenant_{other}; select helpers.peek()",
        f"set search_path = tenant_{other}",
        f"select set_config('search_path', 'tenant_{other}', true), helpers.peek()",
        f"update pg_settings set setting = 'tenant_{other}' where name = 'search_path' returning helpers.peek()",
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            async with database.untrusted_connection(mine, readonly=False) as connection:
                await connection.fetch(text)
        assert SECRET not in str(refused.value)
    async with database.untrusted_connection(mine) as connection:
        assert [row[0] for row in await connection.fetch("select helpers.peek()")] == ["my own"]


# --- What else a server has -------------------------------------------------------------------------------------------


async def test_what_is_the_servers_stays_the_servers(attack):
    for text in (
        "select tenant_id from tenantry.tenants",
        "select digest from tenantry.api_keys",
        "select id from tenantry.deployment",
        "select rolpassword from pg_authid",
        "select passwd from pg_shadow",
        "select starelid from pg_statistic",
        "select pg_read_file('postgresql.conf')",
        "select pg_read_binary_file('PG_VERSION')",
        "select pg_ls_dir('.')",
        "select pg_stat_file('PG_VERSION')",
        "select lo_import('/etc/passwd')",
        "select lo_export(1, '/tmp/x')",
        "copy (select 1) to program 'id'",
        "copy notes to '/tmp/x'",
        "select dblink('', 'select 1')",
        "select dblink_connect('host=127.0.0.1')",
        "create extension dblink",
        "create extension postgres_fdw",
        "create table mine (id int)",
        "create table public.mine (id int)",
        "create temp table mine (id int)",
        "create schema mine",
        "create function mine() returns int language sql as 'select 1'",
        "do $$ begin execute 'create table mine (id int)'; end $$",
        "create role mine",
        "create database mine",
        "drop table notes",
        "alter table notes add column mine int",
        "truncate notes",
        "create trigger t after insert on notes for each row execute function suppress_redundant_updates_trigger()",
        "alter system set shared_buffers = '1GB'",
        "select pg_reload_conf()",
        "select pg_rotate_logfile()",
        "select pg_switch_wal()",
        "select pg_create_logical_replication_slot('s', 'pgoutput')",
        "select pg_stat_reset()",
        "select pg_promote()",
        "select pg_backup_start('x')",
        "checkpoint",
        "set temp_file_limit = -1",
        "set log_min_messages = panic",
        "set session_replication_role = replica",
        "load 'plpgsql'",
    ):
        answer = await attack(text)
        assert denied(answer), (text, answer)


async def test_backends_of_the_shared_pool_cannot_be_ended(database, attack, mine, other):
    async with database.tenant_connection(mine) as inside, database.tenant_connection(other) as theirs:
        for connection in (inside, theirs):
            pid = await connection.fetchval("select pg_backend_pid()")
            for function in ("pg_terminate_backend", "pg_cancel_backend"):
                assert denied(await attack(f"select {function}({pid})"))
            assert await connection.fetchval("select 1") == 1


async def test_other_tenants_are_names_in_the_catalog_and_nothing_else(database, attack, root, mine, other):  # noqa: F811
    await root.execute(f"analyze tenant_{other}.notes")
    # Documented: MCP_HTTP_SCHEMA_NAMES=opaque keeps the domain out of the name.
    if not denied(answer := await attack("select nspname::text from pg_namespace")) and answer.startswith("["):
        assert f"tenant_{other}" in answer
    async with database.tenant_connection(other) as theirs:
        await theirs.fetch(f"select title, '{SECRET}' from notes")
        for text in (
            "select query, usename from pg_stat_activity",
            "select query from pg_stat_get_activity(null)",
            "select most_common_vals::text, histogram_bounds::text from pg_stats where schemaname like 'tenant%'",
            "select statement from pg_prepared_statements",
            "select relname, n_live_tup from pg_stat_user_tables",
            "select prosrc from pg_proc where prosrc like '%wrote%'",
        ):
            assert SECRET not in await attack(text)


async def test_a_flood_of_notifications_changes_nothing(database, attack, mine, other):
    channel = (await database.registry.deployment()).channel
    await attack(f"select pg_notify('{channel}', g::text) from generate_series(1, 900) as g")
    await attack(f"notify {channel}")
    assert await database.tenant(other).fetchval("select title from notes") == SECRET
    heard = asyncio.Event()
    database.on_change.append(heard.set)
    assert await database.registry.set_state(mine, "suspended", actor="test")
    async with asyncio.timeout(10):
        await heard.wait()


async def test_our_locks_are_held_for_a_blocks_time_at_most(database, attack, root, mine, tenant_ids):  # noqa: F811
    """Advisory locks are one space for all: who knows the number of ours can hold up the making of a tenant."""
    await attack("select pg_advisory_lock(g) from generate_series(1, 10) as g")
    await attack("select pg_advisory_xact_lock(g) from generate_series(1, 10) as g")
    async with asyncio.timeout(10):
        held = "select count(*) from pg_locks where locktype = 'advisory' and objid <= 10"
        while await root.fetchval(held):  # noqa: ASYNC110 - PostgreSQL tells nobody when a process has ended
            await asyncio.sleep(0.01)
    await database.ensure_tenant(next(tenant_ids))


async def test_a_large_object_is_its_makers_alone(database, root, mine, other):  # noqa: F811
    async with database.untrusted_connection(mine) as connection:  # reading only: it does not stay
        with suppress(asyncpg.ReadOnlySQLTransactionError):  # since PostgreSQL 16
            await connection.fetch("select lo_from_bytea(4711, 'x')")
    assert not await root.fetchval("select count(*) from pg_largeobject_metadata")
    async with database.untrusted_connection(other, readonly=False) as connection:
        await connection.fetch("select lo_from_bytea(4711, 'theirs')")
    async with bare(database, mine) as connection:
        await connection.execute("set default_transaction_read_only = off")
        for text in ("select lo_get(4711)", "select lo_unlink(4711)", "select lo_put(4711, 0, 'x')"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(text)
    await root.execute("select lo_unlink(4711)")


async def test_bombs_are_stopped_and_nothing_of_them_runs_on(database, root, mine):  # noqa: F811
    for text in (
        "select pg_sleep(1e9)",
        "select g from generate_series(1, 1000000000000) as g order by g desc",
        "with recursive bomb as (select 1 as n union all select n + 1 from bomb) select max(n) from bomb",
        "select sum(a * b) from generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    ):
        async with asyncio.timeout(60):
            with pytest.raises((LimitExceeded, asyncpg.ConfigurationLimitExceededError)):
                async with database.untrusted_connection(mine, limits=QUICK) as connection:
                    await connection.fetch(text)
            await until(False, root, database, mine)


async def test_a_loop_that_catches_its_cancellation_cannot_be_written(database, mine):
    """DO reads no rows, and a function cannot be made."""
    loop = "do $$ begin loop begin perform pg_sleep(1); exception when query_canceled then null; end; end loop; end $$"
    async with database.untrusted_connection(mine) as connection:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.fetch(loop)


async def test_limits_in_settings_are_not_the_limits(database, mine):
    """Where set_config is everybody's, a text can lift them all, and meets the others."""
    async with database.untrusted_connection(mine, limits=QUICK) as connection:
        lift = "select set_config(name, $1, false) from pg_settings where name = any($2)"
        await connection.fetch(lift, "0", ["statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"])
        with pytest.raises(LimitExceeded):
            await connection.fetch("select pg_sleep(600)")


async def test_the_login_needs_its_password(database, dsns, mine, other):  # noqa: F811
    async with database.untrusted_connection(mine), database.untrusted_connection(other):
        pass
    cluster = database.clusters["main"]
    logins = (await cluster.ready()).logins
    first, second = await roles(database, mine, other)
    assert logins.derived(first).password != logins.derived(second).password
    for password in ("", first, logins.derived(first).password):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(dsns.app, user=second, password=password)
