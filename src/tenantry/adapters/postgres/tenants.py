"""How a tenant comes to be: a schema, a role that may use it and owns nothing, a line in the registry.

One transaction for each tenant, under a lock on its name: concurrent first requests make it once, and a crash in
the middle leaves nothing. In a further database (``MCP_HTTP_DATABASES``) the registry says "creating" first and
"active" at the end, so a crash in between leaves what the next try completes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ConfigurationError
from . import history, registry, schemas
from .cluster import Cluster, Ready, make_login
from .control import lock
from .migrations import Migration, Migrations
from .names import Deployment, Names
from .registry import Entry, Registry
from .roles import ensure_role
from .statements import load

MAIN = "main"


class Provisioner:
    """Makes tenants and brings them up to date. ``opaque`` keeps domains out of the names of new ones."""

    def __init__(
        self, registry: Registry, clusters: Mapping[str, Cluster], migrations: Migrations, *, opaque: bool
    ) -> None:
        self._registry, self._clusters, self._opaque = registry, clusters, opaque
        self.migrations = migrations

    async def cluster(self, dsn_id: str) -> tuple[Cluster, Ready]:
        """A database of the deployment. Raises ``ConfigurationError`` for one that the settings do not name."""
        cluster = self._clusters.get(dsn_id)
        if cluster is None:
            raise ConfigurationError(f"A tenant lives in database {dsn_id!r}, which MCP_HTTP_DATABASES does not name.")
        wanted = None if dsn_id == MAIN else await self._registry.deployment()
        return cluster, await cluster.ready(wanted)

    def names(self, deployment: Deployment, tenant_id: str) -> Names:
        """Where a new tenant would live. Raises ``Forbidden`` for an impossible id."""
        return deployment.names(tenant_id, opaque=self._opaque)

    async def make(
        self,
        tenant_id: str,
        *,
        source: str | None = None,
        dsn_id: str = MAIN,
        seconds: float | None = None,
        actor: str = "server",
    ) -> Entry:
        """Make the tenant, or complete, repair and bring up to date what there is of it. Each of its transactions is
        given up after ``seconds``. ``actor``: on whose behalf, for the audit.

        Raises ``Forbidden`` for an impossible id, ``ConfigurationError`` where a role or schema of its name is
        somebody else's or a right is missing, and ``Unavailable``.
        """
        names = self.names(await self._registry.deployment(), tenant_id)
        main, ready = await self.cluster(MAIN)
        known = await self._registry.find(tenant_id)
        if known is not None:
            names, dsn_id = known.names, known.dsn_id
        if dsn_id == MAIN:
            async with main.administering(seconds=seconds) as connection, connection.transaction():
                return await self._build(connection, main, names, source, actor=actor)
        known = known or await self._claim(main, names, source, dsn_id, seconds)
        cluster, _ = await self.cluster(dsn_id)
        async with cluster.administering(seconds=seconds) as connection, connection.transaction():
            made = await self._build(connection, cluster, names, source, known.bucket, actor=None)
        async with main.administering(seconds=seconds) as connection, connection.transaction():
            state = await connection.fetchval(load("tenant_state_lock"), tenant_id)
            entry = await _record(connection, made)
            if state == "creating":
                await _write_down(connection, ready.deployment, actor, entry)
            return entry

    async def _claim(
        self, main: Cluster, names: Names, source: str | None, dsn_id: str, seconds: float | None
    ) -> Entry:
        """Enter a tenant that is about to be made elsewhere."""
        async with main.administering(seconds=seconds) as connection, connection.transaction():
            await lock(connection, names.schema)
            known = await registry.find(connection, names.tenant_id)  # somebody else may have been faster
            if known is None:
                bucket = await registry.free_bucket(connection, dsn_id)
                known = await registry.record(
                    connection, names, source=source, dsn_id=dsn_id, bucket=bucket, version=0, state="creating"
                )
            return known

    async def _build(
        self,
        connection: Any,
        cluster: Cluster,
        names: Names,
        source: str | None,
        bucket: int | None = None,
        *,
        actor: str | None,
    ) -> Entry:
        """``actor``: who makes it, where the audit is in the same database."""
        ready = await cluster.ready()
        await lock(connection, names.schema)
        known = await registry.find(connection, names.tenant_id)
        if known is not None:
            names, bucket = known.names, known.bucket
        elif bucket is None:
            bucket = 0 if cluster.has_one_login else await registry.free_bucket(connection, cluster.dsn_id)
        await self.ensure_roles(connection, ready, names, bucket)
        done = 0 if known is None else known.version
        if known is None:
            await schemas.create(connection, ready.deployment, names)
        await self.apply(connection, ready.deployment, names, self.migrations.after(done))
        made = await registry.record(
            connection,
            names,
            source=source,
            dsn_id=cluster.dsn_id,
            bucket=bucket,
            version=max(done, self.migrations.newest),
            state="active",
        )
        if known is None and actor is not None:
            await _write_down(connection, ready.deployment, actor, made)
        return made

    async def ensure_roles(self, connection: Any, ready: Ready, names: Names, bucket: int) -> None:
        """The tenant's role, and the login of its bucket, which may become it."""
        login, version = ready.logins.of(bucket).login, ready.login.server_version
        if ready.logins.is_ours(bucket) and await connection.fetchval(load("role_exists"), login) is None:
            await make_login(connection, ready.logins, bucket, version)
        await ensure_role(connection, names.role, ready.deployment, version, member=login)

    async def apply(self, connection: Any, deployment: Deployment, names: Names, scripts: Sequence[Migration]) -> None:
        """Run scripts in the tenant's schema as its owner, and let its role use what is there then."""
        # The grants always, not only after a script: a cluster restored from a dump has the schemas and no roles.
        await schemas.migrate(connection, deployment, [(names, scripts)])
        await history.record(connection, self.migrations, scripts)


async def _record(connection: Any, made: Entry) -> Entry:
    return await registry.record(
        connection,
        made.names,
        source=made.source,
        dsn_id=made.dsn_id,
        bucket=made.bucket,
        version=made.version,
        state="active",
    )


async def _write_down(connection: Any, deployment: Deployment, actor: str, made: Entry) -> None:
    detail = {"source": made.source, "database": made.dsn_id}
    await registry.audit(connection, deployment, actor, "tenant.created", made.names.tenant_id, detail)
