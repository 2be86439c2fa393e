"""What a database needs once, before its first tenant: the control schema, the hardening, the service roles."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from ...errors import ConfigurationError
from .names import Deployment
from .roles import ensure_role
from .statements import identifier, literal, load, operators_identifier, render

VERSION = 1  # of the control schema
OLDEST_SERVER = 150000  # the oldest major version that is still maintained and that CI runs
_LOCK_TIMEOUT = "10s"  # for the names we lock


@dataclass(frozen=True, slots=True)
class Login:
    """A login as ``sql/inspect.sql`` sees it, and what it sees of the database."""

    name: str
    server_version: int
    standby: bool
    superuser: bool
    may_make_roles: bool
    privileged: bool
    inherits: bool
    installed: bool
    hardened: bool


async def inspect(connection: Any) -> Login:
    """What the connection's login may do, and whether the database is prepared. Raises ``ConfigurationError`` for
    a server that is too old."""
    row = await connection.fetchrow(load("inspect"))
    if row["server_version"] < OLDEST_SERVER:
        raise ConfigurationError(
            f"The database server is PostgreSQL {row['server_version'] // 10000}: "
            f"{OLDEST_SERVER // 10000} or newer is needed."
        )
    open_to_all = row["anyone_may_make_temporary_tables"] or row["anyone_may_use_public"] or row["anyone_may_connect"]
    if row["superuser"]:
        open_to_all = open_to_all or row["anyone_may_set_config"]
    return Login(
        name=row["login"],
        server_version=row["server_version"],
        standby=row["standby"],
        superuser=row["superuser"],
        may_make_roles=row["may_make_roles"],
        privileged=row["privileged"],
        inherits=row["inherits"],
        installed=row["installed"],
        hardened=not open_to_all,
    )


async def prepare(connection: Any, login: Login, request_login: str | None, wanted: Deployment | None) -> Deployment:
    """Install and harden unless that has been done; the deployment. Raises ``ConfigurationError``.

    ``login`` is the connection's, ``request_login`` the one that must still be able to connect afterwards;
    ``wanted`` is the deployment that a further database must belong to. Looks first: in the usual case nothing
    is written, so replicas that start together do not wait for each other.
    """
    if not (login.installed and login.hardened):
        if login.standby:
            raise ConfigurationError("The database is a read-only standby without schema tenantry: name its primary.")
        if not login.may_make_roles:
            raise ConfigurationError(NOT_PREPARED.format(login=login.name))
        try:
            await _install(connection, request_login, wanted)
        except asyncpg.InsufficientPrivilegeError:
            raise ConfigurationError(NOT_OWNER.format(login=login.name)) from None
        except asyncpg.DuplicateSchemaError:
            raise ConfigurationError(
                "The database has a schema tenantry that this version did not make: rename or drop it."
            ) from None
    return await _deployment(connection, login, wanted)


async def _deployment(connection: Any, login: Login, wanted: Deployment | None) -> Deployment:
    try:
        row = await connection.fetchrow("SELECT id, version FROM tenantry.deployment")
    except asyncpg.InsufficientPrivilegeError:
        raise ConfigurationError(_NOT_OURS.format(login=login.name)) from None
    if row["version"] > VERSION:
        raise ConfigurationError(
            f"Schema tenantry is of version {row['version']}, this program knows {VERSION}: upgrade tenantry."
        )
    if wanted is not None and row["id"] != wanted.id:
        raise ConfigurationError(
            "A database of MCP_HTTP_DATABASES belongs to another deployment of tenantry: give it one of its own."
        )
    return Deployment(row["id"])


async def _install(connection: Any, request_login: str | None, wanted: Deployment | None) -> None:
    async with connection.transaction():
        await lock(connection, "the database itself")
        login = await inspect(connection)
        database = await database_identifier(connection)
        if request_login is not None:
            name = operators_identifier(request_login, "database login")
            await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {name}")
        if not login.installed:
            deployment = wanted or Deployment(secrets.token_hex(16))
            for statement in render("control", deployment=literal(deployment.id)):
                await connection.execute(statement)
        else:
            deployment = await _deployment(connection, login, wanted)
        await service_roles(connection, deployment, login, database)
        for statement in hardening(database, superuser=login.superuser):
            await connection.execute(statement)
        if not (await inspect(connection)).hardened:  # REVOKE by somebody else than the owner only warns
            raise ConfigurationError(NOT_OWNER.format(login=login.name))


def hardening(database: str, *, superuser: bool) -> list[str]:
    """The statements that close a database (a quoted identifier) to PUBLIC."""
    statements = list(render("harden", database=database))
    return [*statements, *render("harden_superuser")] if superuser else statements


async def service_roles(connection: Any, deployment: Deployment, login: Login, database: str) -> None:
    """Make what every tenant's role and login needs; ``database`` is its quoted name."""
    version = login.server_version
    for role in (deployment.rest, deployment.untrusted):
        await ensure_role(connection, role, deployment, version)
    # A superuser may become anybody.
    await ensure_role(connection, deployment.owner, deployment, version, member=None if login.superuser else login.name)
    await connection.execute(f"GRANT CONNECT ON DATABASE {database} TO {identifier(deployment.untrusted)}")
    for statement in render("owner", database=database, owner=identifier(deployment.owner)):
        await connection.execute(statement)


NO_ROLES = (
    "The database login {login!r} may not make roles, which making tenants needs: set DIRECT_DATABASE_URL to a "
    "login that may (ALTER ROLE {login} CREATEROLE), or MCP_HTTP_TENANT_PROVISIONING=manual."
)
NOT_PREPARED = (
    "The database login {login!r} may not make roles, and the database has not been prepared: set "
    "DIRECT_DATABASE_URL to a login that may (ALTER ROLE {login} CREATEROLE; ALTER DATABASE ... OWNER TO {login}), or "
    "let an administrator run what `tenantry migrate --script` prints."
)
NOT_OWNER = (
    "The database login {login!r} does not own the database, so it could not make schema tenantry there and close "
    "the database to other roles: ALTER DATABASE ... OWNER TO {login}, or let an administrator run what "
    "`tenantry migrate --script` prints."
)
_NOT_OURS = (
    "Schema tenantry of this database was made by another login than {login!r}: give that one as DIRECT_DATABASE_URL, "
    "or as its owner: REASSIGN OWNED BY <that login> TO {login}, or let an administrator run what "
    "`tenantry migrate --script` prints."
)


async def database_identifier(connection: Any) -> str:
    """The quoted name of the connection's database. Raises ``ConfigurationError`` for one we do not write."""
    return operators_identifier(await connection.fetchval("SELECT pg_catalog.current_database()"), "database")


async def lock(connection: Any, name: str) -> None:
    """Hold ``name`` in this database until the transaction ends. Raises asyncpg's ``LockNotAvailableError``."""
    await connection.execute(f"SET LOCAL lock_timeout='{_LOCK_TIMEOUT}'")
    await connection.execute("SELECT pg_catalog.pg_advisory_xact_lock($1)", _lock_number(name))


async def try_lock(connection: Any, names: Sequence[str]) -> set[str]:
    """As ``lock``, without waiting: those that nobody else holds."""
    numbers = {_lock_number(name): name for name in names}
    rows = await connection.fetch(load("try_lock"), list(numbers))
    return {numbers[row["number"]] for row in rows if row["held"]}


def _lock_number(name: str) -> int:
    """int8, and the same in every process."""
    return int.from_bytes(hashlib.sha256(b"tenantry:" + name.encode()).digest()[:8], "big", signed=True)
