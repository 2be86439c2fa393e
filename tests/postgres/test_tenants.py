"""How a tenant comes to be: once, whole, and only where it should."""

from __future__ import annotations

import asyncio
import re

import asyncpg
import pytest
from tests.postgres.registry import deployment_of, lose_role, role_of
from tests.postgres.servers import rewritten

from tenantry.adapters.postgres.migrations import Migrations
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
        " union all select 'role' from pg_roles where rolname = $2"
        " union all select 'line' from tenantry.tenants where tenant_id = $3",
        schema,
        f"{await deployment_of(root)}_{schema}",
        tenant,
    )
    return [row["trace"] for row in rows]


async def test_first_use_makes_the_tenant(database, root, tenant):
    assert await database.tenant(tenant).fetch("select title from notes") == []
    assert await traces_of(root, tenant) == ["schema", "role", "line"]


async def test_the_tenants_role_can_not_log_in_and_owns_nothing(database, root, tenant):
    await database.ensure_tenant(tenant)
    role = await root.fetchrow("select * from pg_roles where rolname = $1", await role_of(root, tenant))
    powers = ("rolcanlogin", "rolinherit", "rolsuper", "rolcreaterole", "rolcreatedb", "rolbypassrls", "rolreplication")
    assert not any(role[power] for power in powers)
    owned = "select count(*) from pg_shdepend where refobjid = $1 and deptype = 'o'"
    assert await root.fetchval(owned, role["oid"]) == 0


async def test_the_tenants_schema_belongs_to_a_role_that_nobody_can_log_in_as(database, root, tenant):
    await database.ensure_tenant(tenant)
    owner = await root.fetchrow(
        "select r.rolname::text as name, rolcanlogin, rolsuper, rolcreaterole, rolinherit from pg_namespace"
        " join pg_roles as r on r.oid = nspowner where nspname = $1",
        f"tenant_{tenant}",
    )
    assert tuple(owner) == (f"{await deployment_of(root)}__owner", False, False, False, False)


async def test_every_role_of_ours_carries_the_deployments_mark(database, root, tenant):
    await database.ensure_tenant(tenant)
    marks = await root.fetch(
        "select rolname, shobj_description(oid, 'pg_authid') as mark from pg_roles where starts_with(rolname, $1)",
        await deployment_of(root),
    )
    assert len(marks) >= 3  # the owner, the rest, the tenant's
    wanted = "tenantry deployment " + await root.fetchval("select id from tenantry.deployment")
    assert {row["mark"] for row in marks} == {wanted}


async def test_the_request_login_does_not_inherit_from_its_tenants(database, root, tenant):
    await database.ensure_tenant(tenant)
    role = await role_of(root, tenant)
    assert not await root.fetchval("select pg_has_role('tenantry_app', $1::regrole, 'USAGE')", role)
    if root.get_server_version() < (16, 0):
        pytest.skip("before PostgreSQL 16 the login decides (NOINHERIT), and no membership has an option")
    membership = await root.fetchrow(
        "select inherit_option, set_option, admin_option from pg_auth_members"
        " where roleid = $1::regrole and member = 'tenantry_app'::regrole",
        role,
    )
    assert tuple(membership) == (False, True, False)


async def test_the_database_is_closed_to_everybody(database, root, tenant):
    await database.ensure_tenant(tenant)
    for right in ("TEMP", "CONNECT", "CREATE"):
        assert not await root.fetchval("select has_database_privilege('public', current_database(), $1)", right)
    for right in ("USAGE", "CREATE"):
        assert not await root.fetchval("select has_schema_privilege('public', 'public', $1)", right)


@pytest.mark.parametrize("login", ["superuser", "admin"])
async def test_a_superuser_closes_the_function_that_changes_settings_too(open_database, dsns, root, tenant, login):
    async with open_database(admin_dsn=getattr(dsns, login)) as database:
        await database.ensure_tenant(tenant)
        closed = "not has_function_privilege('public', 'pg_catalog.set_config(text, text, boolean)', 'EXECUTE')"
        assert await root.fetchval(f"select {closed}") is (login == "superuser")
        if login == "superuser":
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.tenant(tenant).fetchval("select set_config('my.setting', 'x', true)")


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


async def test_a_login_without_any_power_serves_created_tenants_and_makes_none(open_database, root, tenant, tenant_ids):
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    await root.execute("grant usage on schema tenantry to tenantry_app")
    await root.execute("grant select on all tables in schema tenantry to tenantry_app")
    async with open_database(admin_dsn=None, create_tenants=False) as database:
        await database.ensure_tenant(tenant)
        assert await database.tenant(tenant).fetch("select title from notes") == []
        with pytest.raises(Forbidden):
            await database.ensure_tenant(next(tenant_ids))
        with pytest.raises(Forbidden):
            await database.tenant(next(tenant_ids)).fetch("select 1")


async def test_a_login_without_any_power_cannot_be_asked_to_make_tenants(open_database, root, tenant, tenant_ids):
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    await root.execute("grant usage on schema tenantry to tenantry_app")
    await root.execute("grant select on all tables in schema tenantry to tenantry_app")
    async with open_database(admin_dsn=None) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []
        with pytest.raises(ConfigurationError, match=r"'tenantry_app' may not make roles.*TENANT_PROVISIONING=manual"):
            await database.ensure_tenant(next(tenant_ids))


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("create_tenants", [True, False])
async def test_a_login_that_can_neither_prepare_the_database_nor_read_the_registry_says_what_to_do(
    open_database, tenant, prepared, create_tenants
):
    if prepared:
        async with open_database() as database:
            await database.ensure_tenant(tenant)
    async with open_database(admin_dsn=None, create_tenants=create_tenants) as database:
        with pytest.raises(ConfigurationError, match=r"DIRECT_DATABASE_URL.*`tenantry migrate --script`"):
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


async def test_a_cancelled_first_request_does_not_disturb_the_second(database, dsns, root, tenant, tenant_ids):
    await database.ensure_tenant(next(tenant_ids))
    outside = await asyncpg.connect(dsns.superuser)
    async with outside.transaction():
        await outside.execute("lock table tenantry.tenants")
        first = asyncio.create_task(database.ensure_tenant(tenant))
        second = asyncio.create_task(database.ensure_tenant(tenant))
        while not (waiting := await root.fetchval("select count(*) from pg_locks where not granted")):
            assert not first.done()
        assert waiting == 1  # they are one piece of work
        first.cancel()
    await second
    assert first.cancelled()
    await outside.close()
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


async def version_of(root: asyncpg.Connection, tenant: str) -> int:
    return await root.fetchval("select version from tenantry.tenants where tenant_id = $1", tenant)


MORE = "alter table notes add column done boolean not null default false; create table tags (name text)"


async def test_a_tenant_that_is_behind_is_unavailable_and_left_as_it_is(open_database, root, tenant, tenant_ids):
    async with open_database(migrations=[NOTES]) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('old')")
    async with open_database(migrations=[NOTES, MORE]) as database:
        for _ in range(2):
            with pytest.raises(Unavailable) as refusal:
                await database.tenant(tenant).fetch("select title from notes")
            assert refusal.value.reason == "tenant_behind"
            assert refusal.value.retry_after > 0
        assert await database.tenant(next(tenant_ids)).fetch("select name from tags") == []  # born at the newest
    assert await version_of(root, tenant) == 1


async def test_a_tenant_that_is_behind_is_brought_up_to_date_where_use_may_migrate(open_database, root, tenant):
    async with open_database(migrations=[NOTES]) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('old')")
    async with open_database(migrations=[NOTES, MORE], create_tenants=False, migrate_on_use=True) as database:
        assert tuple(await database.tenant(tenant).fetchrow("select title, done from notes")) == ("old", False)
        await database.tenant(tenant).execute("insert into tags (name) values ('new')")
    assert await version_of(root, tenant) == 2


async def test_a_tenant_that_is_suspended_while_it_is_brought_up_to_date_stays_suspended(
    open_database, dsns, root, tenant
):
    async with open_database(migrations=[NOTES]) as database:
        await database.ensure_tenant(tenant)
    outside = await asyncpg.connect(dsns.superuser)
    async with open_database(migrations=[NOTES, MORE], migrate_on_use=True) as database:
        async with outside.transaction():
            await outside.execute(f"lock table tenant_{tenant}.notes in access share mode")
            migrating = asyncio.create_task(database.ensure_tenant(tenant))
            while not await root.fetchval("select count(*) from pg_locks where not granted"):
                assert not migrating.done()
            await root.execute("update tenantry.tenants set state = 'suspended' where tenant_id = $1", tenant)
        await migrating
    state = await root.fetchval("select state from tenantry.tenants where tenant_id = $1", tenant)
    assert (state, await version_of(root, tenant)) == ("suspended", 2)
    await outside.close()


async def test_a_tenant_that_was_brought_up_to_date_elsewhere_is_served_at_its_next_use(open_database, root, tenant):
    async with open_database(migrations=[NOTES]) as database:
        await database.ensure_tenant(tenant)
    async with open_database(migrations=[NOTES, MORE]) as database:
        with pytest.raises(Unavailable):
            await database.tenant(tenant).fetch("select name from tags")
        async with open_database(migrations=[NOTES, MORE], migrate_on_use=True) as other:
            await other.ensure_tenant(tenant)
        assert await database.tenant(tenant).fetch("select name from tags") == []


async def test_a_post_migration_that_is_missing_does_not_matter(open_database, root, tenant, tenant_ids, tmp_path):
    (tmp_path / "001_notes.sql").write_text(NOTES)
    async with open_database(migrations=Migrations.read(tmp_path)) as database:
        await database.ensure_tenant(tenant)
    (tmp_path / "002_tags.post.sql").write_text("create table tags (name text)")
    async with open_database(migrations=Migrations.read(tmp_path)) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []
        assert await database.tenant(next(tenant_ids)).fetch("select name from tags") == []
    assert await version_of(root, tenant) == 1
    (tmp_path / "003_done.sql").write_text("alter table notes add column done boolean")
    async with open_database(migrations=Migrations.read(tmp_path)) as database:  # one of "pre" comes after it
        with pytest.raises(Unavailable, match="tenant_behind"):
            await database.ensure_tenant(tenant)


async def test_an_older_release_beside_a_newer_one_leaves_the_version_alone(open_database, root, tenant):
    async with open_database(migrations=[NOTES, "create table tags (name text)"]) as database:
        await database.ensure_tenant(tenant)
    async with open_database(migrations=[NOTES], migrate_on_use=True) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []
    assert await version_of(root, tenant) == 2


async def test_each_script_starts_in_the_tenants_schema_with_no_setting_of_the_one_before(open_database, root, tenant):
    scripts = [
        "create table one (id int); set local default_tablespace = pg_default; set local work_mem = '1MB'",
        """create table two (path text, memory text);
           insert into two select current_setting('search_path'), current_setting('work_mem')""",
    ]
    async with open_database(migrations=scripts) as database:
        await database.ensure_tenant(tenant)
        seen = await database.tenant(tenant).fetchrow("select path, memory from two")
    assert tuple(seen) == (f"tenant_{tenant}, pg_temp", await root.fetchval("show work_mem"))
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


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("create table x (id int); commit", "controls the transaction"),
        ("create table x (id int); rollback", "controls the transaction"),
        ("set search_path = public", "changes the session, the role or the search path"),
        ("set local search_path = public", "changes the session, the role or the search path"),
        ("set local role none", "changes the session, the role or the search path"),
    ],
)
async def test_a_script_that_would_leave_its_transaction_or_schema_is_refused_when_it_is_read(
    open_database, script, why
):
    with pytest.raises(ConfigurationError, match=rf"^Statement \d of migration '002' {why}"):
        open_database(migrations=[NOTES, script])


async def test_a_script_that_hides_the_end_of_its_transaction_leaves_nothing(open_database, root, tenant):
    hidden = "create table x (id int); do $$ begin commit; end $$"
    async with open_database(migrations=[NOTES, hidden]) as database:
        with pytest.raises(asyncpg.InvalidTransactionTerminationError):
            await database.ensure_tenant(tenant)
    assert await traces_of(root, tenant) == []


async def test_names_that_need_quotes_can_be_used(open_database, tenant):
    script = """
        create table "My Notes" (id bigserial primary key, "a ""title" text);
        create table "select" (id int);
        create table "Größe; drop schema public" (id int);
        create function "Do It"("A b" text) returns text language sql as $$ select "A b" $$;
    """
    async with open_database(migrations=[script]) as database:
        db = database.tenant(tenant)
        await db.execute('insert into "My Notes" ("a ""title") values ($1)', "one")
        assert await db.fetchval('select "Do It"("a ""title") from "My Notes"') == "one"
        assert await db.fetch('select id from "select" union all select id from "Größe; drop schema public"') == []


@pytest.mark.parametrize(
    "mark", ["select", "comment on role {} is 'tenantry deployment 00000000000000000000000000000000'"]
)
async def test_a_role_of_our_name_without_our_mark_is_refused(database, root, tenant, tenant_ids, mark):
    await database.ensure_tenant(next(tenant_ids))
    role = f"{await deployment_of(root)}_tenant_{tenant}"
    await root.execute(f"create role {role}")
    await root.execute(mark.format(role))
    try:
        with pytest.raises(ConfigurationError, match=f"Role '{role}' exists and was not made by this deployment"):
            await database.ensure_tenant(tenant)
    finally:
        await root.execute(f"drop role {role}")
    await database.ensure_tenant(tenant)


async def test_two_deployments_on_one_cluster_have_tenants_of_one_name_and_never_meet(
    make_database, open_database, root, tenant
):
    there = await make_database()
    outside = await asyncpg.connect(there.superuser)
    async with (
        open_database() as one,
        open_database(dsn=there.superuser, admin_dsn=None) as other,  # a login of its own
    ):
        for database, text in ((one, "here"), (other, "there")):
            await database.tenant(tenant).execute("insert into notes (title) values ($1)", text)
        here_role, there_role = await role_of(root, tenant), await role_of(outside, tenant)
        assert here_role != there_role
        for database, text, foreign in ((one, "here", there_role), (other, "there", here_role)):
            assert await database.tenant(tenant).fetchval("select string_agg(title, ',') from notes") == text
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.tenant(tenant).execute(f'set role "{foreign}"')
    # Nor may the logins of one enter the other's database at all.
    login = (await deployment_of(outside)) + "__app_000"
    assert not await root.fetchval("select has_database_privilege($1, current_database(), 'CONNECT')", login)
    assert not await outside.fetchval("select has_database_privilege('tenantry_app', current_database(), 'CONNECT')")
    await outside.close()


async def test_two_deployments_with_one_request_login_keep_their_rows_apart(make_database, open_database, root, tenant):
    there = await make_database()
    async with open_database() as one, open_database(dsn=there.app, admin_dsn=there.admin) as other:
        for database, text in ((one, "here"), (other, "there")):
            await database.tenant(tenant).execute("insert into notes (title) values ($1)", text)
        for database, text in ((one, "here"), (other, "there")):
            assert await database.tenant(tenant).fetchval("select string_agg(title, ',') from notes") == text
        # Whoever lets one login serve both lets it become both's roles: but such a role has no right here.
        outside = await asyncpg.connect(there.superuser)
        foreign = await role_of(outside, tenant)
        await outside.close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await one.tenant(tenant).execute(f'set role "{foreign}"; select title from tenant_{tenant}.notes')


async def test_a_schema_that_is_not_ours_is_refused(database, root, tenant):
    await root.execute(f"create schema tenant_{tenant}")
    with pytest.raises(ConfigurationError, match="was not made by this deployment"):
        await database.ensure_tenant(tenant)


async def test_a_missing_role_is_forbidden_and_never_another_schema(database, root, tenant):
    await database.ensure_tenant(tenant)
    await lose_role(root, tenant)
    with pytest.raises(Forbidden) as refusal:
        await database.tenant(tenant).fetch("select title from notes")
    assert refusal.value.reason == "tenant_unknown"


async def test_a_lost_role_is_made_again_after_the_first_refusal_and_the_rows_are_there(single, root, tenant):
    await single.tenant(tenant).execute("insert into notes (title) values ('kept')")
    await lose_role(root, tenant)
    with pytest.raises(Forbidden):
        await single.tenant(tenant).fetch("select title from notes")
    assert await single.tenant(tenant).fetchval("select title from notes") == "kept"


async def test_a_login_that_may_not_make_roles_refuses_a_tenant_without_its_role(open_database, root, tenant):
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    await root.execute("grant usage on schema tenantry to tenantry_app")
    await root.execute("grant select on all tables in schema tenantry to tenantry_app")
    await lose_role(root, tenant)
    async with open_database(admin_dsn=None) as database:
        for _ in range(2):
            with pytest.raises(Forbidden) as refusal:
                await database.tenant(tenant).fetch("select title from notes")
            assert refusal.value.reason == "tenant_unknown"


async def test_roles_lost_with_a_cluster_come_back_at_first_use(open_database, root, tenant):
    """A dump restored elsewhere has the schemas and none of the roles."""
    async with open_database() as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('kept')")
    await lose_role(root, tenant)
    async with open_database(create_tenants=False) as database:
        assert await database.tenant(tenant).fetchval("select title from notes") == "kept"


async def test_a_new_request_login_is_let_in_at_first_use(open_database, dsns, root, tenant):
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    login = f"app_{tenant}"
    await root.execute(f"create role {login} login noinherit password 'a made-up password'")
    async with open_database(dsn=rewritten(dsns.app, login=f"{login}:a%20made-up%20password")) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []
        assert await database.tenant(tenant).fetchval("select session_user::text") == login


async def test_a_missing_schema_finds_no_table_anywhere_else(database, root, tenant):
    await database.ensure_tenant(tenant)
    await root.execute(f"create table public.notes (title text); drop schema tenant_{tenant} cascade")
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.tenant(tenant).fetch("select title from notes")


async def test_opaque_names_keep_the_domain_out_of_the_catalog(open_database, root, tenant, tenant_ids):
    readable = next(tenant_ids)
    async with open_database() as database:
        await database.tenant(readable).execute("insert into notes (title) values ('readable')")
    async with open_database(opaque_schema_names=True) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('opaque')")
        # Who was there before keeps its names.
        assert await database.tenant(readable).fetchval("select title from notes") == "readable"
    async with open_database() as database:
        assert await database.tenant(tenant).fetchval("select title from notes") == "opaque"
    row = await root.fetchrow("select schema_name, role_name from tenantry.tenants where tenant_id = $1", tenant)
    assert re.fullmatch("t_[a-z2-7]{32}", row["schema_name"])
    assert row["role_name"] == f"{await deployment_of(root)}_{row['schema_name']}"
    names = await root.fetchval(
        "select string_agg(name, ' ') from (select nspname::text from pg_namespace union all"
        " select rolname from pg_roles union all select description from pg_description union all"
        " select description from pg_shdescription) as names (name)"
    )
    assert readable in names
    assert tenant not in names


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
        async with open_database(migrations=[NOTES, impatient], migrate_on_use=True) as database:
            with pytest.raises(Unavailable) as refusal:
                await database.ensure_tenant(tenant)
            assert refusal.value.reason == "database_unavailable"
    assert await version_of(root, tenant) == 1
