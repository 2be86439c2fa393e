"""The end of a tenant: exported, closed, and then nothing of it left in any catalog.

State "dropping" comes first and the registry's line goes last, so whatever stops a drop in the middle, running it
again completes it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from ....errors import ConfigurationError
from .. import registry
from ..audit_rows import forget_heads
from ..cluster import Cluster, Ready
from ..database import Database
from ..names import Names
from ..registry import Entry, State, announce
from ..statements import identifier, literal, load, render
from ..tenants import MAIN
from .archive import Reader
from .exports import write
from .lifecycle import change_state, close_schema, exclusively, existing, open_schema

PATIENCE_SECONDS = 60.0  # for open scopes to end
# Below deadlock_timeout (1 s): we give way before the server has to choose between us and a tenant's transaction.
_LOCK_TIMEOUT = "500ms"
_BATCH = 50  # tables a transaction: each costs some 5 of the server's locks, of which there are 6,400 by default
_BEGUN = "tenantry: removal has begun"


@dataclass(frozen=True, slots=True)
class Dropped:
    """``exported``: where the tenant's rows are, None when they were not wanted or had gone before."""

    exported: Path | None
    mappings: int
    keys: int


async def drop(
    database: Database, tenant_id: str, *, export_to: Path | None, actor: str, patience: float = PATIENCE_SECONDS
) -> Dropped:
    """Drop a tenant, after exporting it to a new file. What cannot be finished can be run again.

    Raises ``ConfigurationError``, also when open scopes do not end within ``patience`` seconds; ``Unavailable``.
    """
    entry = await existing(database, tenant_id)
    if entry.state == "moving":
        raise ConfigurationError(f"Tenant {tenant_id!r} is being moved: complete that first, or undo it with --cancel.")
    cluster, ready = await database.provisioner.cluster(entry.dsn_id)
    async with exclusively(cluster, entry.names):
        await refuse_dependents(database, entry.names)
        # One that was never served has nothing of anybody's.
        whole = entry.state != "creating" and await _is_whole(cluster, ready, entry.names)
        if entry.state != "dropping":
            await _enter_state(database, entry, "dropping", actor)
        if whole:
            try:
                await close(cluster, ready, entry.names, patience)
                if export_to is not None:
                    await _export(database, entry, export_to)
            except BaseException:
                await _take_back(database, cluster, ready, entry, actor)
                raise
        await remove_everywhere(database, entry.names)
    mappings, keys = await _forget(database, tenant_id, actor)
    return Dropped(export_to if whole else None, mappings, keys)


async def _enter_state(database: Database, entry: Entry, state: State, actor: str) -> None:
    tenant_id = entry.names.tenant_id
    if not await change_state(database, tenant_id, entry.state, state, actor=actor, detail={"before": entry.state}):
        raise ConfigurationError(f"Tenant {tenant_id!r} has just changed: try again.")


async def _export(database: Database, entry: Entry, path: Path) -> None:
    """What is dropped next must be readable from the file."""
    await write(database, entry, path)
    with Reader(path) as archive:
        await archive.verify()


async def _take_back(database: Database, cluster: Cluster, ready: Ready, entry: Entry, actor: str) -> None:
    """Nothing has been removed yet, so the tenant goes on as before; one that was being dropped stays so."""
    if entry.state == "dropping":
        return
    await reopen(cluster, ready, entry.names)
    await change_state(database, entry.names.tenant_id, "dropping", entry.state, actor=actor, detail=None)


async def _forget(database: Database, tenant_id: str, actor: str) -> tuple[int, int]:
    """The last step: mappings, keys and the registry's line. The audit keeps that there was a tenant."""
    deployment = await database.registry.deployment()
    async with database.clusters[MAIN].administering() as connection, connection.transaction():
        mappings = await connection.fetchval(load("mappings_forget"), tenant_id)
        keys = await connection.fetchval(load("keys_forget"), tenant_id)
        await connection.execute(load("tenant_forget"), tenant_id)
        detail = {"mappings": mappings, "keys": keys}
        await announce(connection, deployment, actor, "tenant.dropped", tenant_id, detail)
        return mappings, keys


# --- Closing and opening ----------------------------------------------------------------------------------------------


async def close(cluster: Cluster, ready: Ready, names: Names, patience: float) -> None:
    """Wait until no open scope has used a table of the schema, and let no new one in.

    Raises ``ConfigurationError`` when some are open for longer than ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    async with cluster.administering() as connection:
        while True:
            try:
                async with connection.transaction():
                    await _close_now(connection, ready, names)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                if time.monotonic() >= deadline:
                    raise ConfigurationError(
                        f"Tenant {names.tenant_id!r} is still at work after {patience:.0f} s: end its long "
                        "transactions (pg_locks says whose they are), then try again."
                    ) from None
            else:
                return


async def _close_now(connection: Any, ready: Ready, names: Names) -> None:
    await connection.execute(f"SET LOCAL lock_timeout={literal(_LOCK_TIMEOUT)}")
    await connection.execute(f"SET LOCAL ROLE {identifier(ready.deployment.owner)}")
    tables = await connection.fetch(load("transfer_tables"), names.schema)
    if tables:
        await connection.execute(
            "LOCK TABLE " + ", ".join(row["qualified"] for row in tables) + " IN ACCESS EXCLUSIVE MODE"
        )
    await close_schema(connection, names)


async def reopen(cluster: Cluster, ready: Ready, names: Names) -> None:
    """The opposite of ``close``."""
    async with cluster.administering() as connection, connection.transaction():
        await connection.execute(f"SET LOCAL ROLE {identifier(ready.deployment.owner)}")
        await open_schema(connection, names)


# --- Removing ---------------------------------------------------------------------------------------------------------


async def refuse_dependents(database: Database, names: Names) -> None:
    """Raise ``ConfigurationError`` where something outside of the schema would be dropped with it."""
    for dsn_id in database.clusters:
        cluster, _ = await database.provisioner.cluster(dsn_id)
        async with cluster.administering() as connection:
            found = await connection.fetchrow(load("schema_dependents"), [names.schema])
        if found is not None:
            raise ConfigurationError(
                f"{found['dependent']} in database {dsn_id!r} uses {found['used']} of tenant {names.tenant_id!r} and "
                "would be dropped with it: drop it first, if that is meant."
            )


async def remove_everywhere(database: Database, names: Names) -> None:
    """The schema in each database of the deployment, old copies too, and then the role."""
    for dsn_id in database.clusters:
        await remove_schema(database, dsn_id, names)
    for dsn_id in database.clusters:
        cluster, _ = await database.provisioner.cluster(dsn_id)
        async with cluster.administering() as connection, connection.transaction():
            await remove_role(connection, cluster, names)


async def remove_schema(database: Database, dsn_id: str, names: Names) -> bool:
    """Whether there was one. In a further database its line among the tenants goes too."""
    cluster, ready = await database.provisioner.cluster(dsn_id)
    async with cluster.administering() as connection:
        there = await _is_ours(connection, cluster, ready, names)
        if there:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL ROLE {identifier(ready.deployment.owner)}")
                await close_schema(connection, names)
                for statement in render("schema_mark", schema=identifier(names.schema), mark=literal(_BEGUN)):
                    await connection.execute(statement)
            while await _drop_tables(connection, ready, names):
                pass
        async with connection.transaction():
            if there:
                await connection.execute(f"SET LOCAL ROLE {identifier(ready.deployment.owner)}")
                for statement in render("schema_drop", schema=identifier(names.schema)):
                    await connection.execute(statement)
                await connection.execute("SET LOCAL ROLE NONE")
            await forget_heads(connection, names.tenant_id)
            if dsn_id != MAIN:
                await connection.execute(load("tenant_forget"), names.tenant_id)
    return there


async def remove_copy(database: Database, dsn_id: str, names: Names) -> bool:
    """``remove_schema`` where the tenant does not live, and its role if that is on a server where it does not."""
    there = await remove_schema(database, dsn_id, names)
    cluster, _ = await database.provisioner.cluster(dsn_id)
    async with cluster.administering() as connection, connection.transaction():
        if not await connection.fetchval(load("role_used"), names.role):
            await remove_role(connection, cluster, names)
    return there


async def _drop_tables(connection: Any, ready: Ready, names: Names) -> bool:
    """A few tables in a transaction of its own: a schema may have more than the server has locks for."""
    async with connection.transaction():
        rows = await connection.fetch(load("schema_tables"), names.schema, _BATCH)
        if not rows:
            return False
        await connection.execute(f"SET LOCAL ROLE {identifier(ready.deployment.owner)}")
        await connection.execute("DROP TABLE " + ", ".join(row["qualified"] for row in rows) + " CASCADE")
        return True


async def _is_ours(connection: Any, cluster: Cluster, ready: Ready, names: Names) -> bool:
    """Whether there is such a schema. Raises ``ConfigurationError`` where it is somebody else's."""
    state = await connection.fetchrow(load("schema_state"), names.schema)
    if state is not None and state["owner"] != ready.deployment.owner:
        raise ConfigurationError(
            f"Schema {names.schema!r} of database {cluster.dsn_id!r} belongs to {state['owner']!r} and not to this "
            "deployment: it is not dropped."
        )
    return state is not None


async def _is_whole(cluster: Cluster, ready: Ready, names: Names) -> bool:
    """Whether the schema is there and no earlier run has begun to remove it."""
    async with cluster.administering() as connection:
        if not await _is_ours(connection, cluster, ready, names):
            return False
        state = await connection.fetchrow(load("schema_state"), names.schema)
        return bool(state["comment"] != _BEGUN)


async def remove_role(connection: Any, cluster: Cluster, names: Names) -> None:
    """Drop the tenant's role with its memberships, unless another database of the deployment uses it too.

    Raises ``ConfigurationError`` where it has rights that are not the tenant's schema.
    """
    ready = await cluster.ready()
    state = await connection.fetchrow(load("role_state"), names.role, None, "MEMBER")
    if state is None or state["mark"] != ready.deployment.mark:
        return
    try:
        async with connection.transaction():
            for statement in render("role_drop", role=identifier(names.role)):
                await connection.execute(statement)
    except asyncpg.DependentObjectsStillExistError as error:
        raise ConfigurationError(
            f"The role {names.role!r} has rights besides its schema ({' '.join((error.detail or '').split())}): REVOKE "
            "them, then run this again."
        ) from None


async def purge(database: Database, tenant_id: str, *, actor: str) -> list[str]:
    """Remove what a move has left behind: the copies in databases where the tenant no longer lives. Gives those."""
    entry = await existing(database, tenant_id)
    if entry.state not in ("active", "suspended"):
        raise ConfigurationError(f"Tenant {tenant_id!r} is {entry.state}: nothing is purged before that has ended.")
    living, ready = await database.provisioner.cluster(entry.dsn_id)
    async with exclusively(living, entry.names):
        if (await existing(database, tenant_id)).dsn_id != entry.dsn_id or not await _is_whole(
            living, ready, entry.names
        ):
            raise ConfigurationError(f"Tenant {tenant_id!r} is not whole where it lives: nothing has been purged.")
        others = sorted(database.clusters.keys() - {entry.dsn_id})
        purged = [dsn_id for dsn_id in others if await remove_copy(database, dsn_id, entry.names)]
    async with database.clusters[MAIN].administering() as connection:
        deployment = await database.registry.deployment()
        await registry.audit(connection, deployment, actor, "tenant.purged", tenant_id, {"databases": purged})
    return purged
