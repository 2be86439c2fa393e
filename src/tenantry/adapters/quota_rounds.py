"""What quota stores on a server have in common: charges go there in rounds.

* Callers who come while the server is being asked go together in the next round. So many of one tenant are not a queue.
* Connections belong to the rounds. A caller who leaves has no part in them: what he asked for is not sent, or is
  answered to nobody.
* A bucket that refused refuses until it would pass. That is remembered here, so a flood of it asks nobody.
* Nobody waits longer than ``patience``. While no connection can be opened, nobody waits at all.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from ..core.quota import Charge, Quota, Standing
from ..errors import ConfigurationError, Unavailable

PATIENCE = 0.25  # seconds that a request waits at most: a store is within milliseconds, or it is down
CONNECT_SECONDS = 5.0
LINKS = 2  # connections: a round takes whatever has come
_MOST_CALLERS = 256  # in a round, whose answer all of them wait for
_IDLE_SECONDS = 60.0
_PAUSE_SECONDS = 1.0  # between attempts to connect
_REMEMBERED = 10_000  # refusals
_BELIEVED_SECONDS = 5.0  # a refusal is: somebody may have emptied the store meanwhile


class Asked(NamedTuple):
    """A charge on its way. ``key``: the SHA-256 of the bucket's name, so that no user's id or address leaves the
    process and every key is short and plain; ``weight`` is no more than the limit."""

    key: bytes
    quota: Quota
    weight: int


Chain = Sequence[Asked]


class Link(Protocol):
    """One connection to the store."""

    @property
    def usable(self) -> bool: ...

    async def take(self, chains: Sequence[Chain]) -> Sequence[Sequence[Standing]]:
        """For each chain the standings of its charges in turn, to the one that refused.

        Whatever keeps it from that, the caller's patience and a cancellation too, ends the connection: nobody knows
        what would come on it next.
        """
        ...

    async def close(self) -> None: ...


class _Caller:
    """Somebody who waits for ``answer``."""

    __slots__ = ("answer", "chain", "charges")

    def __init__(self, charges: Sequence[Charge], answer: asyncio.Future[Sequence[Standing]]) -> None:
        self.charges, self.answer = charges, answer
        self.chain = [Asked(_digest(key), quota, min(weight, quota.limit)) for key, quota, weight in charges]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


class Rounds:
    """The ``spend`` of a store. ``connect`` opens a connection, within ``CONNECT_SECONDS``. Belongs to the event loop
    that first uses it."""

    def __init__(self, connect: Callable[[], Awaitable[Link]], patience: float) -> None:
        self._connect, self._patience = connect, patience
        self._waiting: deque[_Caller] = deque()
        self._refusals = _Refusals()
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving = 0
        self._links = 0  # open: serving or idle
        self._idle: list[tuple[float, Link]] = []  # since when, the latest at the end
        self._idle_timer: asyncio.TimerHandle | None = None
        self._opening_since: float | None = None  # while there is no other link
        self._retry_at = float("-inf")
        self._problem = "closed"
        self._closed = False

    async def spend(self, charges: Sequence[Charge]) -> Sequence[Standing]:
        """As ``ports.QuotaStore``; also raises ``ConfigurationError``."""
        now = asyncio.get_running_loop().time()
        for place, charge in enumerate(charges):
            refusal = self._refusals.standing(charge, now)
            if refusal is not None:
                before = await self._ask(charges[:place], now)
                return before if before and before[-1].wait else [*before, refusal]
        return await self._ask(charges, now)

    async def aclose(self) -> None:
        """Give up what is going on, and disconnect. Later use is ``Unavailable``."""
        self._closed, self._problem = True, "closed"
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _fail(self._waiting, self._unavailable)
        while self._idle:
            await self._idle.pop()[1].close()

    async def _ask(self, charges: Sequence[Charge], now: float) -> Sequence[Standing]:
        if not charges:
            return []
        self._expect_an_answer(now)
        caller = _Caller(charges, asyncio.get_running_loop().create_future())
        self._waiting.append(caller)
        self._begin()
        try:
            async with asyncio.timeout(self._patience):
                return await caller.answer
        except TimeoutError:
            raise self._unavailable("TimeoutError") from None

    def _expect_an_answer(self, now: float) -> None:
        """Raise where waiting would most likely be for nothing."""
        slow = self._opening_since is not None and now > self._opening_since + self._patience
        if self._closed or slow or now < self._retry_at:
            raise self._unavailable("connecting" if slow else self._problem)

    def _unavailable(self, problem: str | None = None) -> Unavailable:
        return Unavailable("quota_unavailable", retry_after=_PAUSE_SECONDS, detail=problem or self._problem)

    def _begin(self) -> None:
        if self._serving < LINKS:
            self._serving += 1
            self._spawn(self._serve())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self) -> None:
        """Rounds on one link, until nobody waits."""
        link: Link | None = None
        fresh, callers = True, list[_Caller]()
        try:
            link, fresh = self._idle_link(), False
            if link is None:
                link, fresh = await self._open(), True
            while callers := self._next_round():
                await self._round(link, callers)
                fresh = True
        except asyncio.CancelledError:
            _fail(callers, self._unavailable)
            raise
        except Exception as error:
            self._problem = type(error).__name__  # its text may hold a password
            if link is None:
                self._could_not_open(error)
            else:
                self._lost(callers, again=not fresh)
        else:
            self._rest(link)
        finally:
            self._serving -= 1
        if link is not None and self._waiting:  # the round failed, and these were not in it
            self._begin()

    def _idle_link(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()[1]
            if link.usable:
                return link
            self._links -= 1
        return None

    async def _open(self) -> Link:
        now = asyncio.get_running_loop().time
        alone = self._links == 0 and self._opening_since is None
        if alone:
            self._opening_since = now()
        try:
            link = await self._connect()
        except Exception:
            self._retry_at = now() + _PAUSE_SECONDS
            raise
        finally:
            if alone:
                self._opening_since = None
        self._links += 1
        return link

    def _could_not_open(self, error: Exception) -> None:
        if self._links == 0:  # else the other link serves those who wait
            mend = partial(ConfigurationError, str(error)) if isinstance(error, ConfigurationError) else None
            _fail(self._waiting, mend or self._unavailable)
            self._waiting.clear()

    def _lost(self, callers: Sequence[_Caller], *, again: bool) -> None:
        """A link ended in a round. One that had been idle may have ended long ago: its callers are asked ``again``, on
        a fresh one. If the server did hear them, they are charged twice, which lets nobody through."""
        self._links -= 1 + len(self._idle)
        for _, link in self._idle:  # what ended one has most likely ended these
            self._spawn(link.close())
        self._idle.clear()
        if again:
            self._waiting.extendleft(reversed(callers))
        else:
            _fail(callers, self._unavailable)

    def _next_round(self) -> list[_Caller]:
        callers: list[_Caller] = []
        while self._waiting and len(callers) < _MOST_CALLERS:
            caller = self._waiting.popleft()
            if not caller.answer.done():  # else he has left
                callers.append(caller)
        return callers

    async def _round(self, link: Link, callers: Sequence[_Caller]) -> None:
        answers = await link.take([caller.chain for caller in callers])
        now = asyncio.get_running_loop().time()
        for caller, answer in zip(callers, answers, strict=True):
            if answer[-1].wait:
                self._refusals.remember(caller.charges[len(answer) - 1], answer[-1], now)
            if not caller.answer.done():
                caller.answer.set_result(answer)

    def _rest(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time(), link))
        if self._idle_timer is None:
            self._idle_timer = loop.call_later(_IDLE_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        """Those that nobody has needed for a while."""
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0][0] <= loop.time() - _IDLE_SECONDS:
            self._links -= 1
            self._spawn(self._idle.pop(0)[1].close())
        self._idle_timer = loop.call_later(_IDLE_SECONDS, self._close_idle) if self._idle else None


def _fail(callers: Iterable[_Caller], error: Callable[[], Exception]) -> None:
    for caller in callers:
        if not caller.answer.done():
            caller.answer.set_exception(error())


class _Refusal(NamedTuple):
    quota: Quota
    weight: int
    standing: Standing
    at: float
    until: float


class _Refusals:
    """What was refused, by the bucket's name. Time alone can only fill the bucket."""

    def __init__(self) -> None:
        self._known: dict[str, _Refusal] = {}

    def remember(self, charge: Charge, standing: Standing, now: float) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()  # they are asked again
        until = now + min(standing.wait, _BELIEVED_SECONDS)
        self._known[charge.key] = _Refusal(charge.quota, charge.weight, standing, now, until)

    def standing(self, charge: Charge, now: float) -> Standing | None:
        """Where the bucket stands, if the charge is certain to be refused."""
        known = self._known.get(charge.key)
        if known is None:
            return None
        if now >= known.until:
            del self._known[charge.key]
            return None
        if charge.weight < known.weight or charge.quota != known.quota:
            return None
        wait, remaining, reset = known.standing
        passed = now - known.at
        return Standing(wait - passed, remaining, reset - passed)
