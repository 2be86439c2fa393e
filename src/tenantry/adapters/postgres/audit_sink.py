"""The sink that writes to PostgreSQL: each tenant's events into its own schema, the rest to the operator.

One transaction a batch and a database, on the direct login. The chain goes on from the head that the database has,
so what a lost connection leaves in doubt is known at the next try, and a table that was dropped begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

import asyncpg

from ...errors import ConfigurationError, Refusal
from ..audit.chain import START, Chain, Head, Seal
from ..audit.events import Event
from .audit_rows import OPERATOR, add, confirm, ensure_table, heads_of
from .names import Deployment, Names
from .statements import identifier, load
from .tenants import MAIN

if TYPE_CHECKING:
    from .database import Database

_SECONDS = 5.0  # for a batch; what takes longer is given up and tried again
_LOCK_TIMEOUT = "SET LOCAL lock_timeout='2s'"
_AVOIDED_SECONDS = 10.0  # a further database that failed twice
_FAILED = (Refusal, ConfigurationError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)

Part = tuple[Names | None, list[Event]]


class PostgresSink:
    """``writer``: this process; ``seal`` makes the chains."""

    name = "postgres"

    def __init__(self, database: Database, writer: str, seal: Seal) -> None:
        self._database, self._writer, self._seal = database, writer, seal
        self._operator = Chain(writer, "operator", seal)
        self._tenant = Chain(writer, "tenant", seal)
        self._tables: set[tuple[str, str]] = set()
        self._batch: Sequence[Event] = ()
        self._tried: dict[tuple[str, str], Head] = {}  # the heads that a try of this batch was about to leave
        self._failed: set[str] = set()  # further databases that this batch has not reached yet
        self._avoided: dict[str, float] = {}  # and those that are not tried, until when

    async def write(self, events: Sequence[Event]) -> None:
        if events is not self._batch:
            self._batch, self._tried, self._failed = events, {}, set()
        try:
            await self._write(events)
        except BaseException:
            self._tables.clear()  # one of them may have been dropped
            raise

    async def aclose(self) -> None:
        """The database is not ours to close."""

    async def _write(self, events: Sequence[Event]) -> None:
        main = self._database.clusters[MAIN]
        ready = await main.ready()
        async with main.administering(seconds=_SECONDS) as connection, connection.transaction():
            await connection.execute(_LOCK_TIMEOUT)
            homes = await self._homes(connection, events) if ready.login.may_make_roles else {}
            databases = _grouped(events, homes)
            operators = databases[MAIN].setdefault(OPERATOR, (None, []))[1]
            for dsn_id, places in databases.items():
                if dsn_id != MAIN and not await self._elsewhere(ready.deployment, dsn_id, places):
                    for _, lost in places.values():
                        operators += lost
            if not operators:
                del databases[MAIN][OPERATOR]
            await self._put(connection, ready.deployment, MAIN, databases[MAIN])

    async def _homes(self, connection: Any, events: Sequence[Event]) -> Mapping[str, tuple[str, Names]]:
        """Tenant to its database and names, for those whose own table can be written to."""
        tenants = sorted({event.tenant for event in events if event.tenant is not None})
        rows = await connection.fetch(load("audit_homes"), tenants) if tenants else []
        return {
            row["tenant_id"]: (row["dsn_id"], Names(row["tenant_id"], row["schema_name"], row["role_name"]))
            for row in rows
            if row["dsn_id"] in self._database.clusters
        }

    async def _elsewhere(self, deployment: Deployment, dsn_id: str, places: Mapping[str, Part]) -> bool:
        """Write to a further database; false when it takes nothing, and the operator's table must do. Once it is tried
        again: a connection that broke may have broken after the commit."""
        if monotonic() < self._avoided.get(dsn_id, 0.0):
            return False
        try:
            cluster, _ = await self._database.provisioner.cluster(dsn_id)
            async with cluster.administering(seconds=_SECONDS) as connection, connection.transaction():
                await connection.execute(_LOCK_TIMEOUT)
                await self._put(connection, deployment, dsn_id, places)
        except _FAILED:
            if dsn_id in self._failed:
                self._avoided[dsn_id] = monotonic() + _AVOIDED_SECONDS
                return False
            self._failed.add(dsn_id)
            raise
        return True

    async def _put(self, connection: Any, deployment: Deployment, dsn_id: str, places: Mapping[str, Part]) -> None:
        known = await heads_of(connection, self._writer, list(places))
        heads: dict[tuple[str, str], Head] = {}
        for place, (names, events) in places.items():
            head = known.get(place, START)
            if head != START and self._tried.get((dsn_id, place)) == head:
                continue  # an earlier try has been committed after all
            chain = self._operator if names is None else self._tenant
            lines, last = chain.rows(head, [event.body for event in events])
            if names is not None:
                await connection.execute(f"SET LOCAL ROLE {identifier(deployment.owner)}")
                await self._ensure(connection, dsn_id, names)
            await add(connection, names, self._writer, head.seq + 1, events, lines)
            if names is not None:
                await connection.execute("SET LOCAL ROLE NONE")
            heads[self._writer, place] = last
            self._tried[dsn_id, place] = last
        if heads:
            await confirm(connection, self._seal, heads)

    async def _ensure(self, connection: Any, dsn_id: str, names: Names) -> None:
        if (dsn_id, names.schema) not in self._tables:
            await ensure_table(connection, names)
            self._tables.add((dsn_id, names.schema))


def _grouped(events: Sequence[Event], homes: Mapping[str, tuple[str, Names]]) -> dict[str, dict[str, Part]]:
    """By database and place, each in the order of the events."""
    databases: dict[str, dict[str, Part]] = {MAIN: {}}
    for event in events:
        dsn_id, names = homes.get(event.tenant or "", (MAIN, None))
        places = databases.setdefault(dsn_id, {})
        places.setdefault(OPERATOR if names is None else names.tenant_id, (names, []))[1].append(event)
    return databases
