"""The leak storm: many workers, many tenants, and handlers that fail, are cancelled, are killed or are hostile.

Every scope looks around before it does anything: whose role, which path, whose rows, and whether anything of an
earlier scope is left in the session. ``make storm`` runs 100,000 scopes directly and as many through a real
PgBouncer in transaction mode; the tests run fewer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from tests.postgres.pgbouncer import PgBouncer, find_pgbouncer

from tenantry.errors import Unavailable
from tenantry.postgres import Database, EmbeddedPostgres, TenantConnection

WORKERS, TENANTS, SCOPES, POOL = 16, 200, 100_000, 8
ROWS = "create table rows (id bigint generated always as identity primary key, owner text not null)"
_HANG_SECONDS = 60.0

# One look at everything that could have been left behind, and at the rows.
_LOOK = """
select current_user::text as role, current_setting('search_path') as path,
       coalesce(current_setting('my.leak', true), '') as setting, current_setting('statement_timeout') as timeout,
       current_setting('default_transaction_read_only') as readonly,
       coalesce(current_setting('tenantry.user_id', true), '') as user_id,
       (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
       (select count(*) from pg_listening_channels()) as channels,
       (select count(*) from pg_cursors where is_holdable) as cursors,
       (select count(*) from pg_prepared_statements where from_sql) as prepared,
       pg_my_temp_schema()::bigint as temporary,
       (select count(*) from rows where owner <> $1) as foreign_rows
"""
_CLEAN = {
    "setting": "",
    "timeout": "30s",
    "readonly": "off",
    "user_id": "",
    "locks": 0,
    "channels": 0,
    "cursors": 0,
    "prepared": 0,
    "temporary": 0,
}


# Behind a pooler that keeps prepared statements (PgBouncer since 1.21) this one statement stays in the server
# connection: docs/tenancy.md says so.
STAYS = "commit; set role {role}; set search_path = {schema}; set my.leak = 'left'; prepare leak as select 1"
HOSTILE = (
    "set search_path = {schema}",
    "set session my.leak = 'left'",
    "select set_config('my.leak', 'left', false)",
    "set statement_timeout = 1234",
    "set default_transaction_read_only = on",
    "set role none",
    "reset role",
    "set role {role}",
    "set session authorization default",
    "create temp table rows (id int, owner text)",
    "prepare leak as select 1",
    "deallocate all",
    "discard plans",
    "listen leak",
    "select pg_advisory_lock({number})",
    "declare leak cursor with hold for select 1",
    "set role {role}; set search_path = {schema}; set my.leak = 'left'",
    "commit",
    "rollback; set my.leak = 'left'",
    STAYS,
    "commit; select pg_advisory_lock({number}); listen leak; set statement_timeout = 1",
    "commit; begin; set my.leak = 'left'",
)


@dataclass
class Outcome:
    """What came out: ``wrong`` rows or places, ``leaked`` settings and the like, ``hung`` scopes, all with a word on
    each; ``ends`` counts how scopes ended."""

    scopes: int = 0
    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    hung: list[str] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def calm(self) -> bool:
        """Nothing leaked anywhere, and the storm was one."""
        return not (self.wrong or self.leaked or self.hung or self.connections)


class Storm:
    """``scopes`` scopes over ``tenants`` tenants of a database that nobody else uses.

    ``root`` is a superuser's connection string, directly to the server.
    """

    def __init__(
        self, database: Database, root: str, *, tenants: int, seed: int, hostile: Sequence[str] = HOSTILE
    ) -> None:
        self.hostile = hostile
        self._database, self._root_dsn = database, root
        self._random = random.Random(seed)
        self._tenants = [f"storm{number}_example" for number in range(tenants)]
        self._homes: dict[str, tuple[str, str]] = {}
        self._root: Any = None
        self.outcome = Outcome()

    async def blow(self, scopes: int, *, workers: int) -> Outcome:
        self._root = await asyncpg.create_pool(self._root_dsn, min_size=1, max_size=2)
        try:
            await self._prepare()
            began = time.monotonic()
            left = iter(range(scopes))
            await asyncio.gather(*(self._worker(left) for _ in range(workers)))
            self.outcome.seconds = time.monotonic() - began
            await self._calm_down()
        finally:
            await self._root.close()
        return self.outcome

    async def _prepare(self) -> None:
        for tenant in self._tenants:
            await self._database.tenant(tenant).execute("insert into rows (owner) values ($1)", tenant)
        found = await self._root.fetch("select tenant_id, role_name, schema_name from tenantry.tenants")
        self._homes = {row["tenant_id"]: (row["role_name"], row["schema_name"]) for row in found}

    async def _worker(self, left: Any) -> None:
        for _ in left:
            tenant, deed = self._random.choice(self._tenants), self._random.choices(DEEDS, WEIGHTS)[0]
            scope = asyncio.create_task(self._scope(tenant, deed))
            if deed is cancelled:
                asyncio.get_running_loop().call_later(self._random.random() * 0.02, scope.cancel)
            done, _ = await asyncio.wait([scope], timeout=_HANG_SECONDS)
            if not done:
                self.outcome.hung.append(deed.__name__)
                scope.cancel()
                continue
            self._count(deed, scope)

    def _count(self, deed: Deed, scope: asyncio.Task[None]) -> None:
        self.outcome.scopes += 1
        error = None if scope.cancelled() else scope.exception()
        end = "cancelled" if scope.cancelled() else type(error).__name__ if error else "committed"
        self.outcome.ends[f"{deed.__name__}: {end}"] += 1

    async def _scope(self, tenant: str, deed: Deed) -> None:
        limit = 0.02 if deed is too_slow else None
        async with self._database.tenant_connection(tenant, timeout=limit) as connection:
            await self._look(connection, tenant, limited=limit is not None)
            await deed(self, connection, tenant)

    async def _look(self, connection: TenantConnection, tenant: str, *, limited: bool) -> None:
        seen = dict(await connection.fetchrow(_LOOK, tenant))
        self.outcome.looks += 1
        role, schema = self._homes[tenant]
        if (seen["role"], seen["path"]) != (role, f"{schema}, pg_temp") or seen["foreign_rows"]:
            self.outcome.wrong.append(f"{tenant}: {seen}")
        wanted = {**_CLEAN, "timeout": "20ms"} if limited else _CLEAN
        left = {name: seen[name] for name, value in wanted.items() if seen[name] != value}
        if left:
            self.outcome.leaked.append(f"{tenant}: {left}")

    async def other(self, tenant: str) -> tuple[str, str]:
        """Role and schema of somebody else."""
        return self._homes[self._random.choice([each for each in self._tenants[:20] if each != tenant])]

    async def kill(self, connection: TenantConnection) -> None:
        pid = await connection.fetchval("select pg_backend_pid()")
        await self._root.fetchval("select pg_terminate_backend($1)", pid)

    async def _calm_down(self) -> None:
        """Every tenant is reached once more; then the database is closed, and nobody of ours is left."""
        for tenant in self._tenants:
            with suppress(Unavailable):  # the last one a handler spoilt
                await self._scope(tenant, reads)
            await self._scope(tenant, reads)
            self.outcome.ends["after the storm"] += 1
        open_now = await self._root.fetchval(_OURS)
        if open_now > POOL:
            self.outcome.connections.append(f"{open_now} connections of a pool of {POOL}")


_OURS = "select count(*) from pg_stat_activity where usename = 'tenantry_app' or usename like 'tenantry%\\_\\_app%'"

Deed = Callable[[Storm, TenantConnection, str], Awaitable[None]]


async def reads(storm: Storm, connection: TenantConnection, tenant: str) -> None:
    await connection.fetch("select id, owner from rows order by id limit 5")


async def writes(storm: Storm, connection: TenantConnection, tenant: str) -> None:
    await connection.execute("insert into rows (owner) values ($1)", tenant)
    await connection.execute("delete from rows where id in (select id from rows order by id limit 1)")


async def raises(storm: Storm, connection: TenantConnection, tenant: str) -> None:
    await connection.execute("insert into rows (owner) values ('lost')")
    raise LookupError


async def fails(storm: Storm, connection: TenantConnection, tenant: str) -> None:
    await connection.execute("insert into rows (owner) values ('lost')")
    with suppress(asyncpg.DivisionByZeroError):  # and goes on as if nothing had happened
        await connection.fetchval("select 1/0")


async def cancelled(storm: Storm, connection: TenantConnection, tenant: str) -> None:
    await connection.execute("insert into rows (owner) values ($1)", tenant)
    await connection.fetchval("select pg_sleep(0.03)")


async def too_slow(storm: Storm, connection: TenantConnection, tenant: str) -> None:
    await connection.fetchval("select pg_sleep(10)")


async def killed(storm: Storm, connection: TenantConnection, tenant: str) -> None:
    await storm.kill(connection)
    await connection.fetch("select id from rows")


async def savepoints(storm: Storm, connection: TenantConnection, tenant: str) -> None:
    with suppress(asyncpg.DivisionByZeroError):
        async with connection.transaction():
            await connection.execute("set local my.leak = 'from a savepoint'")
            await connection.fetchval("select 1/0")
    await connection.execute("insert into rows (owner) values ($1)", tenant)
    await connection.execute("delete from rows where id = (select max(id) from rows)")


async def hostile(storm: Storm, connection: TenantConnection, tenant: str) -> None:
    role, schema = await storm.other(tenant)
    chosen = storm._random.choice(storm.hostile).format(role=role, schema=schema, number=storm._random.randrange(1000))
    extended = ";" not in chosen and storm._random.random() < 0.5
    # Half of it by the extended protocol, which takes one statement.
    await (connection.fetch(chosen) if extended else connection.execute(chosen))
    if storm._random.random() < 0.3:
        raise LookupError


DEEDS: tuple[Deed, ...] = (reads, writes, raises, fails, cancelled, too_slow, killed, savepoints, hostile)
WEIGHTS = (28, 14, 10, 8, 8, 2, 1, 5, 24)


async def storm(
    server: Any, *, scopes: int, tenants: int, workers: int, seed: int, through: PgBouncer | None = None
) -> Outcome:
    """One storm on an empty database of ``server`` (``dsn``, ``admin_dsn``, ``app_dsn``)."""
    dsn = through.dsn(server.app_dsn) if through else server.app_dsn
    async with Database.open(
        dsn, admin_dsn=server.admin_dsn, pool_size=POOL, create_tenants=True, migrations=[ROWS]
    ) as database:
        tracked = through is not None and through.keeps_prepared_statements
        deeds = [each for each in HOSTILE if each != STAYS] if tracked else HOSTILE
        outcome = await Storm(database, server.dsn, tenants=tenants, seed=seed, hostile=deeds).blow(
            scopes, workers=workers
        )
    if through is None:  # a pooler keeps its own, and cleans one that a handler has spoilt when it is used next
        await _expect_nobody(server.dsn, outcome)
    return outcome


async def _expect_nobody(dsn: str, outcome: Outcome) -> None:
    """A backend goes a moment after its client."""
    root = await asyncpg.connect(dsn)
    deadline = time.monotonic() + 10
    try:
        while count := await root.fetchval(_OURS):
            if time.monotonic() > deadline:
                outcome.connections.append(f"{count} connections after the database was closed")
                return
            await asyncio.sleep(0.01)
    finally:
        await root.close()


async def _main(arguments: argparse.Namespace) -> int:
    calm = True
    for way in ("direct", "pgbouncer"):
        if arguments.only not in (None, way):
            continue
        async with EmbeddedPostgres() as server:
            options = {name: getattr(arguments, name) for name in ("scopes", "tenants", "workers", "seed")}
            if way == "direct":
                outcome = await storm(server, **options)
            else:
                async with PgBouncer(server.dsn, pool_size=4) as bouncer:
                    outcome = await storm(server, **options, through=bouncer)
        calm = calm and outcome.calm
        _tell(way, outcome, arguments)
    return 0 if calm else 1


def _tell(way: str, outcome: Outcome, arguments: argparse.Namespace) -> None:
    found = {
        "wrong rows": outcome.wrong,
        "leaked": outcome.leaked,
        "hung": outcome.hung,
        "connections": outcome.connections,
    }
    print(
        f"{way}: {outcome.scopes:,} scopes of {arguments.tenants} tenants by {arguments.workers} workers in "
        f"{outcome.seconds:.0f} s, {outcome.looks:,} looks; "
        + ", ".join(f"{len(each)} {name}" for name, each in found.items())
    )
    for name, each in found.items():
        for line in each[:10]:
            print(f"  {name}: {line}")
    if arguments.json:
        print(json.dumps(dict(sorted(outcome.ends.items())), indent=1))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.postgres.storm", description=__doc__)
    parser.add_argument("--scopes", type=int, default=SCOPES)
    parser.add_argument("--tenants", type=int, default=TENANTS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("direct", "pgbouncer"))
    parser.add_argument("--json", action="store_true", help="also how the scopes ended")
    arguments = parser.parse_args()
    if arguments.only != "direct" and find_pgbouncer() is None:
        parser.error("PgBouncer is not installed (Debian: apt-get install pgbouncer), or say --only direct")
    return asyncio.run(_main(arguments))


if __name__ == "__main__":
    sys.exit(main())
