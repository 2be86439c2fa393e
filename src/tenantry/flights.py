"""Single flight: one piece of work per key at a time; everybody who wants it waits for the same one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

from .errors import Refusal

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """A waiter that is cancelled harms nobody: the work goes on, for the others and for the cache."""

    def __init__(self) -> None:
        self._flights: dict[bytes, asyncio.Task[Any]] = {}

    async def run(self, key: bytes, work: Callable[[], Awaitable[T]]) -> T:
        """The result of ``work``, or of the same work begun by somebody else; its errors are raised anew."""
        task = self._flights.get(key)
        if task is None:
            task = asyncio.ensure_future(_outcome(work))
            self._flights[key] = task
            task.add_done_callback(lambda _: self._flights.pop(key, None))
        result, error = await asyncio.shield(task)
        if error is not None:
            raise error.again() if isinstance(error, Refusal) else error
        return result  # type: ignore[no-any-return]

    async def aclose(self) -> None:
        flights = list(self._flights.values())
        for task in flights:
            task.cancel()
        await asyncio.gather(*flights, return_exceptions=True)


async def _outcome(work: Callable[[], Awaitable[T]]) -> tuple[T | None, Exception | None]:
    """The result or the error, as a value: a task that nobody waits for any more has nothing to complain of."""
    try:
        return await work(), None
    except Exception as error:  # handed to every waiter
        return None, error
