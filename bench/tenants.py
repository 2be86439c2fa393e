"""What the wall around a tenant costs, at 2, 1,000 and 10,000 tenants of eight tables each, on the embedded server.

Scope: ``tenant_connection`` and one query by primary key, one connection, 100 hot tenants by turns, against the same
query in asyncpg's ``acquire`` and ``transaction`` on a plain table, with the reset that asyncpg's pool does on release
and with none. Client and server are measured on one core (all of both counts) and on two (the waits between them do);
the worse ratio of the two is reported. Then: requests while tenants are made or changed, and what a backend keeps.
Precedent: facts/postgres.md section 2. Without ``--large`` the 10,000 are left out: making them takes minutes.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg

from tenantry.postgres import Database

from . import tenants_live
from .measure import Rounds, Row
from .tenant_load import HOT, TABLES, Bench, ask, ask_plain, placements, provision, tenant, wall_rounds

SMALL, MIDDLE, LARGE = 2, 1_000, 10_000
CALLS, ROUNDS = HOT, 33  # short rounds: other people's load is the same for all subjects of one
TOUCHED, LOGINS_MOST = 1_000, 250

Measured = dict[str, Rounds]  # by placement


def run(*, profile: bool = False, large: bool = False) -> list[Row]:
    return asyncio.run(_run((SMALL, MIDDLE, LARGE)[: 2 + large], profile=profile))


async def _run(sizes: Sequence[int], *, profile: bool) -> list[Row]:
    async with Bench.start() as bench:
        for size in sizes:
            await bench.database(_name(size))
            async with bench.open(_name(size), pool_size=1) as database:
                seconds = await provision(database, map(tenant, range(size)))
            print(f"  {size:,} tenants made in {seconds:.1f} s", file=sys.stderr)
        if profile:
            await _profile(bench, sizes[-1])
        return [
            *await _scopes(bench, sizes),
            *await _spread(bench, sizes[-1]),
            *await _memory(bench),
            *await tenants_live.rows(bench, _name(sizes[-1]), sizes[-1]),
        ]


def _name(size: int) -> str:
    return f"tenants_{size}"


# --- One scope ----------------------------------------------------------------------------------------------------


async def _scopes(bench: Bench, sizes: Sequence[int]) -> list[Row]:
    seen = await _scopes_measured(bench, sizes)
    rows = []
    for size in sizes:
        ours, what = _name(size), f"scope, {size:,} tenants"
        rows.append(_ratio(what, seen, ours, "reset", "acquire, transaction, query, asyncpg's reset", 1.0))
        rows.append(_ratio(what, seen, ours, "no reset", "the same without a reset", 1.35))
    fewest = _name(sizes[0])
    return rows + [
        _ratio(f"scope, {size:,} tenants", seen, _name(size), fewest, f"{sizes[0]} tenants", 1.2) for size in sizes[1:]
    ]


def _ratio(what: str, seen: Measured, ours: str, baseline: str, against: str, target: float) -> Row:
    ratios = {place: found.ratio(ours, baseline) for place, found in seen.items()}
    told = (
        f"{found.of(baseline):.0f} -> {found.of(ours):.0f} us ({ratios[place]:.2f}) on {place}"
        for place, found in seen.items()
    )
    return Row(what, max(ratios.values()), "x", f"{against}: {', '.join(told)}", "<=", target)


async def _scopes_measured(bench: Bench, sizes: Sequence[int]) -> Measured:
    dsn = await bench.plain()
    async with AsyncExitStack() as opened:
        pools = {
            "reset": await opened.enter_async_context(asyncpg.create_pool(dsn, min_size=1, max_size=1)),
            "no reset": await opened.enter_async_context(
                asyncpg.create_pool(dsn, min_size=1, max_size=1, reset=_nothing)
            ),
        }
        subjects: dict[str, Callable[[int], Awaitable[None]]] = {
            name: partial(_plainly, pool) for name, pool in pools.items()
        }
        for size in sizes:
            database = await opened.enter_async_context(bench.open(_name(size), pool_size=1))
            subjects[_name(size)] = partial(_by_turns, database, await bench.hot(_name(size)))
        seen = {}
        for place, cores in placements().items():
            async with bench.placed(cores):
                seen[place] = await wall_rounds(subjects, calls=CALLS, count=ROUNDS)
        return seen


async def _nothing(connection: Any) -> None:
    """A reset that asks the server for nothing."""


async def _plainly(pool: Any, _number: int) -> None:
    await ask_plain(pool)


async def _by_turns(database: Database, tenants: Sequence[str], number: int) -> None:
    await ask(database, tenants[number % len(tenants)])


async def _spread(bench: Bench, size: int) -> list[Row]:
    """Hot tenants that do not share a login, and so no connection."""
    name = _name(size)
    tenants = [tenant(number) for number in range(0, size, size // HOT)]
    async with bench.open(name, pool_size=10) as database:
        seen = await wall_rounds({name: partial(_by_turns, database, tenants)}, calls=3 * HOT, count=3)
    [[logins]] = await bench.fetch(name, "SELECT count(DISTINCT bucket) FROM tenantry.tenants")
    what = f"scope, {size:,} tenants, the hot ones spread over all"
    return [Row(what, seen.of(name), "us", f"{logins} logins, a pool of 10, any core")]


async def _profile(bench: Bench, size: int) -> None:
    scopes = 3_000
    async with bench.open(_name(size), pool_size=1) as database:
        one = partial(_by_turns, database, await bench.hot(_name(size)))
        await wall_rounds({"warm": one}, calls=1, count=1)
        profiler = cProfile.Profile(time.process_time)
        profiler.enable()
        for number in range(scopes):
            await one(number)
        profiler.disable()
    stats = pstats.Stats(profiler)
    print(f"\nwhere the client's CPU time goes: {scopes:,} scopes under a profiler, which makes all of it slower")
    stats.sort_stats("tottime").print_stats(25)


# --- What a backend keeps -----------------------------------------------------------------------------------------


async def _memory(bench: Bench) -> list[Row]:
    """Resident memory of a backend that has read every table of so many tenants."""
    if sys.platform != "linux":
        return []
    name = _name(MIDDLE)
    first, most = await _of_a_login(bench, name)
    _, unbounded = await _of_any(bench, name)
    bound = f"the most: no login has more, and no connection lives longer than an hour; {first:.1f} MB with one"
    what = "memory of a connection after {:,} tenants"
    return [
        Row(what.format(LOGINS_MOST), most, "MB", bound),
        Row(what.format(TOUCHED), unbounded, "MB", "what a login in all of them would come to"),
    ]


async def _of_a_login(bench: Bench, name: str) -> tuple[float, float]:
    tenants = await bench.hot(name, LOGINS_MOST)
    if len(tenants) < LOGINS_MOST:
        raise RuntimeError(f"the first login has {len(tenants)} tenants: not what is measured here")
    sizes, pids = [], set()
    async with bench.open(name, pool_size=1) as database:
        for tenant_id in tenants:
            async with database.tenant_connection(tenant_id) as connection:
                await _read_all(connection)
                pids.add(pid := await connection.fetchval("SELECT pg_catalog.pg_backend_pid()"))
            sizes.append(_resident(pid))
    if len(pids) > 1:
        raise RuntimeError(f"one login's tenants went through {len(pids)} connections: nothing was measured")
    return sizes[0], sizes[-1]


async def _of_any(bench: Bench, name: str) -> tuple[float, float]:
    """By hand: no login of ours could."""
    rows = await bench.fetch(name, "SELECT role_name, schema_name FROM tenantry.tenants LIMIT $1", TOUCHED)
    connection = await asyncpg.connect(bench.dsn(name))
    sizes = []
    try:
        for role, schema in rows:
            await connection.execute(f'BEGIN;SET LOCAL ROLE "{role}";SET LOCAL search_path="{schema}",pg_temp')
            await _read_all(connection)
            await connection.execute("COMMIT")
            sizes.append(_resident(connection.get_server_pid()))
    finally:
        await connection.close()
    return sizes[0], sizes[-1]


async def _read_all(connection: Any) -> None:
    for table in TABLES:
        await connection.fetchval(f"SELECT count(*) FROM {table}")


def _resident(pid: int) -> float:
    """Megabytes of its own; what it shares with the other backends is left out."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell RssAnon")
