"""How far somebody else's clock is from ours."""

from __future__ import annotations

from email.utils import parsedate_to_datetime


def skew_of(date: str, moment: float) -> float | None:
    """Seconds that a Date header is ahead of our clock, which said ``moment`` (since the epoch) when it came; None for
    no date."""
    try:
        return parsedate_to_datetime(date).timestamp() - moment
    except (TypeError, ValueError):
        return None


def told(skew: float) -> str:
    """ "12 s ahead of", "12 s behind"."""
    return f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'}"
