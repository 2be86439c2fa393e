"""The quota store on the main database: who reaches its table, what is kept there and for how long, and what happens
when the database goes away, hangs or lets nobody write. What it lets through is the contract's to say."""

# ruff: noqa: ASYNC110 - what the server does sets no event here

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from tests.postgres.pgbouncer import PgBouncer

from tenantry.adapters import quota_rounds
from tenantry.adapters.postgres import quota_store
from tenantry.adapters.postgres.quota_store import PostgresQuotaStore
from tenantry.core.quota import Charge, Quota, Standing
from tenantry.errors import Unavailable
from tenantry.postgres import Database

pytestmark = pytest.mark.anyio

TEN = Quota(10, 86_400.0)
LARGE = Quota(1_000_000, 86_400.0)
DEADLINE = 20.0
# Connections of the direct login that keep quotas or have opened a moment ago.
CONNECTIONS = """
    select pid, state from pg_stat_activity
    where datname = current_database() and query like '%INTO tenantry.quotas %' and pid <> pg_backend_pid()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries to connect more often than a deployment does."""
    monkeypatch.setattr(quota_rounds, "_PAUSE_SECONDS", 0.05)


@pytest.fixture
async def make(database: Database) -> AsyncIterator[Callable[..., PostgresQuotaStore]]:
    made: list[PostgresQuotaStore] = []

    def one(of: Database = database, patience: float = DEADLINE) -> PostgresQuotaStore:
        made.append(PostgresQuotaStore(of, patience=patience))
        return made[-1]

    yield one
    for store in made:
        await store.aclose()


@pytest.fixture
def store(make: Callable[..., PostgresQuotaStore]) -> PostgresQuotaStore:
    return make()


async def charged(store: PostgresQuotaStore, key: str = "a", quota: Quota = LARGE, weight: int = 1) -> Standing:
    return (await store.spend([Charge(key, quota, weight)]))[0]


async def problem_of(store: PostgresQuotaStore, key: str = "a") -> str | None:
    """What keeps it from answering."""
    try:
        await charged(store, key)
    except Unavailable as refusal:
        return refusal.detail if refusal.reason == "quota_unavailable" else refusal.reason
    return None


async def until_it_answers(store: PostgresQuotaStore) -> None:
    async with asyncio.timeout(DEADLINE):
        while await problem_of(store):
            await asyncio.sleep(0.005)


async def end_connections(root: asyncpg.Connection) -> int:
    """Of everybody else in the database."""
    rows = await root.fetch(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()"
    )
    return len(rows)


# --- Who may reach it -------------------------------------------------------------------------------------------------


async def test_no_tenant_and_no_login_for_requests_reaches_the_table(store, database, dsns, tenant_ids):
    await charged(store)
    async with database.tenant_connection(next(tenant_ids)) as connection:
        for statement in ("select count(*) from tenantry.quotas", "delete from tenantry.quotas"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(statement)
    request = await asyncpg.connect(dsns.app)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await request.fetch("select key from tenantry.quotas")
    await request.close()


async def test_neither_users_nor_addresses_are_written_there(store, root):
    await store.spend([Charge("user:google:123456789", TEN), Charge("address:192.0.2.7", TEN)])
    keys = [row["key"] for row in await root.fetch("select key from tenantry.quotas")]
    assert [len(key) for key in keys] == [32, 32]
    assert not any(b"google" in key or b"192.0.2" in key for key in keys)


async def test_through_a_pooler_the_limit_is_kept_as_well(make, open_database, dsns, bouncer: PgBouncer):
    async with open_database(dsn=dsns.app, admin_dsn=bouncer.dsn(dsns.admin)) as database:
        stores = [make(database), make(database)]
        answers = await asyncio.gather(*(charged(stores[number % 2], "a", TEN) for number in range(100)))
        assert [answer.wait for answer in answers].count(0.0) == 10
        for number in range(20):
            assert (await charged(stores[number % 2], f"b{number % 4}", TEN)).remaining == 9 - number // 4


async def test_it_is_apart_from_the_connections_for_requests_and_for_provisioning(store, single, dsns, tenant_ids):
    async with single.tenant_connection(next(tenant_ids)):
        for _ in range(5):
            assert (await charged(store)).wait == 0.0


# --- Trouble ----------------------------------------------------------------------------------------------------------


async def test_connections_that_were_ended_while_idle_cost_nobody_anything(store, root):
    for taken in range(1, 6):
        assert (await charged(store, "a", TEN))[:2] == (0.0, 10 - taken)
        assert await end_connections(root) > 0


async def test_it_works_through_connections_that_end_all_the_time(store, root):
    ending = asyncio.create_task(_end_for_ever(root))
    try:
        async with asyncio.timeout(DEADLINE):
            passed = 0
            while passed < 50:
                passed += await problem_of(store) is None
                await asyncio.sleep(0)
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)
    await until_it_answers(store)


async def _end_for_ever(root: asyncpg.Connection) -> None:
    while True:
        await end_connections(root)


async def test_a_database_that_lets_nobody_in_is_unavailable_and_used_again_later(store, root, dsns):
    await charged(store)
    name = await root.fetchval("select current_database()")
    other = await asyncpg.connect(dsns.superuser.replace(f"/{name}", "/postgres"))
    await other.execute(f"alter database {name} allow_connections false")
    await end_connections(root)
    problems = await asyncio.gather(*(problem_of(store, str(number)) for number in range(50)))
    assert None not in problems
    await other.execute(f"alter database {name} allow_connections true")
    await other.close()
    await until_it_answers(store)


async def test_a_database_that_only_reads_is_unavailable_and_used_again_later(store, root):
    await charged(store)
    name = await root.fetchval("select current_database()")
    await root.execute(f"alter database {name} set default_transaction_read_only = on")
    await end_connections(root)
    assert await problem_of(store) == "ReadOnlySQLTransactionError"
    await root.execute("set default_transaction_read_only = off")
    await root.execute(f"alter database {name} reset default_transaction_read_only")
    await until_it_answers(store)


async def test_nobody_waits_longer_than_his_patience_for_a_lock_and_no_connection_is_left(make, root):
    store = make(patience=0.2)
    await until_it_answers(store)
    async with root.transaction():
        await root.execute("lock tenantry.quotas in access exclusive mode")
        problems = await asyncio.gather(*(problem_of(store, str(number)) for number in range(20)))
        assert None not in problems
    await until_it_answers(store)
    async with asyncio.timeout(DEADLINE):
        while len(await root.fetch(CONNECTIONS)) > quota_rounds.LINKS:
            await asyncio.sleep(0.01)


async def test_callers_who_leave_at_any_moment_leave_nothing_behind(store, root):
    for turns in range(15):
        leaving = [asyncio.create_task(charged(store, f"{turns}:{number}")) for number in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
    answers = await asyncio.gather(*(charged(store, "a", TEN) for _ in range(100)))
    assert [answer.wait for answer in answers].count(0.0) == 10
    left = await root.fetch(CONNECTIONS)
    assert 0 < len(left) <= quota_rounds.LINKS
    assert {row["state"] for row in left} == {"idle"}


async def test_who_left_before_he_was_sent_is_charged_nothing(store):
    await charged(store, "other")
    leaving = asyncio.create_task(charged(store, "a", TEN, 10))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert (await charged(store, "a", TEN)).remaining == 9


async def test_an_idle_connection_is_closed(store, root, monkeypatch):
    monkeypatch.setattr(quota_rounds, "_IDLE_SECONDS", 0.02)
    await charged(store)
    async with asyncio.timeout(DEADLINE):
        while await root.fetch(CONNECTIONS):
            await asyncio.sleep(0.01)
    assert (await charged(store)).wait == 0.0


# --- What is kept, and for how long -----------------------------------------------------------------------------------


async def keys(root: Any) -> int:
    return await root.fetchval("select count(*) from tenantry.quotas")


async def test_full_buckets_are_forgotten_a_batch_at_a_time_and_others_are_not(store, root, monkeypatch):
    monkeypatch.setattr(quota_store, "_CLEAN_ROWS", 7)
    quick = Quota(10, 0.05)
    await asyncio.gather(*(charged(store, f"quick:{number}", quick) for number in range(60)))
    await asyncio.gather(*(charged(store, f"slow:{number}", TEN) for number in range(30)))
    async with asyncio.timeout(DEADLINE):
        while await keys(root) > 30:
            await store.clean()
    assert [(await charged(store, f"slow:{number}", TEN)).remaining for number in range(30)] == [8] * 30


async def test_they_are_forgotten_by_themselves_while_the_store_is_used(store, root, monkeypatch):
    monkeypatch.setattr(quota_store, "_CLEAN_SECONDS", 0.01)
    await asyncio.gather(*(charged(store, f"quick:{number}", Quota(10, 0.01)) for number in range(60)))
    async with asyncio.timeout(DEADLINE):
        while await keys(root) > 1:
            await charged(store, "slow", LARGE)
            await asyncio.sleep(0.005)


async def test_cleaning_waits_for_nobody(store, root):
    await charged(store, "a", Quota(10, 0.001))
    async with root.transaction():
        await root.execute("select key from tenantry.quotas for update")
        async with asyncio.timeout(DEADLINE):
            await store.clean()
    assert await keys(root) == 1


async def test_a_clock_that_was_set_back_by_an_hour_blocks_nobody_for_an_hour(store, root):
    await charged(store, "a", Quota(5, 3600.0), 5)
    await root.execute("update tenantry.quotas set at = at + 3600")
    quick = Quota(5, 0.5)
    async with asyncio.timeout(DEADLINE):
        while (standing := await charged(store, "a", quick)).wait:
            assert standing.wait <= quick.window
            await asyncio.sleep(0.01)


async def test_a_row_that_was_written_a_moment_later_gives_back_nothing(make, store, root):
    """Statements that wait for each other's rows do not end in the order in which they began."""
    await charged(store, "a", TEN, 10)
    for _ in range(4):
        await root.execute("update tenantry.quotas set at = at + 0.25")
        assert (await charged(make(), "a", TEN)).wait > 0  # one that has refused nobody yet
        assert await root.fetchval("select used from tenantry.quotas") == pytest.approx(10, abs=0.01)
