"""How a tenant comes to be: once, whole, and only where it should."""

# ruff: noqa: ASYNC110 - a scope is a block, so what it raises comes out of a block

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from tenantry.errors import ConfigurationError, Forbidden, Unavailable

pytestmark = pytest.mark.anyio

NOTES = "create table notes (id bigint generated always as identity primary key, title text not null)"


@pytest.fixture
def tenant(tenant_ids):
    return next(tenant_ids)


async def traces_of(root: asyncpg.Connection, tenant: str) -> list[str]:
    """What a tenant has left in the server: its schema, its role, its line in the control schema."""
    schema = f"tenant_{tenant}"
    rows = await root.fetch(
        "select 'schema' as trace from pg_namespace where nspname = $1"
        " union all select 'role' from pg_roles where rolname = $1"
        " union all select 'line' from tenantry.tenants where tenant_id = $2",
        schema,
        tenant,
    )
    return [row["trace"] for row in rows]


async def test_first_use_makes_the_tenant(database, root, tenant):
    assert await database.tenant(tenant).fetch("select title from notes") == []
    assert await traces_of(root, tenant) == ["schema", "role", "line"]


async def test_the_tenants_role_can_not_log_in_and_owns_nothing(database, root, tenant):
    await database.ensure_tenant(tenant)
    role = await root.fetchrow("select * from pg_roles where rolname = $1", f"tenant_{tenant}")
    powers = ("rolcanlogin", "rolinherit", "rolsuper", "rolcreaterole", "rolcreatedb", "rolbypassrls", "rolreplication")
    assert not any(role[power] for power in powers)
    owned = "select count(*) from pg_shdepend where refobjid = $1 and deptype = 'o'"
    assert await root.fetchval(owned, role["oid"]) == 0


async def test_the_request_login_does_not_inherit_from_its_tenants(database, root, tenant):
    await database.ensure_tenant(tenant)
    if root.get_server_version() < (16, 0):
        pytest.skip("before PostgreSQL 16 the login decides: NOINHERIT")
    membership = await root.fetchrow(
        "select inherit_option, set_option, admin_option from pg_auth_members"
        " where roleid = $1::regrole and member = 'tenantry_app'::regrole",
        f"tenant_{tenant}",
    )
    assert tuple(membership) == (False, True, False)


async def test_temporary_tables_and_schema_public_are_closed_to_everybody(database, root, tenant):
    await database.ensure_tenant(tenant)
    assert not await root.fetchval("select has_database_privilege('public', current_database(), 'TEMP')")
    assert not await root.fetchval("select has_schema_privilege('public', 'public', 'USAGE')")


async def test_without_create_tenants_an_unknown_tenant_is_forbidden_and_leaves_nothing(open_database, root, tenant):
    async with open_database(create_tenants=False) as database:
        with pytest.raises(Forbidden) as refusal:
            await database.tenant(tenant).fetch("select 1")
    assert refusal.value.reason == "tenant_unknown"
    assert await traces_of(root, tenant) == []


async def test_without_create_tenants_a_created_tenant_works(open_database, tenant):
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    async with open_database(create_tenants=False) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []


async def test_a_login_without_any_power_serves_created_tenants_and_makes_none(open_database, dsns, tenant, tenant_ids):
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    async with open_database(admin_dsn=None, create_tenants=False) as database:
        await database.ensure_tenant(tenant)
        assert await database.tenant(tenant).fetch("select title from notes") == []
        with pytest.raises(Forbidden):
            await database.ensure_tenant(next(tenant_ids))
        with pytest.raises(Forbidden):
            await database.tenant(next(tenant_ids)).fetch("select 1")


async def test_a_login_without_any_power_cannot_be_asked_to_make_tenants(open_database, tenant):
    async with open_database(admin_dsn=None) as database:
        with pytest.raises(ConfigurationError, match="'tenantry_app' may not make roles"):
            await database.ensure_tenant(tenant)


async def test_a_login_that_does_not_own_the_database_says_what_to_grant(open_database, dsns, root, tenant):
    await root.execute("alter database {} owner to postgres".format(await root.fetchval("select current_database()")))
    async with open_database() as database:
        with pytest.raises(ConfigurationError, match="does not own the database"):
            await database.ensure_tenant(tenant)


async def test_concurrent_first_requests_of_several_processes_make_a_tenant_once(open_database, root, tenant):
    databases = [open_database() for _ in range(4)]  # what processes share is the server, not this object
    uses = [db.tenant(tenant).execute("insert into notes (title) values ('x')") for db in databases for _ in range(8)]
    await asyncio.gather(*uses)
    assert await databases[0].tenant(tenant).fetchval("select count(*) from notes") == 32
    assert await traces_of(root, tenant) == ["schema", "role", "line"]
    for database in databases:
        await database.close()


async def test_a_cancelled_first_request_does_not_disturb_the_second(database, tenant):
    first = asyncio.create_task(database.ensure_tenant(tenant))
    second = asyncio.create_task(database.ensure_tenant(tenant))
    while not database._prepared or not database._prepared.provisioner._making:
        await asyncio.sleep(0)
    first.cancel()
    await second
    assert await database.tenant(tenant).fetch("select title from notes") == []


async def test_a_failing_migration_leaves_nothing(open_database, root, tenant):
    async with open_database(migrations=[NOTES, "create table broken (id int); select 1/0"]) as database:
        with pytest.raises(asyncpg.DivisionByZeroError):
            await database.ensure_tenant(tenant)
    assert await traces_of(root, tenant) == []


async def test_a_crash_in_the_middle_leaves_nothing_and_the_next_use_succeeds(open_database, dsns, root, tenant):
    sleeping = "select pid from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
    async with open_database(migrations=[NOTES, "select pg_sleep(600)"]) as database:
        first = asyncio.create_task(database.ensure_tenant(tenant))
        while not (pid := await root.fetchval(sleeping)):
            assert not first.done()
        await root.execute("select pg_terminate_backend($1, 5000)", pid)
        with pytest.raises(Unavailable):
            await first
    assert await traces_of(root, tenant) == []
    async with open_database() as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []


async def test_a_tenant_that_is_behind_gets_the_rest_at_first_use(open_database, root, tenant):
    async with open_database(migrations=[NOTES]) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('old')")
    more = "alter table notes add column done boolean not null default false; create table tags (name text)"
    async with open_database(migrations=[NOTES, more], create_tenants=False) as database:
        assert tuple(await database.tenant(tenant).fetchrow("select title, done from notes")) == ("old", False)
        await database.tenant(tenant).execute("insert into tags (name) values ('new')")
    assert await root.fetchval("select version from tenantry.tenants where tenant_id = $1", tenant) == 2


async def test_an_older_release_beside_a_newer_one_leaves_the_version_alone(open_database, root, tenant):
    async with open_database(migrations=[NOTES, "create table tags (name text)"]) as database:
        await database.ensure_tenant(tenant)
    async with open_database(migrations=[NOTES]) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []
    assert await root.fetchval("select version from tenantry.tenants where tenant_id = $1", tenant) == 2


async def test_each_script_starts_in_the_tenants_schema(open_database, root, tenant):
    scripts = ["create table one (id int); set search_path = public", "create table two (id int)"]
    async with open_database(migrations=scripts) as database:
        await database.ensure_tenant(tenant)
    tables = await root.fetch("select tablename from pg_tables where schemaname = $1 order by 1", f"tenant_{tenant}")
    assert [row[0] for row in tables] == ["one", "two"]


async def test_scripts_may_hold_functions_serials_and_views(open_database, tenant):
    script = """
        /* a comment; with a semicolon */
        create table jobs (id serial primary key, state text default 'it''s; new');
        create function jobs_done() returns bigint language sql as $$ select count(*) from jobs; $$;
        create view open_jobs as select id, state from jobs -- the last; line
    """
    async with open_database(migrations=[script]) as database:
        db = database.tenant(tenant)
        await db.execute("insert into jobs default values")
        assert await db.fetchval("select jobs_done()") == 1
        assert await db.fetchval("select state from open_jobs") == "it's; new"


async def test_a_script_that_ends_its_transaction_is_refused(open_database, root, tenant):
    async with open_database(migrations=[NOTES, "create table x (id int); commit"]) as database:
        with pytest.raises(ConfigurationError, match="Migration 2 ends the transaction"):
            await database.ensure_tenant(tenant)


async def test_a_table_whose_name_needs_quotes_is_refused(open_database, root, tenant):
    async with open_database(migrations=['create table "My Notes" (id int)']) as database:
        with pytest.raises(ConfigurationError, match="'My Notes'"):
            await database.ensure_tenant(tenant)
    assert await traces_of(root, tenant) == []


async def test_a_role_that_is_not_ours_is_refused(database, root, tenant):
    await root.execute(f"create role tenant_{tenant}")
    with pytest.raises(ConfigurationError, match="was not made by this deployment"):
        await database.ensure_tenant(tenant)
    await root.execute(f"drop role tenant_{tenant}")


async def test_another_databases_tenant_of_the_same_name_is_refused(make_database, open_database, tenant):
    other = await make_database()
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    async with open_database(dsn=other.app, admin_dsn=other.admin) as database:
        with pytest.raises(ConfigurationError, match="was not made by this deployment"):
            await database.tenant(tenant).fetch("select title from notes")


async def test_a_schema_that_is_not_ours_is_refused(database, root, tenant):
    await root.execute(f"create schema tenant_{tenant}")
    with pytest.raises(ConfigurationError, match="was not made by this deployment"):
        await database.ensure_tenant(tenant)


async def test_a_missing_role_is_forbidden_and_never_another_schema(database, root, tenant):
    await database.ensure_tenant(tenant)
    await root.execute(f"drop owned by tenant_{tenant}; drop role tenant_{tenant}")
    with pytest.raises(Forbidden) as refusal:
        await database.tenant(tenant).fetch("select title from notes")
    assert refusal.value.reason == "tenant_unknown"


async def test_roles_lost_with_a_cluster_come_back_at_first_use(open_database, root, tenant):
    """A dump restored elsewhere has the schemas and none of the roles."""
    async with open_database() as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('kept')")
    await root.execute(f"drop owned by tenant_{tenant}; drop role tenant_{tenant}")
    async with open_database(create_tenants=False) as database:
        assert await database.tenant(tenant).fetchval("select title from notes") == "kept"


async def test_a_new_request_login_is_let_in_at_first_use(open_database, dsns, root, tenant):
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    login = f"app_{tenant}"
    await root.execute(f"create role {login} login noinherit password 'a made-up password'")
    dsn = dsns.app.replace("tenantry_app:", f"{login}:").replace(
        dsns.app.split(":")[2].split("@")[0], "a made-up password"
    )
    async with open_database(dsn=dsn) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []


async def test_a_missing_schema_finds_no_table_anywhere_else(database, root, tenant):
    await database.ensure_tenant(tenant)
    await root.execute(f"create table public.notes (title text); drop schema tenant_{tenant} cascade")
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.tenant(tenant).fetch("select title from notes")


@pytest.mark.parametrize("login", ["superuser", "admin"])
async def test_one_dsn_can_do_both(open_database, dsns, tenant, tenant_ids, login):
    async with open_database(dsn=getattr(dsns, login), admin_dsn=None) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('x')")
        assert await database.tenant(next(tenant_ids)).fetch("select title from notes") == []


async def test_names_of_63_bytes_are_kept_apart(database):
    stem = "a" * 60 + "." + "b" * 60
    for number in (1, 2):
        name = f"{stem}{number}.example".replace(".", "_")
        await database.tenant(name).execute("insert into notes (title) values ($1)", str(number))
        assert await database.tenant(name).fetchval("select string_agg(title, ',') from notes") == str(number)


async def test_replicas_that_start_together_prepare_a_database_once(open_database, root, tenant_ids):
    databases = [open_database() for _ in range(6)]
    await asyncio.gather(*(database.ensure_tenant(next(tenant_ids)) for database in databases))
    assert await root.fetchval("select count(*) from tenantry.deployment") == 1
    for database in databases:
        await database.close()


async def test_a_migration_that_waits_for_a_busy_table_is_unavailable_and_changes_nothing(open_database, root, tenant):
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    impatient = "set local lock_timeout = '10ms'; alter table notes add column done boolean"
    async with root.transaction():
        await root.execute(f"lock table tenant_{tenant}.notes in access share mode")
        async with open_database(migrations=[NOTES, impatient]) as database:
            with pytest.raises(Unavailable):
                await database.ensure_tenant(tenant)
    assert await root.fetchval("select version from tenantry.tenants where tenant_id = $1", tenant) == 1
