"""GCRA, the generic cell rate algorithm (ITU-T I.371): a token bucket whose whole state is one number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

# Of a unit: what rounding may add up to, so that exactly ``limit`` pass at one instant. An arrival time is a large
# number to which small ones are added; of units, which stores on a server count, only what flows back is rounded.
_MERCY = 0.01
_UNIT_MERCY = 1e-6


@dataclass(frozen=True, slots=True)
class Quota:
    """``limit`` units per ``window`` seconds, all of which may come at once."""

    limit: int
    window: float


class Charge(NamedTuple):
    """``weight`` units, one or more, to be taken from the bucket ``key``, which holds ``quota``.

    A charge of more than a full bucket takes a full bucket, so that it can pass at all.
    """

    key: str
    quota: Quota
    weight: int = 1


class Standing(NamedTuple):
    """Where a bucket stands after a charge. ``wait``: seconds until the charge would pass, 0.0 when it did;
    ``remaining``: whole units left; ``reset``: seconds until the bucket is full again."""

    wait: float
    remaining: int
    reset: float


def spend(arrival: float | None, quota: Quota, now: float, weight: int = 1) -> tuple[float, Standing]:
    """Take ``weight`` units from a bucket.

    ``arrival`` is the bucket's theoretical arrival time, None for a full bucket. Returns (the new arrival time,
    where the bucket stands); the arrival time of a refused charge is unchanged.
    """
    limit, window = quota.limit, quota.window
    interval = window / limit
    base = now if arrival is None or arrival < now else arrival
    after = base + interval * (weight if weight < limit else limit)
    wait = after - window - now
    if wait > interval * _MERCY:
        used = base - now
        return base, Standing(wait, int((window - used) / interval + _MERCY), used)
    used = after - now
    return after, Standing(0.0, int((window - used) / interval + _MERCY), used)


def standing_of(quota: Quota, weight: int, used: float, passed: bool) -> Standing:
    """Where a bucket stands after a charge, by the units that are out of it now: for stores that count units."""
    limit, interval = quota.limit, quota.window / quota.limit
    wait = 0.0 if passed else max(used + min(weight, limit) - limit, _UNIT_MERCY) * interval
    return Standing(wait, max(0, int(limit - used + _UNIT_MERCY)), used * interval)


def parse_quota(text: str) -> Quota:
    """``"600/60"`` is 600 requests per 60 seconds. Raises ``ValueError``."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,5}(?:\.[0-9]{1,3})?)", text)
    quota = Quota(int(match[1]), float(match[2])) if match else Quota(0, 0.0)
    if quota.limit < 1 or not 0 < quota.window <= 86_400:
        raise ValueError("use <requests>/<seconds>, like 600/60")
    return quota
