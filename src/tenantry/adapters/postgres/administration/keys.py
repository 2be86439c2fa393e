"""What an operator does with API keys in the registry: make, list, rotate and revoke them.

Each change is one transaction with its line in the audit, and reaches every replica as ``registry.announce`` says.
All raise ``ConfigurationError`` for what cannot be done, in one sentence, and ``Unavailable``.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from ....core import apikeys
from ....core.policy import is_permission
from ....core.tenancy import check_tenant_id
from ....errors import ConfigurationError
from .. import registry
from ..cluster import Ready
from ..database import Database
from ..key_store import KEY_ID
from ..statements import load
from ..tenants import MAIN

OVERLAP_SECONDS = 7 * 86_400.0  # it takes a working day to give somebody a new key, and not every day is one
_LONGEST_OVERLAP_SECONDS = 366 * 86_400.0
_LONGEST_LIFE = timedelta(days=36525)
_LONGEST_NAME = 128  # as in MCP_HTTP_API_KEYS

KeyState = Literal["active", "early", "replaced", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key as people may see it: all but its digest. Times have their zone. Without a ``tenant_id`` its holder
    has a tenant of his own; ``last_used_at`` is when it was last shown to a server, to the minute."""

    key_id: str
    name: str
    created_at: datetime
    owner: str | None = None
    tenant_id: str | None = None
    permissions: tuple[str, ...] = ()
    not_before: datetime | None = None
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    replaced_by: str | None = None

    def state(self, now: datetime) -> KeyState:
        """Early: not valid yet. Replaced: good until it expires, and another has taken its place."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        if self.replaced_by is not None:
            return "replaced"
        return "early" if self.not_before is not None and now < self.not_before else "active"


@dataclass(frozen=True, slots=True)
class NewKey:
    """``key`` exists here and nowhere else: the registry has its digest. ``replaces`` is what it was rotated from."""

    key: str = field(repr=False)
    entry: KeyEntry
    replaces: KeyEntry | None = None


async def create_key(
    database: Database,
    *,
    actor: str,
    name: str,
    owner: str | None = None,
    tenant_id: str | None = None,
    permissions: Collection[str] = (),
    not_before: datetime | None = None,
    expires_at: datetime | None = None,
    environment: str = "live",
) -> NewKey:
    """A new key, good on every replica at once. ``environment`` is a word inside the key, 2 to 12 letters.

    The tenant counts as named by the operator: it need not exist yet, but it must not be suspended.
    """
    made = _compose(
        environment,
        name=name,
        created_at=datetime.now(UTC),
        owner=owner,
        tenant_id=tenant_id,
        permissions=tuple(sorted(set(permissions))),
        not_before=not_before,
        expires_at=expires_at,
    )
    check_entry(made.entry)
    async with changing(database) as (connection, ready):
        await check_tenant(connection, tenant_id)
        await add_key(connection, made.entry, apikeys.digest(made.key.encode()))
        await registry.announce(
            connection, ready.deployment, actor, "key.created", made.entry.key_id, detail_of(made.entry)
        )
    return made


async def list_keys(database: Database, tenant_id: str | None = None) -> list[KeyEntry]:
    """All keys, or those of one tenant, the oldest first."""
    async with database.clusters[MAIN].administering() as connection:
        return [_entry(row) for row in await connection.fetch(load("key_list"), tenant_id)]


async def rotate_key(
    database: Database, key_id: str, *, actor: str, overlap: float = OVERLAP_SECONDS, environment: str = "live"
) -> NewKey:
    """A new key in the place of an old one: the same name, owner, tenant and permissions, and as long a life.

    The old one works for ``overlap`` seconds longer (or to its own end, if that is sooner); 0 revokes it, which unlike
    an end needs no clocks that agree. Refused for a key that no longer works or has been replaced already.
    """
    if not 0 <= overlap <= _LONGEST_OVERLAP_SECONDS:
        raise ConfigurationError(f"The overlap of a rotation is 0 to {_LONGEST_OVERLAP_SECONDS:.0f} seconds.")
    async with changing(database) as (connection, ready):
        old, now = await _locked(connection, key_id), datetime.now(UTC)
        state = old.state(now)
        if state == "replaced":
            raise ConfigurationError(f"The key {key_id} has been replaced: rotate {old.replaced_by}.")
        if state in ("expired", "revoked"):
            raise ConfigurationError(f"The key {key_id} is {state}, so there is nothing to rotate: create a new one.")
        made = _successor(old, now, environment)
        ended = replace(old, replaced_by=made.entry.key_id, revoked_at=None if overlap else now)
        if overlap:
            ends = now + timedelta(seconds=overlap)
            ended = replace(ended, expires_at=ends if old.expires_at is None else min(ends, old.expires_at))
        await add_key(connection, made.entry, apikeys.digest(made.key.encode()))
        await _end(connection, ended)
        detail = {"replaced_by": ended.replaced_by, "expires_at": _text(ended.expires_at), "revoked": not overlap}
        await registry.announce(connection, ready.deployment, actor, "key.rotated", key_id, detail)
        await registry.audit(
            connection, ready.deployment, actor, "key.created", made.entry.key_id, detail_of(made.entry)
        )
    return replace(made, replaces=ended)


async def revoke_key(database: Database, key_id: str, *, actor: str) -> KeyEntry:
    """Make a key worthless on every replica. One that was revoked before stays as it was."""
    async with changing(database) as (connection, ready):
        known = await _locked(connection, key_id)
        if known.revoked_at is not None:
            return known
        ended = replace(known, revoked_at=datetime.now(UTC))
        await _end(connection, ended)
        await registry.announce(connection, ready.deployment, actor, "key.revoked", key_id)
    return ended


def check_entry(entry: KeyEntry) -> None:
    """Raise ``ConfigurationError`` unless a server would take such a key, and it would be good at some time."""
    for what, text in (("name", entry.name), ("owner", entry.owner)):
        if text is not None and not (text.strip() and len(text) <= _LONGEST_NAME and text.isprintable()):
            raise ConfigurationError(f"The {what} of a key is 1 to {_LONGEST_NAME} printable characters.")
    for permission in entry.permissions:
        if not is_permission(permission):
            raise ConfigurationError(f"{permission!r} is no permission: it has no blanks, quotes or backslashes.")
    _check_life(entry)
    try:
        if entry.tenant_id is not None:
            check_tenant_id(entry.tenant_id)
    except ValueError:
        raise ConfigurationError(
            f"{entry.tenant_id!r} cannot be the id of a tenant: that of example.com is example_com."
        ) from None


def _check_life(entry: KeyEntry) -> None:
    for moment in (entry.not_before, entry.expires_at):
        if moment is not None and moment.tzinfo is None:
            raise ConfigurationError("A time of the key has no zone: write 2027-01-31T00:00:00Z.")
        if moment is not None and abs(moment - entry.created_at) > _LONGEST_LIFE:
            raise ConfigurationError("A time of the key is more than a century away: leave it out.")
    begins = entry.created_at if entry.not_before is None else max(entry.not_before, entry.created_at)
    if entry.expires_at is not None and entry.expires_at <= begins:
        raise ConfigurationError("The key would expire before anybody could use it: give it a later end.")


async def check_tenant(connection: Any, tenant_id: str | None) -> None:
    known = None if tenant_id is None else await registry.find(connection, tenant_id)
    if known is not None and known.state == "suspended":
        raise ConfigurationError(f"Tenant {tenant_id} is suspended: `tenantry tenants resume {tenant_id}` first.")
    if known is not None and known.state == "dropping":
        raise ConfigurationError(f"Tenant {tenant_id} is being dropped: wait until that is done.")


def _compose(environment: str, **what: Any) -> NewKey:
    try:
        key = apikeys.compose_key(environment, secrets.token_bytes(8), secrets.token_bytes(32))
    except ValueError:
        raise ConfigurationError(
            f"{environment!r} is no environment of a key: use 2 to 12 lower-case letters."
        ) from None
    return NewKey(key, KeyEntry(key_id=apikeys.key_id_of(key), **what))


def _successor(old: KeyEntry, now: datetime, environment: str) -> NewKey:
    begins = now if old.not_before is None else max(now, old.not_before)
    life = None if old.expires_at is None else old.expires_at - (old.not_before or old.created_at)
    return _compose(
        environment,
        name=old.name,
        created_at=now,
        owner=old.owner,
        tenant_id=old.tenant_id,
        permissions=old.permissions,
        not_before=None if begins == now else begins,
        expires_at=None if life is None else begins + life,
    )


@asynccontextmanager
async def changing(database: Database) -> AsyncIterator[tuple[Any, Ready]]:
    """A transaction on the registry."""
    cluster = database.clusters[MAIN]
    ready = await cluster.ready()
    async with cluster.administering() as connection, connection.transaction():
        yield connection, ready


async def _locked(connection: Any, key_id: str) -> KeyEntry:
    """The key, held until the transaction ends. What is no id is not repeated: it may be a whole key."""
    if not KEY_ID.fullmatch(key_id):
        raise ConfigurationError(
            "That is not the id of a key: give the 11 characters after mcpk_live_, as `tenantry keys list` shows "
            "them, and never the key itself."
        )
    row = await connection.fetchrow(load("key_lock"), key_id)
    if row is None:
        raise ConfigurationError(f"There is no key {key_id} in the database: `tenantry keys list` shows all.")
    return _entry(row)


async def add_key(connection: Any, entry: KeyEntry, digest: bytes) -> None:
    await connection.execute(
        load("key_add"),
        entry.key_id,
        digest,
        entry.name,
        entry.owner,
        entry.tenant_id,
        list(entry.permissions),
        entry.not_before,
        entry.expires_at,
        entry.created_at,
    )


async def _end(connection: Any, entry: KeyEntry) -> None:
    await connection.execute(load("key_end"), entry.key_id, entry.expires_at, entry.revoked_at, entry.replaced_by)


def _entry(row: Any) -> KeyEntry:
    return KeyEntry(**{**row, "permissions": tuple(row["permissions"])})


def detail_of(entry: KeyEntry) -> dict[str, Any]:
    """What the audit keeps of a new key."""
    return {
        "name": entry.name,
        "owner": entry.owner,
        "tenant_id": entry.tenant_id,
        "permissions": list(entry.permissions),
        "not_before": _text(entry.not_before),
        "expires_at": _text(entry.expires_at),
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
