"""What is left of a quota, as a caller is told."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """``name``: whose quota it is: "tenant", "user", "api_key", "address". ``units`` for each ``window`` (seconds), of
    which ``remaining`` are left; ``reset``: seconds until all of them are."""

    name: str
    units: int
    window: float
    remaining: int
    reset: float
