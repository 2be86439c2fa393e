"""GCRA, the generic cell rate algorithm (ITU-T I.371): a token bucket whose whole state is one number."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quota:
    """``limit`` requests per ``window`` seconds, all of which may come at once."""

    limit: int
    window: float


def spend(arrival: float | None, quota: Quota, now: float) -> tuple[float, float]:
    """One request against a bucket.

    ``arrival`` is the bucket's theoretical arrival time, None for a full bucket. Returns (the new arrival time,
    seconds to wait); a wait above zero means refused, and the arrival time is then unchanged.
    """
    interval = quota.window / quota.limit
    base = now if arrival is None or arrival < now else arrival
    # Rounding: a tenth of a microsecond of mercy, so that exactly `limit` pass at one instant.
    wait = base + interval - quota.window - now
    if wait > 1e-7:
        return base, wait
    return base + interval, 0.0


def parse_quota(text: str) -> Quota:
    """``"600/60"`` is 600 requests per 60 seconds. Raises ``ValueError``."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,5}(?:\.[0-9]{1,3})?)", text)
    quota = Quota(int(match[1]), float(match[2])) if match else Quota(0, 0.0)
    if quota.limit < 1 or not 0 < quota.window <= 86_400:
        raise ValueError("use <requests>/<seconds>, like 600/60")
    return quota
