"""The users' keys in the main database: what relates a pseudonym in the audit to a person."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ...errors import Unavailable
from ..audit.pseudonyms import new_key
from .statements import load
from .tenants import MAIN

if TYPE_CHECKING:
    from .database import Database

_SECONDS = 5.0


class DatabaseKeys:
    """All replicas agree on a key: whoever comes first makes it."""

    def __init__(self, database: Database) -> None:
        self._cluster = database.clusters[MAIN]

    async def of(self, user_ids: Collection[str]) -> Mapping[str, bytes]:
        wanted = sorted(user_ids)  # in one order: two replicas must not wait for each other
        async with self._cluster.administering(seconds=_SECONDS) as connection:
            found = {row["user_id"]: row["key"] for row in await connection.fetch(load("audit_keys"), wanted)}
            new = [user_id for user_id in wanted if user_id not in found]
            if new:
                await connection.execute(load("audit_keys_add"), new, ["\\x" + new_key().hex() for _ in new])
                found |= {row["user_id"]: row["key"] for row in await connection.fetch(load("audit_keys"), new)}
        if len(found) < len(wanted):  # somebody is being erased at this moment
            raise Unavailable("store_unavailable", retry_after=1)
        return found

    async def every(self) -> Mapping[str, bytes]:
        """All there are."""
        async with self._cluster.administering() as connection:
            rows = await connection.fetch("SELECT user_id, key FROM tenantry.audit_keys")
        return {row["user_id"]: row["key"] for row in rows}
