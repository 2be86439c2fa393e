"""A tenant goes to another database of the deployment.

    state "moving", announced      requests get 503 from now on
    close the old schema           open scopes end; nobody can write there any more, whatever he believes
    copy, in one transaction       made from the migrations, filled, read back and compared
    switch, in one transaction     the registry names the new database; announced

Until the switch the old database is the truth, and from then on the new one: there are never two. Whatever stops it
before the switch, running it again begins anew and ``cancel`` goes back; what was copied by half is removed first. The
old copy is kept, closed, until ``removal.purge``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ....errors import ConfigurationError
from .. import registry
from ..audit_rows import carry_heads
from ..cluster import Cluster, Ready
from ..control import NO_ROLES
from ..database import Database
from ..registry import Entry, announce
from ..statements import load
from ..tenants import MAIN
from .lifecycle import change_state, exclusively, existing, membership_ends
from .removal import PATIENCE_SECONDS, close, refuse_dependents, remove_copy, reopen
from .transfer import act_in, contents, from_connection, make_filled


@dataclass(frozen=True, slots=True)
class Moved:
    """``proofs``: the rows and the checksum of each table, the same on both sides."""

    tenant_id: str
    before: str
    after: str
    proofs: Mapping[str, tuple[int, str]]


async def move(
    database: Database, tenant_id: str, to: str, *, actor: str, patience: float = PATIENCE_SECONDS
) -> Moved | None:
    """Move a tenant, or complete a move that was stopped; None when it lives there already.

    Raises ``ConfigurationError``, also when its open scopes do not end within ``patience`` seconds, when its schema is
    not the sum of its migrations and when what arrived is not what was sent; ``Unavailable``.
    """
    entry = await existing(database, tenant_id)
    if to not in database.clusters:
        raise ConfigurationError(f"There is no database {to!r} in MCP_HTTP_DATABASES: name it there first.")
    if entry.dsn_id == to and entry.state != "moving":
        return None
    source, _ = await database.provisioner.cluster(entry.dsn_id)
    async with exclusively(source, entry.names):
        entry = await existing(database, tenant_id)  # it may have changed while we waited
        await _refuse(database, entry, to)
        if entry.state == "active" and not await change_state(
            database, tenant_id, "active", "moving", actor=actor, detail={"from": entry.dsn_id, "to": to}
        ):
            raise ConfigurationError(f"Tenant {tenant_id!r} has just changed: try again.")
        try:
            return await _moved(database, entry, to, actor, patience)
        except BaseException:
            await _go_back(database, entry, actor)
            raise


async def cancel(database: Database, tenant_id: str, *, actor: str) -> bool:
    """Undo a move that was stopped in the middle; false when there is none."""
    entry = await existing(database, tenant_id)
    source, _ = await database.provisioner.cluster(entry.dsn_id)
    async with exclusively(source, entry.names):
        entry = await existing(database, tenant_id)
        if entry.state != "moving":
            return False
        await _go_back(database, entry, actor)
        return True


async def _refuse(database: Database, entry: Entry, to: str) -> None:
    tenant_id = entry.names.tenant_id
    if entry.state not in ("active", "moving"):
        raise ConfigurationError(f"Tenant {tenant_id!r} is {entry.state}: only one that is served can be moved.")
    if entry.dsn_id == to:
        raise ConfigurationError(
            f"Tenant {tenant_id!r} is about to leave {to!r}: name the database it goes to, or undo that with --cancel."
        )
    _, ready = await database.provisioner.cluster(to)
    if not ready.login.may_make_roles:
        raise ConfigurationError(NO_ROLES.format(login=ready.login.name))
    if entry.version > database.provisioner.migrations.newest:
        raise ConfigurationError(
            f"Tenant {tenant_id!r} has {entry.version} migrations and MCP_HTTP_TENANT_MIGRATIONS only "
            f"{database.provisioner.migrations.newest}: move it with the release that knows them all."
        )
    await refuse_dependents(database, entry.names)
    if entry.state == "active":  # else: what is there is what a stopped move has left
        await _refuse_old_copy(database, entry, to)


async def _refuse_old_copy(database: Database, entry: Entry, to: str) -> None:
    cluster, _ = await database.provisioner.cluster(to)
    async with cluster.administering() as connection:
        if await connection.fetchrow(load("schema_state"), entry.names.schema) is not None:
            tenant_id = entry.names.tenant_id
            raise ConfigurationError(
                f"Database {to!r} has a schema {entry.names.schema!r}, an old copy: `tenantry tenants move {tenant_id} "
                "--purge` first."
            )


async def _moved(database: Database, entry: Entry, to: str, actor: str, patience: float) -> Moved:
    source, ready = await database.provisioner.cluster(entry.dsn_id)
    await _remove_halves(database, entry)
    await close(source, ready, entry.names, patience)
    bucket, proofs = await _copy(database, entry, to)
    await _switch(database, entry, to, bucket, actor, sum(rows for rows, _ in proofs.values()))
    await _let_go(database, entry, source, ready, to, bucket)
    return Moved(entry.names.tenant_id, entry.dsn_id, to, proofs)


async def _remove_halves(database: Database, entry: Entry) -> None:
    """What a stopped move has left; it was never served, as the registry has not named it."""
    if entry.state == "moving":
        for dsn_id in sorted(database.clusters.keys() - {entry.dsn_id}):
            await remove_copy(database, dsn_id, entry.names)


async def _copy(database: Database, entry: Entry, to: str) -> tuple[int, dict[str, tuple[int, str]]]:
    source, ready = await database.provisioner.cluster(entry.dsn_id)
    target, _ = await database.provisioner.cluster(to)
    async with database.clusters[MAIN].administering() as connection:
        bucket = 0 if target.has_one_login else await registry.free_bucket(connection, to)
    async with source.administering() as connection, connection.transaction(readonly=True):
        await act_in(connection, ready.deployment, entry.names)
        tables = await connection.fetch(load("transfer_tables"), entry.names.schema)
        if tables:  # the schema is closed to its tenant, and this keeps everybody else from changing it
            await connection.execute("LOCK TABLE " + ", ".join(row["qualified"] for row in tables) + " IN SHARE MODE")
        proofs = await make_filled(
            database.provisioner,
            target,
            entry.names,
            await contents(connection, entry.names),
            from_connection(connection, entry.names),
            version=entry.version,
            bucket=bucket,
            origin=entry.source,
            record=to != MAIN,  # the main database's line is the registry's, and says where it lives until the switch
        )
    async with source.administering() as before, target.administering() as after, after.transaction():
        await carry_heads(before, after, entry.names.tenant_id)
    return bucket, proofs


async def _switch(database: Database, entry: Entry, to: str, bucket: int, actor: str, rows: int) -> None:
    deployment = await database.registry.deployment()
    tenant_id = entry.names.tenant_id
    async with database.clusters[MAIN].administering() as connection, connection.transaction():
        status = await connection.execute(load("tenant_switch"), tenant_id, entry.dsn_id, to, bucket)
        if status != "UPDATE 1":
            raise ConfigurationError(f"Tenant {tenant_id!r} has changed while it was moved: nothing has been switched.")
        detail = {"from": entry.dsn_id, "to": to, "rows": rows}
        await announce(connection, deployment, actor, "tenant.moved", tenant_id, detail)


async def _let_go(database: Database, entry: Entry, source: Cluster, ready: Ready, to: str, bucket: int) -> None:
    """The old login has no business with the role any more; on one server the two databases share both."""
    _, now = await database.provisioner.cluster(to)
    before, after = ready.logins.of(entry.bucket).login, now.logins.of(bucket).login
    async with source.administering() as connection, connection.transaction():
        if before != after:
            for statement in membership_ends(entry.names.role, before):
                await connection.execute(statement)
        if entry.dsn_id != MAIN:
            await connection.execute(load("tenant_left"), entry.names.tenant_id)


async def _go_back(database: Database, entry: Entry, actor: str) -> None:
    """Serve it where it was, unless the registry names the new database already."""
    now = await existing(database, entry.names.tenant_id)
    if now.state != "moving" or now.dsn_id != entry.dsn_id:
        return
    source, ready = await database.provisioner.cluster(entry.dsn_id)
    async with source.administering() as connection, connection.transaction():
        # On the same server the copy's login may have been another: the role must be the old one's again.
        await database.provisioner.ensure_roles(connection, ready, entry.names, entry.bucket)
    await reopen(source, ready, entry.names)
    await change_state(database, entry.names.tenant_id, "moving", "active", actor=actor, detail={"undone": True})
    await _remove_halves(database, now)  # last: the other database may be what is down
