"""What a database needs once, before its first tenant: the control schema and the hardening."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

import asyncpg

from ...errors import ConfigurationError
from .statements import identifier, literal, load, render

_LOCK_TIMEOUT = "10s"  # for the names we lock, and for each lock that a migration takes on tables in use


@dataclass(frozen=True, slots=True)
class Login:
    """A login as ``sql/inspect.sql`` sees it."""

    name: str
    superuser: bool
    may_make_roles: bool
    server_version: int
    prepared: bool


async def inspect(connection: Any) -> Login:
    """What the connection's login may do, and whether the database is prepared already."""
    row = await connection.fetchrow(load("inspect"))
    hardened = not (row["anyone_may_make_temporary_tables"] or row["anyone_may_use_public"])
    return Login(
        name=row["login"],
        superuser=row["superuser"],
        may_make_roles=row["may_make_roles"],
        server_version=row["server_version"],
        prepared=row["installed"] and hardened,
    )


async def prepare(connection: Any) -> str:
    """Install and harden unless that has been done; the deployment's id. Raises ``ConfigurationError``.

    Looks first: in the usual case nothing is written, so replicas that start together do not wait for each
    other.
    """
    if not (await inspect(connection)).prepared:
        try:
            await _install(connection)
        except asyncpg.InsufficientPrivilegeError:
            raise ConfigurationError(_NOT_OWNER) from None
    try:
        deployment: str = await connection.fetchval("SELECT id FROM tenantry.deployment")
    except asyncpg.InsufficientPrivilegeError:
        raise ConfigurationError(_NOT_OURS) from None
    return deployment


async def _install(connection: Any) -> None:
    async with connection.transaction():
        await lock(connection, "the database itself")
        if (await inspect(connection)).prepared:
            return
        database = await connection.fetchval("SELECT pg_catalog.current_database()")
        for statement in (
            *render("control", deployment=literal(secrets.token_hex(16))),
            *render("harden", database=_database_identifier(database)),
        ):
            await connection.execute(statement)
        if not (await inspect(connection)).prepared:  # REVOKE by somebody else than the owner only warns
            raise ConfigurationError(_NOT_OWNER)


_NOT_OURS = (
    "Schema tenantry of this database was made by another login: give that one as MCP_HTTP_DIRECT_DATABASE_URL, or as "
    "its owner: REASSIGN OWNED BY <that login> TO <this one>."
)
_NOT_OWNER = (
    "The login that makes tenants does not own the database, so it could not make schema tenantry there and "
    "close the database to other roles. Make it the owner, or as the owner: GRANT CREATE ON DATABASE ... TO "
    "<login>; REVOKE TEMP ON DATABASE ... FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC."
)


def _database_identifier(name: str) -> str:
    try:
        return identifier(name)
    except ValueError:
        raise ConfigurationError(f"The database is called {name!r}: use a name of a-z, 0-9 and _ only.") from None


async def lock(connection: Any, name: str) -> None:
    """Hold ``name`` in this database until the transaction ends. Raises asyncpg's ``LockNotAvailableError``."""
    # int8, and the same in every process
    number = int.from_bytes(hashlib.sha256(b"tenantry:" + name.encode()).digest()[:8], "big", signed=True)
    await connection.execute(f"SET LOCAL lock_timeout='{_LOCK_TIMEOUT}'")
    await connection.execute("SELECT pg_catalog.pg_advisory_xact_lock($1)", number)
