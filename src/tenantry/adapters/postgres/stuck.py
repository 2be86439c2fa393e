"""One clock for all connections that somebody waits for.

A timer for each call would be a sixth of what a scope costs. The server itself stops a statement that takes too long
(``statement_timeout``); where it says nothing even so, it is gone or hangs: the connection is ended, and whoever
waits for it is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

_EVERY_SECONDS = 1.0


@contextmanager
def given_up_after(connection: Any, seconds: float | None) -> Iterator[None]:
    """End a connection that is still in use then, for work off the path of every request (None: never).

    A plain time limit does not do: what it cancels, asyncpg asks the server to stop, and waits for the answer.
    """
    if seconds is None:
        yield
        return
    timer = asyncio.get_running_loop().call_later(seconds, connection.terminate)
    try:
        yield
    finally:
        timer.cancel()


class Stuck:
    """``waiting`` maps a connection to the ``time.monotonic()`` until which its answer is waited for."""

    def __init__(self) -> None:
        self.waiting: dict[Any, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._look(asyncio.get_running_loop())

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = monotonic()
        for connection, until in list(self.waiting.items()):
            if until < now:
                connection.terminate()
        self._timer = loop.call_later(_EVERY_SECONDS, self._look, loop)
