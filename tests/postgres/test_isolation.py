"""The holes that schema-per-tenant libraries have had, each tried against the shared pool. The numbers are those of
the project's list of holes; 9 and 10 are tried against ``untrusted_connection`` (``test_untrusted.py``)."""

# ruff: noqa: RUF001 - look-alikes are the matter here

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from tests.postgres.registry import lose_role, role_of

from tenantry import Settings, TenantryMiddleware, current_user
from tenantry.adapters.postgres.control import _lock_number
from tenantry.adapters.postgres.migrations import Migrations
from tenantry.core.tenancy import TenantRules
from tenantry.devidp import OMIT
from tenantry.errors import ConfigurationError, Forbidden, Refusal, Unavailable
from tenantry.model import Identity, MCPUserContext
from tenantry.postgres import Database, get_tenant_database
from tenantry.testing import DevIdp, serve_on_loopback

pytestmark = pytest.mark.anyio

LEFT = """
select current_user::text as role, current_setting('search_path') as path,
       coalesce(current_setting('my.leak', true), '') as setting,
       current_setting('statement_timeout') as timeout,
       (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
       (select count(*) from pg_listening_channels()) as channels,
       (select count(*) from pg_cursors where is_holdable) as cursors,
       (select count(*) from pg_prepared_statements where from_sql) as prepared,
       (select string_agg(title, ',') from notes) as titles
"""
ENDS = ["commit", "exception", "cancellation"]
SESSION = [
    "set role {role}",
    "set role none",
    "set session authorization default",
    "set search_path = {schema}",
    "set my.leak = 'left'",
    "set statement_timeout = 1234",
    "select set_config('role', 'none', false), set_config('search_path', '{schema}', false)",
    "update pg_settings set setting = '{schema}' where name = 'search_path'",
    "select pg_advisory_lock(4711)",
    "listen somebody",
    "declare kept cursor with hold for select title from notes",
    "prepare kept as select title from notes",
    "rollback; set role {role}; set search_path = {schema}; set my.leak = 'left'",
    "commit; set my.leak = 'left'; prepare kept as select 1; select pg_advisory_lock(4711); listen somebody",
]


@pytest.fixture
async def two(tenant_ids: Iterator[str]) -> tuple[str, str]:
    return next(tenant_ids), next(tenant_ids)


@pytest.fixture
async def lent(open_database: Any, bounced_dsns: Any) -> AsyncIterator[Database]:
    """One connection through the pooler."""
    async with open_database(dsn=bounced_dsns.app, pool_size=1) as opened:
        yield opened


async def settle(database: Database, two: tuple[str, str]) -> None:
    """Each tenant has one note, with its own name."""
    for tenant in two:
        await database.tenant(tenant).execute("insert into notes (title) values ($1)", tenant)


async def names_of(root: asyncpg.Connection, tenant: str) -> dict[str, str]:
    row = await root.fetchrow(
        "select role_name as role, schema_name as schema from tenantry.tenants where tenant_id = $1", tenant
    )
    return dict(row)


async def visit(database: Database, tenant: str, deed: str, end: str) -> None:
    """One scope in which a handler does ``deed``, and which ends in this way."""
    done = asyncio.Event()

    async def handler() -> None:
        async with database.tenant_connection(tenant) as connection:
            try:
                await connection.execute(deed)
            finally:
                done.set()
            if end == "exception":
                raise ZeroDivisionError
            if end == "cancellation":
                await connection.fetchval("select pg_sleep(20)")

    task = asyncio.create_task(handler())
    await done.wait()
    if end == "cancellation":
        task.cancel()
    with suppress(ZeroDivisionError, RuntimeError, Unavailable, asyncpg.PostgresError, asyncio.CancelledError):
        await task


async def expect_clean(database: Database, root: asyncpg.Connection, tenant: str) -> None:
    seen = dict(await database.tenant(tenant).fetchrow(LEFT))
    names = await names_of(root, tenant)
    assert seen == {
        "role": names["role"],
        "path": f"{names['schema']}, pg_temp",
        "setting": "",
        "timeout": "30s",
        "locks": 0,
        "channels": 0,
        "cursors": 0,
        "prepared": 0,
        "titles": tenant,
    }


async def try_everything(database: Database, root: asyncpg.Connection, two: tuple[str, str], end: str) -> None:
    await settle(database, two)
    one, other = two
    for deed in SESSION:
        await visit(database, one, deed.format(**await names_of(root, other)), end)
        await expect_clean(database, root, other)
        await expect_clean(database, root, one)


# --- 1, 2, 3: what a handler leaves behind --------------------------------------------------------------------------


@pytest.mark.parametrize("end", ENDS)
async def test_row_01_and_03_nothing_that_a_handler_did_to_the_session_reaches_the_next_tenant(
    single: Database, root: asyncpg.Connection, two: tuple[str, str], end: str
) -> None:
    await try_everything(single, root, two, end)


@pytest.mark.parametrize("end", ENDS)
async def test_row_01_and_03_nor_through_a_pooler(
    lent: Database, root: asyncpg.Connection, two: tuple[str, str], end: str
) -> None:
    await try_everything(lent, root, two, end)


TEMPORARY = [
    "create temp table notes (id int, title text)",
    "create table pg_temp.notes (id int, title text)",
    "select 1 as id, 'POISONED' as title into temp notes",
    "create temp view notes as select 1 as id, 'POISONED' as title",
    "do $$begin execute 'create temp table notes (id int, title text)'; end$$",
]


@pytest.mark.parametrize("deed", TEMPORARY)
async def test_row_02_no_handler_can_make_a_temporary_table(
    single: Database, root: asyncpg.Connection, two: tuple[str, str], deed: str
) -> None:
    await settle(single, two)
    with pytest.raises(asyncpg.PostgresError):
        await single.tenant(two[0]).execute(deed)
    assert not await root.fetchval("select count(*) from pg_class where relpersistence = 't'")
    await expect_clean(single, root, two[1])


@pytest.mark.parametrize("deed", TEMPORARY[:4])
async def test_row_02_and_where_an_operator_allows_it_the_real_table_is_found_first(
    single: Database, root: asyncpg.Connection, two: tuple[str, str], deed: str
) -> None:
    await settle(single, two)
    await root.execute("grant temp on database {} to public".format(await root.fetchval("select current_database()")))
    await single.tenant(two[0]).execute(deed)
    assert await single.tenant(two[1]).fetchval("select title from notes") == two[1]


# --- 4, 5: nothing where there is nothing ---------------------------------------------------------------------------


async def shared_notes(root: asyncpg.Connection) -> None:
    """What a library that falls back to ``public`` would find."""
    await root.execute("create table public.notes (id int, title text); insert into public.notes values (1, 'SHARED')")
    await root.execute("grant usage on schema public to public; grant all on public.notes to public")


async def test_row_04_a_tenant_that_does_not_exist_is_refused(
    open_database: Any, database: Database, root: asyncpg.Connection, two: tuple[str, str]
) -> None:
    await database.ensure_tenant(two[0])
    await shared_notes(root)
    async with open_database(create_tenants=False) as strict:
        with pytest.raises(Forbidden) as refusal:
            await strict.tenant(two[1]).fetchval("select title from notes")
    assert refusal.value.reason == "tenant_unknown"


async def test_row_04_a_tenant_whose_role_is_gone_is_refused(
    open_database: Any, root: asyncpg.Connection, two: tuple[str, str]
) -> None:
    async with open_database(create_tenants=False) as strict, open_database() as maker:
        await settle(maker, two)
        assert await strict.tenant(two[0]).fetchval("select title from notes") == two[0]
        await shared_notes(root)
        await lose_role(root, two[0])
        with pytest.raises(Forbidden) as refusal:
            await strict.tenant(two[0]).fetchval("select title from notes")
        assert refusal.value.reason == "tenant_unknown"
        assert await strict.tenant(two[1]).fetchval("select title from notes") == two[1]


async def test_row_04_a_tenant_whose_schema_is_gone_reads_nothing(
    single: Database, root: asyncpg.Connection, two: tuple[str, str]
) -> None:
    await settle(single, two)
    await shared_notes(root)
    await root.execute(f"drop schema tenant_{two[0]} cascade")
    with pytest.raises(asyncpg.UndefinedTableError):
        await single.tenant(two[0]).fetchval("select title from notes")
    assert await single.tenant(two[1]).fetchval("select title from notes") == two[1]


RELATIONS = """
select format('%I.%I', n.nspname, c.relname) as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'v', 'S') and (n.nspname in ('tenantry', 'public') or n.nspname like 'tenant\\_%')
"""


async def test_row_05_outside_of_a_scope_no_login_of_ours_can_touch_anything(
    open_database: Any, dsns: Any, root: asyncpg.Connection, two: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenantry.adapters.postgres.registry.BUCKET_SIZE", 1)
    await root.execute("create table public.shared (id int)")
    async with open_database() as database:
        await settle(database, two)
        cluster = database.clusters["main"]
        logins = (await cluster.ready()).logins
        relations = await root.fetch(RELATIONS)
        assert len(relations) >= 10
        for bucket in (0, 1):
            connection = await cluster.log_in(logins.of(bucket))
            for relation in relations:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.fetch(f"select * from {relation['name']}")
            for statement in (
                "create table mine (id int)",
                "create table public.mine (id int)",
                "create temp table mine (id int)",
                "create schema mine",
                "create role mine",
                "set role {}".format(await root.fetchval("select datdba::regrole::text from pg_database "
                                                         "where datname = current_database()")),
            ):  # fmt: skip
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)):
                    await connection.execute(statement)
            await connection.close()


# --- 6, 7, 8: hostile SQL. The role is no wall against it; what follows is right nevertheless -----------------------


async def test_row_06_after_a_handler_that_became_somebody_else_the_next_scope_is_right(
    single: Database, root: asyncpg.Connection, two: tuple[str, str]
) -> None:
    await settle(single, two)
    names = await names_of(root, two[1])
    for deed in ("set role {role}", "reset role; set role {role}", "set local role {role}", "set session role {role}"):
        for end in ENDS:
            await visit(single, two[0], f"{deed}; set search_path = {{schema}}".format(**names), end)
            await expect_clean(single, root, two[0])
            await expect_clean(single, root, two[1])


async def test_row_07_where_a_superuser_prepared_the_database_no_select_changes_a_setting(
    open_database: Any, dsns: Any, root: asyncpg.Connection, two: tuple[str, str]
) -> None:
    async with open_database(admin_dsn=dsns.superuser) as database:
        await settle(database, two)
        role = await role_of(root, two[1])
        for statement in (
            f"select set_config('role', '{role}', true), (select count(*) from tenant_{two[1]}.notes)",
            f"update pg_settings set setting = '{role}' where name = 'role'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await database.tenant(two[0]).execute(statement)


async def poison(database: Database, two: tuple[str, str]) -> None:
    """Take over every statement that the session knows by name, whoever prepared it."""
    query = "select title from notes where id > $1"
    await settle(database, two)
    for tenant in two:
        assert await database.tenant(tenant).fetchval(query, 0) == tenant
    async with database.tenant_connection(two[0]) as connection:
        for row in await connection.fetch("select name from pg_prepared_statements"):
            with suppress(asyncpg.PostgresError):
                async with connection.transaction():
                    await connection.execute(
                        f'deallocate "{row["name"]}"; prepare "{row["name"]}"(bigint) as select \'POISONED\'::text'
                    )
    for tenant in (two[1], two[0], two[1]):
        try:
            assert await database.tenant(tenant).fetchval(query, 0) == tenant
        except Unavailable:
            continue
    assert await database.tenant(two[1]).fetchval(query, 0) == two[1]


async def test_row_08_a_poisoned_statement_is_never_run_for_the_next_tenant(
    single: Database, two: tuple[str, str]
) -> None:
    await poison(single, two)


async def test_row_08_nor_through_a_pooler(lent: Database, two: tuple[str, str]) -> None:
    await poison(lent, two)


# --- 11, 12 ---------------------------------------------------------------------------------------------------------


async def test_row_11_a_setting_that_a_handler_changes_opens_no_other_tenant(
    single: Database, two: tuple[str, str]
) -> None:
    """``tenantry.user_id`` is for policies inside of a tenant; which tenant it is, the role says."""
    await settle(single, two)
    user = MCPUserContext("google:1", "google", "1", two[0])
    async with single.tenant_connection(user) as connection:
        await connection.execute("set local tenantry.user_id = 'google:2'; set local tenantry.permissions = 'admin'")
        assert await connection.fetchval("select string_agg(title, ',') from notes") == two[0]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with connection.transaction():
                await connection.fetch(f"select title from tenant_{two[1]}.notes")
    async with single.tenant_connection(two[1]) as connection:
        assert not await connection.fetchval("select current_setting('tenantry.user_id', true)")


@pytest.mark.parametrize("pinned", ["", "set search_path = public "])
def test_row_12_a_function_with_its_owners_rights_and_an_open_path_is_refused(pinned: str) -> None:
    body = f"create function peek() returns text language sql security definer {pinned}as 'select title from notes'"
    with pytest.raises(ConfigurationError):
        Migrations.of([body])


# --- 13 to 16: names, from the token to the schema ------------------------------------------------------------------


@pytest.fixture
async def idp() -> AsyncIterator[DevIdp]:
    made = DevIdp()
    async with made.serve():
        yield made


async def where(scope: Any, receive: Any, send: Any) -> None:
    """Writes the caller's tenant into its notes, and answers with its schema and all that is there."""
    user = current_user(scope)
    db = await get_tenant_database(user)
    await db.execute("insert into notes (title) values ($1)", user.tenant_id)
    schema = await db.fetchval("select current_schema()::text")
    titles = sorted({row["title"] for row in await db.fetch("select title from notes")})
    body = json.dumps([user.tenant_id, schema, titles]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def door(idp: DevIdp, dsns: Any, tmp_path: Path) -> Any:
    """``ask(token)``: (tenant, schema, titles), or the reason of the refusal."""

    @asynccontextmanager
    async def opened(**changes: Any) -> AsyncIterator[Any]:
        (tmp_path / "001.sql").write_text("create table notes (id bigint generated always as identity, title text)")
        values = {name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings().items()}
        values |= {"database_connection_string": dsns.app, "direct_database_url": dsns.admin}
        app = TenantryMiddleware(where, settings=Settings(**{**values, "tenant_migrations": tmp_path, **changes}))
        async with serve_on_loopback(app, lifespan="off") as url, httpx.AsyncClient(trust_env=False) as client:

            async def ask(token: str) -> Any:
                answer = await client.post(url, headers={"Authorization": f"Bearer {token}"})
                return tuple(answer.json()) if answer.status_code == 200 else answer.json()["reason"]

            yield ask
        await app.aclose()

    return opened


def expect_apart(answers: dict[str, Any]) -> None:
    """Who is served has a schema of 63 bytes at most that nobody else has, and reads his own."""
    served = {name: answer for name, answer in answers.items() if isinstance(answer, tuple)}
    assert len({schema for _, schema, _ in served.values()}) == len(served)
    for tenant, schema, titles in served.values():
        assert (titles, len(schema.encode()) <= 63, schema.isascii()) == ([tenant], True, True)


async def test_row_13_long_domains_that_begin_alike_do_not_share_a_schema(door: Any, idp: DevIdp) -> None:
    label = "a" * 60
    domains = [f"{label}.{end}.com" for end in ("one", "two", "on", "one-e")] + [f"{label}{end}.com" for end in "ab"]
    async with door() as ask:
        answers = {domain: await ask(idp.google.id_token("ann", hd=domain)) for domain in domains}
    assert all(isinstance(answer, tuple) for answer in answers.values())
    expect_apart(answers)


async def test_row_14_domains_that_a_naive_rule_folds_into_one_are_apart(door: Any, idp: DevIdp) -> None:
    good = ["a.b.com", "a-b.com", "a--b.com", "ab.com", "a.b-com.com", "public.com", "pg.toast"]
    bad = ["a_b.com", "a.b.com.", ".a.b.com", "a..b.com", "public", "-a.b.com", "a-.b.com", "a.b.com\x00", "a b.com"]
    async with door() as ask:
        answers = {domain: await ask(idp.google.id_token("ann", hd=domain)) for domain in good + bad}
    assert [isinstance(answers[domain], tuple) for domain in good] == [True] * len(good)
    expect_apart({domain: answers[domain] for domain in good})
    taken = {answers[domain][1] for domain in good}
    assert not taken & {answer[1] for answer in (answers[domain] for domain in bad) if isinstance(answer, tuple)}


async def test_row_15_look_alikes_of_a_domain_do_not_reach_its_tenant(door: Any, idp: DevIdp) -> None:
    real = ["fass.de", "xn--fa-hia.de", "gmail.example"]
    alike = ["faß.de", "FAẞ.de", "ⓖmail.example", "gmail。example", "ｇｍａｉｌ.example", "gmail.example.",
             "gmaıl.example", "xn--fass-.de", "xn--gmail-.example"]  # fmt: skip
    async with door() as ask:
        answers = {domain: await ask(idp.google.id_token("ann", hd=domain)) for domain in real + alike}
    expect_apart({domain: answers[domain] for domain in real})
    taken = {answers[domain][1] for domain in real}
    assert len(taken) == len(real)
    assert not taken & {answer[1] for answer in (answers[domain] for domain in alike) if isinstance(answer, tuple)}


async def test_row_16_an_address_that_can_be_read_in_two_ways_reaches_neither_tenant(door: Any, idp: DevIdp) -> None:
    audience = {"auth0_tenant_from_email": True}
    claim = "https://tenantry.example/email"

    def token(email: str) -> str:
        return idp.auth0.access_token("ann", org_id=OMIT, **{claim: email, f"{claim}_verified": True})

    async with door(**audience, auth0_email_claim=claim) as ask:
        honest = {domain: await ask(token(f"ann@{domain}")) for domain in ("good.example", "evil.example")}
        taken = {answer[1] for answer in honest.values() if isinstance(answer, tuple)}
        assert {"tenant_good_example", "tenant_evil_example"} <= taken
        for email in (
            '"a@evil.example"@good.example',
            "x@good.example@evil.example",
            "x@evil.example,good.example",
            "x@good.example\n",
            "x@good.example ",
            " x@good.example",
            "good.example",
            "x@good.example.",
            "x@ｇood.example",
            "x(@evil.example)@good.example",
        ):
            answer = await ask(token(email))
            assert not isinstance(answer, tuple) or answer[1] not in taken, email


@pytest.mark.parametrize("rules", [TenantRules({}), TenantRules({"other.example": "acme_example"})])
async def test_row_14_a_name_of_the_operators_is_nobody_elses(database: Database, rules: TenantRules) -> None:
    identity = Identity(user_id="google:1", provider="google", subject="1", domain="acme.example")
    if not rules.mapping:
        assert rules.assign(identity).tenant_id == "acme_example"
        return
    with pytest.raises(Refusal) as refusal:
        rules.assign(identity)
    assert refusal.value.reason == "tenant_conflict"


# --- 17: what a tenant sees of others -------------------------------------------------------------------------------


async def test_row_17_no_row_and_no_statistics_of_others_are_seen(
    single: Database, root: asyncpg.Connection, two: tuple[str, str]
) -> None:
    await settle(single, two)
    await root.execute(f"insert into tenant_{two[1]}.notes (title) select 'secret' from generate_series(1, 100)")
    await root.execute(f"analyze tenant_{two[1]}.notes")
    assert await root.fetchval("select count(*) from pg_stats where schemaname = $1", f"tenant_{two[1]}") > 0
    db = single.tenant(two[0])
    assert await db.fetchval("select count(*) from pg_stats where schemaname = $1", f"tenant_{two[1]}") == 0
    number = await root.fetchval("select lo_from_bytea(0, 'secret')")
    for statement in (
        f"select lo_get({number})",
        "select starelid from pg_statistic",
        "select rolpassword from pg_authid",
        "select * from tenantry.tenants",
        "select * from tenantry.audit",
        "select pg_read_file('postgresql.conf')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.fetch(statement)
    others = "select count(*) from pg_stat_activity where pid <> pg_backend_pid() and query like '%secret%'"
    assert await db.fetchval(others) == 0


async def test_row_17_with_opaque_names_no_tenants_domain_is_in_the_catalog(
    open_database: Any, root: asyncpg.Connection, two: tuple[str, str]
) -> None:
    async with open_database(opaque_schema_names=True) as database:
        await settle(database, two)
        names = [await names_of(root, tenant) for tenant in two]
        assert all(each["schema"].startswith("t_") for each in names)
        for connection in (root, database.tenant(two[0])):
            for relation, column in (
                ("pg_namespace", "nspname"),
                ("pg_roles", "rolname"),
                ("pg_class", "relname"),
                ("pg_description", "description"),
                ("pg_shdescription", "description"),
                ("pg_stat_activity", "query"),
            ):
                found = f"select count(*) from {relation} where {column}::text like any ($1::text[])"
                words = [f"%{word}%" for tenant in two for word in (tenant, tenant.replace("_", "."))]
                if relation == "pg_stat_activity":
                    if connection is root:  # the superuser reads everybody's statements; there the id is a parameter
                        continue
                    found += " and pid <> pg_backend_pid()"
                assert await connection.fetchval(found, words) == 0, relation


async def test_row_17_a_tenant_that_holds_our_advisory_locks_keeps_nobody_from_being_served(
    open_database: Any, root: asyncpg.Connection, two: tuple[str, str]
) -> None:
    """A lock that a handler takes for the session is gone with its scope; for its length it may delay the making of a
    tenant, and no more."""
    async with open_database() as database:
        await settle(database, two)
        async with database.tenant_connection(two[0]) as connection:
            await connection.execute("select pg_advisory_lock($1)", _lock_number(f"tenant_{two[1]}"))
            assert await database.tenant(two[1]).fetchval("select title from notes") == two[1]
        await database.ensure_tenant(two[1])
        assert not await root.fetchval("select count(*) from pg_locks where locktype = 'advisory'")
