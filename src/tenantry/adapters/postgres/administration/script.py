"""What an administrator runs where the application's own logins may make nothing: the text of one transaction.

It is made by the functions that would do the work, over a ``Recorder``: they look at the database as it is, and what
they would send is written down. No password is in it; the logins are the operator's own.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import asyncpg

from ....errors import ConfigurationError
from .. import history, registry, schemas
from ..control import Login, database_identifier, hardening, inspect, lock, service_roles
from ..logins import Credentials, Logins
from ..names import Deployment
from ..registry import Entry
from ..roles import ensure_role, membership
from ..statements import literal, load, operators_identifier, render
from ..tenants import MAIN
from .batches import LEFT_ALONE
from .migrate import behind
from .plan import addressing, looking

if TYPE_CHECKING:
    from ..cluster import Cluster
    from ..database import Database

_ACTOR = "administrator's script"
_ONE_DATABASE = "A printed script is for one database, and MCP_HTTP_DATABASES names more: run `tenantry migrate`."
_NO_ENTRY = "The login for requests may not connect, so that nothing can be found out about it: GRANT CONNECT first."
_HEADER = """\
-- tenantry, deployment {deployment}.
-- To be run by a superuser in database {database}: psql -d {database} -f this-file
-- One transaction: all of it, or nothing. Outside of psql, leave out the line that begins with a backslash.
\\set ON_ERROR_STOP on
BEGIN;
"""


@dataclass(frozen=True, slots=True)
class Script:
    """``text``: what to run; ``behind``: ids of tenants that lack migrations and are not in it."""

    text: str
    behind: Sequence[str]


async def script(database: Database, tenants: Sequence[str] = ()) -> Script:
    """What prepares the main database, and makes ``tenants`` (ids) or brings them to the newest version.

    Reads what the database says of itself with the direct login, and changes nothing. Raises
    ``ConfigurationError``, ``Forbidden`` for an impossible id, and ``Unavailable``.
    """
    if len(database.clusters) > 1:
        raise ConfigurationError(_ONE_DATABASE)
    cluster = database.clusters[MAIN]
    async with looking(cluster) as connection:
        return await _Writer(database, connection, await inspect(connection), await _request_login(cluster)).whole(
            list(dict.fromkeys(tenants))
        )


async def _request_login(cluster: Cluster) -> Login:
    try:
        with addressing(cluster):
            return await cluster.introduce()
    except asyncpg.InsufficientPrivilegeError:
        raise ConfigurationError(_NO_ENTRY) from None


@dataclass(slots=True)
class Recorder:
    """Takes the place of a connection: asks the real one, and writes down what would be executed."""

    connection: Any
    statements: list[str] = field(default_factory=list)

    async def execute(self, query: str, *args: Any) -> None:
        self.statements.append(written_out(query, *args))

    async def fetchrow(self, query: str, *args: Any) -> Any:
        return await self.connection.fetchrow(query, *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await self.connection.fetchval(query, *args)

    def is_in_transaction(self) -> bool:
        return True


def written_out(query: str, *args: Any) -> str:
    """A query with its parameters in their places. Ours alone: nothing in quotes is spared."""
    return re.sub(r"\$(\d+)", lambda found: _constant(args[int(found[1]) - 1]), query) if args else query


def _constant(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    return literal(value) if isinstance(value, str) else str(value)


class _Writer:
    def __init__(self, database: Database, connection: Any, direct: Login, request: Login) -> None:
        self._provisioner = database.provisioner
        self._to = Recorder(connection)
        self._direct, self._request = direct, request
        self._known: dict[str, Entry] = {}

    async def whole(self, tenants: Sequence[str]) -> Script:
        migrations = self._provisioner.migrations
        if self._direct.installed:
            self._known = {entry.names.tenant_id: entry for entry in await registry.every(self._to.connection)}
            await history.check(self._to.connection, migrations)
        deployment = await self._deployment()
        database = await database_identifier(self._to.connection)
        await self._prepare(deployment, database)
        for tenant_id in tenants:
            await self._tenant(deployment, tenant_id)
        if tenants:
            for migration in migrations:
                await self._to.execute(load("migration_record"), *history.row_of(migration))
            await registry.tell(self._to, deployment)
            for tenant_id in tenants:
                event = "tenant.migrated" if tenant_id in self._known else "tenant.created"
                await self._to.execute(load("audit_unsealed_add"), _ACTOR, event, tenant_id)
        lacking = [entry.names.tenant_id for entry in behind(self._known.values(), migrations.newest)]
        header = _HEADER.format(deployment=deployment.id, database=database.strip('"'))
        body = "\n".join(_ended(statement) for statement in self._to.statements)
        return Script(f"{header}{body}\nCOMMIT;\n", [each for each in lacking if each not in tenants])

    async def _deployment(self) -> Deployment:
        if not self._direct.installed:
            return Deployment(secrets.token_hex(16))
        return Deployment(await self._to.connection.fetchval("SELECT id FROM tenantry.deployment"))

    async def _prepare(self, deployment: Deployment, database: str) -> None:
        version = self._direct.server_version
        await lock(self._to, "the database itself")
        if not self._direct.installed:
            self._add(render("control", deployment=literal(deployment.id)))
        request = operators_identifier(self._request.name, "database login")
        direct = operators_identifier(self._direct.name, "database login")
        for login in dict.fromkeys((request, direct)):
            self._add(render("script_connect", database=database, login=login))
        if self._request.inherits and version < 160000:
            self._add(render("script_noinherit", login=request))
        await service_roles(self._to, deployment, replace(self._direct, superuser=True), database)
        self._add(membership(deployment.rest, self._request.name, version))
        self._add(render("script_reader", login=direct))
        self._add(hardening(database, superuser=True))

    async def _tenant(self, deployment: Deployment, tenant_id: str) -> None:
        known = self._known.get(tenant_id)
        if known is not None and known.state in LEFT_ALONE:
            raise ConfigurationError(f"Tenant {tenant_id!r} is {known.state}: leave it out.")
        names = self._provisioner.names(deployment, tenant_id) if known is None else known.names
        bucket = 0 if known is None else known.bucket
        login = Logins(deployment, None, Credentials(self._request.name, None)).of(bucket).login
        scripts = self._provisioner.migrations.after(0 if known is None else known.version)
        await lock(self._to, names.schema)
        await ensure_role(self._to, names.role, deployment, self._direct.server_version, member=login)
        if known is None:
            await schemas.create(self._to, deployment, names)
        else:
            self._add(render("script_expect", tenant=literal(tenant_id), version=str(known.version)))
        await schemas.run(self._to, deployment, [(names, scripts)], patience=schemas.PATIENCE)
        self._add(render("script_grants", query=schemas.granting([names])))
        await self._to.execute("SET LOCAL ROLE NONE")
        version = max(self._provisioner.migrations.newest, 0 if known is None else known.version)
        await self._to.execute(
            load("tenant_record"),
            *(names.tenant_id, None, names.schema, names.role, MAIN, bucket, version, "active"),
        )

    def _add(self, statements: Iterable[str]) -> None:
        self._to.statements += statements


def _ended(statement: str) -> str:
    """A comment at the end of a statement would hide its semicolon."""
    return f"{statement}\n;" if "--" in statement.rpartition("\n")[2] else f"{statement};"
