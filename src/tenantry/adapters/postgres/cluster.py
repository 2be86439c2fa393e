"""One database of the deployment: its two ways in, what is made there once, and its connections.

The *direct* login makes tenants and reads the registry; the *request* logins serve, and have no rights of their
own. Nothing is opened until it is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

from ...errors import ConfigurationError
from ...flights import SingleFlight
from .connections import Connections, GivenPool, Pool
from .control import Login, database_identifier, inspect, lock, prepare
from .failures import reaching, unavailable
from .logins import Credentials, Logins, password_of, scram_verifier
from .names import Deployment, Names
from .roles import ensure_role, power
from .session import milliseconds
from .statements import identifier, literal, load, operators_identifier, render
from .stuck import given_up_after

_CONNECT_SECONDS = 5.0
_PATIENCE = 10.0  # for a free connection: longer than that, and the client is better told to come back
_DIRECT_CONNECTIONS = 3  # provisioning is rare and takes 15 ms
_IDLE_SECONDS = 60.0
_CLOSE_SECONDS = 10.0
REGISTRY_SECONDS = 10.0  # for a look into the registry on the path of a request
MAKING_SECONDS = 30.0  # for a database or a tenant that somebody waits for; the lock on its name may take 10 of them

_BAD_DSN = (
    "{variable} is not a connection string that can be used: write postgresql://user:password@host:5432/database."
)
_PRIVILEGED = (
    "The login {login!r} of DATABASE_CONNECTION_STRING has rights of its own, so a mistake outside of a tenant's "
    "scope would run with them. Give a login without any (CREATE ROLE ... LOGIN NOINHERIT), or give one connection "
    "string only: tenantry then makes such logins itself."
)
_INHERITS = (
    "The login {login!r} of DATABASE_CONNECTION_STRING would have the rights of all tenants at once: "
    "ALTER ROLE {login} NOINHERIT."
)
_LOGIN_REFUSED = (
    "The database does not let the login {login!r} in. It is made by tenantry, with a password that follows from "
    "that of DATABASE_CONNECTION_STRING: run `tenantry migrate` after a change of that password; a pooler must ask "
    "the server for passwords (PgBouncer: auth_query)."
)

_LACKS_RIGHT = (
    "The database does not let the login {login!r} serve requests ({error}): GRANT {rest} TO {login}, and CONNECT on "
    "the database, or run `tenantry migrate` with a DIRECT_DATABASE_URL whose login may make roles."
)
# A wrong password or no such login; no right to connect, or to become the role to rest in; no such role.
_NOT_LET_IN = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidParameterValueError,
)


@dataclass(frozen=True, slots=True)
class Pooling:
    """What is between us and the server, found out once. ``direct``: nothing; ``statements``: prepared ones work;
    ``rests``: a connection can start in a role."""

    direct: bool
    statements: bool
    rests: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """A cluster that is prepared: ``login`` is the direct one."""

    deployment: Deployment
    login: Login
    logins: Logins
    direct: Any
    pool: Pool
    pooling: Pooling


class Cluster:
    """``dsn`` serves requests with ``pool_size`` connections, ``direct_dsn`` does the rest. ``pool`` is one that the
    application made, in the place of ours; ``audit_key`` seals what operators do."""

    def __init__(
        self,
        dsn_id: str,
        dsn: str,
        direct_dsn: str,
        *,
        pool_size: int,
        command_timeout: float | None,
        pool: Any = None,
        audit_key: bytes | None = None,
    ) -> None:
        self.dsn_id = dsn_id
        self._dsn, self._direct_dsn = dsn, direct_dsn
        self._pool_size = pool_size
        self.statement_seconds = command_timeout
        self._given = pool
        self._audit_key = audit_key
        self._preparing: SingleFlight[Ready] = SingleFlight()
        self._ready: Ready | None = None
        self._closed = False

    @property
    def has_one_login(self) -> bool:
        """Whether requests are served by one login, whatever the number of tenants."""
        return self._given is not None

    async def ready(self, wanted: Deployment | None = None) -> Ready:
        """Connect and prepare, once. ``wanted`` is the deployment it must belong to (None: the main database decides).

        Raises ``Unavailable`` and ``ConfigurationError``.
        """
        # Together: while the server hangs, nobody waits for those before him to find out in turn.
        return self._ready or await self._preparing.run(b"", partial(self._prepare, wanted))

    async def _prepare(self, wanted: Deployment | None) -> Ready:
        if self._closed:
            raise unavailable(asyncpg.InterfaceError("closed"))
        self._ready = ready = await self._connect(wanted)
        return ready

    async def close(self) -> None:
        """Wait for open scopes, for 10 s at most, and disconnect. Later use is ``Unavailable``."""
        self._closed = True
        await self._preparing.aclose()  # what is being opened is given up
        ready, self._ready = self._ready, None
        if ready is None:
            return
        for pool in (ready.pool, ready.direct):
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await pool.close()
            except TimeoutError:
                if pool is ready.direct:
                    pool.terminate()

    @asynccontextmanager
    async def administering(self, *, seconds: float | None = None) -> AsyncIterator[Any]:
        """A direct connection, for so many seconds at most. What says that the database is out of reach becomes
        ``Unavailable``, a missing right ``ConfigurationError``."""
        ready = await self.ready()
        with reaching():
            async with ready.direct.acquire(timeout=_PATIENCE) as connection:
                try:
                    with given_up_after(connection, seconds):
                        yield connection
                except asyncpg.InsufficientPrivilegeError as error:
                    raise ConfigurationError(f"The login {ready.login.name!r} lacks a right: {error}.") from error

    async def listen(self) -> Any:
        """A direct connection of its own, outside of the pool: for the notifications, and for a whole migration."""
        return await asyncpg.connect(self._direct_dsn, timeout=_CONNECT_SECONDS, statement_cache_size=0)

    async def introduce(self) -> Login:
        """The login for requests, as the server sees it. Raises what asyncpg raises."""
        connection = await asyncpg.connect(
            self._dsn, timeout=_CONNECT_SECONDS, command_timeout=_CONNECT_SECONDS, statement_cache_size=0
        )
        try:
            return await inspect(connection)
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)

    async def usable(self, names: Names, bucket: int) -> bool:
        """Whether the tenant's role is there, and the login of the bucket may become it."""
        ready = await self.ready()
        login = ready.logins.of(bucket).login
        async with self.administering(seconds=REGISTRY_SECONDS) as connection:
            found = await connection.fetchval(load("usable"), names.role, login, power(ready.login.server_version))
        return bool(found)

    async def log_in(self, who: Credentials, **options: Any) -> Any:
        """A new connection of a login, to where requests go. Raises what asyncpg raises."""
        return await asyncpg.connect(
            self._dsn,
            user=who.login,
            password=who.password,
            timeout=_CONNECT_SECONDS,
            connection_class=TenantLink,
            **options,
        )

    async def _connect(self, wanted: Deployment | None) -> Ready:
        try:
            with reaching():
                return await self._prepared(wanted)
        except ValueError:  # the text of the error may quote the DSN
            name = "DATABASE_CONNECTION_STRING or DIRECT_DATABASE_URL"
            variable = name if self.dsn_id == "main" else f"MCP_HTTP_DATABASES[{self.dsn_id}]"
            raise ConfigurationError(_BAD_DSN.format(variable=variable)) from None

    async def _prepared(self, wanted: Deployment | None) -> Ready:
        direct = await self._direct_pool()
        try:
            async with direct.acquire(timeout=_PATIENCE) as connection:
                with given_up_after(connection, MAKING_SECONDS):
                    login = await inspect(connection)
                    request = await self._request_login(connection, login)
                    own = self._own(login, request)
                    deployment = await prepare(connection, login, own.login if own else None, wanted)
                    deployment = replace(deployment, audit_key=self._audit_key)
                    logins = Logins(deployment, password_of(self._dsn), own)
                    if login.may_make_roles:
                        await _ensure_first_login(connection, logins, login.server_version)
            connect = partial(self._enter, direct, logins, login)
            pooling = await self._pooling(connect, logins)
            return Ready(deployment, login, logins, direct, self._pool(connect, logins, pooling), pooling)
        except BaseException:
            direct.terminate()
            raise

    async def _direct_pool(self) -> Any:
        return await asyncpg.create_pool(
            self._direct_dsn,
            min_size=0,
            max_size=_DIRECT_CONNECTIONS,
            max_inactive_connection_lifetime=_IDLE_SECONDS,
            timeout=_CONNECT_SECONDS,
            # The waits for the lock on a tenant count as a command; a migration may take its time.
            command_timeout=None,
            # It may be behind an old pooler, and is not where time is spent.
            statement_cache_size=0,
        )

    async def _request_login(self, direct: Any, login: Login) -> Login:
        """Asked of the server: a DSN may leave the name to the environment or to a service file."""
        if self._given is not None:
            async with self._given.acquire(timeout=_PATIENCE) as connection:
                return await inspect(connection)
        try:
            return await self.introduce()
        except asyncpg.InsufficientPrivilegeError:  # "permission denied for database": not everybody may connect
            database = await database_identifier(direct)
            name = operators_identifier(unquote(urlsplit(self._dsn).username or ""), "database login")
            grant = f"GRANT CONNECT ON DATABASE {database} TO {name}"
            if not login.may_make_roles:
                raise ConfigurationError(f"The login for requests may not connect: {grant}.") from None
            await direct.execute(grant)
            return await self.introduce()

    def _own(self, direct: Login, request: Login) -> Credentials | None:
        """The operator's login for requests; None where the direct one is the only one there is."""
        if request.name == direct.name and direct.may_make_roles and self._given is None:
            return None
        if request.privileged:
            raise ConfigurationError(_PRIVILEGED.format(login=request.name))
        if request.inherits and request.server_version < 160000:
            raise ConfigurationError(_INHERITS.format(login=request.name))
        return Credentials(request.name, password_of(self._dsn))

    async def _enter(self, direct: Any, logins: Logins, login: Login, bucket: int, **options: Any) -> Any:
        """A new connection of the login that serves a bucket. One of ours is mended where it is not let in: the
        operator's password, from which its own follows, has changed, or it has lost a right."""
        who = logins.of(bucket)
        try:
            return await self.log_in(who, **options)
        except _NOT_LET_IN as error:
            if not (logins.is_ours(bucket) and login.may_make_roles):
                if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
                    raise
                raise ConfigurationError(
                    _LACKS_RIGHT.format(login=who.login, rest=logins.deployment.rest, error=error)
                ) from error
        async with direct.acquire(timeout=_PATIENCE) as connection:
            await make_login(connection, logins, bucket, login.server_version)
        try:
            return await self.log_in(who, **options)
        except _NOT_LET_IN as error:
            raise ConfigurationError(_LOGIN_REFUSED.format(login=who.login)) from error

    async def _pooling(self, connect: Callable[..., Awaitable[Any]], logins: Logins) -> Pooling:
        if self._given is not None:
            async with self._given.acquire(timeout=_PATIENCE) as connection:
                direct = await _is_direct(connection)
                return Pooling(direct, direct or await _renames_statements(connection), rests=False)
        rests, rest = True, logins.deployment.rest
        options = {"statement_cache_size": 0, "command_timeout": _CONNECT_SECONDS}
        try:
            connection = await connect(0, server_settings={"role": rest}, **options)
        except asyncpg.ProtocolViolationError:  # 08P01: PgBouncer knows no start-up parameter "role" ...
            rests = False
            connection = await connect(0, **options)
        try:
            direct = await _is_direct(connection)
            rests = rests and await connection.fetchval("SELECT current_user") == rest  # ... or swallows it
            return Pooling(direct, direct or await _renames_statements(connection), rests)
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)

    def _start_with(self, logins: Logins, pooling: Pooling) -> dict[str, str] | None:
        """RESET goes back to what a connection started with: outside of a scope it is nobody, and the limit of a
        statement stays. A pooler knows neither."""
        if not pooling.rests:
            return None
        start = {"role": logins.deployment.rest}
        if self.statement_seconds is not None:
            start["statement_timeout"] = str(milliseconds(self.statement_seconds))
        return start

    def _pool(self, connect: Callable[..., Awaitable[Any]], logins: Logins, pooling: Pooling) -> Pool:
        if self._given is not None:
            return GivenPool(self._given, patience=_PATIENCE)
        serving = partial(
            connect,
            statement_cache_size=100 if pooling.statements else 0,
            server_settings=self._start_with(logins, pooling),
        )
        return Connections(serving, size=self._pool_size, patience=_PATIENCE)


class TenantLink(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """asyncpg switches JIT compilation off, with ``set_config``, before it looks up a type it does not know. That
    function is nobody's here (``harden_superuser.sql``), and the look-up works without."""

    __slots__ = ()

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._server_caps = self._server_caps._replace(jit=False)  # type: ignore[misc, has-type]


async def _is_direct(connection: Any) -> bool:
    """A pooler tells a process number of its own."""
    return bool(await connection.fetchval("SELECT pg_catalog.pg_backend_pid()") == connection.get_server_pid())


async def _renames_statements(connection: Any) -> bool:
    """A pooler that keeps track of prepared statements (PgBouncer since 1.21) gives them names of its own."""
    name = "tenantry_probe"
    async with connection.transaction():
        prepared = await connection.prepare("SELECT name FROM pg_catalog.pg_prepared_statements", name=name)
        if name not in [record["name"] for record in await prepared.fetch()]:
            return True
        await connection.execute(f"DEALLOCATE {name}")
        return False


async def _ensure_first_login(connection: Any, logins: Logins, server_version: int) -> None:
    if logins.is_ours(0):
        if await connection.fetchval(load("role_exists"), logins.of(0).login) is None:
            await make_login(connection, logins, 0, server_version)
        return
    rest = logins.deployment.rest
    if not await connection.fetchval(load("usable"), rest, logins.of(0).login, power(server_version)):
        async with connection.transaction():
            await lock(connection, rest)
            await ensure_role(connection, rest, logins.deployment, server_version, member=logins.of(0).login)


async def make_login(connection: Any, logins: Logins, bucket: int, server_version: int) -> None:
    """Make a login of ours, or give it the password that follows from the present secret."""
    who = logins.of(bucket)
    async with connection.transaction():
        await lock(connection, who.login)
        await ensure_role(connection, who.login, logins.deployment, server_version)
        await ensure_role(connection, logins.deployment.rest, logins.deployment, server_version, member=who.login)
        for statement in render(
            "login",
            role=identifier(who.login),
            database=await database_identifier(connection),
            verifier="NULL" if who.password is None else literal(scram_verifier(who.password)),
        ):
            await connection.execute(statement)
