"""``Database``: the one way into a tenant.

Nothing is opened until it is needed, so a server starts while its database is down; a request that needs it then
gets a 503. How a scope begins and ends is in ``scope.py``, where connections come from in ``cluster.py``, how a
tenant comes to be in ``tenants.py``, how changes are heard of in ``watch.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

import asyncpg

from ...errors import ConfigurationError, Forbidden, Unavailable
from ...flights import SingleFlight
from ...model import MCPUserContext
from .cluster import MAKING_SECONDS, Cluster, Ready
from .control import NO_ROLES
from .failures import unavailable
from .marks import Marks
from .migrations import Migrations
from .registry import Entry, Registry
from .scope import Place, TenantScope
from .session import DIRECT, LENT, LENT_WITH_STATEMENTS, Manners, limiting, opening
from .stuck import Stuck
from .tenant_database import TenantDatabase
from .tenants import MAIN, Provisioner
from .untrusted import Limits, UntrustedScope
from .untrusted_login import Links
from .watch import Watch

_REMEMBERED = 50_000  # places of tenants: about 25 MB; past it, all are looked up anew
_BEHIND_SECONDS = 30.0
_MOVING_SECONDS = 10.0


class Database:
    """The tenants' databases as one. Made with ``open`` or ``over``; belongs to the event loop that first uses it."""

    def __init__(
        self,
        clusters: Mapping[str, Cluster],
        migrations: Migrations,
        *,
        create_tenants: bool,
        migrate_on_use: bool,
        opaque_schema_names: bool,
    ) -> None:
        self.clusters = clusters
        self.registry = Registry(clusters[MAIN])
        self.provisioner = Provisioner(self.registry, clusters, migrations, opaque=opaque_schema_names)
        self.on_change: list[Callable[[], Awaitable[None] | None]] = []
        self.stuck = Stuck()
        self.marks = Marks(clusters[MAIN])
        self._untrusted = Links(self)
        self.sources: dict[str, str] = {}  # of tenants about to be made: their domain or organisation
        self._create, self._migrate = create_tenants, migrate_on_use
        self._places: dict[str, Place] = {}
        self._generation = 0
        self._finding: SingleFlight[Place] = SingleFlight()
        self._watch: Watch | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        dsn: str,
        *,
        admin_dsn: str | None = None,
        pool_size: int = 10,
        create_tenants: bool,
        migrations: Sequence[str] | Migrations = (),
        migrate_on_use: bool = False,
        opaque_schema_names: bool = False,
        command_timeout: float = 30.0,
        databases: Mapping[str, tuple[str, str | None]] | None = None,
        audit_key: bytes | None = None,
    ) -> Self:
        """A database to be connected to at first use: no I/O here, so a server that is down is no failure yet.

        ``dsn`` serves requests, with ``pool_size`` connections; ``admin_dsn`` makes tenants (CREATEROLE, owner
        of the database) and reads the registry; without it ``dsn`` does, and requests are served by logins made
        for that. ``create_tenants``: make an unknown tenant at its first use instead of refusing it.
        ``migrations``: what makes a tenant's tables; never change one, add one. A tenant that lacks one it needs
        is ``Unavailable``, or with ``migrate_on_use`` (for development) brought up to date.
        ``command_timeout``: seconds for one statement, which the server keeps (asyncpg's ``QueryCanceledError``).
        ``databases``: further ones by ``dsn_id``, each with the same two connection strings. ``audit_key`` seals what
        operators do. Raises ``ConfigurationError`` for migrations that cannot be used.
        """
        dsns = {MAIN: (dsn, admin_dsn), **(databases or {})}
        clusters = {
            dsn_id: Cluster(
                dsn_id,
                request,
                direct or request,
                pool_size=pool_size,
                command_timeout=command_timeout,
                audit_key=audit_key,
            )
            for dsn_id, (request, direct) in dsns.items()
        }
        return cls(
            clusters,
            migrations if isinstance(migrations, Migrations) else Migrations.of(migrations),
            create_tenants=create_tenants,
            migrate_on_use=migrate_on_use,
            opaque_schema_names=opaque_schema_names,
        )

    @classmethod
    def over(
        cls,
        pool: Any,
        *,
        admin_dsn: str,
        create_tenants: bool,
        migrations: Sequence[str] | Migrations = (),
        migrate_on_use: bool = False,
        opaque_schema_names: bool = False,
    ) -> Self:
        """The same over a pool that the application made (asyncpg's, or one with its ``acquire(timeout=)`` and
        ``release``), which stays its own to close.

        Its login must have no rights of its own; all tenants are served by it, so keep to some hundred
        (``logins.py``). Each scope cleans up behind itself, whatever the pool does on release.
        """
        cluster = Cluster(MAIN, "", admin_dsn, pool_size=0, command_timeout=None, pool=pool)
        return cls(
            {MAIN: cluster},
            migrations if isinstance(migrations, Migrations) else Migrations.of(migrations),
            create_tenants=create_tenants,
            migrate_on_use=migrate_on_use,
            opaque_schema_names=opaque_schema_names,
        )

    async def close(self) -> None:
        """Wait for open scopes, for 10 s at most, and disconnect. Later use is ``Unavailable``."""
        self._closed = True
        if self._watch is not None:
            await self._watch.close()
        await self.marks.close()
        self.stuck.stop()
        await self._finding.aclose()
        await asyncio.gather(*(cluster.close() for cluster in self.clusters.values()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def tenant(self, tenant_id: str | MCPUserContext) -> TenantDatabase:
        """The database as one tenant sees it. Nobody checks who asks: for administration."""
        return TenantDatabase(self.tenant_connection, tenant_id)

    async def ensure_tenant(self, tenant_id: str) -> None:
        """Make the tenant, or bring it up to date, where that is this process's to do.

        Raises ``Forbidden`` for one that may not be served, ``Unavailable`` or ``ConfigurationError``.
        """
        await self.place(tenant_id)

    def tenant_connection(
        self, user_or_tenant_id: MCPUserContext | str, *, readonly: bool = False, timeout: float | None = None
    ) -> TenantScope:
        """One block = one transaction in one tenant: committed at the end, rolled back by any exception.

        ``timeout`` limits each statement, in seconds. With a user, ``current_setting('tenantry.user_id')``
        and ``'tenantry.permissions'`` (sorted, one space between) hold for the block. Do not wait for the
        network inside: the block holds a connection. Entering raises ``Forbidden`` ("tenant_unknown",
        "tenant_suspended"), ``Unavailable``, ``ConfigurationError``.
        """
        return TenantScope(self, user_or_tenant_id, readonly=readonly, timeout=timeout)

    def untrusted_connection(
        self, user_or_tenant_id: MCPUserContext | str, *, readonly: bool = True, limits: Limits | None = None
    ) -> UntrustedScope:
        """One block for SQL that a tenant or a model wrote, on a connection whose login is the tenant's own role.

        One transaction, as in ``tenant_connection``; see ``untrusted.py`` for what it stops and what not. Entering
        raises the same, and ``ConfigurationError`` where the role cannot be let in.
        """
        return UntrustedScope(self._untrusted, user_or_tenant_id, readonly=readonly, limits=limits)

    async def confirm(self) -> None:
        """Make sure that no change of the registry has been missed. Raises ``Unavailable``, ``ConfigurationError``."""
        watch = self._watch
        if watch is not None and watch.fresh:
            return
        if self._closed:
            raise unavailable(asyncpg.InterfaceError("closed"))
        await self.clusters[MAIN].ready()
        if self._watch is None:
            self._watch = Watch(self.clusters[MAIN], self.registry, self._changed)
            self.marks.start()
            self.stuck.start()
        await self._watch.confirm()

    @property
    def confirmed(self) -> bool:
        """Whether what is remembered of the registry may be believed without asking."""
        return self._watch is not None and self._watch.fresh

    async def _changed(self) -> None:
        self._generation += 1
        self._places.clear()
        for tell in self.on_change:
            waiting = tell()
            if waiting is not None:
                await waiting

    def known(self, tenant_id: str) -> Place | None:
        """Where a tenant is entered, if that is known and may be believed."""
        watch = self._watch
        return self._places.get(tenant_id) if watch is not None and watch.fresh else None

    def forget(self, tenant_id: str) -> None:
        """The tenant turned out not to be there: look again next time."""
        self._places.pop(tenant_id, None)

    async def place(self, tenant_id: str) -> Place:
        """Where a tenant is entered. Raises as ``ensure_tenant``."""
        await self.confirm()
        return self._places.get(tenant_id) or await self._finding.run(
            tenant_id.encode(), partial(self._find, tenant_id)
        )

    async def _find(self, tenant_id: str) -> Place:
        while True:
            generation = self._generation
            place = await self._look_up(tenant_id)
            if generation == self._generation:  # else: something changed while we looked
                break
        if len(self._places) >= _REMEMBERED:
            self._places.clear()
        self._places[tenant_id] = place
        return place

    async def _look_up(self, tenant_id: str) -> Place:
        entry = await self.registry.find(tenant_id)
        if entry is None or entry.state == "creating":
            entry = await self._made(tenant_id)
        self.check_served(entry)
        cluster, ready = await self.provisioner.cluster(entry.dsn_id)
        entry = await self._up_to_date(entry, cluster, ready)
        text, seconds = opening(entry.names), cluster.statement_seconds
        if seconds is not None and not ready.pooling.rests:  # else the connection starts with it
            text += limiting(seconds)
        return Place(ready.pool, entry.bucket, _manners(ready), text, seconds)

    async def _made(self, tenant_id: str) -> Entry:
        deployment = await self.registry.deployment()
        deployment.names(tenant_id)  # an impossible id is not a matter of rights
        if not self._create:
            raise Forbidden("tenant_unknown", detail="not made yet, and not to be made on demand")
        ready = await self.clusters[MAIN].ready()
        if not ready.login.may_make_roles:
            raise ConfigurationError(NO_ROLES.format(login=ready.login.name))
        source = self.sources.pop(tenant_id, None)
        return await self.provisioner.make(tenant_id, source=source, seconds=MAKING_SECONDS)

    def check_served(self, entry: Entry) -> None:
        """Raise ``Forbidden`` or ``Unavailable`` for a tenant that is there and may not be entered now."""
        if entry.state == "suspended":
            raise Forbidden("tenant_suspended")
        if entry.state == "moving":
            raise Unavailable("tenant_moving", retry_after=_MOVING_SECONDS)
        if entry.state == "dropping":
            raise Forbidden("tenant_unknown", detail="being dropped")
        if entry.version < self.provisioner.migrations.minimum and not self._migrate:
            raise Unavailable("tenant_behind", retry_after=_BEHIND_SECONDS)

    async def _up_to_date(self, entry: Entry, cluster: Cluster, ready: Ready) -> Entry:
        behind = self._migrate and entry.version < self.provisioner.migrations.newest
        if not behind and await cluster.usable(entry.names, entry.bucket):
            return entry
        if not ready.login.may_make_roles:
            raise Forbidden("tenant_unknown", detail="its role is missing")
        return await self.provisioner.make(entry.names.tenant_id, seconds=None if behind else MAKING_SECONDS)


def _manners(ready: Ready) -> Manners:
    if ready.pooling.direct:
        return DIRECT
    return LENT_WITH_STATEMENTS if ready.pooling.statements else LENT
