"""Who serves requests: a login without rights of its own, the operator's or one of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from tests.postgres.registry import deployment_of, role_of
from tests.postgres.servers import rewritten

from tenantry.errors import ConfigurationError
from tenantry.postgres import Database

pytestmark = pytest.mark.anyio

POWERS = ("rolsuper", "rolinherit", "rolcreaterole", "rolcreatedb", "rolbypassrls", "rolreplication")


@pytest.fixture
def tenant(tenant_ids):
    return next(tenant_ids)


@pytest.fixture
async def make_login(dsns, root, tenant_ids) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """``await make_login("noinherit createdb")``: a login with such rights, as the DSN to the test's database."""
    made: list[str] = []

    async def make(rights: str, *, password: str = "made-up-password") -> str:
        name = f"login_{next(tenant_ids)}"
        await root.execute(f"create role {name} login {rights} password '{password}'")
        made.append(name)
        return rewritten(dsns.app, login=f"{name}:{password}")

    yield make
    for name in made:
        await root.execute(f"reassign owned by {name} to postgres; drop owned by {name}; drop role {name}")


def name_in(dsn: str) -> str:
    return dsn.split("://")[1].split(":")[0]


async def own_database(root: asyncpg.Connection, login: str) -> None:
    name = await root.fetchval("select current_database()")
    await root.execute(f"alter database {name} owner to {login}")


@pytest.mark.parametrize("login", ["superuser", "admin"])
async def test_one_dsn_makes_tenants_and_a_login_of_ours_without_any_right_serves(
    open_database, dsns, root, tenant, tenant_ids, login
):
    async with open_database(dsn=getattr(dsns, login), admin_dsn=None) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('x')")
        assert await database.tenant(next(tenant_ids)).fetch("select title from notes") == []
        served_by = await database.tenant(tenant).fetchval("select session_user::text")
    assert served_by == (await deployment_of(root)) + "__app_000"
    role = await root.fetchrow("select * from pg_roles where rolname = $1", served_by)
    assert (role["rolcanlogin"], any(role[power] for power in POWERS)) == (True, False)
    owned = "select count(*) from pg_shdepend where refobjid = $1 and deptype = 'o'"
    assert await root.fetchval(owned, role["oid"]) == 0


@pytest.mark.parametrize("login", ["superuser", "admin"])
async def test_outside_of_a_scope_the_login_of_ours_can_read_nothing(
    open_database, dsns, root, tenant, tenant_ids, login
):
    other = next(tenant_ids)
    async with open_database(dsn=getattr(dsns, login), admin_dsn=None, pool_size=1) as database:
        await database.tenant(other).execute("insert into notes (title) values ('theirs')")
        await database.ensure_tenant(tenant)
        for readable in (f"tenant_{other}.notes", f"tenant_{tenant}.notes", "tenantry.tenants"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with database.tenant_connection(tenant) as connection:
                    await connection.execute(f"commit; select * from {readable}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with database.tenant_connection(tenant) as connection:
                    await connection.execute(f"reset role; select * from {readable}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.tenant(tenant).fetch(f"select title from tenant_{other}.notes")
        for wanted in (name_in(getattr(dsns, login)), (await deployment_of(root)) + "__owner"):
            for how in ("role", "session authorization"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await database.tenant(tenant).execute(f'set {how} "{wanted}"')
        seen = await database.tenant(tenant).fetchval("select current_user::text")
        assert seen == await role_of(root, tenant)


@pytest.mark.parametrize("rights", ["superuser", "createrole", "createdb", "bypassrls", "replication"])
async def test_a_request_login_with_rights_of_its_own_is_refused(open_database, make_login, tenant, rights):
    dsn = await make_login(f"noinherit {rights}")
    async with open_database(dsn=dsn) as database:
        with pytest.raises(
            ConfigurationError, match=r"has rights of its own.*CREATE ROLE \.\.\. LOGIN NOINHERIT"
        ) as said:
            await database.ensure_tenant(tenant)
    assert f"'{name_in(dsn)}'" in str(said.value)
    assert "made-up" not in str(said.value)


async def test_a_request_login_that_owns_the_database_is_refused(open_database, dsns, root, make_login, tenant):
    dsn = await make_login("noinherit")
    await own_database(root, name_in(dsn))
    async with open_database(dsn=dsn, admin_dsn=dsns.superuser) as database:
        with pytest.raises(ConfigurationError, match="has rights of its own"):
            await database.ensure_tenant(tenant)


async def test_a_request_login_that_inherits_is_refused_where_that_would_give_it_all_tenants_rights(
    open_database, root, make_login, tenant
):
    dsn = await make_login("inherit")
    async with open_database(dsn=dsn) as database:
        if root.get_server_version() < (16, 0):
            with pytest.raises(ConfigurationError, match=f"ALTER ROLE {name_in(dsn)} NOINHERIT"):
                await database.ensure_tenant(tenant)
            return
        assert await database.tenant(tenant).fetch("select title from notes") == []
        assert not await root.fetchval(
            "select pg_has_role($1::regrole, $2::regrole, 'USAGE')", name_in(dsn), await role_of(root, tenant)
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.tenant(tenant).execute(f"reset role; select title from tenant_{tenant}.notes")


async def test_a_pool_of_a_powerful_login_is_refused(dsns, tenant):
    async with (
        asyncpg.create_pool(dsns.superuser, min_size=0, max_size=1) as pool,
        Database.over(pool, admin_dsn=dsns.admin, create_tenants=True) as database,
    ):
        with pytest.raises(ConfigurationError, match="has rights of its own"):
            await database.ensure_tenant(tenant)


@pytest.mark.parametrize("both", [True, False], ids=["one dsn", "two dsns"])
async def test_the_logins_of_ours_follow_a_change_of_the_operators_password(
    open_database, dsns, root, make_login, tenant, both
):
    dsn = await make_login("createrole" if both else "noinherit")
    if both:
        await own_database(root, name_in(dsn))
    options = {"admin_dsn": None} if both else {}
    async with open_database(dsn=dsn, **options) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('kept')")
    await root.execute(f"alter role {name_in(dsn)} password 'another-password'")
    changed = rewritten(dsn, login=f"{name_in(dsn)}:another-password")
    async with open_database(dsn=changed, **options) as database:
        assert await database.tenant(tenant).fetchval("select title from notes") == "kept"


async def test_a_request_login_that_was_never_let_in_says_so(open_database, root, make_login, tenant):
    """It may read the registry, and may not make roles: nobody has granted it the role to rest in."""
    async with open_database() as database:
        await database.ensure_tenant(tenant)
    dsn = await make_login("noinherit")
    name = await root.fetchval("select current_database()")
    await root.execute(f"grant connect on database {name} to {name_in(dsn)}")
    await root.execute(f"grant usage on schema tenantry to {name_in(dsn)}")
    await root.execute(f"grant select on all tables in schema tenantry to {name_in(dsn)}")
    async with open_database(dsn=dsn, admin_dsn=None) as database:
        with pytest.raises(ConfigurationError, match=f"'{name_in(dsn)}' .*permission denied.*: GRANT .*__rest TO "):
            await database.ensure_tenant(tenant)
    async with open_database(dsn=dsn) as database:  # an administrator's does it
        assert await database.tenant(tenant).fetch("select title from notes") == []
    async with open_database(dsn=dsn, admin_dsn=None) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []


@pytest.mark.parametrize(
    "damage",
    [
        "drop owned by {rest}; drop role {rest}",
        "set session authorization tenantry_admin; revoke {rest} from {login}; reset session authorization",
        "revoke connect on database {database} from {login}",
        "alter role {login} nologin",
        "alter role {login} password null",
        "drop owned by {login}; drop role {login}",
    ],
)
async def test_a_login_of_ours_that_was_damaged_is_mended_when_it_is_needed(open_database, dsns, root, tenant, damage):
    async with open_database(dsn=dsns.admin, admin_dsn=None) as database:
        await database.tenant(tenant).execute("insert into notes (title) values ('kept')")
    ours = await deployment_of(root)
    await root.execute(
        damage.format(
            rest=f"{ours}__rest",
            login=f"{ours}__app_000",
            database=await root.fetchval("select current_database()"),
        )
    )
    async with open_database(dsn=dsns.admin, admin_dsn=None) as database:
        assert await database.tenant(tenant).fetchval("select title from notes") == "kept"


async def test_no_password_of_a_login_of_ours_is_the_operators_or_in_the_catalog(open_database, dsns, root, tenant):
    async with open_database(dsn=dsns.admin, admin_dsn=None) as database:
        await database.ensure_tenant(tenant)
    login = (await deployment_of(root)) + "__app_000"
    stored = await root.fetchval("select rolpassword from pg_authid where rolname = $1", login)
    assert stored.startswith("SCRAM-SHA-256$")
    password = dsns.admin.split(":")[2].split("@")[0]
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(rewritten(dsns.admin, login=f"{login}:{password}"))


async def test_the_operators_login_for_requests_may_have_any_name_of_ours_to_write(open_database, root, dsns, tenant):
    name = f"App-{tenant}"
    await root.execute(f"create role \"{name}\" login noinherit password 'made-up-password'")
    try:
        async with open_database(dsn=rewritten(dsns.app, login=f"{name}:made-up-password")) as database:
            with pytest.raises(ConfigurationError, match="use a name of a-z, 0-9 and _ only"):
                await database.ensure_tenant(tenant)
    finally:
        await root.execute(f'drop owned by "{name}"; drop role "{name}"')


async def fill_bucket(root: asyncpg.Connection, number: int) -> None:
    """As many more tenants of the first login, which nobody ever enters."""
    await root.execute(
        "insert into tenantry.tenants (tenant_id, schema_name, role_name, dsn_id, bucket, version, state)"
        " select 'filler_' || n, 'filler_' || n, 'filler_' || n, 'main', 0, 1, 'suspended'"
        f" from generate_series(1, {number}) as n"
    )


@pytest.mark.parametrize("both", [True, False], ids=["one dsn", "two dsns"])
async def test_the_251st_tenant_is_served_by_another_login_that_cannot_become_the_others(
    open_database, dsns, root, tenant, tenant_ids, both
):
    next_one, later = next(tenant_ids), next(tenant_ids)
    options = {"dsn": dsns.admin, "admin_dsn": None} if both else {}
    async with open_database(**options, pool_size=1) as database:
        await database.ensure_tenant(tenant)
        await fill_bucket(root, 249)
        for name in (tenant, next_one, tenant, next_one):  # one connection at a time, whoever's
            await database.tenant(name).execute("insert into notes (title) values ($1)", name)
        ours = await deployment_of(root)
        logins = {tenant: f"{ours}__app_000" if both else "tenantry_app", next_one: f"{ours}__app_001"}
        for name, login in logins.items():
            seen = await database.tenant(name).fetchrow(
                "select session_user::text, (select string_agg(distinct title, ',') from notes)"
            )
            assert tuple(seen) == (login, name)
        for name, foreign in ((tenant, next_one), (next_one, tenant)):
            assert not await root.fetchval(
                "select pg_has_role($1::regrole, $2::regrole, 'MEMBER')", logins[name], await role_of(root, foreign)
            )
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.tenant(name).execute(f'set role "{await role_of(root, foreign)}"')
        await root.execute("delete from tenantry.tenants where tenant_id = 'filler_1'")  # there is room again
        assert await database.tenant(later).fetchval("select session_user::text") == logins[tenant]
