"""When an endpoint of a provider is not asked: a circuit breaker, and the waits that a provider asks for.

* Closed: calls are made. ``FAILURES`` failures in a row open it.
* Open: nobody asks; a caller hears at once when to come back. First for ``FIRST`` seconds, twice as long after each
  further failure, at most ``LONGEST``.
* Half open, when that time is over: one call is made at a time, and the first answer closes it.

A failure is no answer, a 5xx, a redirect, or a 200 that cannot be read. A refusal of a token is an answer. A limit
(429, or 403 that says so) is an answer as well, but holds calls back: for as long as it says, a minute at most, else
for a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ..errors import Unavailable
from ..observations import CircuitClosed, CircuitOpened
from ..ports import Clock, Observer

FAILURES = 5
FIRST, LONGEST = 2.0, 30.0  # seconds
LONGEST_HOLD = 60.0
_PROBE = 10.0  # seconds after which a probe that told nothing is given up: twice what a call may take


@dataclass(frozen=True, slots=True)
class BreakerState:
    """``failures`` in a row; ``wait``: seconds until the next call, 0.0 when one may be made now."""

    circuit: Literal["closed", "open", "half_open"]
    failures: int
    wait: float


class Breaker:
    """Of one endpoint. ``check`` before waiting for a connection, ``call`` around the call, and then ``answered`` or
    ``failed``, whichever it was."""

    def __init__(self, provider: str, endpoint: str, clock: Clock, observe: Observer) -> None:
        self._provider, self._endpoint = provider, endpoint
        self._monotonic, self._observe = clock.monotonic, observe
        self._failures = 0
        self._outage = True  # whether every failure in a row was one
        self._pause = 0.0  # seconds; 0.0 while closed
        self._opened_at = self._open_until = 0.0
        self._probing_until = self._held_until = float("-inf")

    def check(self) -> None:
        """Raise ``Unavailable`` where no call is to be made now."""
        now = self._monotonic()
        if now < self._held_until:
            raise Unavailable("provider_rate_limited", retry_after=self._held_until - now)
        wait = self._wait(now)
        if wait:
            raise Unavailable("provider_unavailable", retry_after=wait, outage=self._outage)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Around one call; an exception out of it is the caller's to count."""
        self.check()
        if self._pause:
            self._probing_until = self._monotonic() + _PROBE
        yield

    def failed(self, kind: str, *, outage: bool) -> None:
        """``outage``: nobody answered, or the provider said that it cannot."""
        now = self._monotonic()
        self._probing_until = float("-inf")
        self._outage = outage and (self._outage or not self._failures)
        self._failures += 1
        if self._failures < FAILURES or now < self._open_until:  # those under way when it opened add nothing
            return
        first = not self._pause
        self._pause = min(self._pause * 2, LONGEST) if self._pause else FIRST
        self._open_until = now + self._pause
        if first:
            self._opened_at = now
            self._observe(CircuitOpened(self._provider, self._endpoint, kind, self._pause))

    def answered(self) -> None:
        opened, self._pause, self._failures, self._outage = self._pause, 0.0, 0, True
        self._probing_until = self._open_until = float("-inf")
        if opened:
            self._observe(CircuitClosed(self._provider, self._endpoint, self._monotonic() - self._opened_at))

    def hold(self, seconds: float) -> None:
        """The provider asked for so long a wait."""
        self._held_until = max(self._held_until, self._monotonic() + min(seconds, LONGEST_HOLD))

    def state(self) -> BreakerState:
        now = self._monotonic()
        wait = max(self._wait(now), self._held_until - now, 0.0)
        if not self._pause:
            return BreakerState("closed", self._failures, wait)
        return BreakerState("open" if now < self._open_until else "half_open", self._failures, wait)

    def _wait(self, now: float) -> float:
        if now < self._open_until:
            return self._open_until - now
        return FIRST if now < self._probing_until else 0.0
