"""Connections whose login is the tenant's own role, for ``untrusted.py``: a new one for each block, never shared.

The role may log in from its first need on. Its password follows from that of the request login, as those of the
bucket logins do (``logins.py``), so every replica knows it and none is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import asyncpg

from ...errors import ConfigurationError, Refusal
from .cluster import Cluster, Ready
from .control import lock
from .failures import reaching, unavailable
from .logins import scram_verifier
from .names import Names
from .registry import Registry
from .roles import ensure_role
from .scope import TenantScope
from .statements import identifier, literal, load, render
from .tenants import Provisioner

AT_ONCE = 8  # in this process: each is a server process of its own
FOR_ONE_TENANT = 4  # of all replicas together
_PATIENCE = 10.0  # for one of them
_STOP_SECONDS = 2.0  # what a cancelled statement gets to stop by itself
_END_SECONDS = 5.0

# The role may not log in, not with this password, or not to this database. 08P01 is what a pooler says to any of it.
_NOT_ENABLED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ProtocolViolationError,
)
_MAY_NOT = (
    "The tenant's role {role!r} may not log in yet, and the login {login!r} cannot change that: set "
    "DIRECT_DATABASE_URL to a login that may make roles (ALTER ROLE {login} CREATEROLE)."
)
_REFUSED = (
    "The database does not let the role {role!r} in, although it may log in: pg_hba.conf must allow it as it allows "
    "the login of DATABASE_CONNECTION_STRING, and a pooler must ask the server for passwords (PgBouncer: auth_query)."
)
_GIVEN_POOL = (
    "untrusted_connection needs a connection string, and this database was opened over a pool of the application's: "
    "a pool knows one login."
)


class Tenants(Protocol):
    """What is needed of ``Database``."""

    registry: Registry
    provisioner: Provisioner

    async def ensure_tenant(self, tenant_id: str) -> None: ...
    def tenant_connection(
        self, user_or_tenant_id: str, *, readonly: bool = False, timeout: float | None = None
    ) -> TenantScope: ...


class Links:
    """Opens them, ``AT_ONCE`` at most."""

    def __init__(self, tenants: Tenants) -> None:
        self._tenants = tenants
        self._places = asyncio.Semaphore(AT_ONCE)

    async def open(self, tenant_id: str) -> Link:
        """Raises ``Forbidden``, ``Unavailable``, ``ConfigurationError``."""
        await self._tenants.ensure_tenant(tenant_id)
        entry = await self._tenants.registry.find(tenant_id)
        if entry is None:
            raise unavailable(LookupError("dropped in this moment"))
        cluster, ready = await self._tenants.provisioner.cluster(entry.dsn_id)
        if cluster.has_one_login:
            raise ConfigurationError(_GIVEN_POOL)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._places.acquire()
        except TimeoutError as error:
            raise unavailable(error) from error
        try:
            with reaching():
                connection = await _log_in(cluster, ready, entry.names)
            return Link(connection, entry.names, self._places, cluster, ready, self._tenants)
        except BaseException:
            self._places.release()
            raise


async def _log_in(cluster: Cluster, ready: Ready, names: Names) -> Any:
    who = ready.logins.derived(names.role)
    try:
        return await cluster.log_in(who, statement_cache_size=0)
    except _NOT_ENABLED:
        if not ready.login.may_make_roles:
            raise ConfigurationError(_MAY_NOT.format(role=names.role, login=ready.login.name)) from None
    async with cluster.administering() as connection:
        await enable(connection, ready, names)
    try:
        return await cluster.log_in(who, statement_cache_size=0)
    except _NOT_ENABLED as error:
        raise ConfigurationError(_REFUSED.format(role=names.role)) from error


async def enable(connection: Any, ready: Ready, names: Names) -> None:
    """Let the tenant's role log in, with the password that follows from the present secret. Raises
    ``ConfigurationError`` for a role that is somebody else's."""
    password = ready.logins.derived(names.role).password
    group = ready.deployment.untrusted
    async with connection.transaction():
        await lock(connection, names.role)
        for role in (names.role, group):
            await ensure_role(connection, role, ready.deployment, ready.login.server_version)
        for statement in render(
            "untrusted_login",
            role=identifier(names.role),
            schema=identifier(names.schema),
            group=identifier(group),
            connections=str(FOR_ONE_TENANT),
            verifier="NULL" if password is None else literal(scram_verifier(password)),
        ):
            await connection.execute(statement)
        for statement in render("untrusted_limits", role=identifier(names.role)):
            with suppress(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(statement)


class Link:
    """One such connection. ``meter`` counts what arrives on it; ``abandon`` ends it, whatever it is doing."""

    def __init__(
        self, connection: Any, names: Names, places: asyncio.Semaphore, cluster: Cluster, ready: Ready, tenants: Tenants
    ) -> None:
        self.connection, self.names = connection, names
        self._places, self._cluster, self._ready, self._tenants = places, cluster, ready, tenants
        self._backend: tuple[Any, ...] | None = None
        # asyncpg keeps an answer until it is complete, however long; its transport is the one place to stop it.
        self.meter = Meter(connection._protocol, connection._transport)
        connection._transport.set_protocol(self.meter)

    async def begin(self, text: str) -> None:
        """Raises ``Unavailable``."""
        with reaching():
            async with asyncio.timeout(_END_SECONDS):
                await self.connection.execute(text)
                self._backend = tuple(await self.connection.fetchrow(load("untrusted_backend")))

    async def abandon(self) -> None:
        """Roll back and disconnect, also when the caller is cancelled, as often as it likes."""
        task = asyncio.create_task(self._end())
        _SETTLING.add(task)
        task.add_done_callback(_SETTLING.discard)
        await asyncio.shield(task)

    async def _end(self) -> None:
        try:
            if not await self._leave() and self._backend is not None:
                await self._kill(*self._backend)
        finally:
            self.connection.terminate()
            self._places.release()

    async def _leave(self) -> bool:
        """Whether the server process has nothing more to do. Waits for a cancelled statement to stop."""
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                self.meter.allow(_FAREWELL)
                await self.connection.execute(_LEAVE)
                await self.connection.close()
        except Exception:  # whatever it was, what the server does is unknown now
            return False
        return True

    async def _kill(self, pid: int, began: Any) -> None:
        """As the tenant's own role, which alone is allowed to: by a login of its own or, where its places are taken,
        in an ordinary scope."""
        for way in (self._by_login, self._by_scope):
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, Refusal):
                async with asyncio.timeout(_END_SECONDS), way() as connection:
                    await connection.fetch(load("untrusted_end"), pid, began)
                return

    @asynccontextmanager
    async def _by_login(self) -> AsyncIterator[Any]:
        who = self._ready.logins.derived(self.names.role)
        connection = await self._cluster.log_in(who, statement_cache_size=0)
        try:
            yield connection
        finally:
            await connection.close(timeout=_STOP_SECONDS)

    @asynccontextmanager
    async def _by_scope(self) -> AsyncIterator[Any]:
        async with self._tenants.tenant_connection(self.names.tenant_id) as connection:
            yield connection


_SETTLING: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task alive
_FAREWELL = 64 * 1024
# Behind a pooler the server connection goes on to the tenant's next block: nothing of this one stays in it.
_LEAVE = "ROLLBACK;RESET ALL;CLOSE ALL;UNLISTEN *;SELECT pg_catalog.pg_advisory_unlock_all()"


class Meter(asyncio.Protocol):
    """Between transport and driver: cuts the connection when more arrives than was allowed."""

    def __init__(self, driver: Any, transport: Any) -> None:
        self._driver, self._transport = driver, transport
        self._left = _FAREWELL
        self.exceeded = False

    def allow(self, size: int) -> None:
        """From now on."""
        self._left = size

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._driver.data_received(data)
        elif not self.exceeded:
            self.exceeded = True
            self._transport.abort()

    def eof_received(self) -> Any:
        return self._driver.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._driver.connection_lost(error)

    def pause_writing(self) -> None:
        self._driver.pause_writing()

    def resume_writing(self) -> None:
        self._driver.resume_writing()
