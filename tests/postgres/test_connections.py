"""The pool over many logins, with real connections: places are never lost, never more than agreed, and first come is
first served."""

# ruff: noqa: ASYNC110 - what the server does sets no event here

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tenantry.adapters.postgres import connections
from tenantry.adapters.postgres.connections import Connections

pytestmark = pytest.mark.anyio

LONG = 60.0  # nothing here waits that long
OPEN = "select count(*) from pg_stat_activity where application_name = $1"


class Opened:
    """Opens connections that the superuser can count, and fails or waits when a test says so."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn, self.name = dsn, name
        self.buckets: list[int] = []
        self.failures = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, bucket: int) -> Any:
        self.buckets.append(bucket)
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise OSError("refused")
        return await asyncpg.connect(self._dsn, server_settings={"application_name": self.name})


@pytest.fixture
def opened(dsns: Any, numbers: Any) -> Opened:
    return Opened(dsns.superuser, f"connections_{next(numbers)}")


@pytest.fixture
async def pool_of(opened: Opened) -> AsyncIterator[Callable[..., Connections]]:
    made: list[Connections] = []

    def make(size: int, patience: float = LONG) -> Connections:
        made.append(Connections(opened, size=size, patience=patience))
        return made[-1]

    yield make
    for pool in made:
        async with asyncio.timeout(5):  # a test that lost a place hangs here
            await pool.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await condition():
            await asyncio.sleep(0.002)


async def turns(number: int = 5) -> None:
    """Let everybody who can go on do so."""
    for _ in range(number):
        await asyncio.sleep(0)


@asynccontextmanager
async def waiting(pool: Connections, *buckets: int) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """One waiter for each bucket, in this order."""
    tasks = []
    for bucket in buckets:
        tasks.append(asyncio.create_task(pool.acquire(bucket)))
        await turns()
        assert not tasks[-1].done()
    yield tasks
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def pid_of(connection: Any) -> int:
    return await connection.fetchval("select pg_backend_pid()")


async def test_the_connection_that_was_used_last_is_used_next(pool_of, opened):
    pool = pool_of(3)
    one, two = await pool.acquire(0), await pool.acquire(0)
    await pool.release(one, 0)
    await pool.release(two, 0)
    assert pool.take(0) is two
    await pool.release(two, 0)
    assert opened.buckets == [0, 0]


async def test_a_connection_serves_its_own_bucket_only(pool_of):
    pool = pool_of(2)
    await pool.release(await pool.acquire(0), 0)
    assert pool.take(1) is None
    own, other = pool.take(0), await pool.acquire(1)
    assert own is not other
    await pool.release(own, 0)
    await pool.release(other, 1)


async def test_an_idle_connection_of_another_bucket_gives_way(pool_of, opened, root):
    pool = pool_of(2)
    for bucket in (0, 1):
        await pool.release(await pool.acquire(bucket), bucket)
    third = await pool.acquire(2)
    assert await root.fetchval(OPEN, opened.name) <= 2
    assert pool.take(0) is None, "the one that rested longest went"
    await pool.release(third, 2)


async def test_there_are_never_more_connections_than_agreed(pool_of, opened, root):
    """Also while one of a bucket is closed for one of another."""
    pool, most = pool_of(3), 0
    finished = asyncio.Event()

    async def watch() -> None:
        nonlocal most
        while not finished.is_set():
            most = max(most, await root.fetchval(OPEN, opened.name))

    async def work(number: int) -> None:
        for step in range(8):
            bucket = (number + step) % 5
            connection = await pool.acquire(bucket)
            await connection.fetchval("select 1")
            await pool.release(connection, bucket)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(work(number) for number in range(8)))
    finished.set()
    await watching
    assert most == 3


async def test_waiters_are_served_in_their_order_whatever_their_bucket(pool_of):
    pool = pool_of(1)
    connection = await pool.acquire(0)
    served: list[int] = []

    async def visit(bucket: int) -> None:
        mine = await pool.acquire(bucket)
        served.append(bucket)
        await pool.release(mine, bucket)

    visits = []
    for bucket in (0, 1, 0, 2, 1):
        visits.append(asyncio.create_task(visit(bucket)))
        await turns()
    await pool.release(connection, 0)
    await asyncio.gather(*visits)
    assert served == [0, 1, 0, 2, 1]


async def test_who_waits_too_long_is_told_and_harms_nobody(pool_of):
    pool = pool_of(1, patience=0.01)
    connection = await pool.acquire(0)
    with pytest.raises(TimeoutError):
        await pool.acquire(1)
    await pool.release(connection, 0)
    assert pool.take(0) is connection
    await pool.release(connection, 0)


@pytest.mark.parametrize("bucket", [0, 1])
async def test_a_waiter_that_is_cancelled_is_passed_over(pool_of, bucket):
    pool = pool_of(1)
    connection = await pool.acquire(0)
    async with waiting(pool, bucket, 0) as (first, second):
        first.cancel()
        await pool.release(connection, 0)
        assert await second is connection
    await pool.release(connection, 0)


@pytest.mark.parametrize("bucket", [0, 1])
async def test_what_a_waiter_was_given_as_it_was_cancelled_is_not_lost(pool_of, bucket):
    """The release and the cancellation in one turn of the loop: a connection for bucket 0, a place for bucket 1."""
    pool = pool_of(1)
    connection = await pool.acquire(0)
    async with waiting(pool, bucket, 0) as (first, second):
        await pool.release(connection, 0)
        first.cancel()
        await pool.release(await second, 0)
    async with asyncio.timeout(5):
        await pool.release(await pool.acquire(2), 2)


async def test_cancelling_at_any_moment_loses_no_place(pool_of):
    pool = pool_of(2)

    async def visit(bucket: int) -> None:
        connection = await pool.acquire(bucket)
        try:
            await connection.fetchval("select 1")
        finally:
            await pool.release(connection, bucket) if not connection.is_closed() else await pool.discard(connection)

    for moment in range(30):
        visits = [asyncio.create_task(visit(bucket)) for bucket in (0, 1, 2, 0)]
        await turns(moment)
        for each in visits[::2]:
            each.cancel()
        await asyncio.gather(*visits, return_exceptions=True)
    async with asyncio.timeout(5):
        both = [await pool.acquire(7), await pool.acquire(8)]
    for connection, bucket in zip(both, (7, 8), strict=True):
        await pool.release(connection, bucket)


async def test_a_connection_that_died_while_idle_is_not_handed_out(pool_of, root):
    pool = pool_of(1)
    connection = await pool.acquire(0)
    pid = await pid_of(connection)
    await pool.release(connection, 0)
    await root.fetchval("select pg_terminate_backend($1, 5000)", pid)
    await until(lambda: asyncio.sleep(0, connection.is_closed()))
    fresh = await pool.acquire(0)
    assert await pid_of(fresh) != pid
    await pool.release(fresh, 0)


async def test_a_connection_that_died_in_use_frees_its_place(pool_of, root):
    pool = pool_of(1)
    connection = await pool.acquire(0)
    async with waiting(pool, 1) as (waiter,):
        await root.fetchval("select pg_terminate_backend($1, 5000)", await pid_of(connection))
        await until(lambda: asyncio.sleep(0, connection.is_closed()))
        await pool.release(connection, 0)
        await pool.release(await waiter, 1)


async def test_what_is_discarded_is_ended_and_its_place_free(pool_of, opened, root):
    pool = pool_of(1)
    connection = await pool.acquire(0)
    pid = await pid_of(connection)
    await pool.discard(connection)
    assert connection.is_closed()
    fresh = await pool.acquire(0)
    assert await pid_of(fresh) != pid
    await pool.discard(fresh)

    async def nobody() -> bool:
        return await root.fetchval(OPEN, opened.name) == 0

    await until(nobody)


async def test_a_connection_that_cannot_be_opened_frees_its_place(pool_of, opened):
    pool = pool_of(1)
    opened.failures = 3
    for _ in range(3):
        with pytest.raises(OSError, match="refused"):
            await pool.acquire(0)
    await pool.release(await pool.acquire(0), 0)


async def test_one_that_fails_to_connect_lets_the_next_waiter_try(pool_of, opened):
    pool = pool_of(1)
    opened.gate.clear()
    first = asyncio.create_task(pool.acquire(0))
    await turns()
    async with waiting(pool, 1) as (second,):
        opened.failures = 1
        opened.gate.set()
        with pytest.raises(OSError, match="refused"):
            await first
        await pool.release(await second, 1)


async def test_cancelling_while_connecting_frees_the_place(pool_of, opened):
    pool = pool_of(1)
    opened.gate.clear()
    connecting = asyncio.create_task(pool.acquire(0))
    await turns()
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    opened.gate.set()
    await pool.release(await pool.acquire(1), 1)


async def test_an_old_connection_is_replaced_when_it_comes_back(pool_of, monkeypatch):
    pool = pool_of(1)
    connection = await pool.acquire(0)
    monkeypatch.setattr(connections, "LIFETIME_SECONDS", -1.0)
    await pool.release(connection, 0)
    assert pool.take(0) is None
    fresh = await pool.acquire(0)
    assert fresh is not connection
    await pool.release(fresh, 0)


async def test_an_old_connection_goes_even_where_somebody_waits_for_it(pool_of, monkeypatch):
    pool = pool_of(1)
    connection = await pool.acquire(0)
    async with waiting(pool, 0) as (waiter,):
        monkeypatch.setattr(connections, "LIFETIME_SECONDS", -1.0)
        await pool.release(connection, 0)
        fresh = await waiter
        assert fresh is not connection
        await pool.release(fresh, 0)


async def test_what_nobody_needs_is_closed_after_a_while(pool_of, opened, root, monkeypatch):
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.02)
    pool = pool_of(2)
    both = [await pool.acquire(0), await pool.acquire(1)]
    for bucket, connection in enumerate(both):
        await pool.release(connection, bucket)

    async def nobody() -> bool:
        return await root.fetchval(OPEN, opened.name) == 0

    await until(nobody)
    await pool.release(await pool.acquire(2), 2)


async def test_close_waits_for_what_is_in_use(pool_of, opened, root):
    pool = pool_of(2)
    used, idle = await pool.acquire(0), await pool.acquire(0)
    await pool.release(idle, 0)
    closing = asyncio.create_task(pool.close())
    await turns()
    assert not closing.done()
    assert await used.fetchval("select 1") == 1
    await pool.release(used, 0)
    await closing
    assert used.is_closed()
    assert idle.is_closed()


async def test_close_that_is_cancelled_ends_what_is_in_use(pool_of):
    pool = pool_of(1)
    used = await pool.acquire(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await pool.close()
    assert used.is_closed()
    await pool.release(used, 0)


async def test_who_waits_or_comes_when_the_pool_is_closed_is_told(pool_of):
    pool = pool_of(1)
    used = await pool.acquire(0)
    async with waiting(pool, 0, 1) as waiters:
        closing = asyncio.create_task(pool.close())
        for waiter in waiters:
            with pytest.raises(asyncpg.InterfaceError):
                await waiter
    with pytest.raises(asyncpg.InterfaceError):
        await pool.acquire(0)
    await pool.discard(used)
    await closing


async def test_a_connection_that_was_being_opened_when_the_pool_closed_is_not_handed_out(pool_of, opened, root):
    pool = pool_of(1)
    opened.gate.clear()
    connecting = asyncio.create_task(pool.acquire(0))
    await turns()
    closing = asyncio.create_task(pool.close())
    await turns()
    opened.gate.set()
    with pytest.raises(asyncpg.InterfaceError):
        await connecting
    await closing

    async def nobody() -> bool:
        return await root.fetchval(OPEN, opened.name) == 0

    await until(nobody)
