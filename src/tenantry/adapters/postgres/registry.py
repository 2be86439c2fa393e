"""The registry of tenants: which there are, where each lives, and whether it may be served.

It is in the main database and is read and written by the direct login alone. Everything that other replicas must
hear of ends with ``announce``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from .audit_rows import write_act
from .cluster import REGISTRY_SECONDS, Cluster
from .logins import BUCKET_SIZE
from .names import Deployment, Names
from .statements import identifier, load

State = Literal["creating", "active", "suspended", "moving", "dropping"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One tenant as the registry knows it. ``source``: its domain, or "<provider>:<organisation>"."""

    names: Names
    source: str | None
    dsn_id: str
    bucket: int
    version: int
    state: State
    created_at: datetime
    last_seen_at: datetime | None


def _entry(row: Any) -> Entry:
    return Entry(
        names=Names(row["tenant_id"], row["schema_name"], row["role_name"]),
        source=row["source"],
        dsn_id=row["dsn_id"],
        bucket=row["bucket"],
        version=row["version"],
        state=row["state"],
        created_at=row["created_at"],
        last_seen_at=row["last_seen_at"],
    )


class Registry:
    """All calls raise ``Unavailable`` while the database is out of reach and ``ConfigurationError`` for a missing
    right. Those that take a ``connection`` are part of its transaction."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def deployment(self) -> Deployment:
        return (await self._cluster.ready()).deployment

    async def find(self, tenant_id: str) -> Entry | None:
        await self._cluster.ready()
        async with self._cluster.administering(seconds=REGISTRY_SECONDS) as connection:
            return await find(connection, tenant_id)

    async def all(self) -> list[Entry]:
        """Every tenant, in the order of their ids."""
        await self._cluster.ready()
        async with self._cluster.administering() as connection:
            return await every(connection)

    async def epoch(self) -> int:
        """Grows with every change that replicas must hear of."""
        await self._cluster.ready()
        async with self._cluster.administering(seconds=REGISTRY_SECONDS) as connection:
            number: int = await connection.fetchval("SELECT epoch FROM tenantry.deployment")
            return number

    async def mappings(self) -> dict[str, str]:
        """Domain, or "<provider>:<organisation>", to tenant id."""
        await self._cluster.ready()
        async with self._cluster.administering(seconds=REGISTRY_SECONDS) as connection:
            rows = await connection.fetch("SELECT source, tenant_id FROM tenantry.mappings")
            return {row["source"]: row["tenant_id"] for row in rows}

    async def set_state(self, tenant_id: str, state: State, *, actor: str) -> bool:
        """Suspend, resume ... and tell everybody; false for an unknown tenant."""
        await self._cluster.ready()
        async with self._cluster.administering() as connection, connection.transaction():
            status = await connection.execute(
                "UPDATE tenantry.tenants SET state = $2 WHERE tenant_id = $1", tenant_id, state
            )
            if status == "UPDATE 0":
                return False
            await announce(connection, await self.deployment(), actor, f"tenant.{state}", tenant_id)
            return True


async def every(connection: Any) -> list[Entry]:
    """The tenants that the connection's database knows, in the order of their ids."""
    return [_entry(row) for row in await connection.fetch(load("tenants"))]


async def find(connection: Any, tenant_id: str) -> Entry | None:
    """The row of a tenant in the connection's database."""
    row = await connection.fetchrow(load("tenant_find"), tenant_id)
    return None if row is None else _entry(row)


async def free_bucket(connection: Any, dsn_id: str) -> int:
    """A login with room for one more tenant. Two that ask at once may get the last place both: the bound is a
    matter of speed."""
    bucket: int = await connection.fetchval(load("bucket_free"), dsn_id, BUCKET_SIZE)
    return bucket


async def record(
    connection: Any,
    names: Names,
    *,
    source: str | None,
    dsn_id: str,
    bucket: int,
    version: int,
    state: State,
) -> Entry:
    """Enter a tenant, or change what is known of it; only "creating" gives way to another ``state``."""
    return _entry(
        await connection.fetchrow(
            load("tenant_record"), names.tenant_id, source, names.schema, names.role, dsn_id, bucket, version, state
        )
    )


async def announce(
    connection: Any,
    deployment: Deployment,
    actor: str,
    event: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """``tell`` and ``audit``."""
    await tell(connection, deployment)
    await audit(connection, deployment, actor, event, subject, detail)


async def tell(connection: Any, deployment: Deployment) -> None:
    """Tell every replica that the registry has changed. Heard when the transaction commits."""
    await connection.execute("UPDATE tenantry.deployment SET epoch = epoch + 1")
    await connection.execute(f"NOTIFY {identifier(deployment.channel)}")


async def audit(
    connection: Any,
    deployment: Deployment,
    actor: str,
    event: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write down who did what (``events.EVENTS`` in the audit). Last in its transaction, and after ``tell``: from then
    on whoever else has something to write down waits."""
    await write_act(connection, deployment, actor, event, subject, detail)
