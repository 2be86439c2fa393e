"""How many requests are under way, and when the last of them has ended."""

from __future__ import annotations

import asyncio


class Traffic:
    """``begin`` and ``end`` in pairs; belongs to one event loop."""

    __slots__ = ("_count", "_waiters")

    def __init__(self) -> None:
        self._count = 0
        self._waiters: list[asyncio.Future[None]] = []

    def begin(self) -> None:
        self._count += 1

    def end(self) -> None:
        self._count -= 1
        if self._waiters and not self._count:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()

    async def idle(self) -> None:
        """Until none is under way."""
        if self._count:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
