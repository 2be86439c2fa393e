"""At most ``size`` connections to one database, whatever the number of logins that open them.

asyncpg's own pool knows one login; with tenants spread over many (``logins.py``) there would be a pool for each
and no common bound. A connection serves the bucket it was opened for; where another bucket needs the place, it is
closed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import asyncpg

from ...errors import ConfigurationError

IDLE_SECONDS = 60.0
# What a backend learns of the tables it has used is never given back: about 10 kB for each table of each tenant.
LIFETIME_SECONDS = 3600.0
_CLOSE_SECONDS = 5.0


class Pool(Protocol):
    """Where scopes get their connections from, by the bucket of their tenant.

    ``take`` has one at once or None, ``acquire`` waits for one; ``release`` takes back a clean one; ``discard`` ends
    one of which that is not known.
    """

    def take(self, bucket: int) -> Any: ...
    async def acquire(self, bucket: int) -> Any: ...
    async def release(self, connection: Any, bucket: int) -> None: ...
    async def discard(self, connection: Any) -> None: ...
    async def close(self) -> None: ...


class Connections:
    """``connect(bucket)`` opens a connection; a caller waits ``patience`` seconds for a free place. Belongs to the
    event loop it is made in."""

    def __init__(self, connect: Callable[[int], Awaitable[Any]], *, size: int, patience: float) -> None:
        self._connect, self._patience = connect, patience
        self._places = size  # without a connection, and not about to get one
        self._opened: dict[Any, float] = {}
        self._idle: dict[int, list[tuple[float, Any]]] = {}  # by bucket: since when, the latest at the end
        self._waiting: deque[tuple[int, asyncio.Future[Any]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False
        self._empty = asyncio.Event()

    def take(self, bucket: int) -> Any:
        """The connection of the bucket that was used last, if one is idle."""
        idle = self._idle.get(bucket)
        while idle:
            connection = idle.pop()[1]
            if not connection.is_closed():
                return connection
            self._lose(connection)
        return None

    async def acquire(self, bucket: int) -> Any:
        """Raises ``TimeoutError`` when no place was free in time, asyncpg's ``InterfaceError`` once closed, and
        what connecting raises."""
        connection = self.take(bucket)
        return await self._another(bucket) if connection is None else connection

    async def release(self, connection: Any, bucket: int) -> None:
        """Hand a clean connection on, or keep it."""
        now = self._loop.time()
        if connection.is_closed() or self._closed or now > self._opened[connection] + LIFETIME_SECONDS:
            self._end(connection)
            return
        waiting = self._next_waiting() if self._waiting else None
        if waiting is None:
            self._idle.setdefault(bucket, []).append((now, connection))
            if self._sweep is None:
                self._sweep = self._loop.call_later(IDLE_SECONDS, self._close_idle)
        elif waiting[0] == bucket:
            waiting[1].set_result(connection)
        else:
            self._waiting.appendleft(waiting)  # it gets the place
            self._end(connection)

    async def discard(self, connection: Any) -> None:
        connection.terminate()
        self._lose(connection)

    async def close(self) -> None:
        """Wait for connections in use, and close all. Cancelled, it ends them where they are."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(asyncpg.InterfaceError("closed"))
        for entries in self._idle.values():
            for _, connection in entries:
                self._end(connection)
        self._idle.clear()
        try:
            if self._opened:
                await self._empty.wait()
            await asyncio.gather(*self._tasks)
        finally:
            for connection in self._opened:
                connection.terminate()

    async def _another(self, bucket: int) -> Any:
        if self._closed:
            raise asyncpg.InterfaceError("closed")
        if self._places == 0:
            self._close_longest_idle()
        if self._places == 0:
            connection = await self._wait(bucket)
            if connection is not None:
                return connection
        else:
            self._places -= 1
        try:
            connection = await self._connect(bucket)
        except BaseException:
            self._free_place()
            raise
        self._opened[connection] = self._loop.time()
        if self._is_closed():  # meanwhile
            self._end(connection)
            raise asyncpg.InterfaceError("closed")
        return connection

    async def _wait(self, bucket: int) -> Any:
        """A connection of the bucket, or None for a place to open one."""
        waiter: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((bucket, waiter))
        try:
            async with asyncio.timeout(self._patience):
                return await waiter
        except BaseException:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:  # given, and not wanted
                given = waiter.result()
                if given is None:
                    self._free_place()
                else:
                    await self.release(given, bucket)
            raise

    def _is_closed(self) -> bool:
        return self._closed

    def _next_waiting(self) -> tuple[int, asyncio.Future[Any]] | None:
        while self._waiting:
            entry = self._waiting.popleft()
            if not entry[1].done():
                return entry
        return None

    def _free_place(self) -> None:
        waiting = self._next_waiting()
        if waiting is None:
            self._places += 1
        else:
            waiting[1].set_result(None)

    def _lose(self, connection: Any) -> None:
        del self._opened[connection]
        if self._closed and not self._opened:
            self._empty.set()
        self._free_place()

    def _end(self, connection: Any) -> None:
        """Close in the background. The place is free when the server has let go: it may allow no more than ours."""
        if connection.is_closed():
            self._lose(connection)
            return
        task = asyncio.create_task(self._close(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _close(self, connection: Any) -> None:
        try:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # gone already: that was wanted
                await connection.close(timeout=_CLOSE_SECONDS)
        finally:
            self._lose(connection)

    def _close_longest_idle(self) -> None:
        resting = [entries for entries in self._idle.values() if entries]
        if resting:
            self._end(min(resting, key=lambda entries: entries[0][0]).pop(0)[1])

    def _close_idle(self) -> None:
        """Those that nobody has needed for a while."""
        self._sweep = None
        oldest = self._loop.time() - IDLE_SECONDS
        for entries in self._idle.values():
            while entries and entries[0][0] <= oldest:
                self._end(entries.pop(0)[1])
        if any(self._idle.values()):
            self._sweep = self._loop.call_later(IDLE_SECONDS, self._close_idle)


class GivenPool:
    """A pool that the application made: asyncpg's, or whatever has its ``acquire`` and ``release``. It knows one
    login, so every tenant is of bucket 0; it stays its owner's to close."""

    def __init__(self, pool: Any, *, patience: float) -> None:
        self._pool, self._patience = pool, patience

    def take(self, bucket: int) -> Any:
        return None

    async def acquire(self, bucket: int) -> Any:
        if bucket != 0:
            raise ConfigurationError(
                f"The pool that was handed in has one login, and the tenant belongs to login number {bucket} of this "
                "deployment: open the database by its connection string."
            )
        return await self._pool.acquire(timeout=self._patience)

    async def release(self, connection: Any, bucket: int) -> None:
        await self._pool.release(connection)

    async def discard(self, connection: Any) -> None:
        with suppress(asyncpg.InterfaceError):  # the pool has taken a dead connection back already
            connection.terminate()
        await self._pool.release(connection)

    async def close(self) -> None:
        return None
