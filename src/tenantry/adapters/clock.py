"""The system's clocks."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """``time.time`` for dates in tokens, ``time.monotonic`` for durations."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)
