"""Quotas that all replicas share, in the main database: one upsert (``sql/quota_spend.sql``) for the first charges of
all callers of a round, one for the second of those who passed, and so on.

They are kept under the direct login, on connections of their own: no tenant's role and no login for requests may reach
them, and no migration that runs keeps a request waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg

from ...core.quota import Charge, Standing, standing_of
from ...errors import ConfigurationError, Refusal
from ..quota_rounds import PATIENCE, Asked, Chain, Rounds
from .cluster import REGISTRY_SECONDS, Cluster
from .database import Database
from .statements import load
from .stuck import given_up_after
from .tenants import MAIN

_CLEAN_SECONDS = 60.0
_CLEAN_ROWS = 1000  # in one statement: a few milliseconds
_CLOSE_SECONDS = 1.0


class PostgresQuotaStore:
    """``ports.QuotaStore`` on the control schema of ``database``. Two connections at most, opened when needed.

    The server's clock decides, so replicas need not agree on the time. Raises ``Unavailable`` ("quota_unavailable")
    ``patience`` seconds after the call at the latest, and ``ConfigurationError``.
    """

    def __init__(self, database: Database, *, patience: float = PATIENCE) -> None:
        self._cluster: Cluster = database.clusters[MAIN]
        self._patience = patience
        self._rounds = Rounds(self._connect, patience)
        self._clean_at: float | None = None
        self._cleaning: asyncio.Task[None] | None = None

    async def spend(self, charges: Sequence[Charge]) -> Sequence[Standing]:
        answer = await self._rounds.spend(charges)
        self._clean_now_and_then()
        return answer

    async def clean(self) -> None:
        """Forget the buckets that are full, a batch at a time. Done once a minute while the store is used."""
        last: bytes | None = b""
        while last is not None:
            async with self._cluster.administering(seconds=REGISTRY_SECONDS) as connection:
                last = await connection.fetchval(load("quota_clean"), last, _CLEAN_ROWS)

    async def aclose(self) -> None:
        """Disconnect; the database stays open. Later use is ``Unavailable``."""
        if self._cleaning is not None:
            self._cleaning.cancel()
            await asyncio.gather(self._cleaning, return_exceptions=True)
        await self._rounds.aclose()

    async def _connect(self) -> _Link:
        await self._cluster.ready()  # the control schema is there
        connection = await self._cluster.listen()
        try:
            with given_up_after(connection, self._patience):
                return await _Link.over(connection, self._patience)
        except BaseException:
            connection.terminate()
            raise

    def _clean_now_and_then(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._clean_at is None:
            self._clean_at = now + _CLEAN_SECONDS
        elif now >= self._clean_at:
            self._clean_at = now + _CLEAN_SECONDS
            if self._cleaning is None or self._cleaning.done():
                self._cleaning = asyncio.create_task(self._try_to_clean())

    async def _try_to_clean(self) -> None:
        with suppress(Refusal, ConfigurationError, asyncpg.PostgresError):  # the next minute does as well
            await self.clean()


class _Link:
    """One connection, with the statement prepared where nobody is between us and the server."""

    def __init__(self, connection: Any, statement: Any, patience: float) -> None:
        self._connection, self._statement, self._patience = connection, statement, patience

    @classmethod
    async def over(cls, connection: Any, patience: float) -> _Link:
        # A pooler tells a process number of its own, and may not keep a statement for the next call.
        direct = await connection.fetchval("SELECT pg_catalog.pg_backend_pid()") == connection.get_server_pid()
        return cls(connection, await connection.prepare(load("quota_spend")) if direct else None, patience)

    @property
    def usable(self) -> bool:
        return not self._connection.is_closed()

    async def take(self, chains: Sequence[Chain]) -> Sequence[Sequence[Standing]]:
        answers: list[list[Standing]] = [[] for _ in chains]
        try:
            with given_up_after(self._connection, self._patience):
                while step := _next_step(chains, answers):
                    for (asked, callers), (used, granted) in zip(step.items(), await self._say(step), strict=True):
                        for place, caller in enumerate(callers):
                            passed = place < granted
                            then = used - asked.weight * (granted - 1 - place) if passed else used
                            answers[caller].append(standing_of(asked.quota, asked.weight, then, passed))
        except BaseException:
            self._connection.terminate()
            raise
        return answers

    async def close(self) -> None:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # gone already: that was wanted
            await self._connection.close(timeout=_CLOSE_SECONDS)

    async def _say(self, step: Mapping[Asked, Sequence[int]]) -> Sequence[tuple[float, int]]:
        """(units that are out of it now, how many of the charges passed) of each bucket."""
        columns = (
            [asked.key for asked in step],
            [asked.weight for asked in step],
            [min(len(callers), asked.quota.limit // asked.weight) for asked, callers in step.items()],
            [asked.quota.limit for asked in step],
            [asked.quota.window for asked in step],
        )
        if self._statement is not None:
            rows = await self._statement.fetch(*columns)
        else:
            async with self._connection.transaction():  # so that a pooler gives one server connection for all of it
                rows = await self._connection.fetch(load("quota_spend"), *columns)
        found = {row["key"]: (row["used"], int(row["granted"])) for row in rows}
        return [found[asked.key] for asked in step]


def _next_step(chains: Sequence[Chain], answers: Sequence[Sequence[Standing]]) -> dict[Asked, list[int]]:
    """The next charge of every chain that has not ended, with those who make it. One statement takes a bucket once: of
    charges on other terms, those of the first."""
    step: dict[Asked, list[int]] = {}
    terms: dict[bytes, Asked] = {}
    for caller, (chain, answer) in enumerate(zip(chains, answers, strict=True)):
        if len(answer) == len(chain) or (answer and answer[-1].wait):
            continue
        asked = chain[len(answer)]
        if terms.setdefault(asked.key, asked) == asked:
            step.setdefault(asked, []).append(caller)
    return step
