"""A tenant to a file, and from a file.

There is one format (``archive.py``) and one way, through ``transfer.py``. It needs no program, is the same for every
version of the server, and says of itself whether it is whole. ``pg_dump`` of one schema takes a minute where there are
10,000, and its file could be restored under the name it was taken from only.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from ....errors import ConfigurationError
from .. import registry
from ..audit_rows import TABLE as TRAIL
from ..audit_rows import adopt_heads
from ..cluster import Cluster
from ..control import NO_ROLES, lock
from ..database import Database
from ..migrations import Migrations
from ..names import Names
from ..registry import Entry, announce
from ..tenants import MAIN
from .archive import Manifest, Reader, Writer
from .lifecycle import checked_tenant_id, exclusively, existing
from .transfer import copy_out, make_filled, reading


async def export(database: Database, tenant_id: str, target: Path | IO[bytes], *, actor: str) -> Manifest:
    """Write one moment of a tenant to a new file or a stream. Raises ``ConfigurationError``, ``Unavailable``."""
    entry = await existing(database, tenant_id)
    if entry.state in ("creating", "dropping"):
        raise ConfigurationError(f"Tenant {tenant_id!r} is {entry.state}: there is nothing whole to export.")
    cluster, _ = await database.provisioner.cluster(entry.dsn_id)
    async with exclusively(cluster, entry.names):
        entry = await existing(database, tenant_id)  # it may have been migrated while we waited
        manifest = await write(database, entry, target)
    async with database.clusters[MAIN].administering() as connection:
        detail = {"rows": sum(rows for rows, _ in manifest.proofs.values())}
        deployment = await database.registry.deployment()
        await registry.audit(connection, deployment, actor, "tenant.exported", tenant_id, detail)
    return manifest


async def write(database: Database, entry: Entry, target: Path | IO[bytes]) -> Manifest:
    """The export itself; the caller has the tenant exclusively."""
    cluster, ready = await database.provisioner.cluster(entry.dsn_id)
    proofs, members = {}, {}
    async with cluster.administering() as connection:
        scripts = await connection.fetch(
            "SELECT name, checksum FROM tenantry.migrations WHERE number <= $1 ORDER BY number", entry.version
        )
        with Writer(target) as archive:
            async with reading(connection, ready.deployment, entry.names) as contents:
                for number, table in enumerate(contents.tables, 1):
                    members[table.name] = f"rows/{number:04}.copy"
                    with archive.member(members[table.name]) as take:
                        digest = await copy_out(connection, entry.names, table, take)
                    proofs[table.name] = digest.proof
            manifest = Manifest(
                tenant_id=entry.names.tenant_id,
                source=entry.source,
                migrations=tuple((row["name"], row["checksum"]) for row in scripts),
                contents=contents,
                members=members,
                proofs=proofs,
            )
            exported = datetime.now(UTC).isoformat(timespec="seconds")
            archive.finish(manifest.text(exported_at=exported, server_version=ready.login.server_version))
    return manifest


async def restore(
    database: Database, path: Path, *, tenant_id: str | None = None, dsn_id: str = MAIN, actor: str
) -> Manifest:
    """Make a tenant that does not exist from a file, under its old name or another one.

    Raises ``ConfigurationError`` for a tenant that exists, a damaged file, other migrations than the tenant had.
    """
    with Reader(path) as archive:
        manifest = archive.manifest
        wanted = checked_tenant_id(tenant_id or manifest.tenant_id)
        origin = manifest.source if tenant_id in (None, manifest.tenant_id) else None
        refuse_other_migrations(manifest, database.provisioner.migrations)
        if dsn_id not in database.clusters:
            raise ConfigurationError(f"There is no database {dsn_id!r} in MCP_HTTP_DATABASES.")
        cluster, ready = await database.provisioner.cluster(dsn_id)
        if not ready.login.may_make_roles:
            raise ConfigurationError(NO_ROLES.format(login=ready.login.name))
        names = ready.deployment.names(wanted, opaque=database.provisioner._opaque)
        bucket = await _claim(database, cluster, names, origin)
        await make_filled(
            database.provisioner,
            cluster,
            names,
            manifest.contents,
            archive.rows,
            version=manifest.version,
            bucket=bucket,
            origin=origin,
            record=True,
        )
        if any(table.name == TRAIL for table in manifest.contents.tables):
            async with cluster.administering() as connection, connection.transaction():
                await adopt_heads(connection, ready.deployment, names)
        await _enter(database, cluster, names, manifest, origin, bucket, actor)
        return manifest


def refuse_other_migrations(manifest: Manifest, migrations: Migrations) -> None:
    """Raise ``ConfigurationError`` unless ours begin with those that the tenant had."""
    for place, (name, checksum) in enumerate(manifest.migrations):
        if place >= len(migrations) or migrations[place].checksum != checksum:
            raise ConfigurationError(
                f"The tenant had migration {name!r} as its number {place + 1}, which MCP_HTTP_TENANT_MIGRATIONS does "
                "not have, or has changed: give the folder that it was made with."
            )


async def _claim(database: Database, cluster: Cluster, names: Names, origin: str | None) -> int:
    """The bucket; a tenant for another database is entered as about to be made there (as ``Provisioner`` does)."""
    async with database.clusters[MAIN].administering() as connection, connection.transaction():
        await lock(connection, names.schema)
        known = await registry.find(connection, names.tenant_id)
        if known is not None and (known.state != "creating" or known.dsn_id != cluster.dsn_id):
            raise ConfigurationError(
                f"There is a tenant {names.tenant_id!r} already: give the restored one another name with --as."
            )
        if known is not None:
            return known.bucket
        bucket = 0 if cluster.has_one_login else await registry.free_bucket(connection, cluster.dsn_id)
        if cluster.dsn_id != MAIN:
            await registry.record(
                connection, names, source=origin, dsn_id=cluster.dsn_id, bucket=bucket, version=0, state="creating"
            )
        return bucket


async def _enter(
    database: Database,
    cluster: Cluster,
    names: Names,
    manifest: Manifest,
    origin: str | None,
    bucket: int,
    actor: str,
) -> None:
    async with database.clusters[MAIN].administering() as connection, connection.transaction():
        if cluster.dsn_id != MAIN:
            await registry.record(
                connection,
                names,
                source=origin,
                dsn_id=cluster.dsn_id,
                bucket=bucket,
                version=manifest.version,
                state="active",
            )
        deployment = await database.registry.deployment()
        detail = {"from": manifest.tenant_id, "database": cluster.dsn_id}
        await announce(connection, deployment, actor, "tenant.imported", names.tenant_id, detail)
