"""ports.QuotaStore: exactly as many as the limit says, for each key alone, however many ask and wherever they ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import asyncpg
import pytest
from tests.redis_server import RedisServer

from tenantry.adapters import memory
from tenantry.adapters.postgres.quota_store import PostgresQuotaStore
from tenantry.adapters.redis_quotas import RedisQuotaStore
from tenantry.core.quota import Charge, Quota, Standing
from tenantry.errors import Unavailable
from tenantry.ports import QuotaStore
from tenantry.postgres import Database, EmbeddedPostgres
from tenantry.testing import FrozenClock, MemoryQuotaStore

pytestmark = pytest.mark.anyio

TEN = Quota(10, 86_400.0)  # nothing flows back while a test runs
EACH = TEN.window / TEN.limit
RUNS = 60.0  # seconds within which a test is over: the server's clock goes on
PATIENT = 30.0  # what is counted here does not depend on how busy the machine is


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["memory", "postgres", "redis"])
async def server(
    request: pytest.FixtureRequest, anyio_backend: str
) -> AsyncIterator[EmbeddedPostgres | RedisServer | None]:
    """What the store keeps its buckets on."""
    if request.param == "memory":
        yield None
        return
    async with EmbeddedPostgres() if request.param == "postgres" else RedisServer() as running:
        yield running


Make = Callable[[], Awaitable[QuotaStore]]


@pytest.fixture
async def make(server: EmbeddedPostgres | RedisServer | None) -> AsyncIterator[Make]:
    """One more replica of an empty store. Of the one in memory there is no second."""
    async with AsyncExitStack() as closing:
        if isinstance(server, RedisServer):
            async with server.client() as client:
                await client.flushall()

            async def replica() -> QuotaStore:
                store = RedisQuotaStore(server.url, patience=PATIENT)
                closing.push_async_callback(store.aclose)
                return store

        elif server is not None:
            await _emptied(server)

            async def replica() -> QuotaStore:
                database = Database.open(server.app_dsn, admin_dsn=server.admin_dsn, create_tenants=False)
                await closing.enter_async_context(database)
                store = PostgresQuotaStore(database, patience=PATIENT)
                closing.push_async_callback(store.aclose)
                return store

        else:
            only = MemoryQuotaStore(FrozenClock())

            async def replica() -> QuotaStore:
                return only

        yield replica


async def _emptied(server: EmbeddedPostgres) -> None:
    async with Database.open(server.app_dsn, admin_dsn=server.admin_dsn, create_tenants=False) as database:
        await database.confirm()
    connection = await asyncpg.connect(server.admin_dsn)
    await connection.execute("truncate tenantry.quotas")
    await connection.close()


@pytest.fixture
async def store(make: Make) -> QuotaStore:
    return await make()


async def charged(store: QuotaStore, *charges: Charge) -> Standing:
    """Where the last of them stands."""
    return (await store.spend(charges))[-1]


async def at_once(store: QuotaStore, times: int, *charges: Charge) -> list[int]:
    """How often each of the charges passed."""
    answers = await asyncio.gather(*(store.spend(charges) for _ in range(times)))
    return [sum(len(answer) > place and not answer[place].wait for answer in answers) for place in range(len(charges))]


async def test_100_at_once_with_a_burst_of_10_let_exactly_10_pass(store: QuotaStore) -> None:
    assert await at_once(store, 100, Charge("tenant:a", TEN)) == [10]
    assert await at_once(store, 100, Charge("tenant:a", TEN)) == [0]


async def test_one_after_the_other_exactly_10_pass(store: QuotaStore) -> None:
    waits = [(await charged(store, Charge("a", TEN))).wait for _ in range(30)]
    assert [wait == 0.0 for wait in waits] == [True] * 10 + [False] * 20


async def test_two_replicas_together_let_exactly_the_limit_pass(make: Make) -> None:
    here, there = await make(), await make()
    passed = await asyncio.gather(*(at_once(store, 50, Charge("a", TEN)) for store in (here, there)))
    assert sum(count for (count,) in passed) == 10


async def test_replicas_that_charge_the_same_buckets_in_another_order_do_not_stand_in_each_other_s_way(
    make: Make,
) -> None:
    here, there = await make(), await make()
    charges = [Charge(f"bucket:{number}", Quota(100, 86_400.0)) for number in range(20)]
    passed = await asyncio.gather(at_once(here, 50, *charges), at_once(there, 50, *reversed(charges)))
    assert passed == [[50] * 20, [50] * 20]
    assert (await charged(here, *charges)).wait > 0


async def test_callers_with_other_charges_and_weights_at_once_are_charged_one_by_one(make: Make) -> None:
    stores = [await make(), await make()]
    shared = Quota(1000, 86_400.0)
    mine = [Charge(f"user:{number % 7}", Quota(30, 86_400.0), 1 + number % 3) for number in range(300)]
    answers = await asyncio.gather(
        *(stores[number % 2].spend([charge, Charge("tenant", shared)]) for number, charge in enumerate(mine))
    )
    for user in range(7):
        passed = sum(mine[number].weight for number in range(user, 300, 7) if not answers[number][0].wait)
        assert 28 <= passed <= 30  # a 3 may not fit any more
    let_in = sum(len(answer) == 2 for answer in answers)
    assert (await charged(stores[0], Charge("tenant", shared))).remaining == 1000 - let_in - 1


async def test_the_standings_come_in_the_order_of_the_charges(store: QuotaStore) -> None:
    quotas = {name: Quota(limit, 86_400.0) for limit, name in enumerate("zyxabc", 5)}
    standings = await store.spend([Charge(name, quota) for name, quota in quotas.items()])
    assert [standing.remaining for standing in standings] == [quota.limit - 1 for quota in quotas.values()]


async def test_no_charge_is_no_standing(store: QuotaStore) -> None:
    assert list(await store.spend([])) == []


async def test_a_charge_tells_what_is_left_and_when_the_bucket_is_full_again(store: QuotaStore) -> None:
    for taken in range(1, 11):
        wait, remaining, reset = await charged(store, Charge("a", TEN))
        assert (wait, remaining) == (0.0, 10 - taken)
        assert reset == pytest.approx(taken * EACH, abs=RUNS)


async def test_the_wait_is_when_the_next_one_would_pass(store: QuotaStore) -> None:
    await at_once(store, 10, Charge("a", TEN))
    for _ in range(3):
        wait, remaining, reset = await charged(store, Charge("a", TEN))
        assert wait == pytest.approx(EACH, abs=RUNS)
        assert reset == pytest.approx(TEN.window, abs=RUNS)
        assert remaining == 0


async def test_a_weight_is_so_many_units(store: QuotaStore) -> None:
    assert await at_once(store, 20, Charge("a", TEN, 3)) == [3]
    refused = await charged(store, Charge("a", TEN, 3))
    assert refused.wait == pytest.approx(2 * EACH, abs=RUNS)
    assert refused.remaining == 1
    assert (await charged(store, Charge("a", TEN, 1)))[:2] == (0.0, 0)  # the last one still fits


async def test_weights_that_come_together_never_pass_for_more_than_the_limit(make: Make) -> None:
    stores = [await make(), await make()]
    weights = [1, 2, 3, 4] * 10
    answers = await asyncio.gather(
        *(stores[number % 2].spend([Charge("a", TEN, weight)]) for number, weight in enumerate(weights))
    )
    passed = sum(weight for weight, (standing,) in zip(weights, answers, strict=True) if not standing.wait)
    assert passed == 10


async def test_a_weight_beyond_the_limit_takes_the_whole_bucket(store: QuotaStore) -> None:
    assert (await charged(store, Charge("a", TEN, 25)))[:2] == (0.0, 0)
    assert (await charged(store, Charge("a", TEN, 25))).wait == pytest.approx(TEN.window, abs=RUNS)
    assert await at_once(store, 5, Charge("b", TEN, 25)) == [1]


async def test_a_bucket_that_refuses_keeps_its_units_and_those_after_it_are_not_asked(store: QuotaStore) -> None:
    user, tenant = Charge("user", Quota(3, 86_400.0)), Charge("tenant", TEN)
    assert await at_once(store, 50, user, tenant) == [3, 3]
    for _ in range(2):
        (refused,) = await store.spend([user, tenant])
        assert (refused.wait > 0, refused.remaining) == (True, 0)
    assert (await charged(store, tenant)).remaining == 6


async def test_those_before_the_one_that_refuses_are_charged(store: QuotaStore) -> None:
    user, tenant = Charge("user", TEN), Charge("tenant", Quota(3, 86_400.0))
    assert await at_once(store, 5, user, tenant) == [5, 3]
    for left in (4, 3):
        passed, refused = await store.spend([user, tenant])
        assert (passed.wait, passed.remaining) == (0.0, left)
        assert refused.wait > 0
    assert (await charged(store, user)).remaining == 2


async def test_keys_do_not_share(store: QuotaStore) -> None:
    await at_once(store, 11, Charge("tenant:a", TEN))
    for key in ("tenant:b", "user:a", "tenant:a:", "tenant:", "", "tenant:A", "tenant:a ", "*"):
        assert (await charged(store, Charge(key, TEN)))[:2] == (0.0, 9)


@pytest.mark.parametrize("key", ["\0", "\ud800", "'; drop table tenantry.quotas --", "é", "a" * 100_000, "{b}", "\r\n"])
async def test_text_in_a_key_is_only_text(store: QuotaStore, key: str) -> None:
    assert await at_once(store, 20, Charge(key, TEN)) == [10]


async def test_many_keys(store: QuotaStore) -> None:
    keys = [f"user:{number}" for number in range(2000)]
    one = Quota(1, 86_400.0)
    for expected in (0, 2000):
        answers = await asyncio.gather(*(store.spend([Charge(key, one)]) for key in keys))
        assert sum(standing.wait > 0 for (standing,) in answers) == expected


@pytest.mark.parametrize("quota", [Quota(1, 86_400.0), Quota(7, 86_400.0), Quota(10_000, 86_400.0)])
async def test_any_limit_is_kept_to_the_unit(store: QuotaStore, quota: Quota) -> None:
    rest = quota.limit - 1 if quota.limit > 1 else 1
    assert await at_once(store, 1, Charge("a", quota, rest)) == [1]
    assert await at_once(store, 20, Charge("a", quota)) == [quota.limit - rest]


async def test_a_quota_that_is_changed_holds_for_what_comes(store: QuotaStore) -> None:
    await at_once(store, 10, Charge("a", TEN))
    strict = await charged(store, Charge("a", Quota(5, 86_400.0)))
    assert 0 < strict.wait <= 86_400.0
    assert strict.remaining == 0


async def test_what_flows_back_can_be_spent(store: QuotaStore) -> None:
    quick, clock = Quota(2, 0.02), None
    if isinstance(store, MemoryQuotaStore):
        store = MemoryQuotaStore(clock := FrozenClock())
    await at_once(store, 3, Charge("a", quick))
    async with asyncio.timeout(RUNS):
        while True:
            standing = await charged(store, Charge("a", quick, 2))  # only of a full bucket
            if not standing.wait:
                return
            assert standing.wait <= quick.window + 1e-6
            if clock is not None:
                clock.advance(standing.wait)
            else:
                await asyncio.sleep(standing.wait)


async def test_callers_who_leave_disturb_nobody(store: QuotaStore) -> None:
    leaving = [asyncio.create_task(store.spend([Charge("a", TEN)])) for _ in range(50)]
    await asyncio.sleep(0)
    for task in leaving[::2]:
        task.cancel()
    answers = await asyncio.gather(*leaving, return_exceptions=True)
    passed = sum(not isinstance(answer, BaseException) and not answer[0].wait for answer in answers)
    assert passed <= 10
    assert await at_once(store, 100, Charge("b", TEN)) == [10]
    assert await at_once(store, 100, Charge("a", TEN)) in ([0], [10 - passed])


async def test_a_store_that_was_closed_is_unavailable(store: QuotaStore) -> None:
    if isinstance(store, MemoryQuotaStore):
        return
    await charged(store, Charge("a", TEN))
    await store.aclose()  # type: ignore[attr-defined]
    with pytest.raises(Unavailable, match="quota_unavailable"):
        await charged(store, Charge("a", TEN))


# --- The one in memory ------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, clock: FrozenClock) -> MemoryQuotaStore:
    """Of 100 buckets."""
    monkeypatch.setattr(memory, "QUOTA_KEYS", 100)
    return MemoryQuotaStore(clock)


async def test_a_flooded_key_is_not_forgotten_for_those_that_were_touched_once(
    small: MemoryQuotaStore, clock: FrozenClock
) -> None:
    await at_once(small, 10, Charge("flooded", TEN))
    for number in range(5000):
        await charged(small, Charge(f"other:{number}", TEN))
        clock.advance(0.1)
    assert (await charged(small, Charge("flooded", TEN))).wait > 0


async def test_a_full_bucket_goes_before_one_that_is_in_use(small: MemoryQuotaStore, clock: FrozenClock) -> None:
    quick = Quota(1, 1.0)
    for number in range(60):
        await charged(small, Charge(f"quick:{number}", quick))
    clock.advance(1.0)
    for number in range(90):
        await charged(small, Charge(f"used:{number}", TEN, 5))
    for number in range(90):
        assert (await charged(small, Charge(f"used:{number}", TEN, 6))).wait > 0, number


async def test_its_memory_is_bounded(small: MemoryQuotaStore) -> None:
    one = Quota(1, 60.0)
    for number in range(1000):
        await charged(small, Charge(f"key:{number}", one))
    forgotten = 0
    for number in range(1000):
        forgotten += (await charged(small, Charge(f"key:{number}", one))).wait == 0.0
    assert forgotten >= 900
