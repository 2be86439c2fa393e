"""Hears of changes to the registry: suspended tenants, revoked keys, new mappings.

A change raises ``tenantry.deployment.epoch`` and is announced (NOTIFY). The announcement is a hint: whoever may
connect can send one, and a pooler delivers none. What counts is the epoch, which is read at once after a hint, every
``POLL_SECONDS`` where announcements are known to arrive, and every ``POLL_BLIND_SECONDS`` where they are not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import asyncpg

from ...errors import ConfigurationError, Refusal
from ...flights import SingleFlight
from .cluster import REGISTRY_SECONDS, Cluster
from .registry import Registry
from .statements import identifier

POLL_SECONDS = 10.0
POLL_BLIND_SECONDS = 0.5
GOOD_FOR_SECONDS = 25.0  # so that, whatever fails, nothing older than 30 s is believed
_ECHO_SECONDS = 2.0
_RETRY_SECONDS = 0.5
APART_SECONDS = 0.1  # two readings of the epoch: a tenant can send notifications as fast as it likes


class Watch:
    """``changed`` is called with every new epoch, before anybody may believe what was known under the old one."""

    def __init__(self, cluster: Cluster, registry: Registry, changed: Callable[[], Awaitable[None]]) -> None:
        self._cluster, self._registry, self._changed = cluster, registry, changed
        self._confirmed = float("-inf")
        self._epoch: int | None = None
        self._hint = asyncio.Event()
        self._reading: SingleFlight[None] = SingleFlight()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def fresh(self) -> bool:
        """Whether what is known has been confirmed lately."""
        return monotonic() < self._confirmed + GOOD_FOR_SECONDS

    async def confirm(self) -> None:
        """Make sure of it now. Raises ``Unavailable`` and ``ConfigurationError``."""
        if not self.fresh:
            await self._reading.run(b"", self._read)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Nothing is believed any more."""
        self._closing = True
        await self._reading.aclose()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._confirmed = float("-inf")

    async def _read(self) -> None:
        began = monotonic()
        epoch = await self._registry.epoch()
        if epoch != self._epoch:
            await self._changed()
            self._epoch = epoch
        self._confirmed = max(began, self._confirmed)

    async def _listen(self) -> None:
        while not self._closing:  # a connection that fails in the same moment takes the place of the cancellation
            # Whatever it is, it is somebody's 503 when the knowledge of this process is no longer fresh.
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, Refusal, ConfigurationError):
                await self._hear()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _hear(self) -> None:
        """Until the connection is lost, or the registry cannot be read."""
        channel = (await self._registry.deployment()).channel

        def heard(*_: Any) -> None:
            self._hint.set()

        connection = await self._cluster.listen()
        try:
            connection.add_termination_listener(heard)
            await connection.add_listener(channel, heard)
            delivered = await self._echo(channel)
            while not connection.is_closed():
                await self._look(POLL_SECONDS if delivered else POLL_BLIND_SECONDS)
        finally:
            connection.terminate()

    async def _echo(self, channel: str) -> bool:
        """Whether announcements arrive here: not behind a pooler that lends its server connections."""
        self._hint.clear()
        async with self._cluster.administering(seconds=REGISTRY_SECONDS) as other:
            await other.execute(f"NOTIFY {identifier(channel)}")
        try:
            async with asyncio.timeout(_ECHO_SECONDS):
                await self._hint.wait()
        except TimeoutError:
            return False
        return True

    async def _look(self, seconds: float) -> None:
        """Wait for a hint, for so long at most, and read the epoch; not again at once."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hint.wait()
        await asyncio.sleep(self._confirmed + APART_SECONDS - monotonic())
        self._hint.clear()
        await self._read()  # its own: one that is under way may have begun before what was announced
