"""When a key set may be fetched anew for a key id that it does not have.

Anybody can invent ids, and a real one looks just like them until the set has been fetched. So there is a budget, in
two parts: one for ids heard of for the first time, and a reserve for ids heard of again. A flood of invented ids
spends the first part only; the holders of a freshly rotated key, who come back or are many, are let in from the
reserve. With the very first fetch that is at most 6 in the first minute and 2 a minute after. A fixed cool-down
would be simpler, and would keep a rotated key out for half a minute (``bench/rotation.py``).
"""

from __future__ import annotations

from ..core.quota import Quota, spend

FIRST, AGAIN = Quota(limit=3, window=180.0), Quota(limit=2, window=120.0)
SPACING = 1.5  # seconds between two fetches: a set that young is not fetched again for somebody else
FORGOTTEN_AFTER = 30.0  # seconds
_GENERATION = 16_384  # ids remembered, twice: ten seconds of a flood on one core


class Refetches:
    """The budget of one issuer. ``count`` is how many were granted."""

    def __init__(self) -> None:
        self.count = 0
        self._arrivals: dict[Quota, float] = {}
        self._granted_at = float("-inf")
        self._before: tuple[Quota, float | None] | None = None
        self._young: dict[int, float] = {}
        self._old: dict[int, float] = {}

    def hear(self, kid: str, now: float) -> tuple[float, bool]:
        """(when this id was first heard of, whether that was before now). Seconds, monotonic."""
        name = hash(kid)  # salted for this process; two ids that share one would share a fetch, no more
        heard = self._young.get(name, self._old.get(name))
        if heard is not None and now < heard + FORGOTTEN_AFTER:
            return heard, True
        if len(self._young) >= _GENERATION:
            self._old, self._young = self._young, {}
        self._young[name] = now
        return now, False

    def grant(self, *, again: bool, asked_at: float, now: float) -> bool:
        """Whether to fetch now, for an id heard of ``again`` or not. ``asked_at``: the latest fetch of any kind."""
        if self.count and now < max(self._granted_at, asked_at) + SPACING:
            return False
        part = AGAIN if again else FIRST
        before = self._arrivals.get(part)
        arrival, standing = spend(before, part, now)
        if standing.wait:
            return False
        self._before = (part, before)
        self._arrivals[part], self._granted_at = arrival, now
        self.count += 1
        return True

    def refund(self) -> None:
        """The fetch that was granted last failed: an outage must not use up what the recovery will need."""
        if self._before is not None:
            part, before = self._before
            self._arrivals[part] = float("-inf") if before is None else before
            self._before = None
