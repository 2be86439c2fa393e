"""Requests while tenants are made and changed: the second half of ``tenants``."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import count
from statistics import median, quantiles
from typing import Any

from tenantry.adapters.postgres.administration.migrate import migrate
from tenantry.postgres import Database

from .measure import Row, clean_environment
from .tenant_load import SCRIPT, Bench, ask, tenant

CLIENTS, SECONDS = 8, 3.0
PAIRS, A_SECOND = 5, 4
MADE_ALONE = 60
CHANGES = 3
CHANGE_PAUSE = 0.01  # half a core for the live requests of a machine with two, half for the server's other work
CHANGE_SECONDS = 30 / 10_000  # for a tenant


class Live:
    """``CLIENTS`` callers that ask for one tenant after the other, each with a ``pause`` between its requests."""

    def __init__(self, database: Database, tenants: Sequence[str], *, pause: float = 0.0) -> None:
        self._database, self._tenants, self._pause = database, tenants, pause

    async def p99_during(self, work: Awaitable[Any]) -> tuple[float, int]:
        """The 99th percentile in ms while ``work`` lasts, and of how many requests."""
        spent: list[float] = []
        clients = [asyncio.create_task(self._client(spent, first)) for first in range(CLIENTS)]
        try:
            await work
        finally:
            for client in clients:
                client.cancel()
            await asyncio.wait(clients)
        for client in clients:
            if not client.cancelled():
                client.result()  # raises what a live request did
        return quantiles(spent, n=100)[98], len(spent)

    async def _client(self, spent: list[float], first: int) -> None:
        for number in count(first, CLIENTS):
            began = time.perf_counter()
            await ask(self._database, self._tenants[number % len(self._tenants)])
            spent.append((time.perf_counter() - began) * 1e3)
            if self._pause:
                await asyncio.sleep(self._pause)


Pair = tuple[tuple[float, int], tuple[float, int]]


async def rows(bench: Bench, name: str, size: int) -> list[Row]:
    async with bench.open(name, pool_size=CLIENTS) as database:
        hot = await bench.hot(name)
        live = Live(database, hot)
        await live.p99_during(asyncio.sleep(SECONDS))  # until the connections know the tenants
        made = [*await _making(database, live, size)]
        return [*made, *await _changing(bench, name, size, Live(database, hot, pause=CHANGE_PAUSE))]


async def _pairs(live: Live, work: Callable[[], Awaitable[None]], count: int) -> list[Pair]:
    """Without and with, ``count`` times, every other time the other way round."""
    pairs: list[Pair] = []
    for turn in range(count):
        busy = await live.p99_during(work()) if turn % 2 else None
        quiet = await live.p99_during(asyncio.sleep(SECONDS))
        pairs.append((quiet, busy or await live.p99_during(work())))
    return pairs


def _p99_row(what: str, pairs: Sequence[Pair], target: float, against: str) -> Row:
    ratio = median(busy / quiet for (quiet, _), (busy, _) in pairs)
    quiet, busy = (median(pair[side][0] for pair in pairs) for side in (0, 1))
    asked = min(pair[side][1] for pair in pairs for side in (0, 1))
    told = f"{quiet:.1f} -> {busy:.1f} ms; {len(pairs)} times, {asked:,} requests at least; {against}"
    return Row(what, ratio, "x", told, "<=", target)


# --- Tenants being made -------------------------------------------------------------------------------------------


async def _making(database: Database, live: Live, size: int) -> list[Row]:
    new = map(tenant, count(size))
    rates: list[float] = []

    async def steadily() -> None:
        rates.append(await _make_steadily(database, new))

    pairs = await _pairs(live, steadily, PAIRS)
    against = f"{CLIENTS} clients without a pause; {min(rates):.1f} made a second at least"
    row = _p99_row(f"p99 while {A_SECOND} tenants are made a second, {size:,} tenants", pairs, 2.0, against)
    if min(rates) < 0.9 * A_SECOND:
        row = Row(row.what, math.inf, "x", f"too slow to be measured; {row.against}", row.relation, row.target)
    alone = await _made_alone(database, new)
    return [row, Row(f"making a tenant beside {size:,}", alone, "ms", "one after another; median", "<=", 40)]


async def _make_steadily(database: Database, new: Iterator[str]) -> float:
    """The rate that was reached. Whoever asks for a new tenant does not wait for the one before."""
    began, number = time.monotonic(), round(SECONDS * A_SECOND)
    async with asyncio.TaskGroup() as group:
        for turn in range(number):
            await asyncio.sleep(max(0.0, began + turn / A_SECOND - time.monotonic()))
            group.create_task(database.ensure_tenant(next(new)))
        await asyncio.sleep(max(0.0, began + SECONDS - time.monotonic()))
    return number / (time.monotonic() - began)


async def _made_alone(database: Database, new: Iterator[str]) -> float:
    """Milliseconds for one."""
    spent = []
    for _ in range(MADE_ALONE):
        began = time.perf_counter()
        await database.ensure_tenant(next(new))
        spent.append((time.perf_counter() - began) * 1e3)
    return median(spent)


# --- Tenants being changed ----------------------------------------------------------------------------------------


async def _changing(bench: Bench, name: str, size: int, live: Live) -> list[Row]:
    """ADD COLUMN to the table that the live requests read, in every tenant, by another process."""
    scripts, spent = [SCRIPT], []

    async def add_column() -> None:
        scripts.append(f"ALTER TABLE items ADD COLUMN note{len(scripts)} text")
        spent.append(await _migrated_elsewhere(bench, name, scripts))

    pairs = await _pairs(live, add_column, CHANGES)
    what = f"ADD COLUMN over {size:,} tenants"
    against = f"{CLIENTS} clients with a pause of {CHANGE_PAUSE * 1e3:.0f} ms"
    return [
        Row(what, median(spent), "s", f"{CHANGES} times, beside live requests", "<=", round(CHANGE_SECONDS * size)),
        _p99_row(f"live p99 during {what}", pairs, 3.0, against),
    ]


async def _migrated_elsewhere(bench: Bench, name: str, scripts: Sequence[str]) -> float:
    """Seconds of ``migrate``, which runs in a process of its own as ``tenantry migrate`` does."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=clean_environment(),
    )  # fmt: skip
    answer, _ = await child.communicate(json.dumps([*bench.dsns(name), scripts]).encode())
    if child.returncode:
        raise RuntimeError("the migration failed")
    return float(answer)


async def _migrated(dsn: str, admin_dsn: str, scripts: Sequence[str]) -> float:
    async with Database.open(dsn, admin_dsn=admin_dsn, create_tenants=False, migrations=scripts) as database:
        began = time.perf_counter()
        outcome = await migrate(database)
        seconds = time.perf_counter() - began
    for tenant_id, reason in [*outcome.left_behind.items(), *outcome.skipped.items()]:
        missing = len(outcome.left_behind) + len(outcome.skipped)
        raise RuntimeError(f"{missing:,} tenants not migrated, among them {tenant_id}: {reason}")
    return seconds


if __name__ == "__main__":
    print(asyncio.run(_migrated(*json.load(sys.stdin))))
