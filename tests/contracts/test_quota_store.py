"""ports.QuotaStore: exactly as many as the limit says, for each key alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tenantry.adapters import memory
from tenantry.core.quota import Quota
from tenantry.ports import Clock, QuotaStore
from tenantry.testing import FrozenClock, MemoryQuotaStore

pytestmark = pytest.mark.anyio

TEN = Quota(10, 60)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(params=[MemoryQuotaStore], ids=["memory"])
def store(request: pytest.FixtureRequest, clock: FrozenClock) -> QuotaStore:
    make: Callable[[Clock], QuotaStore] = request.param
    return make(clock)


async def spent(store: QuotaStore, key: str, quota: Quota, times: int) -> list[float]:
    return await asyncio.gather(*(store.spend(key, quota) for _ in range(times)))


async def test_100_at_once_with_a_burst_of_10_let_exactly_10_pass(store: QuotaStore) -> None:
    waits = await spent(store, "tenant:a", TEN, 100)
    assert waits.count(0.0) == 10


async def test_the_wait_is_when_the_next_one_would_pass(store: QuotaStore, clock: FrozenClock) -> None:
    waits = await spent(store, "a", TEN, 11)
    assert waits[10] == pytest.approx(6.0)
    clock.advance(waits[10] - 0.01)
    assert await store.spend("a", TEN) > 0
    clock.advance(0.01)
    assert await store.spend("a", TEN) == 0.0
    assert await store.spend("a", TEN) > 0


async def test_a_refused_request_costs_nothing(store: QuotaStore, clock: FrozenClock) -> None:
    await spent(store, "a", TEN, 1000)
    clock.advance(60)
    assert (await spent(store, "a", TEN, 20)).count(0.0) == 10


async def test_over_a_long_time_no_more_pass_than_the_rate(store: QuotaStore, clock: FrozenClock) -> None:
    passed = 0
    for _ in range(600):
        passed += await store.spend("a", TEN) == 0.0
        clock.advance(1)
    assert passed <= 10 + 600 / 60 * 10


async def test_keys_do_not_share(store: QuotaStore) -> None:
    await spent(store, "tenant:a", TEN, 11)
    for key in ("tenant:b", "user:a", "tenant:a:", "tenant:", ""):
        assert await store.spend(key, TEN) == 0.0


async def test_a_quota_of_one(store: QuotaStore, clock: FrozenClock) -> None:
    one = Quota(1, 0.5)
    assert (await spent(store, "a", one, 3)).count(0.0) == 1
    clock.advance(0.5)
    assert await store.spend("a", one) == 0.0


async def test_the_memory_of_the_one_in_process_is_bounded(monkeypatch: pytest.MonkeyPatch, clock: FrozenClock) -> None:
    monkeypatch.setattr(memory, "QUOTA_KEYS", 3)
    store = MemoryQuotaStore(clock)
    one = Quota(1, 60)
    for key in "abcd":
        assert await store.spend(key, one) == 0.0
    assert await store.spend("d", one) > 0  # the latest are remembered
    assert await store.spend("a", one) == 0.0  # the first was forgotten, and starts anew
