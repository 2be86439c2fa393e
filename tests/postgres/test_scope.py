"""One block of work is one transaction in one tenant, and leaves nothing for the next one."""

# ruff: noqa: ASYNC109, PT012, TRY301 - a scope is a block, so what it raises comes out of a block

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from tests.postgres.registry import deployment_of, role_of

from tenantry.errors import Forbidden, Unavailable
from tenantry.model import MCPUserContext
from tenantry.postgres import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def tenant(tenant_ids):
    return next(tenant_ids)


@pytest.fixture
def other(tenant_ids):
    return next(tenant_ids)


async def facts(database: Database, tenant: str):
    """What a scope sees of itself."""
    return await database.tenant(tenant).fetchrow(
        "select current_user::text as role, session_user::text as login, current_setting('search_path') as path,"
        " pg_backend_pid() as pid, current_setting('statement_timeout') as timeout,"
        " current_setting('my.setting', true) as mine"
    )


async def test_a_scope_runs_as_the_tenants_role_in_the_tenants_schema(database, root, tenant):
    seen = await facts(database, tenant)
    assert seen["role"] == f"{await deployment_of(root)}_tenant_{tenant}" == await role_of(root, tenant)
    assert seen["path"] == f"tenant_{tenant}, pg_temp"
    assert seen["login"] == "tenantry_app"


async def test_two_tenants_never_see_each_others_rows(database, tenant, other):
    for name in (tenant, other):
        await database.tenant(name).execute("insert into notes (title) values ($1)", name)
    assert await database.tenant(tenant).fetchval("select string_agg(title, ',') from notes") == tenant
    assert await database.tenant(other).fetchval("select string_agg(title, ',') from notes") == other


async def test_another_tenants_schema_is_denied_by_name(database, tenant, other):
    await database.ensure_tenant(other)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.tenant(tenant).fetch(f"select title from tenant_{other}.notes")


async def test_the_control_schema_is_denied(database, tenant):
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.tenant(tenant).fetch("select tenant_id from tenantry.tenants")


async def test_a_tenant_cannot_create_anything(database, tenant):
    for statement in ("create table mine (id int)", "create temp table mine (id int)", "create schema mine"):
        with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)):
            await database.tenant(tenant).execute(statement)


async def test_a_tenant_cannot_use_schema_public(database, dsns, root, tenant):
    await root.execute("create table public.shared (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.tenant(tenant).fetch("select id from public.shared")


async def test_an_exception_rolls_the_scope_back(single, tenant):
    with pytest.raises(ZeroDivisionError):
        async with single.tenant_connection(tenant) as connection:
            await connection.execute("insert into notes (title) values ('gone')")
            raise ZeroDivisionError
    assert await single.tenant(tenant).fetchval("select count(*) from notes") == 0


async def test_a_failed_statement_leaves_a_clean_connection(single, root, tenant, other):
    before = await facts(single, tenant)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await single.tenant(tenant).fetchval("select 1/0")
    after = await facts(single, other)
    assert (after["pid"], after["role"]) == (before["pid"], await role_of(root, other))


async def test_a_swallowed_statement_error_is_no_silent_rollback(single, tenant):
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        async with single.tenant_connection(tenant) as connection:
            await connection.execute("insert into notes (title) values ('lost')")
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetchval("select 1/0")
    assert await single.tenant(tenant).fetchval("select count(*) from notes") == 0


async def test_a_savepoint_undoes_its_part_only(single, tenant):
    async with single.tenant_connection(tenant) as connection:
        await connection.execute("insert into notes (title) values ('kept')")
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with connection.transaction():
                await connection.execute("insert into notes (title) values ('undone')")
                await connection.fetchval("select 1/0")
        async with connection.transaction():
            await connection.execute("insert into notes (title) values ('second')")
    assert await single.tenant(tenant).fetchval("select string_agg(title, ',' order by id) from notes") == "kept,second"


async def cancelled_in_the_middle(database: Database, tenant: str, root: asyncpg.Connection, work: str) -> None:
    """Cancel a scope while the server runs ``work``."""

    async def handler() -> None:
        async with database.tenant_connection(tenant) as connection:
            await connection.execute("insert into notes (title) values ('gone')")
            await connection.execute(work)

    task = asyncio.create_task(handler())
    while not await root.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
    ):
        assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_scope_is_rolled_back_and_its_connection_is_clean(single, root, tenant, other):
    before = await facts(single, tenant)
    await cancelled_in_the_middle(single, tenant, root, "select pg_sleep(600)")
    after = await facts(single, other)
    assert after["role"] == await role_of(root, other)
    assert after["pid"] == before["pid"]
    assert await single.tenant(tenant).fetchval("select count(*) from notes") == 0


async def test_a_cancelled_statement_stops_on_the_server(single, root, tenant):
    await cancelled_in_the_middle(single, tenant, root, "select pg_sleep(600)")
    await facts(single, tenant)
    assert not await root.fetchval("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")


async def test_a_scope_cancelled_again_and_again_still_gives_its_connection_back(single, root, tenant):
    """As anyio's cancel scopes do, on every turn of the loop."""
    inside = asyncio.Event()

    async def handler() -> None:
        async with single.tenant_connection(tenant):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(handler())
    await inside.wait()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert (await facts(single, tenant))["role"] == await role_of(root, tenant)


async def test_cancelling_while_entering_gives_the_connection_back(single, root, tenant, other):
    for name in (tenant, other):
        await single.ensure_tenant(name)
    for turns in range(12):
        task = asyncio.create_task(single.tenant(tenant).fetchval("select 1"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await facts(single, other))["role"] == await role_of(root, other)


@pytest.mark.parametrize(
    "hostile",
    [
        "set search_path = pg_catalog",
        "set role none",
        "reset role",
        "set statement_timeout = 1234",
        "set my.setting = 'left by a handler'",
        "select set_config('my.setting', 'left by a handler', false)",
        "select pg_advisory_lock(42)",
        "listen somebody",
    ],
)
@pytest.mark.parametrize("ends_well", [True, False])
async def test_what_a_handler_does_to_the_session_is_gone_in_the_next_scope(
    single, root, tenant, other, hostile, ends_well
):
    before = await facts(single, tenant)
    try:
        async with single.tenant_connection(tenant) as connection:
            await connection.execute(hostile)
            if not ends_well:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    after = await facts(single, other)
    assert after["pid"] == before["pid"]
    assert (after["role"], after["path"]) == (await role_of(root, other), f"tenant_{other}, pg_temp")
    assert (after["timeout"], after["mine"] or None) == (before["timeout"], None)
    assert not await root.fetchval("select count(*) from pg_locks where locktype = 'advisory'")
    assert not await single.tenant(other).fetch("select * from pg_listening_channels()")


async def test_a_cursor_with_hold_does_not_reach_the_next_tenant(single, tenant, other):
    await single.tenant(tenant).execute("insert into notes (title) values ('secret')")
    await single.tenant(tenant).execute("declare kept cursor with hold for select title from notes")
    with pytest.raises(asyncpg.InvalidCursorNameError):
        await single.tenant(other).fetch("fetch all from kept")


async def test_a_commit_in_a_handler_is_an_error_and_nothing_runs_after_it(single, root, tenant, other):
    with pytest.raises(RuntimeError, match="COMMIT and ROLLBACK belong to the scope"):
        async with single.tenant_connection(tenant) as connection:
            await connection.execute("commit")
    assert (await facts(single, other))["role"] == await role_of(root, other)


async def test_after_a_stray_commit_the_connection_is_nobody(single, tenant, other):
    await single.tenant(other).execute("insert into notes (title) values ('theirs')")
    for readable in (f"tenant_{other}.notes", f"tenant_{tenant}.notes", "tenantry.tenants"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with single.tenant_connection(tenant) as connection:
                await connection.execute(f"commit; select * from {readable}")
    with pytest.raises(RuntimeError, match="COMMIT"):
        async with single.tenant_connection(tenant) as connection:
            assert await connection.fetchval("select 1") == 1
            await connection.execute("commit; select set_config('my.setting', current_user, false)")
    assert (await facts(single, tenant))["mine"] in (None, "")


async def test_a_statement_that_a_handler_prepares_ends_the_connection_and_the_commit_holds(
    single, root, tenant, other
):
    before = await facts(single, tenant)
    async with single.tenant_connection(tenant) as connection:
        await connection.execute("insert into notes (title) values ('kept')")
        await connection.execute("prepare mine as select 'of the tenant before'")
    after = await facts(single, other)
    assert (after["role"], after["pid"] != before["pid"]) == (await role_of(root, other), True)
    assert await single.tenant(tenant).fetchval("select string_agg(title, ',') from notes") == "kept"


@pytest.mark.parametrize(
    "hidden",
    [
        "PREPARE mine AS SELECT 1",
        "/* select */ prepare mine as select 1",
        "select 1; prepare mine as select 1",
        "-- select\nprepare mine as select 1",
        "do $$ begin execute 'pre' || 'pare mine as select 1'; end $$",
    ],
)
@pytest.mark.parametrize("ends_well", [True, False])
async def test_no_prepared_statement_reaches_the_next_tenant_however_it_was_made(
    single, tenant, other, hidden, ends_well
):
    before = await facts(single, tenant)
    try:
        async with single.tenant_connection(tenant) as connection:
            await connection.execute(hidden)
            if not ends_well:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert (await facts(single, other))["pid"] != before["pid"]
    assert await single.tenant(other).fetch("select name from pg_prepared_statements where from_sql") == []


async def test_the_drivers_own_statement_replaced_by_a_handler_is_not_run_for_the_next_tenant(single, tenant, other):
    """A cached query is known to the server by a name that everybody on the connection can read and take."""
    query = "select title from notes"
    for name in (tenant, other):
        await single.tenant(name).execute("insert into notes (title) values ($1)", name)
        assert await single.tenant(name).fetchval(query) == name
    async with single.tenant_connection(tenant) as connection:
        taken = await connection.fetchval("select name from pg_prepared_statements where statement = $1", query)
        assert taken
        await connection.execute(f'deallocate "{taken}"; prepare "{taken}" as select \'poisoned\'::text as title')
    assert await single.tenant(other).fetchval(query) == other


async def test_scopes_recover_from_a_handler_that_deallocates_everything(single, tenant, other):
    query = "select count(*) from notes"
    for name in (tenant, other):
        assert await single.tenant(name).fetchval(query) == 0
    await single.tenant(tenant).execute("deallocate all")
    answers = []
    for name in (other, tenant, other):
        try:
            answers.append(await single.tenant(name).fetchval(query))
        except Unavailable as refusal:
            answers.append(refusal.reason)
    assert answers in ([0, 0, 0], ["database_unavailable", 0, 0])


async def test_within_the_scope_that_deallocates_its_own_queries_are_unavailable_at_worst(single, tenant):
    query = "select count(*) from notes"
    assert await single.tenant(tenant).fetchval(query) == 0
    with pytest.raises(Unavailable):
        async with single.tenant_connection(tenant) as connection:
            await connection.execute("insert into notes (title) values ('gone')")
            await connection.execute("deallocate all")
            await connection.fetchval(query)
    assert await single.tenant(tenant).fetchval(query) == 0


async def test_the_request_login_has_no_rights_outside_of_a_scope(database, dsns, tenant):
    await database.ensure_tenant(tenant)
    connection = await asyncpg.connect(dsns.app)
    try:
        for relation in (f"tenant_{tenant}.notes", "tenantry.tenants"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"select * from {relation}")
    finally:
        await connection.close()


async def test_readonly_refuses_writes(database, tenant):
    async with database.tenant_connection(tenant, readonly=True) as connection:
        assert await connection.fetch("select title from notes") == []
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with connection.transaction():
                await connection.execute("insert into notes (title) values ('x')")


async def test_a_timeout_limits_each_statement(database, tenant):
    async with database.tenant_connection(tenant, timeout=0.02) as connection:
        with pytest.raises(asyncpg.QueryCanceledError):
            async with connection.transaction():
                await connection.fetch("select pg_sleep(600)")


@pytest.mark.parametrize("timeout", [0, -1, 0.0001, 10**8, float("nan")])
async def test_a_timeout_that_postgres_would_misread_is_refused(database, tenant, timeout):
    with pytest.raises(ValueError):
        async with database.tenant_connection(tenant, timeout=timeout):
            pass


async def test_the_user_is_visible_inside_the_scope_and_not_after_it(single, tenant):
    permissions = frozenset({"notes:read", 'it\'s \\ "quoted"', "a';drop table notes;--"})
    user = MCPUserContext("google:1'\\", "google", "1", tenant, permissions=permissions)
    show = "select current_setting('tenantry.user_id', true), current_setting('tenantry.permissions', true)"
    async with single.tenant_connection(user) as connection:
        assert tuple(await connection.fetchrow(show)) == ("google:1'\\", " ".join(sorted(permissions)))
    assert not any(await single.tenant(tenant).fetchrow(show))


@pytest.mark.parametrize(
    "hostile", ["", "public", "a.b", 'x"; drop schema public; --', "tenant", "pg_catalog", "a" * 300]
)
async def test_an_impossible_tenant_is_refused(open_database, hostile):
    async with open_database(create_tenants=False) as database:
        with pytest.raises(Forbidden) as refusal:
            await database.tenant(hostile).fetch("select 1")
        assert refusal.value.reason == "tenant_unknown"


@pytest.mark.parametrize("ends_well", [True, False])
async def test_a_connection_is_useless_after_its_scope(single, tenant, other, ends_well):
    try:
        async with single.tenant_connection(tenant) as connection:
            if not ends_well:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    async with single.tenant_connection(other):  # the same connection, in somebody else's hands
        for use in (connection.fetch, connection.fetchrow, connection.fetchval, connection.execute):
            with pytest.raises(asyncpg.InterfaceError, match="the block has ended"):
                await use("select title from notes")
        with pytest.raises(asyncpg.InterfaceError, match="the block has ended"):
            await connection.executemany("insert into notes (title) values ($1)", [("x",)])
        with pytest.raises(asyncpg.InterfaceError, match="the block has ended"):
            async with connection.transaction():
                pass


async def test_executemany_is_all_or_nothing(database, tenant):
    db = database.tenant(tenant)
    await db.executemany("insert into notes (title) values ($1)", [("a",), ("b",)])
    with pytest.raises(asyncpg.NotNullViolationError):
        await db.executemany("insert into notes (title) values ($1)", [("c",), (None,)])
    assert await db.fetchval("select string_agg(title, ',' order by title) from notes") == "a,b"


async def test_a_deferred_constraint_fails_the_scope_and_leaves_the_connection_clean(open_database, tenant, other):
    script = "create table pairs (id int primary key, mate int references pairs deferrable initially deferred)"
    async with open_database(migrations=[script], pool_size=1) as database:
        before = await facts(database, tenant)
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await database.tenant(tenant).execute("insert into pairs values (1, 2)")
        assert (await facts(database, other))["pid"] == before["pid"]
        assert await database.tenant(tenant).fetchval("select count(*) from pairs") == 0


async def test_a_killed_backend_is_unavailable_and_the_next_scope_works(single, root, tenant):
    with pytest.raises(Unavailable) as refusal:
        async with single.tenant_connection(tenant) as connection:
            pid = await connection.fetchval("select pg_backend_pid()")
            await root.execute("select pg_terminate_backend($1, 5000)", pid)
            await connection.fetchval("select 1")
    assert refusal.value.reason == "database_unavailable"
    assert (await facts(single, tenant))["pid"] != pid


async def test_a_backend_killed_before_the_commit_is_no_success(single, root, tenant):
    with pytest.raises(Unavailable):
        async with single.tenant_connection(tenant) as connection:
            pid = await connection.fetchval("select pg_backend_pid()")
            await root.execute("select pg_terminate_backend($1, 5000)", pid)
    assert (await facts(single, tenant))["pid"] != pid


async def test_a_storm_of_scopes_never_mixes_tenants(open_database, root, tenant_ids):
    """Exceptions, cancellations and hostile handlers on few connections and many tenants at once."""
    names = [next(tenant_ids) for _ in range(8)]
    hostile = ["select 1", "set search_path = pg_catalog", "set role none", "select pg_advisory_lock(7)", "select 1/0"]

    async with open_database(pool_size=3) as database:
        for name in names:
            await database.tenant(name).execute("insert into notes (title) values ($1)", name)

        async def work(number: int) -> None:
            name = names[number % len(names)]
            async with asyncio.timeout(0.001 if number % 7 == 0 else None):
                async with database.tenant_connection(name) as connection:
                    seen = [row["title"] for row in await connection.fetch("select title from notes")]
                    assert seen == [name]
                    await connection.execute(hostile[number % len(hostile)])

        done = await asyncio.gather(*(work(number) for number in range(400)), return_exceptions=True)
        unexpected = [
            e for e in done if e and not isinstance(e, TimeoutError | asyncpg.DivisionByZeroError | Unavailable)
        ]
        assert unexpected == []
        for name in names:
            assert await database.tenant(name).fetchval("select string_agg(title, ',') from notes") == name
    assert not await root.fetchval("select count(*) from pg_locks where locktype = 'advisory'")
