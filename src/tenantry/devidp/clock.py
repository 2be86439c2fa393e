"""The one clock of the development identity provider: handed in, so that a test can freeze it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """``now()`` is seconds since the epoch, as in ``exp`` and ``iat`` (RFC 7519 section 2, NumericDate)."""

    def now(self) -> float: ...


class WallClock:
    """Real time: the default."""

    def now(self) -> float:
        return time.time()
