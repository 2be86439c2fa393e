"""Over sockets: requests per second behind the gate, with one warm token, against the bare application.

Two uvicorn children on one core (one of them idle), the load generator on the other, by turns; a Google ID token
(RS256) and an opaque access token. Precedent: facts/performance.md section 3, where a hand-written floor kept
0.86 of the bare server with a keyed hash, and the SDK's own middleware 0.71 without verifying anything.
Target: 0.80 of the bare server. The parser and loop that uvicorn found decide how fast "bare" is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median

from .load import Load, drive
from .measure import Row, pin
from .serve import CLIENT_CORE, Served, served
from .stack import raw_request

SECONDS, ROUNDS = 1.2, 7


def run(*, profile: bool = False) -> list[Row]:
    runs, bare = compare("bare", b"{}", ("id_token", "access_token"), ROUNDS)
    title = {"id_token": "RS256 ID token", "access_token": "opaque token"}
    return [
        Row(
            f"over sockets: warm {title[name]}",
            _ratio(runs[name], runs["bare"]),
            "x",
            f"bare {_rate(runs['bare']):,.0f} req/s ({bare.parser}, {bare.loop}); "
            f"p50/p99 {_latency(runs['bare'])} -> {_latency(runs[name])} ms",
            ">=",
            0.80,
        )
        for name in title
    ]


def compare(
    app: str, body: bytes, tokens: tuple[str, ...], count: int, request: Callable[..., bytes] = raw_request
) -> tuple[dict[str, list[Load]], Served]:
    """``count`` rounds over the open server ("bare") and the gated one with each of ``tokens``."""
    runs: dict[str, list[Load]] = {"bare": [], **{name: [] for name in tokens}}
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    pin(CLIENT_CORE)
    try:
        with served(app, "open") as bare, served(app, "gated") as gated:
            for _ in range(count):
                runs["bare"].append(drive(bare.port, request(None, body), SECONDS))
                for name in tokens:
                    runs[name].append(drive(gated.port, request(gated.tokens[name], body), SECONDS))
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)
    busy = max(load.busy for loads in runs.values() for load in loads)
    if busy > 0.95:
        print(f"note: the load generator used {busy:.0%} of its core and may have measured itself")
    return runs, bare


def _ratio(ours: list[Load], bare: list[Load]) -> float:
    return median(a.rate / b.rate for a, b in zip(ours, bare, strict=True))


def _rate(loads: list[Load]) -> float:
    return median(load.rate for load in loads)


def _latency(loads: list[Load]) -> str:
    return f"{median(load.p50 for load in loads):.1f}/{median(load.p99 for load in loads):.1f}"
