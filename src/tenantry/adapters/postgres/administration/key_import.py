"""Take keys over from elsewhere: all of them in one transaction, or none.

Only digests come here. A key of our form is found by the id inside it; any other by an id made from its digest, and
then only in ``X-API-Key``: in ``Authorization`` nothing would tell it from a token (``core/matching.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ....errors import ConfigurationError
from .. import registry
from ..database import Database
from ..statements import load
from .keys import KeyEntry, add_key, changing, check_entry, check_tenant, detail_of

MOST = 5_000  # keys in one transaction, each with its line in the audit: some seconds


@dataclass(frozen=True, slots=True)
class Imported:
    """A key to take over: ``digest`` is SHA-256 of the whole key; ``place`` is where it stands, for messages."""

    place: str
    entry: KeyEntry
    digest: bytes = field(repr=False)


async def import_keys(
    database: Database, keys: Sequence[Imported], *, actor: str, dry_run: bool = False
) -> list[KeyEntry]:
    """The entries as they are (or with ``dry_run`` would be) in the registry. Raises ``ConfigurationError`` for the
    first that cannot be taken, naming its place, and then none is."""
    if not 0 < len(keys) <= MOST:
        raise ConfigurationError(f"There are {len(keys)} keys to import: between 1 and {MOST} go at a time.")
    now = datetime.now(UTC)
    ready_made = [replace(key, entry=replace(key.entry, created_at=now)) for key in keys]
    _check_each(ready_made)
    async with changing(database) as (connection, ready):
        await _check_against_registry(connection, ready_made)
        if dry_run:
            return [key.entry for key in ready_made]
        for key in ready_made:
            await add_key(connection, key.entry, key.digest)
        await registry.tell(connection, ready.deployment)
        for key in ready_made:
            what = {**detail_of(key.entry), "imported": True}
            await registry.audit(connection, ready.deployment, actor, "key.created", key.entry.key_id, what)
    return [key.entry for key in ready_made]


def _check_each(keys: Sequence[Imported]) -> None:
    seen: dict[str | bytes, str] = {}
    for key in keys:
        try:
            check_entry(key.entry)
        except ConfigurationError as error:
            raise ConfigurationError(f"{key.place}: {error}") from None
        for mark in (key.entry.key_id, key.digest):
            if mark in seen:
                raise ConfigurationError(f"{key.place}: the same key stands at {seen[mark]} already.")
            seen[mark] = key.place


async def _check_against_registry(connection: Any, keys: Sequence[Imported]) -> None:
    rows = await connection.fetch(load("key_taken"), [k.entry.key_id for k in keys], [k.digest for k in keys])
    taken = {mark for row in rows for mark in (row["key_id"], bytes(row["digest"]))}
    for key in keys:
        if key.entry.key_id in taken or key.digest in taken:
            raise ConfigurationError(f"{key.place}: this key is in the database already ({key.entry.key_id}).")
    tenants = {key.entry.tenant_id: key.place for key in reversed(keys) if key.entry.tenant_id is not None}
    for tenant_id, place in tenants.items():
        try:
            await check_tenant(connection, tenant_id)
        except ConfigurationError as error:
            raise ConfigurationError(f"{place}: {error}") from None
