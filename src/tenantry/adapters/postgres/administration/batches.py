"""Some tenants of one database brought forward in one transaction: the unit of ``migrate.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from ....errors import ConfigurationError
from .. import history, schemas
from ..cluster import Cluster, Ready
from ..control import try_lock
from ..failures import reaching
from ..registry import Entry
from ..statements import load
from ..tenants import MAIN, Provisioner

LEFT_ALONE = ("moving", "dropping")
_GONE = "gone"
_NOT_HERE = "database {dsn_id!r} does not know the tenant that the registry places there: `tenantry tenants check`"
# What a backend learns of the tables it has seen is never given back: about 80 kB for each tenant of 8 tables.
_BATCHES_PER_CONNECTION = 100
_CLOSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of some tenants. ``held``: somebody else works on them; ``skipped``: tenant id to its state."""

    migrated: int
    held: Sequence[Entry]
    skipped: Mapping[str, str]


class Worker:
    """Brings tenants of one database to ``version``, on a direct connection of its own."""

    def __init__(self, provisioner: Provisioner, cluster: Cluster, ready: Ready, version: int) -> None:
        self._provisioner, self._cluster, self._ready, self._version = provisioner, cluster, ready, version
        self._connection: Any = None
        self._batches = 0

    async def connect(self) -> None:
        """Have a connection. Raises ``Unavailable``."""
        if self._connection is not None and (self._connection.is_closed() or self._batches == _BATCHES_PER_CONNECTION):
            await self.close()
        if self._connection is None:
            with reaching():
                self._connection = await self._cluster.listen()
            self._batches = 0

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # gone already
                await connection.close(timeout=_CLOSE_SECONDS)

    async def bring(self, entries: Sequence[Entry], patience: str) -> Batch:
        """All of them or none. Raises asyncpg's errors, ``Unavailable`` (also for a lock that was not to be had in
        ``patience``) and ``ConfigurationError``."""
        self._batches += 1
        with reaching():
            async with self._connection.transaction():
                free = await try_lock(self._connection, [entry.names.schema for entry in entries])
                mine = [entry for entry in entries if entry.names.schema in free]
                found = await self._states(self._connection, mine)
                served = [entry for entry in mine if found.get(entry.names.tenant_id, _GONE) in ("active", "suspended")]
                reached = await self._run(served, patience)
                await self._enter(self._connection, reached)
            if self._cluster.dsn_id != MAIN:  # last: whoever dies before this finds the work done, and only enters it
                async with (await self._main()).administering() as main:
                    await self._enter(main, reached)
        skipped = {each.names.tenant_id: found.get(each.names.tenant_id, _GONE) for each in mine if each not in served}
        return Batch(len(reached), [entry for entry in entries if entry not in mine], skipped)

    async def _main(self) -> Cluster:
        return (await self._provisioner.cluster(MAIN))[0]

    async def _states(self, connection: Any, entries: Sequence[Entry]) -> dict[str, str]:
        """What the registry says now that they are locked: somebody may have begun to move or drop one."""
        ids = [entry.names.tenant_id for entry in entries]
        if self._cluster.dsn_id == MAIN:
            rows = await connection.fetch(load("batch_states"), ids, MAIN)
        else:
            async with (await self._main()).administering() as main:
                rows = await main.fetch(load("batch_states"), ids, self._cluster.dsn_id)
        return {row["tenant_id"]: row["state"] for row in rows}

    async def _run(self, entries: Sequence[Entry], patience: str) -> dict[str, int]:
        """Tenant id to the version that it has afterwards. A newer release may have brought it further."""
        connection, migrations = self._connection, self._provisioner.migrations
        ids = [entry.names.tenant_id for entry in entries]
        here = {row["tenant_id"]: row for row in await connection.fetch(load("batch_here"), ids)}
        work = []
        for entry in entries:
            row = here.get(entry.names.tenant_id)
            if row is None:
                raise ConfigurationError(_NOT_HERE.format(dsn_id=self._cluster.dsn_id))
            if not row["has_role"]:  # a cluster restored from a dump
                await self._provisioner.ensure_roles(connection, self._ready, entry.names, entry.bucket)
            if row["version"] < self._version:
                work.append((entry.names, migrations[row["version"] : self._version]))
        if work:
            await schemas.migrate(connection, self._ready.deployment, work, patience=patience)
            await history.record(connection, migrations, max((scripts for _, scripts in work), key=len))
        return {tenant_id: max(row["version"], self._version) for tenant_id, row in here.items()}

    async def _enter(self, connection: Any, reached: Mapping[str, int]) -> None:
        """Nobody goes back, and a tenant that lives elsewhere by now is not meant."""
        await connection.execute(load("batch_versions"), list(reached), list(reached.values()), self._cluster.dsn_id)
