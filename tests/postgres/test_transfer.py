"""A tenant to a file and back, to another database and back, and out of the world."""

# ruff: noqa: ASYNC240 - a test may wait for its own small files

from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from tests.cli.conftest import COMMAND, environment
from tests.postgres.commands import Commands
from tests.postgres.conftest import SOURCES
from tests.postgres.servers import rewritten

from tenantry.adapters.postgres.administration import moving, removal
from tenantry.adapters.postgres.configured import database_from
from tenantry.adapters.postgres.control import lock
from tenantry.errors import ConfigurationError, Forbidden, Unavailable
from tenantry.postgres import Database
from tenantry.settings import Settings

pytestmark = pytest.mark.anyio

# All that a copy can stumble over: seeds, circles, generated and identity columns, triggers, policies, partitions,
# names that need quotes, values that COPY must escape.
MIGRATIONS = (
    """
    create table notes (
        id bigint generated always as identity primary key,
        title text not null,
        upper_title text generated always as (upper(title)) stored,
        parent bigint references notes,
        at timestamptz not null default now(),
        weight double precision, flags bytea, tags text[], meta jsonb
    );
    insert into notes (title) values ('seeded');
    create table kinds (name text primary key, favourite bigint references notes);
    alter table notes add kind text references kinds;
    """,
    """
    create table "Odd ""Name" (id bigint primary key, "the ""value" text);
    create table parted (id bigint, part int) partition by list (part);
    create table parted_1 partition of parted for values in (1);
    create table parted_2 partition of parted for values in (2);
    create function stamp() returns trigger language plpgsql set search_path from current as $$
      begin new.title := new.title || '!'; return new; end $$;
    create trigger stamped before insert on notes for each row execute function stamp();
    alter table kinds enable row level security;
    create policy everybody on kinds using (true);
    create materialized view totals as select count(*) as n from notes;
    create view titles as select title from notes;
    create sequence tickets start 1000;
    """,
    "create table later (id bigint)",
)
ROWS = r"""
    insert into notes (title, parent, weight, flags, tags, meta, at) values
      (e'tab\there\nline\\back', 1, 0.1 + 0.2, '\x00ff', '{a,"b c",null}', '{"k": "v"}', '2026-01-02 03:04:05.6789+05'),
      ('', null, 'NaN', null, '{}', 'null', 'infinity');
    insert into kinds values ('first', 1), ('second', null);
    update notes set kind = 'first' where id = 1;
    insert into "Odd ""Name" values (1, 'x'), (2, null);
    insert into parted values (1, 1), (2, 2), (3, 2);
    select nextval('tickets'), nextval('tickets');
    refresh materialized view totals;
"""
_OF_TENANT = """
    select 'namespace', nspname::text from pg_namespace
    union all select 'class', oid::regclass::text from pg_class where relnamespace <> 'pg_toast'::regnamespace
    union all select 'proc', oid::regprocedure::text from pg_proc where oid >= 16384
    union all select 'role', rolname::text from pg_authid
    union all select 'membership', roleid::regrole::text || member::regrole::text from pg_auth_members
    union all select 'shdepend', refobjid::regrole::text || classid::text || objid::text from pg_shdepend
      where refclassid = 'pg_authid'::regclass
    union all select 'description', description from pg_description where objoid >= 16384
    union all select 'shdescription', objoid::text || description from pg_shdescription
    union all select 'default_acl', defaclrole::regrole::text from pg_default_acl
    union all select 'constraint', conname::text from pg_constraint where oid >= 16384
    union all select 'line', tenant_id from tenantry.tenants
    union all select 'key', key_id from tenantry.api_keys
    union all select 'mapping', source from tenantry.mappings
"""


@pytest.fixture
def tenant(tenant_ids):
    return next(tenant_ids)


@pytest.fixture
def commands(dsns, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "migrations"
    folder.mkdir()
    made = Commands(dsns, folder, monkeypatch, capsys)
    made.migrations(*MIGRATIONS)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
async def filled(commands, root, tenant):
    """A tenant with rows."""
    await commands.done("create", "--domain", tenant.replace("_", "."))
    await fill(root, tenant)
    return tenant


async def fill(root, tenant: str) -> None:
    async with root.transaction():
        await root.execute(f"set local search_path = tenant_{tenant}")
        await root.execute(ROWS)


@pytest.fixture
async def start():
    """Start ``tenantry tenants ...`` as a process of its own."""
    started = []

    async def begin(*words: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        command = [*COMMAND, "tenants", *words]
        started.append(await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environment()))
        return started[-1]

    yield begin
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


class Holder:
    """Somebody else's open transaction, at which a command has to wait."""

    def __init__(self, connection: asyncpg.Connection, outside: asyncpg.Connection) -> None:
        self.connection, self._outside = connection, outside

    async def is_waited_for(self, what: str, tenant: str) -> None:
        """Until the server says so."""
        await self._outside.execute(f"set search_path = tenant_{tenant}, tenantry")
        query = f"select count(*) from pg_locks where not granted and {what}"
        async with asyncio.timeout(60):
            while not await self._outside.fetchval(query):
                pass

    async def beside(self, statement: str) -> None:
        """Run a statement that does not belong to that transaction."""
        await self._outside.execute(statement)


@pytest.fixture
def holding():
    """``async with holding(dsn, statement):`` a transaction with what the statement locks, undone at the end."""

    @asynccontextmanager
    async def hold(dsn: str, statement: str = "", *, name: str = "") -> AsyncIterator[Holder]:
        connection, outside = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
        transaction = connection.transaction()
        await transaction.start()
        if name:
            await lock(connection, name)
        else:
            await connection.execute(statement)
        yield Holder(connection, outside)
        await transaction.rollback()
        await connection.close()
        await outside.close()

    return hold


async def all_of(dsn: str, tenant: str) -> dict[str, list[str]]:
    """Every row, and where the sequences stand."""
    root = await asyncpg.connect(dsn)
    found = {}
    for row in await root.fetch(
        "select oid::regclass::text as name, relname, relkind::text as kind from pg_class"
        " where relnamespace = $1::regnamespace and relkind in ('r', 'm', 'S') order by relname",
        f"tenant_{tenant}",
    ):
        what = "(last_value, is_called)::text" if row["kind"] == "S" else "t::text"
        rows = await root.fetch(f"select {what} as row from {row['name']} as t order by 1")
        found[row["relname"]] = [one["row"] for one in rows]
    await root.close()
    return found


# --- export and import ------------------------------------------------------------------------------------------------


async def test_what_is_imported_is_what_was_exported(commands, dsns, filled):
    before = await all_of(dsns.superuser, filled)
    said = await commands.done("export", filled, "--to", "a.zip", "--json")
    assert said.json["tables"]["notes"]["rows"] == 3
    await commands.done("drop", filled, "--confirm", filled, "--no-export")
    await commands.done("import", "a.zip")
    assert await all_of(dsns.superuser, filled) == before
    assert (await commands.done("check")).out == ""


async def test_an_imported_tenant_serves_and_goes_on_counting(commands, open_database, filled):
    await commands.done("export", filled, "--to", "a.zip")
    await commands.done("import", "a.zip", "--as", f"{filled}_org")
    async with open_database(migrations=MIGRATIONS, create_tenants=False) as database:
        async with database.tenant_connection(f"{filled}_org") as connection:
            made = await connection.fetchrow("insert into notes (title) values ('new') returning id, title")
            assert tuple(made) == (4, "new!")
            assert await connection.fetchval("select nextval('tickets')") == 1002
            assert await connection.fetchval("select n from totals") == 3
        assert await database.tenant(filled).fetchval("select count(*) from notes") == 3


async def test_an_export_is_for_its_owner_alone_and_overwrites_nothing(commands, filled):
    await commands.done("export", filled, "--to", "a.zip")
    assert stat.S_IMODE(os.stat("a.zip").st_mode) == 0o600
    assert "exists and is not overwritten" in await commands.refused("export", filled, "--to", "a.zip")


async def test_an_export_goes_to_standard_output(commands, filled, tmp_path):
    command = [*COMMAND, "tenants", "export", filled, "--to", "-"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, env=environment())
    (tmp_path / "b.zip").write_bytes(done.stdout)
    await commands.done("import", "b.zip", "--as", f"{filled}_org")


async def test_an_export_says_what_it_holds_to_any_program(commands, filled):
    await commands.done("export", filled, "--to", "a.zip")
    with zipfile.ZipFile("a.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        (notes,) = (table for table in manifest["tables"] if table["name"] == "notes")
        lines = archive.read(notes["member"]).decode().splitlines()
    assert (manifest["tenant_id"], [each["name"] for each in manifest["migrations"]]) == (
        filled,
        ["001.sql", "002.sql", "003.sql"],
    )
    assert (notes["rows"], len(lines), "upper_title" in notes["columns"]) == (3, 3, False)


async def test_rows_written_after_the_first_was_read_are_not_in_it(dsns, filled, start, holding):
    """One moment, whatever the order of the tables."""
    async with holding(dsns.superuser, f"lock table tenant_{filled}.kinds") as holder:
        exporting = await start("export", filled, "--to", "a.zip", "--json")
        await holder.is_waited_for("relation = 'kinds'::regclass", filled)
        await holder.beside(f"insert into tenant_{filled}.later values (7)")
    out, _ = await exporting.communicate()
    assert json.loads(out)["tables"]["later"]["rows"] == 0


async def test_a_damaged_file_leaves_nothing(commands, root, filled):
    await commands.done("export", filled, "--to", "a.zip")
    with zipfile.ZipFile("a.zip") as archive, zipfile.ZipFile("b.zip", "w") as damaged:
        for name in archive.namelist():
            damaged.writestr(name, archive.read(name).replace(b"second", b"sec0nd"))
    assert "is damaged" in await commands.refused("import", "b.zip", "--as", "copy_com")
    whole = Path("a.zip").read_bytes()
    for place in range(40, len(whole) // 2, 97):  # in the rows, not in the manifest that follows them
        Path("e.zip").write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        said = await commands("tenants", "import", "e.zip", "--as", "copy_com")
        assert "Traceback" not in said.err
        if said.code == 0:  # a bit of a header that nobody reads
            await commands.done("drop", "copy_com", "--confirm", "copy_com", "--no-export")
    Path("c.zip").write_bytes(whole[:-100])
    assert "is not a whole export" in await commands.refused("import", "c.zip", "--as", "copy_com")
    Path("d.zip").write_text("no archive")
    assert "is not a whole export" in await commands.refused("import", "d.zip", "--as", "copy_com")
    assert await root.fetchval("select count(*) from pg_namespace where nspname = 'tenant_copy_com'") == 0


async def test_other_migrations_are_refused(commands, filled):
    await commands.done("export", filled, "--to", "a.zip")
    (commands.folder / "003.sql").write_text("create table other (id bigint)")
    said = await commands("tenants", "import", "a.zip", "--as", "copy_com")
    assert (said.code, "migration '003.sql'" in said.err) == (2, True)


async def test_an_existing_tenant_is_not_overwritten(commands, filled):
    await commands.done("export", filled, "--to", "a.zip")
    assert "with --as" in await commands.refused("import", "a.zip")


async def test_a_tenant_that_was_altered_by_hand_is_not_restored_by_half(commands, root, filled):
    await root.execute(f"alter table tenant_{filled}.notes add by_hand text")
    await commands.done("export", filled, "--to", "a.zip")
    assert "is not the sum of its migrations" in await commands.refused("import", "a.zip", "--as", "copy_com")


async def test_rows_that_a_policy_would_hide_are_an_error_and_not_left_out(commands, root, filled):
    await root.execute(f"alter table tenant_{filled}.kinds force row level security")
    assert "FORCE ROW LEVEL SECURITY" in await commands.refused("export", filled, "--to", "a.zip")
    assert not Path("a.zip").exists()


# --- drop -------------------------------------------------------------------------------------------------------------


async def state_of_catalogs(root) -> set[tuple[str, str]]:
    return {tuple(row) for row in await root.fetch(_OF_TENANT)}


async def test_a_drop_leaves_nothing_in_any_catalog(commands, root, tenant, tenant_ids):
    await commands.done("create", next(tenant_ids))  # so that all that tenants share is there
    before = await state_of_catalogs(root)
    await commands.done("create", tenant)
    await fill(root, tenant)
    await commands.done("map", "acme.example", tenant)
    assert (await commands("keys", "create", "--name", "ci", "--tenant", tenant)).code == 0
    assert len(await state_of_catalogs(root)) > len(before)
    said = await commands.done("drop", tenant, stdin=f"{tenant}\n")
    assert "with 2 mappings and 1 keys" in said.err
    assert await state_of_catalogs(root) == before


async def test_a_drop_exports_first_and_the_file_restores(commands, dsns, filled):
    before = await all_of(dsns.superuser, filled)
    said = await commands.done("drop", filled, "--confirm", filled, "--json")
    await commands.done("import", said.json["exported"])
    assert await all_of(dsns.superuser, filled) == before


@pytest.mark.parametrize("answer", ["", "yes\n", "other_com\n"])
async def test_without_the_name_said_again_nothing_is_dropped(commands, root, filled, answer):
    said = await commands("tenants", "drop", filled, stdin=answer)
    assert (said.code, "nothing has been dropped" in said.err) == (2, True)
    assert await root.fetchval("select state from tenantry.tenants") == "active"


async def test_a_drop_waits_for_open_scopes_and_gives_way_when_they_last(commands, open_database, filled):
    async with open_database(migrations=MIGRATIONS) as database:
        async with database.tenant_connection(filled) as connection:
            await connection.execute("insert into later values (1)")
            with pytest.raises(ConfigurationError, match="is still at work"):
                await removal.drop(database, filled, export_to=None, actor="a test", patience=0)
        assert await database.tenant(filled).fetchval("select count(*) from later") == 1


async def test_a_dropped_tenant_is_unknown_to_a_running_replica(commands, open_database, filled):
    async with open_database(migrations=MIGRATIONS, create_tenants=False) as database:
        await database.ensure_tenant(filled)
        heard = asyncio.Event()
        database.on_change.append(heard.set)
        await commands.done("drop", filled, "--confirm", filled, "--no-export")
        await heard.wait()
        with pytest.raises(Forbidden, match="tenant_unknown"):
            await database.tenant(filled).fetch("select 1")


async def test_an_export_that_fails_leaves_the_tenant_as_it_was(commands, root, open_database, filled):
    Path("taken.zip").write_text("somebody's")
    said = await commands("tenants", "drop", filled, "--confirm", filled, "--to", "taken.zip")
    assert (said.code, "is not overwritten" in said.err) == (2, True)
    async with open_database(migrations=MIGRATIONS, create_tenants=False) as database:
        assert await database.tenant(filled).fetchval("select count(*) from notes") == 3


async def test_what_others_built_on_a_tenant_is_not_dropped_with_it(commands, root, filled):
    await root.execute(f"create schema reports create view reports.of as select title from tenant_{filled}.notes")
    said = await commands("tenants", "drop", filled, "--confirm", filled)
    assert (said.code, "reports.of" in said.err) == (2, True)
    assert await root.fetchval("select state from tenantry.tenants") == "active"


async def test_rights_elsewhere_are_named_and_the_drop_completes_once_they_are_gone(commands, root, filled):
    role = await root.fetchval("select role_name from tenantry.tenants")
    await root.execute(f"create table public.rates (); grant select on public.rates to {role}")
    said = await commands("tenants", "drop", filled, "--confirm", filled, "--no-export")
    assert (said.code, "table rates" in said.err) == (2, True)
    await root.execute(f"revoke select on public.rates from {role}")
    await commands.done("drop", filled, "--confirm", filled)
    assert await root.fetchval("select count(*) from pg_roles where rolname = $1", role) == 0


# Where a command waits, so that it can be killed there: what is held, and what it then waits for.
AT_TABLES = ("lock table tenant_{tenant}.later in access share mode", "relation = 'later'::regclass")
AT_AUDIT = ("lock table tenantry.audit in share mode", "relation = 'audit'::regclass")
AT_ROLE = ("alter role {role} connection limit 7", "locktype = 'transactionid'")


@pytest.mark.parametrize("place", [AT_TABLES, AT_ROLE, AT_AUDIT], ids=["closing", "role", "registry"])
async def test_a_drop_that_was_killed_is_completed_by_the_next(commands, dsns, root, filled, start, holding, place):
    role = await root.fetchval("select role_name from tenantry.tenants")
    async with holding(dsns.superuser, AT_TABLES[0].format(tenant=filled)) as first:
        dropping = await start("drop", filled, "--confirm", filled, "--no-export")
        await first.is_waited_for(AT_TABLES[1], filled)
        if place is AT_TABLES:
            dropping.kill()
        async with holding(dsns.superuser, place[0].format(tenant=filled, role=role)) as second:
            await first.connection.execute("rollback and chain")
            if place is not AT_TABLES:
                await second.is_waited_for(place[1], filled)
                dropping.kill()
            await dropping.wait()
    assert await root.fetchval("select state from tenantry.tenants") == "dropping"
    assert "unfinished" in (await commands("tenants", "check", "--json")).out
    await commands.done("drop", filled, "--confirm", filled)
    assert await root.fetchval("select count(*) from tenantry.tenants") == 0
    assert await root.fetchval("select count(*) from pg_roles where rolname = $1", role) == 0
    assert not await there(dsns.superuser, filled)


async def test_a_schema_of_more_tables_than_one_transaction_drops_goes_whole(commands, root, tenant):
    commands.migrations(*(f"create table t{number} (id bigint primary key)" for number in range(160)))
    await commands.done("create", tenant)
    await commands.done("drop", tenant, "--confirm", tenant, "--no-export")
    assert await root.fetchval("select count(*) from pg_namespace where nspname = $1", f"tenant_{tenant}") == 0


# --- move -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
async def other_server(source, anyio_backend):
    """A server of another version."""
    others = [one for one in SOURCES if one is not source]
    if not others:
        pytest.skip("PostgreSQL of one version only is installed")
    async with others[0].start() as running:
        yield running


@pytest.fixture(params=["server", "other_server"], ids=["the same server", "another server"])
def where(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
async def second(where, commands, numbers):
    """A second database, which the settings name: its superuser's connection string."""
    name = f"second_{next(numbers)}"
    outside = await asyncpg.connect(where.dsn)
    await outside.execute(f"create database {name} owner tenantry_admin template template0")
    superuser, admin, app = (rewritten(dsn, database=name) for dsn in (where.dsn, where.admin_dsn, where.app_dsn))
    commands.set("DATABASES", json.dumps({"second": {"url": app, "direct_url": admin}}))
    yield superuser
    await outside.execute(f"drop database {name} with (force)")
    await outside.close()


async def there(dsn: str, tenant: str) -> bool:
    root = await asyncpg.connect(dsn)
    try:
        return bool(await root.fetchval("select count(*) from pg_namespace where nspname = $1", f"tenant_{tenant}"))
    finally:
        await root.close()


async def test_a_moved_tenant_is_served_from_its_new_database(commands, dsns, second, filled):
    before = await all_of(dsns.superuser, filled)
    said = await commands.done("move", filled, "--to", "second", "--json")
    assert said.json["tables"]["notes"]["rows"] == 3
    assert await all_of(second, filled) == before
    async with database_from(Settings()) as database:
        await database.tenant(filled).execute("insert into later values (5)")
        assert await database.tenant(filled).fetchval("select count(*) from notes") == 3
    assert (await all_of(second, filled))["later"] == ["(5)"]
    assert (await all_of(dsns.superuser, filled))["later"] == []
    said = await commands("tenants", "check", "--json")
    assert [finding["problem"] for finding in said.json["findings"]] == ["schema_unknown"]
    assert "second" in (await commands.done("list")).out


async def test_the_old_copy_is_kept_closed_until_it_is_purged(commands, dsns, root, second, filled):
    await commands.done("move", filled, "--to", "second")
    role = await root.fetchval("select role_name from tenantry.tenants")
    assert not await root.fetchval("select has_schema_privilege($1, $2, 'USAGE')", role, f"tenant_{filled}")
    assert await there(dsns.superuser, filled)
    assert "old copy" in await commands.refused("move", filled, "--to", "main")
    assert "Removed from: main." in (await commands.done("move", filled, "--purge")).err
    assert not await there(dsns.superuser, filled)
    assert (await commands.done("check")).out == ""
    await commands.done("move", filled, "--to", "main")
    await commands.done("move", filled, "--purge")
    assert not await there(second, filled)
    assert (await commands.done("check")).out == ""
    async with database_from(Settings()) as database:
        assert await database.tenant(filled).fetchval("select count(*) from notes") == 3


async def test_a_moved_tenant_can_be_dropped_with_its_old_copy(commands, dsns, root, second, filled):
    await commands.done("move", filled, "--to", "second")
    await commands.done("drop", filled, "--confirm", filled)
    for dsn in (dsns.superuser, second):
        outside = await asyncpg.connect(dsn)
        assert await outside.fetchval("select count(*) from pg_namespace where nspname = $1", f"tenant_{filled}") == 0
        assert await outside.fetchval("select count(*) from pg_roles where rolname like '%' || $1", filled) == 0
        assert await outside.fetchval("select count(*) from tenantry.tenants") == 0
        await outside.close()


async def refused(database: Database, tenant: str) -> Unavailable:
    """What a replica answers as soon as it has heard."""
    async with asyncio.timeout(10):
        while True:
            try:
                await database.tenant(tenant).fetch("select 1")
            except Unavailable as refusal:
                return refusal


async def test_requests_meanwhile_are_503_and_who_has_not_heard_cannot_write(
    commands, dsns, root, second, filled, start, holding
):
    role = await root.fetchval("select role_name from tenantry.tenants")
    async with database_from(Settings()) as database:
        await database.ensure_tenant(filled)
        await database.provisioner.cluster("second")
        async with holding(second, name=f"tenant_{filled}") as holder:
            moving = await start("move", filled, "--to", "second")
            await holder.is_waited_for("locktype = 'advisory'", filled)
            refusal = await refused(database, filled)
            assert (refusal.reason, refusal.retry_after) == ("tenant_moving", 10)
            stale = await asyncpg.connect(dsns.app)  # does what a replica does that has not heard of it
            await stale.execute(f"begin; set local role {role}; set local search_path = tenant_{filled}, pg_temp")
            with pytest.raises(asyncpg.UndefinedTableError):
                await stale.execute("insert into later values (1)")
            await stale.close()
        assert await moving.wait() == 0
        assert await database.tenant(filled).fetchval("select count(*) from notes") == 3
    assert (await all_of(second, filled))["later"] == []


@pytest.mark.parametrize("then", ["again", "cancel"])
@pytest.mark.parametrize("step", ["closing", "copying", "switching"])
async def test_a_move_that_was_killed_is_completed_or_undone(
    commands, dsns, root, second, filled, start, holding, step, then
):
    before = await all_of(dsns.superuser, filled)
    async with database_from(Settings()) as database:
        await database.provisioner.cluster("second")  # prepared, so that there is something to hold
    async with holding(dsns.superuser, AT_TABLES[0].format(tenant=filled)) as first:
        moving = await start("move", filled, "--to", "second")
        await first.is_waited_for(AT_TABLES[1], filled)
        if step == "closing":
            moving.kill()
        elif step == "copying":
            async with holding(second, name=f"tenant_{filled}") as holder:
                await first.connection.execute("rollback and chain")
                await holder.is_waited_for("locktype = 'advisory'", filled)
                moving.kill()
                await moving.wait()
        else:
            async with holding(dsns.superuser, AT_AUDIT[0]) as holder:
                await first.connection.execute("rollback and chain")
                await holder.is_waited_for(AT_AUDIT[1], filled)
                moving.kill()
                await moving.wait()
        await moving.wait()
    assert await there(second, filled) == (step == "switching")
    assert tuple(await root.fetchrow("select state, dsn_id from tenantry.tenants")) == ("moving", "main")
    assert "unfinished" in (await commands("tenants", "check", "--json")).out
    if then == "again":
        await commands.done("move", filled, "--to", "second")
        assert await all_of(second, filled) == before
    else:
        await commands.done("move", filled, "--cancel")
        assert not await there(second, filled)
        assert await all_of(dsns.superuser, filled) == before
        assert (await commands.done("check")).out == ""
    async with database_from(Settings()) as database:
        assert await database.tenant(filled).fetchval("select count(*) from notes") == 3


async def test_a_move_that_fails_leaves_the_tenant_where_it_was_and_served(commands, root, dsns, second, filled):
    await root.execute(f"alter table tenant_{filled}.notes add by_hand text")
    assert "is not the sum of its migrations" in await commands.refused("move", filled, "--to", "second")
    assert not await there(second, filled)
    async with database_from(Settings()) as database:
        assert await database.tenant(filled).fetchval("select count(*) from notes") == 3


async def test_a_tenant_whose_new_database_goes_away_is_served_where_it_was(
    commands, dsns, root, second, filled, start, holding
):
    async with database_from(Settings()) as database:
        await database.provisioner.cluster("second")
    async with holding(dsns.superuser, AT_TABLES[0].format(tenant=filled)) as first:
        moving = await start("move", filled, "--to", "second")
        await first.is_waited_for(AT_TABLES[1], filled)
        outside = await asyncpg.connect(second)
        name = await outside.fetchval("select current_database()")
        await outside.close()
        elsewhere = await asyncpg.connect(rewritten(second, database="postgres"))
        await elsewhere.execute(f"alter database {name} with allow_connections false")
        others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1"
        await elsewhere.execute(others.replace("$1", f"'{name}'"))
    _, said = await moving.communicate()
    assert (moving.returncode, said.count(b"\n")) == (2, 1), said
    assert await root.fetchval("select state from tenantry.tenants") == "active"
    await elsewhere.execute(f"alter database {name} with allow_connections true")
    await elsewhere.close()
    async with database_from(Settings()) as database:
        assert await database.tenant(filled).fetchval("select count(*) from notes") == 3
    await commands.done("move", filled, "--to", "second")


async def test_open_scopes_that_last_keep_the_tenant_where_it_is(commands, second, filled):
    async with database_from(Settings()) as database:
        async with database.tenant_connection(filled) as connection:
            await connection.execute("insert into later values (1)")
            with pytest.raises(ConfigurationError, match="is still at work"):
                await moving.move(database, filled, "second", actor="a test", patience=0)
        assert await database.tenant(filled).fetchval("select count(*) from later") == 1


async def test_moves_to_nowhere_are_refused(commands, second, filled):
    assert "There is no database 'third'" in await commands.refused("move", filled, "--to", "third")
    assert "lives in main already" in (await commands.done("move", filled, "--to", "main")).err
    await commands.done("suspend", filled)
    assert "only one that is served" in await commands.refused("move", filled, "--to", "second")


async def test_a_tenant_is_made_and_restored_in_a_further_database(commands, second, tenant, root):
    await commands.done("create", tenant, "--database", "second")
    assert await there(second, tenant)
    await commands.done("export", tenant, "--to", "a.zip")
    await commands.done("drop", tenant, "--confirm", tenant, "--no-export")
    assert not await there(second, tenant)
    await commands.done("import", "a.zip", "--database", "second")
    async with database_from(Settings()) as database:
        assert await database.tenant(tenant).fetchval("select count(*) from notes") == 1
    assert (await commands.done("check")).out == ""
    outside = await asyncpg.connect(second)
    await outside.execute("update tenantry.tenants set version = 1")
    assert "disagree on its version (3 and 1)" in (await commands("tenants", "check")).out
    await outside.execute("delete from tenantry.tenants")
    assert "does not list it" in (await commands("tenants", "check")).out
    await outside.close()
