"""One HTTP client for the process against a new one for every call: CPU per call, over loopback.

The sentence in ``adapters/http.py`` stands on this. A new client loads the trust store again. Precedent:
facts/performance.md section 1: 790 us pooled, 42,250 us with a new client each time. Target: pooled is at least
ten times cheaper (measured: about forty).
"""

from __future__ import annotations

import asyncio
import time
from statistics import median

from tenantry.adapters.http import HttpFetch, http_library
from tenantry.ports import HttpRequest

from .measure import Row
from .serve import served

ROUNDS, POOLED, NEW = 5, 100, 8


def run(*, profile: bool = False) -> list[Row]:
    with served("bare", "open") as server:
        pooled, fresh = asyncio.run(_measure(f"http://127.0.0.1:{server.port}/"))
    library = http_library().__name__
    return [
        Row(
            f"a new {library} client per call",
            fresh / pooled,
            "x",
            f"pooled {pooled:,.0f} us of CPU a call; new each time {fresh:,.0f} us",
            ">=",
            10,
        )
    ]


async def _measure(url: str) -> tuple[float, float]:
    request = HttpRequest("GET", url)
    shared = HttpFetch(allow_loopback_http=True)
    await shared(request)

    async def alone() -> None:
        fetch = HttpFetch(allow_loopback_http=True)
        await fetch(request)
        await fetch.aclose()

    pooled, fresh = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(POOLED):
            await shared(request)
        pooled.append((time.process_time() - began) / POOLED * 1e6)
        began = time.process_time()
        for _ in range(NEW):
            await alone()
        fresh.append((time.process_time() - began) / NEW * 1e6)
    await shared.aclose()
    return median(pooled), median(fresh)
