"""The API keys of the registry, as the gate asks for them: found by their public id, remembered until the registry
changes, believed only while that would have been heard of.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Mapping
from typing import Any

from cachetools import TTLCache

from ...flights import SingleFlight
from ...model import ApiKeyRecord
from ...ports import ApiKeyStore
from .cluster import REGISTRY_SECONDS
from .database import Database
from .failures import reaching
from .statements import load
from .tenants import MAIN

KEY_ID = re.compile(r"[0-9A-Za-z]{8,12}")  # as in core/apikeys.py
REMEMBERED = 10_000  # records: about 7 MB; past it, all are read anew
UNKNOWN = 10_000  # ids that are nobody's, in a table of their own: no flood of them pushes out a good key
UNKNOWN_SECONDS = 10.0


class DatabaseKeyStore:
    """A change of the registry reaches it through ``Database.on_change``; while none could be heard of, the registry
    is asked, and where that fails, callers get ``Unavailable``: their key may have been revoked.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, ApiKeyRecord] = {}
        self._unknown: TTLCache[str, None] = TTLCache(UNKNOWN, UNKNOWN_SECONDS)
        self._generation = 0
        self._asked: set[str] = set()
        self._round = 0
        self._rounds: SingleFlight[Mapping[str, ApiKeyRecord]] = SingleFlight()
        self._one_query = asyncio.Lock()
        database.on_change.append(self._forget)

    async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
        """The record of ``key_id``, whoever asks; who shows the right ``digest`` as well has used the key."""
        record = self._known.get(key_id) if self._database.confirmed else None
        if record is None:
            record = await self._look_up(key_id)
        if record is not None and hmac.compare_digest(record.digest, digest):
            self._database.marks.keys.add(key_id)
        return record

    def _forget(self) -> None:
        self._known.clear()
        self._unknown.clear()
        self._generation += 1

    async def _look_up(self, key_id: str) -> ApiKeyRecord | None:
        if not KEY_ID.fullmatch(key_id) or (key_id in self._unknown and self._database.confirmed):
            return None
        self._asked.add(key_id)
        with reaching():
            async with asyncio.timeout(REGISTRY_SECONDS):
                found = await self._rounds.run(b"%d" % self._round, self._next_round)
        return found.get(key_id)

    async def _next_round(self) -> Mapping[str, ApiKeyRecord]:
        """One query at a time: ids that come meanwhile go together in the next, so that a flood of invented keys
        takes one of the few direct connections and not all."""
        async with self._one_query:
            asked, self._asked = list(self._asked), set()
            self._round += 1
            return await self._read(asked)

    async def _read(self, key_ids: list[str]) -> Mapping[str, ApiKeyRecord]:
        while True:
            await self._database.confirm()
            generation = self._generation
            rows = await self._rows(key_ids)
            if generation == self._generation:  # else: one of them may have been revoked while we read
                break
        found = {row["key_id"]: _record(row) for row in rows}
        if len(self._known) + len(found) > REMEMBERED:
            self._known.clear()
        self._known.update(found)
        self._unknown.update(dict.fromkeys(set(key_ids) - found.keys()))
        return found

    async def _rows(self, key_ids: list[str]) -> list[Any]:
        async with self._database.clusters[MAIN].administering(seconds=REGISTRY_SECONDS) as connection:
            rows: list[Any] = await connection.fetch(load("key_find"), key_ids)
            return rows


def _record(row: Any) -> ApiKeyRecord:
    not_before, expires_at = row["not_before"], row["expires_at"]
    return ApiKeyRecord(
        key_id=row["key_id"],
        digest=row["digest"],
        name=row["name"],
        tenant_id=row["tenant_id"],
        permissions=frozenset(row["permissions"]),
        expires_at=None if expires_at is None else expires_at.timestamp(),
        not_before=None if not_before is None else not_before.timestamp(),
        revoked=row["revoked_at"] is not None,
    )


class FirstKeyStore:
    """Several stores as one: the first that has the key answers."""

    def __init__(self, *stores: ApiKeyStore) -> None:
        self._stores = stores

    async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
        for store in self._stores:
            record = await store.find(key_id, digest)
            if record is not None:
                return record
        return None
