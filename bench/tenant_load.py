"""What ``tenants`` measures on: one embedded server, databases of tenants on it, and requests to them.

A tenant is facts/postgres.md section 2's: eight tables with primary keys, three foreign keys, one more index and 20
rows. Wall time is read, because most of it is spent in the server and between the two.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from statistics import median
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg

from tenantry.postgres import Database, EmbeddedPostgres

from .measure import Rounds

QUERY = "SELECT title FROM items WHERE id = $1"
TABLES = {
    "users": "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text NOT NULL, name text NOT NULL",
    "sessions": "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL REFERENCES users",
    "items": "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL REFERENCES users, "
    "title text NOT NULL",
    "tags": "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL",
    "item_tags": "item_id bigint NOT NULL REFERENCES items, tag_id bigint NOT NULL, PRIMARY KEY (item_id, tag_id)",
    "audit": "id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), what text NOT NULL",
    "kv": "key text PRIMARY KEY, value text NOT NULL",
    "jobs": "id bigint PRIMARY KEY, state text NOT NULL, payload text NOT NULL",
}
SCRIPT = ";\n".join(
    [
        *(f"CREATE TABLE {table} ({columns})" for table, columns in TABLES.items()),
        "CREATE INDEX items_by_user ON items (user_id)",
        "INSERT INTO users (email, name) SELECT 'u' || n || '@example.com', 'User ' || n FROM generate_series(1, 10) n",
        "INSERT INTO items (user_id, title) SELECT n, 'Title ' || n FROM generate_series(1, 10) n",
    ]
)
Cores = tuple[set[int], set[int]] | None  # the client's and the server's; None: the system has no say in it
MAKERS = 3  # tenants made at a time: the connections that Database has for it
HOT = 100


def tenant(number: int) -> str:
    return f"company{number:05}_example"


class Bench:
    """A running server, and who may enter it."""

    def __init__(self, server: EmbeddedPostgres, root: Any) -> None:
        self._server, self._root = server, root

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        async with EmbeddedPostgres() as server:
            root = await asyncpg.connect(server.dsn)
            try:
                yield cls(server, root)
            finally:
                await root.close()

    async def plain(self) -> str:
        """The DSN of a database without tenants, whose login owns the same eight tables in schema public."""
        await self._root.execute("CREATE ROLE plain LOGIN PASSWORD 'plain'")
        await self._root.execute("CREATE DATABASE plain OWNER plain")
        dsn = self.dsn("plain", "plain:plain")
        connection = await asyncpg.connect(dsn)
        await connection.execute(SCRIPT)
        await connection.close()
        return dsn

    async def database(self, name: str) -> None:
        """A database for tenants, with a login of its own for requests."""
        await self._root.execute(f"CREATE ROLE {name}_app LOGIN NOINHERIT PASSWORD '{name}'")
        await self._root.execute(f"CREATE DATABASE {name} OWNER tenantry_admin")

    def open(self, name: str, *, pool_size: int) -> Database:
        dsn, admin_dsn = self.dsns(name)
        return Database.open(dsn, admin_dsn=admin_dsn, pool_size=pool_size, create_tenants=True, migrations=[SCRIPT])

    def dsns(self, name: str) -> tuple[str, str]:
        """For requests, and for what makes tenants."""
        return self.dsn(name, f"{name}_app:{name}"), self.dsn(name, login_of(self._server.admin_dsn))

    def dsn(self, database: str, login: str | None = None) -> str:
        """Of the superuser, unless ``login`` ("name:password") is given."""
        address = urlsplit(self._server.dsn)
        login = login or login_of(self._server.dsn)
        return f"postgresql://{login}@{address.hostname}:{address.port}/{database}?{address.query}"

    async def fetch(self, name: str, query: str, *args: Any) -> list[Any]:
        """Rows of a query that the superuser asks of a database."""
        connection = await asyncpg.connect(self.dsn(name))
        try:
            rows: list[Any] = await connection.fetch(query, *args)
            return rows
        finally:
            await connection.close()

    async def hot(self, name: str, most: int = HOT) -> list[str]:
        """Tenants of one login, which one connection can serve."""
        query = (
            "SELECT tenant_id FROM tenantry.tenants WHERE bucket = (SELECT min(bucket) FROM tenantry.tenants) "
            "ORDER BY tenant_id LIMIT $1"
        )
        return [row["tenant_id"] for row in await self.fetch(name, query, most)]

    @asynccontextmanager
    async def placed(self, cores: Cores) -> AsyncIterator[None]:
        """Say which cores client and server run on.

        Left alone, every backend stays where it happens to be put first, and three round trips take 110 or 290 us.
        """
        if cores is None:
            yield
            return
        allowed = os.sched_getaffinity(0)
        await self._place(*cores)
        try:
            yield
        finally:
            await self._place(allowed, allowed)

    async def _place(self, client: set[int], server: set[int]) -> None:
        os.sched_setaffinity(0, client)
        rows = await self._root.fetch("SELECT pid FROM pg_catalog.pg_stat_activity")
        for pid in (self._server.pid, *(row["pid"] for row in rows)):
            with suppress(ProcessLookupError):  # a worker of the server that has ended by now
                os.sched_setaffinity(pid or 0, server)


def login_of(dsn: str) -> str:
    return urlsplit(dsn).netloc.rpartition("@")[0]


def placements() -> dict[str, Cores]:
    """Where client and server may be put, by name."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        return {"any core": None}
    return {"one core": ({cores[0]}, {cores[0]}), "two cores": ({cores[0]}, {cores[1]})}


async def provision(database: Database, tenants: Iterable[str]) -> float:
    """Make tenants, ``MAKERS`` at a time, and tell the seconds. In no order: a login's are not neighbours by name."""
    left = list(tenants)
    random.shuffle(left)
    began = time.perf_counter()

    async def make() -> None:
        while left:
            await database.ensure_tenant(left.pop())

    await asyncio.gather(*(make() for _ in range(MAKERS)))
    return time.perf_counter() - began


async def ask(database: Database, tenant_id: str) -> None:
    """One scope with one query."""
    async with database.tenant_connection(tenant_id) as connection:
        await connection.fetchrow(QUERY, 1)


async def ask_plain(pool: Any) -> None:
    """What it replaces."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.fetchrow(QUERY, 1)


Subject = Callable[[int], Awaitable[None]]


async def wall_rounds(subjects: Mapping[str, Subject], *, calls: int, count: int) -> Rounds:
    """``count`` rounds of ``calls`` calls of each subject, which is told the number of the call; the order of the
    subjects is another one in each round. A round's time is the median of its calls: where other people's processes
    want the same cores, the mean is that of their time slices."""
    for subject in subjects.values():
        await _timed(subject, 2 * HOT + 10)  # every tenant's tables known, the statement planned for good
    us: dict[str, list[float]] = {name: [] for name in subjects}
    order = list(subjects)
    for _ in range(count):
        random.shuffle(order)
        for name in order:
            us[name].append(await _timed(subjects[name], calls))
    return Rounds(us)


async def _timed(subject: Subject, calls: int) -> float:
    spent = []
    for number in range(calls):
        began = time.perf_counter()
        await subject(number)
        spent.append(time.perf_counter() - began)
    return median(spent) * 1e6
