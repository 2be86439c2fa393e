"""``Database``: a pool of connections, and the one way into a tenant.

Nothing is opened until it is needed, so a server starts while its database is down; a request that needs it
then gets a 503. How a scope begins and ends is in ``scope.py``, how a tenant comes to be in ``tenants.py``.
"""

# ruff: noqa: ASYNC109 - asyncpg's own parameter: unlike asyncio.timeout it also stops the statement on the server

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import asyncpg

from ...errors import ConfigurationError, Forbidden
from ...model import MCPUserContext
from .control import Login, inspect, lock, prepare
from .scope import COMMIT, ROLLBACK, ScopedConnection, TenantConnection, ask, entering, reaching, unavailable
from .statements import split
from .tenant_database import TenantDatabase
from .tenants import Names, Provisioner, ensure_role, names_of

_CONNECT_SECONDS = 5.0
_ACQUIRE_SECONDS = 10.0  # for a free connection: longer than that, and the client is better told to come back
_CLEAN_UP_SECONDS = 5.0
_CLOSE_SECONDS = 10.0
_ADMIN_CONNECTIONS = 2  # provisioning is rare and takes 15 ms
_IDLE_SECONDS = 60.0

_BAD_DSN = (
    "MCP_HTTP_DATABASE_CONNECTION_STRING (or DIRECT_DATABASE_URL) is not a connection string: write "
    "postgresql://user:password@host:5432/database."
)
_NO_ROLES = (
    "The database login {login!r} may not make roles, which making tenants needs: set DIRECT_DATABASE_URL to a "
    "login that has CREATEROLE and owns the database, or MCP_HTTP_TENANT_PROVISIONING=manual."
)

# SET LOCAL ROLE is the only statement of the entrance that can fail so: no such role, or not for this login.
_NO_SUCH_ROLE = (
    asyncpg.InvalidParameterValueError,
    asyncpg.UndefinedObjectError,
    asyncpg.InsufficientPrivilegeError,
)


@dataclass(frozen=True, slots=True)
class _Ready:
    """Both pools, and who makes tenants (None: this login may not, and only uses what there is)."""

    pool: Any
    admin: Any
    provisioner: Provisioner | None


class Database:
    """One database of tenants. Make it with ``open``; belongs to the event loop that first uses it."""

    def __init__(
        self,
        dsn: str,
        admin_dsn: str,
        *,
        pool_size: int,
        create_tenants: bool,
        migrations: Sequence[str],
        command_timeout: float,
    ) -> None:
        self._dsn, self._admin_dsn = dsn, admin_dsn
        self._pool_size, self._command_timeout = pool_size, command_timeout
        self._create_tenants, self._migrations = create_tenants, tuple(migrations)
        self._preparing = asyncio.Lock()
        self._prepared: _Ready | None = None
        self._settling: set[asyncio.Task[None]] = set()
        self._closed = False

    @classmethod
    def open(
        cls,
        dsn: str,
        *,
        admin_dsn: str | None = None,
        pool_size: int = 10,
        create_tenants: bool,
        migrations: Sequence[str] = (),
        command_timeout: float = 30.0,
    ) -> Self:
        """A database to be connected to at first use: no I/O here, so a server that is down is no failure yet.

        ``dsn`` serves requests, with ``pool_size`` connections; ``admin_dsn`` makes tenants (CREATEROLE,
        owner of the database) and defaults to ``dsn``. ``create_tenants``: make an unknown tenant at its
        first use instead of refusing it. ``migrations``: SQL scripts, in order, that make a tenant's tables;
        never change one, add one. ``command_timeout``: seconds for one statement. Raises
        ``ConfigurationError`` for a script that cannot be split.
        """
        for script in migrations:
            split(script)
        return cls(
            dsn,
            admin_dsn or dsn,
            pool_size=pool_size,
            create_tenants=create_tenants,
            migrations=migrations,
            command_timeout=command_timeout,
        )

    async def close(self) -> None:
        """Wait for open scopes, for 10 s at most, and disconnect. Later use is ``Unavailable``."""
        self._closed = True
        async with self._preparing:  # what is being opened is closed as well
            ready, self._prepared = self._prepared, None
        if ready is None:
            return
        if ready.provisioner:
            await ready.provisioner.close()
        for pool in (ready.pool, ready.admin):
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

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

        Raises ``Forbidden("tenant_unknown")``, ``Unavailable`` or ``ConfigurationError``.
        """
        ready = await self._ready_for(names_of(tenant_id))
        if ready.provisioner is None:  # nobody to ask: whether the role can be entered is the answer
            async with self.tenant_connection(tenant_id):
                pass

    @asynccontextmanager
    async def tenant_connection(
        self, user_or_tenant_id: MCPUserContext | str, *, readonly: bool = False, timeout: float | None = None
    ) -> AsyncIterator[TenantConnection]:
        """One block = one transaction in one tenant: committed at the end, rolled back by any exception.

        ``timeout`` limits each statement, in seconds. With a user, ``current_setting('tenantry.user_id')``
        and ``'tenantry.permissions'`` (sorted, one space between) hold for the block. Do not wait for the
        network inside: the block holds a connection. Raises ``Forbidden("tenant_unknown")``, ``Unavailable``,
        ``ConfigurationError``.
        """
        user = user_or_tenant_id if isinstance(user_or_tenant_id, MCPUserContext) else None
        names = names_of(user.tenant_id if user else str(user_or_tenant_id))
        opening = entering(names.role, names.schema, user, readonly=readonly, timeout=timeout)
        ready = await self._ready_for(names)
        connection = await _acquire(ready.pool)
        try:
            await _enter(connection, opening, names, ready)
            tenant = TenantConnection(connection)
            yield tenant
            tenant.check()
            await _commit(connection)
        except BaseException:
            await self._settle(_abandon(ready.pool, connection))
            raise
        await ready.pool.release(connection)

    async def _settle(self, work: Coroutine[Any, Any, None]) -> None:
        """Finish ``work`` also when the caller is cancelled, as often as it likes."""
        task = asyncio.create_task(work)
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        await asyncio.shield(task)

    async def _ready_for(self, names: Names) -> _Ready:
        ready = self._prepared or await self._prepare()
        if ready.provisioner:
            with reaching():
                await ready.provisioner.ensure(names)
        return ready

    async def _prepare(self) -> _Ready:
        async with self._preparing:
            if self._closed:
                raise unavailable(asyncpg.InterfaceError("closed"))
            if self._prepared is None:
                self._prepared = await self._connected()
            return self._prepared

    async def _connected(self) -> _Ready:
        try:
            with reaching():
                return await self._connect()
        except ValueError:
            raise ConfigurationError(_BAD_DSN) from None  # the text of the error may quote the DSN

    async def _connect(self) -> _Ready:
        admin = await self._admin_pool()
        try:
            login = await self._request_login(admin)
            async with admin.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                provisioner, rest = await self._provisioner(connection, admin, login)
            return _Ready(await self._request_pool(rest), admin, provisioner)
        except BaseException:
            admin.terminate()
            raise

    async def _admin_pool(self) -> Any:
        return await asyncpg.create_pool(
            self._admin_dsn,
            min_size=0,
            max_size=_ADMIN_CONNECTIONS,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            timeout=_CONNECT_SECONDS,
            # The waits for the lock on a tenant count as a command; a migration may take its time.
            command_timeout=None,
        )

    async def _request_login(self, admin: Any) -> Login:
        """Asked of the server: a DSN may leave the name to the environment or to a service file."""
        if self._dsn == self._admin_dsn:
            async with admin.acquire(timeout=_ACQUIRE_SECONDS) as connection:
                return await inspect(connection)
        connection = await asyncpg.connect(self._dsn, timeout=_CONNECT_SECONDS)
        try:
            return await inspect(connection)
        finally:
            await connection.close(timeout=_CLEAN_UP_SECONDS)

    async def _provisioner(self, connection: Any, admin: Any, login: Login) -> tuple[Provisioner | None, str | None]:
        """Who makes tenants, and the role that request connections rest in; neither if this login may make none."""
        admin_login = await inspect(connection)
        if not admin_login.may_make_roles:
            if self._create_tenants:
                raise ConfigurationError(_NO_ROLES.format(login=admin_login.name))
            return None, None
        deployment = await prepare(connection)
        provisioner = Provisioner(
            admin, deployment, login, migrations=self._migrations, create_tenants=self._create_tenants
        )
        return provisioner, await _rest_role(connection, deployment, login)

    async def _request_pool(self, rest: str | None) -> Any:
        resting = rest if rest and await self._may_rest(rest) else None
        return await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self._pool_size,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            timeout=_CONNECT_SECONDS,
            command_timeout=self._command_timeout,
            connection_class=ScopedConnection,
            reset=ScopedConnection.clean,
            # RESET ROLE goes back to what a connection started with, so outside of a scope it is nobody.
            server_settings={"role": resting} if resting else None,
        )

    async def _may_rest(self, rest: str) -> bool:
        """Whether connections can start in a role. PgBouncer knows no such parameter; outside of a scope they are
        then the login itself, and ``TenantConnection.check`` alone stops what follows a stray COMMIT.
        """
        try:
            connection = await asyncpg.connect(self._dsn, timeout=_CONNECT_SECONDS, server_settings={"role": rest})
        except asyncpg.ProtocolViolationError:  # 08P01, "unsupported startup parameter: role"
            return False
        await connection.close(timeout=_CLEAN_UP_SECONDS)
        return True


async def _rest_role(connection: Any, deployment: str, login: Login) -> str:
    """A role without any right, for connections outside of a scope: a statement after a stray COMMIT, for
    instance, then fails instead of running as the login, which owns everything when one DSN does both.
    """
    role = f"tenantry_rest_{deployment[:12]}"
    async with connection.transaction():
        await lock(connection, role)
        await ensure_role(connection, role, f"tenantry deployment {deployment}", login)
    return role


async def _acquire(pool: Any) -> Any:
    with reaching():
        return await pool.acquire(timeout=_ACQUIRE_SECONDS)


async def _enter(connection: Any, opening: str, names: Names, ready: _Ready) -> None:
    try:
        await ask(connection, "execute", opening)
    except TimeoutError as error:
        raise unavailable(error) from error
    except _NO_SUCH_ROLE as error:
        if ready.provisioner:
            ready.provisioner.forget(names)
        raise Forbidden("tenant_unknown", detail=type(error).__name__) from error


async def _commit(connection: Any) -> None:
    try:
        await ask(connection, "leave", COMMIT)
    except TimeoutError as error:
        raise unavailable(error) from error


async def _abandon(pool: Any, connection: Any) -> None:
    """Roll back and give the connection back; end it where that cannot be done. Never raises."""
    try:
        async with asyncio.timeout(_CLEAN_UP_SECONDS):
            await connection.leave(ROLLBACK)
    except Exception:  # whatever it was, the state is unknown now
        with suppress(asyncpg.InterfaceError):  # the pool has taken a dead connection back already
            connection.terminate()
    await pool.release(connection)
