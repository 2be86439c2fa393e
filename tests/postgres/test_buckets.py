"""Tenants spread over logins: each login serves its own, all of them share one bound, and their passwords follow the
operator's and are told to nobody."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.postgres.registry import deployment_of, role_of
from tests.postgres.servers import rewritten

from tenantry.adapters.postgres import cluster
from tenantry.adapters.postgres.logins import Logins, scram_verifier
from tenantry.adapters.postgres.names import Deployment
from tenantry.errors import ConfigurationError, Unavailable
from tenantry.postgres import Database

pytestmark = pytest.mark.anyio

SIZE, TENANTS = 2, 6
MEMBER_OF = """
select r.rolname::text from pg_auth_members m join pg_roles r on r.oid = m.roleid
where m.member = $1::text::regrole order by 1
"""


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantry.adapters.postgres.registry.BUCKET_SIZE", SIZE)


@pytest.fixture
def tenants(tenant_ids: Iterator[str]) -> list[str]:
    return [next(tenant_ids) for _ in range(TENANTS)]


@pytest.fixture
async def operator(dsns: Any, root: asyncpg.Connection, numbers: Iterator[int]) -> AsyncIterator[str]:
    """A direct login of the test's own, whose password it may change; the whole connection string."""
    login = f"operator_{next(numbers)}"
    database = await root.fetchval("select current_database()")
    await root.execute(f"create role {login} login createrole password 'first-secret'")
    await root.execute(f"alter database {database} owner to {login}")
    yield rewritten(dsns.admin, login=f"{login}:first-secret")
    await root.execute(f"alter database {database} owner to postgres")


async def fill(database: Database, tenants: list[str]) -> None:
    for tenant in tenants:  # one after the other: the bound is a matter of speed, and two may get the last place both
        await database.tenant(tenant).execute("insert into notes (title) values ($1)", tenant)


async def login_of(database: Database, tenant: str) -> str:
    return await database.tenant(tenant).fetchval("select session_user::text")


@pytest.mark.parametrize("kind", ["one connection string", "two"])
async def test_tenants_are_spread_over_logins_that_may_become_them_and_nobody_else(
    open_database: Callable[..., Database], dsns: Any, root: asyncpg.Connection, tenants: list[str], kind: str
) -> None:
    one = {"dsn": dsns.admin, "admin_dsn": None} if kind == "one connection string" else {}
    async with open_database(**one) as database:
        await fill(database, tenants)
        served: dict[str, list[str]] = {}
        for tenant in tenants:
            served.setdefault(await login_of(database, tenant), []).append(tenant)
            assert await database.tenant(tenant).fetchval("select string_agg(title, ',') from notes") == tenant
    prefix = await deployment_of(root)
    first = "tenantry_app" if kind == "two" else f"{prefix}__app_000"
    assert {login: len(each) for login, each in served.items()} == {
        first: SIZE,
        f"{prefix}__app_001": SIZE,
        f"{prefix}__app_002": SIZE,
    }
    for login, each in served.items():
        memberships = {row["rolname"] for row in await root.fetch(MEMBER_OF, login)}
        ours = {name for name in memberships if name.startswith(prefix)}
        assert ours == {f"{prefix}__rest", *[await role_of(root, tenant) for tenant in each]}
        assert login == "tenantry_app" or memberships == ours


async def test_a_login_cannot_become_a_tenant_of_another_bucket(
    database: Database, root: asyncpg.Connection, tenants: list[str]
) -> None:
    await fill(database, tenants)
    foreign = await role_of(root, tenants[-1])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.tenant(tenants[0]).execute(f"set role {foreign}")


async def test_all_logins_together_keep_to_the_pools_bound(
    open_database: Callable[..., Database], root: asyncpg.Connection, tenants: list[str]
) -> None:
    async with open_database(pool_size=2) as database:
        await fill(database, tenants)
        most, finished = 0, asyncio.Event()
        mine = (
            "select count(*) from pg_stat_activity where datname = current_database() "
            "and (usename = 'tenantry_app' or usename like 'tenantry%\\_\\_app%')"
        )

        async def watch() -> None:
            nonlocal most
            while not finished.is_set():
                most = max(most, await root.fetchval(mine))

        async def work(number: int) -> None:
            for step in range(6):
                tenant = tenants[(number + step) % len(tenants)]
                assert await database.tenant(tenant).fetchval("select string_agg(title, ',') from notes") == tenant

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(work(number) for number in range(8)))
        finished.set()
        await watching
        assert most == 2


async def test_a_bucket_gets_a_place_where_all_are_idle_for_others(
    open_database: Callable[..., Database], tenants: list[str]
) -> None:
    async with open_database(pool_size=1) as database:
        await fill(database, tenants)
        for tenant in (*tenants, *reversed(tenants)):
            assert await database.tenant(tenant).fetchval("select title from notes") == tenant


async def test_waiting_for_a_place_ends(
    open_database: Callable[..., Database], tenants: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 0.05)
    async with open_database(pool_size=1) as database:
        await fill(database, tenants)
        async with database.tenant_connection(tenants[0]):
            with pytest.raises(Unavailable):
                await database.tenant(tenants[-1]).fetchval("select 1")
        assert await database.tenant(tenants[-1]).fetchval("select title from notes") == tenants[-1]


async def test_after_a_change_of_the_operators_password_the_logins_follow(
    open_database: Callable[..., Database], operator: str, root: asyncpg.Connection, tenants: list[str]
) -> None:
    login = urlsplit(operator).username
    async with open_database(dsn=operator, admin_dsn=None) as database:
        await fill(database, tenants)
    await root.execute(f"alter role {login} password 'second-secret'")
    changed = rewritten(operator, login=f"{login}:second-secret")
    async with open_database(dsn=changed, admin_dsn=None) as database:
        for tenant in tenants:
            assert await database.tenant(tenant).fetchval("select title from notes") == tenant


async def test_a_replica_that_cannot_mend_the_logins_says_what_to_do(
    open_database: Callable[..., Database], dsns: Any, root: asyncpg.Connection, tenants: list[str]
) -> None:
    """A direct login that may read the registry and make no roles."""
    async with open_database() as database:
        await fill(database, tenants)
    prefix = await deployment_of(root)
    await root.execute(f"alter role {prefix}__app_001 password 'somebody-changed-it'")
    await root.execute("alter role tenantry_admin nocreaterole")
    try:
        async with open_database(create_tenants=False) as database:
            assert await database.tenant(tenants[0]).fetchval("select title from notes") == tenants[0]
            with pytest.raises((Unavailable, ConfigurationError)) as problem:
                await database.tenant(tenants[SIZE]).fetchval("select title from notes")
            assert "somebody" not in str(problem.value)
    finally:
        await root.execute("alter role tenantry_admin createrole")
    async with open_database() as database:
        assert await database.tenant(tenants[SIZE]).fetchval("select title from notes") == tenants[SIZE]


async def test_a_login_of_ours_that_was_dropped_comes_back(
    open_database: Callable[..., Database], root: asyncpg.Connection, tenants: list[str]
) -> None:
    async with open_database() as database:
        await fill(database, tenants)
    login = f"{await deployment_of(root)}__app_001"
    await root.execute(f"drop owned by {login}; drop role {login}")
    async with open_database() as database:
        for tenant in tenants:
            assert await database.tenant(tenant).fetchval("select title from notes") == tenant
        assert await login_of(database, tenants[SIZE]) == login


async def test_no_password_is_in_a_log_or_a_repr_or_in_the_view_of_activity(
    database: Database, root: asyncpg.Connection, tenants: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await fill(database, tenants)
    main = database.clusters["main"]
    ready = await main.ready()
    secrets = [ready.logins.of(bucket).password for bucket in range(3)]
    assert all(secrets)
    assert len(set(secrets)) == 3
    shown = [row["query"] for row in await root.fetch("select query from pg_stat_activity")]
    shown += [repr(part) for part in (database, main, ready, ready.logins, ready.logins.of(1))]
    text = "\n".join([*shown, caplog.text])
    assert not [secret for secret in secrets if secret in text]


async def test_no_statement_holds_a_password_and_what_it_holds_is_what_the_server_keeps(
    database: Database, root: asyncpg.Connection, tenants: list[str]
) -> None:
    """The server itself tells every statement, as it would write it into its log."""
    await fill(database, tenants)
    ready = await database.clusters["main"].ready()
    statements: list[str] = []
    root.add_log_listener(lambda _, message: statements.append(f"{message.message} {message.detail}"))
    await root.execute("set log_statement = 'all'; set client_min_messages = 'log'")
    for bucket in (1, 2):
        await cluster.make_login(root, ready.logins, bucket, ready.login.server_version)
    await root.execute("set client_min_messages = 'notice'")
    told = "\n".join(statements)
    assert "PASSWORD E'SCRAM-SHA-256$" in told
    for bucket in (1, 2):
        who = ready.logins.of(bucket)
        stored = await root.fetchval("select rolpassword from pg_authid where rolname = $1", who.login)
        assert stored in told
        assert who.password not in told
        assert proves(who.password, stored)


def proves(password: str, stored: str) -> bool:
    """RFC 5802 section 3, written down once more."""
    _, counted, keys = stored.split("$")
    iterations, salt = counted.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(iterations))
    client = hashlib.sha256(hmac.new(salted, b"Client Key", "sha256").digest()).digest()
    server = hmac.new(salted, b"Server Key", "sha256").digest()
    return keys == ":".join(base64.b64encode(key).decode() for key in (client, server))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80))
def test_a_verifier_is_what_the_rfc_says(password: str) -> None:
    one, other = scram_verifier(password), scram_verifier(password)
    assert proves(password, one)
    assert one != other, "the salt is new each time"


async def test_the_server_keeps_our_verifier_as_it_is_and_lets_the_password_in(
    dsns: Any, root: asyncpg.Connection, numbers: Iterator[int]
) -> None:
    login, password = f"verified_{next(numbers)}", "p'a\"s\\s-$word"
    verifier, parts = scram_verifier(password), urlsplit(dsns.app)
    await root.execute(f"create role {login} login password '{verifier}'")
    try:
        assert await root.fetchval("select rolpassword from pg_authid where rolname = $1", login) == verifier
        await root.execute(f"grant connect on database {parts.path[1:]} to {login}")
        way = {"host": parts.hostname, "port": parts.port, "database": parts.path[1:], "user": login}
        connection = await asyncpg.connect(**way, password=password)
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(**way, password="p")
    finally:
        await root.execute(f"drop owned by {login}; drop role {login}")


def test_without_an_operators_password_the_logins_have_none() -> None:
    """The server lets them in by other means, or not at all: no password is invented that nobody could know."""
    logins = Logins(Deployment("0" * 32), None, None)
    assert logins.of(0).password is None
    assert logins.of(7).password is None


def test_a_login_has_another_password_in_another_deployment_and_under_another_secret() -> None:
    one, other = Deployment("0" * 32), Deployment("1" * 32)
    passwords = {
        Logins(deployment, secret, None).of(bucket).password
        for deployment in (one, other)
        for secret in ("a", "b")
        for bucket in (0, 1)
    }
    assert len(passwords) == 8
    assert all(len(password or "") >= 43 for password in passwords)
