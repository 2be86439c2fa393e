"""When tenants were last seen and keys last used: written at most once a minute, off the path of requests."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime

import asyncpg

from ...errors import ConfigurationError, Refusal
from .cluster import REGISTRY_SECONDS, Cluster
from .statements import load

EVERY_SECONDS = 60.0


class Marks:
    """Add ids to ``tenants`` and ``keys``; what cannot be written is kept for the next time."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.tenants: set[str] = set()
        self.keys: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Write what there is, if the database lets us."""
        if self._task is None:
            return
        self._closing = True
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self.write()

    async def write(self) -> None:
        """Write all marks now."""
        tenants, keys = list(self.tenants), list(self.keys)
        if not (tenants or keys):
            return
        now = datetime.now(UTC)
        # A standby, a replica that lacks the right: nothing hangs on it, and the next time may do.
        with suppress(Refusal, ConfigurationError, asyncpg.PostgresError):
            async with self._cluster.administering(seconds=REGISTRY_SECONDS) as connection:
                await connection.execute(load("tenants_seen"), tenants, now)
                await connection.execute(load("keys_used"), keys, now)
            self.tenants.difference_update(tenants)
            self.keys.difference_update(keys)

    async def _run(self) -> None:
        while not self._closing:  # as in watch.py
            await asyncio.sleep(EVERY_SECONDS)
            await self.write()
