"""Over sockets: requests per second behind the gate, with one warm token, against the bare application.

Two uvicorn children on one core (one of them idle), the load generator on the other, by turns; a Google ID token
(RS256) and an opaque access token. Precedent: facts/performance.md section 3, where a hand-written floor kept
0.86 of the bare server with a keyed hash, and the SDK's own middleware 0.71 without verifying anything.
Target: 0.80 of the bare server. The parser and loop that uvicorn found decide how fast "bare" is.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from statistics import median

from .load import Load, drive
from .measure import Row, pin
from .serve import CLIENT_CORE, Served, served
from .stack import raw_request

SECONDS, ROUNDS, FLOOR_ROUNDS = 1.0, 7, 5


def run(*, profile: bool = False) -> list[Row]:
    runs, bare = compare("bare", b"{}", ("id_token", "access_token"), ROUNDS)
    title = {"id_token": "RS256 ID token", "access_token": "opaque token"}
    return [
        Row(
            f"over sockets: warm {title[name]}",
            ratio(runs[name]),
            "x",
            f"{cpu_ratio(runs[name])}; bare {rate(runs[name]):,.0f} req/s "
            f"({bare.parser}, {bare.loop}); p50/p99 {latencies(runs[name])} ms",
            ">=",
            0.80,
        )
        for name in title
    ] + [floor("bare", b"{}", "over sockets")]


def floor(app: str, body: bytes, what: str) -> Row:
    """What the least possible gate keeps of the same server: how much of a target this machine leaves at all."""
    runs, _ = compare(app, body, ("id_token",), FLOOR_ROUNDS, "floor")
    pairs = runs["id_token"]
    return Row(
        f"{what}: the hand-written floor", ratio(pairs), "x", f"{cpu_ratio(pairs)}; bare {rate(pairs):,.0f} req/s"
    )


def compare(
    app: str, body: bytes, tokens: tuple[str, ...], count: int, gate: str = "gated"
) -> tuple[dict[str, list[tuple[Load, Load]]], Served]:
    """``count`` rounds of (the open server, the gated one), for each of ``tokens``: the same bytes to both."""
    runs: dict[str, list[tuple[Load, Load]]] = {name: [] for name in tokens}
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    pin(CLIENT_CORE)
    try:
        with served(app, "open") as bare, served(app, gate) as gated:
            for _ in range(count):
                for name in tokens:
                    request = raw_request(gated.tokens[name], body)
                    runs[name].append((_drive(bare, request), _drive(gated, request)))
    finally:
        if before is not None:
            os.sched_setaffinity(0, before)
    busy = max(load.busy for pairs in runs.values() for pair in pairs for load in pair)
    if busy > 0.95:
        print(f"note: the load generator used {busy:.0%} of its core and may have measured itself", file=sys.stderr)
    return runs, bare


def _drive(server: Served, request: bytes) -> Load:
    before = server.cpu()
    load = drive(server.port, request, SECONDS)
    return replace(load, cpu=(server.cpu() - before) / load.answered)


def cpu_ratio(pairs: list[tuple[Load, Load]]) -> str:
    """The same ratio from the server's CPU time per request: what remains of it when others use the cores too."""
    if not all(load.cpu for pair in pairs for load in pair):
        return "CPU time unknown"
    return f"{median(bare.cpu / gated.cpu for bare, gated in pairs):.2f} by server CPU"


def ratio(pairs: list[tuple[Load, Load]]) -> float:
    return median(gated.rate / bare.rate for bare, gated in pairs)


def rate(pairs: list[tuple[Load, Load]]) -> float:
    """Requests per second of the open server."""
    return median(bare.rate for bare, _ in pairs)


def latencies(pairs: list[tuple[Load, Load]]) -> str:
    """p50/p99 of both, in milliseconds."""
    sides = zip(*pairs, strict=True)
    return " -> ".join(f"{median(x.p50 for x in side):.1f}/{median(x.p99 for x in side):.1f}" for side in sides)
