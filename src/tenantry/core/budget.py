"""What a provider still grants this server, and who gets it when little is left.

GitHub grants an app 5,000 calls an hour, one of which every unknown token takes ("Rate limits for the REST API"). So a
flood of them keeps everybody else's new token out for the rest of the hour, unless the last calls are shared out.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

# Below a tenth, calls are shared out: that is enough for those under way and for other replicas, which share the grant
# and learn of it with their own next call, and little enough that no usual hour comes near it.
LOW = 0.1
KEPT_AT_MOST = 900.0  # seconds since its proof that an identity is believed while calls are few, and never past ``exp``
NEW = "new"  # the share of all of whom nothing is known
_ACTIVE_SECONDS = 60.0
_KEYS = 1000
_ORIGINS = 10_000
_LONGEST_WINDOW = 86_400.0
_EPOCH = 1e8  # a reset above it is a date, one below it the seconds until then


class Budget(NamedTuple):
    """``remaining`` of ``limit`` calls are left until ``reset`` (seconds since the epoch, by the provider's clock),
    which is ``until`` by the monotonic clock here."""

    limit: int
    remaining: int
    reset: float
    until: float

    def low(self, monotonic: float) -> bool:
        return monotonic < self.until and self.remaining < self.limit * LOW


def read_budget(headers: Mapping[str, str], now: float, monotonic: float) -> tuple[str, Budget] | None:
    """(resource, what is left of it) from ``X-RateLimit-*``; None when they are not there or say nothing sensible.

    ``now`` is the provider's time, as far as it is known.
    """
    limit, remaining, reset = (_count(headers.get(f"x-ratelimit-{name}")) for name in ("limit", "remaining", "reset"))
    if limit is None or remaining is None or reset is None or not remaining <= limit > 0:
        return None
    left = reset - now if reset > _EPOCH else float(reset)
    if not 0 < left <= _LONGEST_WINDOW:
        return None
    return headers.get("x-ratelimit-resource", "")[:64], Budget(limit, remaining, now + left, monotonic + left)


def newer(known: Budget | None, heard: Budget) -> Budget:
    """What to believe: answers overtake each other, so of one window the lower count is the later one."""
    if known is None or known.limit != heard.limit or abs(known.reset - heard.reset) > 2:
        return heard
    return heard if heard.remaining < known.remaining else known


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 16 else None


@dataclass(slots=True)
class _Share:
    granted: float = float("-inf")  # when the last call was
    heard_of: float = float("-inf")  # asked, or was told to come back then


class Shares:
    """Shares the last calls out: evenly over the time until the reset, and fairly (max-min) over the keys that ask.

    A key has its next turn after as many calls' time as there are keys that ask; one that does not ask leaves its part
    to the others. The longer ago its turn was, the further ahead of time a call may go, so that who asks seldom has it
    at once; the others wait for that. A tenth of what is left may go in this way.
    """

    def __init__(self) -> None:
        self._shares: dict[str, _Share] = {}
        self._next = float("-inf")  # when the next call would be made if all were evenly spread
        self._counted_at = float("-inf")
        self._active = 0

    def wait(self, key: str, calls: int, seconds: float, now: float) -> float:
        """0.0 when the call may be made now, which counts it; else the seconds until it may.

        ``calls`` are left for the next ``seconds``.
        """
        if calls < 1:
            return seconds
        each = seconds / calls
        share = self._share(key, now)
        turn = share.granted + self._count(now) * each
        ahead = min(max(0.0, now - turn), max(0.0, calls * LOW - 1) * each)
        wait = max(turn, self._next - ahead) - now
        if wait > 1e-6:
            wait = min(wait, seconds)
            share.heard_of = max(share.heard_of, now + wait)
            return wait
        share.granted, self._next = now, max(self._next, now) + each
        share.heard_of = max(share.heard_of, now)
        return 0.0

    def _share(self, key: str, now: float) -> _Share:
        share = self._shares.pop(key, None)
        if share is None:
            if len(self._shares) >= _KEYS:
                oldest = next(iter(self._shares))
                if self._shares[oldest].heard_of > now - _ACTIVE_SECONDS:
                    return self._shares.setdefault(NEW, _Share())  # so many that ask: the rest is one
                del self._shares[oldest]
            share = _Share()
            self._active += 1
        share.heard_of = max(share.heard_of, now)
        self._shares[key] = share  # at the end: in the order in which they asked
        return share

    def _count(self, now: float) -> int:
        """Keys that ask. Counted once a second: a flood is refused cheaply."""
        if now >= self._counted_at + 1.0:
            self._counted_at = now
            since = now - _ACTIVE_SECONDS
            self._active = sum(share.heard_of > since for share in self._shares.values())
        return max(1, self._active)


class Origins:
    """Which tenant somebody was last let in to, by what is known of him before his credential is proved: its digest,
    which may be of a proof that has expired, or his address. Bounded: who is not seen for long is forgotten."""

    def __init__(self) -> None:
        self._young: dict[Hashable, str] = {}
        self._old: dict[Hashable, str] = {}

    def saw(self, tenant_id: str, *evidence: Hashable) -> None:
        for one in evidence:
            if one is not None:
                if len(self._young) >= _ORIGINS and one not in self._young:
                    self._young, self._old = {}, self._young
                self._young[one] = tenant_id

    def of(self, *evidence: Hashable) -> str:
        """The tenant that the first known piece of evidence points to, else ``NEW``. Nobody is let in for it."""
        for one in evidence:
            found = self._young.get(one) or self._old.get(one)
            if found is not None:
                return found
        return NEW
