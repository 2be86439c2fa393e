"""The database out of reach, and the way to it from inside a request."""

# ruff: noqa: ASYNC110 - a scope is a block, so what it raises comes out of a block

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager, suppress

import asyncpg
import pytest
from tests.postgres.registry import deployment_of, role_of

from tenantry.context import user_variable
from tenantry.errors import ConfigurationError, Forbidden, Unavailable
from tenantry.model import MCPUserContext
from tenantry.postgres import Database, current_database, get_tenant_database, tenant_connection, use_database

pytestmark = pytest.mark.anyio

NOTES = "create table notes (id bigint generated always as identity primary key, title text not null)"
# Port 1 on loopback: nothing listens there.
DOWN = "postgresql://somebody:a-very-secret-word@127.0.0.1:1/nowhere"


@pytest.fixture
def tenant(tenant_ids):
    return next(tenant_ids)


def user_of(tenant: str) -> MCPUserContext:
    return MCPUserContext("google:1", "google", "1", tenant)


@pytest.fixture
def signed_in():
    """Make somebody the caller of the request at hand, as the middleware does."""

    @contextmanager
    def sign_in(user):
        token = user_variable.set(user)
        yield
        user_variable.reset(token)

    return sign_in


async def test_opening_does_not_need_the_server_and_use_is_unavailable():
    async with Database.open(DOWN, create_tenants=True) as database:
        with pytest.raises(Unavailable) as refusal:
            await database.tenant("a_com").fetch("select 1")
    assert (refusal.value.reason, refusal.value.retry_after) == ("database_unavailable", 5)


async def test_a_refused_password_is_unavailable_and_not_repeated(dsns):
    dsn = dsns.app.replace(dsns.app.split("@")[0], "postgresql://tenantry_app:a-very-secret-word")
    async with Database.open(dsn, create_tenants=False) as database:
        with pytest.raises(Unavailable) as refusal:
            await database.tenant("a_com").fetch("select 1")
    assert "secret" not in f"{refusal.value!r} {refusal.value.detail}"


@pytest.mark.parametrize("malformed", ["", "hello", "mysql://a:very-secret@h/d", "postgresql://a:very-secret@h:port/d"])
async def test_a_malformed_connection_string_is_named_and_not_quoted(malformed):
    async with Database.open(malformed, create_tenants=False) as database:
        with pytest.raises((ConfigurationError, Unavailable)) as problem:
            await database.tenant("a_com").fetch("select 1")
    assert "secret" not in str(problem.value)


async def test_a_repr_shows_no_password():
    assert "secret" not in repr(Database.open(DOWN, create_tenants=True))


async def test_a_database_that_comes_back_is_used_again(server, dsns, open_database, tenant):
    name = dsns.app.rpartition("/")[2].partition("?")[0]
    outside = await asyncpg.connect(server.dsn)
    async with open_database() as database:
        await outside.execute(f"alter database {name} rename to {name}_away")
        with pytest.raises(Unavailable):
            await database.ensure_tenant(tenant)
        await outside.execute(f"alter database {name}_away rename to {name}")
        assert await database.tenant(tenant).fetch("select title from notes") == []
    await outside.close()


@asynccontextmanager
async def pooler(dsn: str):
    """Passes everything on, and refuses to start a session with a parameter it does not know, as PgBouncer does."""
    host, port = dsn.split("@")[1].split("/")[0].split(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = await reader.readexactly(4)
        startup = length + await reader.readexactly(int.from_bytes(length) - 4)
        if b"\0role\0" in startup:
            refusal = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: role\0\0"
            writer.write(b"E" + (len(refusal) + 4).to_bytes(4) + refusal)
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        server_writer.write(startup)
        await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield dsn.replace(f":{port}/", f":{listening.sockets[0].getsockname()[1]}/")


@pytest.mark.parametrize("one_login", [True, False])
async def test_a_pooler_that_refuses_startup_parameters_is_served(dsns, root, open_database, tenant, one_login):
    behind, direct = (dsns.superuser, dsns.superuser) if one_login else (dsns.app, dsns.admin)
    async with pooler(behind) as dsn, open_database(dsn=dsn, admin_dsn=direct) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('x')")
        seen = await database.tenant(tenant).fetchrow("select current_user::text, session_user::text")
        login = f"{await deployment_of(root)}__app_000" if one_login else "tenantry_app"
        assert tuple(seen) == (await role_of(root, tenant), login)
        with pytest.raises(RuntimeError, match="COMMIT"):
            await database.tenant(tenant).execute("commit")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.tenant(tenant).execute(f"commit; select title from tenant_{tenant}.notes")


async def nothing(connection: asyncpg.Connection) -> None:
    """What some pools do on release."""


@pytest.mark.parametrize("reset", [None, nothing], ids=["default reset", "no reset"])
async def test_a_pool_of_the_applications_own_works_as_well(dsns, root, tenant, tenant_ids, reset):
    other = next(tenant_ids)
    async with asyncpg.create_pool(dsns.app, min_size=1, max_size=1, reset=reset) as pool:
        async with Database.over(pool, admin_dsn=dsns.admin, create_tenants=True, migrations=[NOTES]) as database:
            for name in (tenant, other):
                await database.tenant(name).execute("insert into notes (title) values ($1)", name)
            await database.tenant(tenant).execute("set search_path = pg_catalog; set role none; set my.setting = 'x'")
            with pytest.raises(asyncpg.DivisionByZeroError):
                await database.tenant(tenant).fetchval("select 1/0")
            for name in (other, tenant):
                seen = await database.tenant(name).fetchrow("select title, current_user::text from notes")
                assert tuple(seen) == (name, await role_of(root, name))
        # It stays the application's, and has nothing of a tenant.
        left = "select current_user::text, current_setting('search_path'), current_setting('my.setting', true)"
        assert tuple(await pool.fetchrow(left)) in (
            ("tenantry_app", '"$user", public', None),
            ("tenantry_app", '"$user", public', ""),
        )


async def test_a_pool_with_one_login_says_which_tenants_it_cannot_serve(dsns, root, database, tenant):
    await database.ensure_tenant(tenant)
    await root.execute("update tenantry.tenants set bucket = 1 where tenant_id = $1", tenant)
    async with (
        asyncpg.create_pool(dsns.app, min_size=0, max_size=1) as pool,
        Database.over(pool, admin_dsn=dsns.admin, create_tenants=True, migrations=[NOTES]) as over,
    ):
        with pytest.raises(ConfigurationError, match=r"login number 1 .* open the database by its connection string"):
            await over.tenant(tenant).fetch("select title from notes")


async def test_use_after_close_is_unavailable(open_database, tenant):
    database = open_database()
    await database.ensure_tenant(tenant)
    await database.close()
    await database.close()
    with pytest.raises(Unavailable):
        await database.tenant(tenant).fetch("select title from notes")


async def test_close_waits_for_an_open_scope(open_database, tenant):
    database = open_database()
    async with database.tenant_connection(tenant) as connection:
        closing = asyncio.create_task(database.close())
        while not database._closed:
            await asyncio.sleep(0)
        await connection.execute("insert into notes (title) values ('in time')")
    await closing
    async with open_database() as again:
        assert await again.tenant(tenant).fetchval("select title from notes") == "in time"


async def test_without_a_database_the_sentence_names_the_variable():
    with pytest.raises(ConfigurationError, match="MCP_HTTP_DATABASE_CONNECTION_STRING"):
        await get_tenant_database("a_com")
    with pytest.raises(ConfigurationError, match="DATABASE_URL"):
        tenant_connection("a_com")


async def test_the_database_of_the_request_is_found(database, tenant, signed_in):
    with signed_in(user_of(tenant)), use_database(database):
        db = await get_tenant_database(tenant)
        await db.execute("insert into notes (title) values ('mine')")
        async with tenant_connection(user_of(tenant), readonly=True) as connection:
            assert await connection.fetchval("select title from notes") == "mine"
    assert current_database.get() is None


async def test_a_tools_argument_never_chooses_the_tenant(database, tenant, tenant_ids, signed_in):
    other = next(tenant_ids)
    await database.ensure_tenant(other)
    with signed_in(user_of(tenant)), use_database(database):
        with pytest.raises(Forbidden) as refusal:
            await get_tenant_database(other)
        assert refusal.value.reason == "tenant_unknown"
        with pytest.raises(Forbidden):
            tenant_connection(other)


async def test_an_administrators_database_reaches_any_tenant(database, tenant, tenant_ids, signed_in):
    with signed_in(user_of(tenant)):
        assert await database.tenant(next(tenant_ids)).fetch("select title from notes") == []


async def test_a_context_of_the_request_works_where_the_variable_remembers_somebody_else(
    database, tenant, tenant_ids, signed_in
):
    with signed_in(user_of(next(tenant_ids))), use_database(database):
        db = await get_tenant_database(user_of(tenant))
        assert await db.fetchval("select current_setting('tenantry.user_id')") == "google:1"


def test_importing_tenantry_imports_no_asyncpg():
    done = subprocess.run(
        [sys.executable, "-c", "import tenantry, sys; sys.exit('asyncpg' in sys.modules)"], check=False
    )
    assert done.returncode == 0


async def test_a_control_schema_of_another_login_is_one_sentence(dsns, open_database, tenant_ids):
    tenant = next(tenant_ids)
    async with open_database(dsn=dsns.superuser, admin_dsn=dsns.superuser) as database:
        await database.ensure_tenant(tenant)
    async with open_database() as database:
        with pytest.raises(ConfigurationError, match="made by another login"):
            await database.ensure_tenant(tenant)
