"""How a tenant comes to be: a schema, a role that may use it and owns nothing, a line in the control schema.

One transaction for each tenant, under a lock on its name: concurrent first requests make it once, and a crash
in the middle leaves nothing. The application's own tables come as an ordered sequence of SQL scripts; a
tenant's ``version`` is how many of them it has.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from ...core.tenancy import schema_name
from ...errors import ConfigurationError, Forbidden
from .control import Login, lock
from .statements import identifier, literal, load, render, split

_REMEMBERED = 10_000  # names of tenants known to be ready: about 1 MB; one forgotten costs a look-up of 1 ms
_PRIVILEGES = "SELECT, INSERT, UPDATE, DELETE"


@dataclass(frozen=True, slots=True)
class Names:
    """Where one tenant lives."""

    tenant_id: str
    schema: str
    role: str


def names_of(tenant_id: str) -> Names:
    """Raises ``Forbidden`` for an id that no tenant can have."""
    try:
        schema = schema_name(tenant_id)
    except ValueError:
        raise Forbidden("tenant_unknown", detail="not a tenant id") from None
    return Names(tenant_id, schema, role_name(schema))


def role_name(schema: str) -> str:
    """The role of a schema's tenant."""
    return schema


class Provisioner:
    """Makes tenants and brings them up to date, through a pool of connections of the provisioning login.

    ``login`` is the one that serves requests; ``deployment`` marks the roles that are ours.
    """

    def __init__(
        self, pool: Any, deployment: str, login: Login, *, migrations: Sequence[str], create_tenants: bool
    ) -> None:
        self._pool = pool
        self._mark = f"tenantry deployment {deployment}"
        self._login = login
        self._migrations = [split(script) for script in migrations]
        self._create = create_tenants
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._making: dict[str, asyncio.Task[None]] = {}

    async def ensure(self, names: Names) -> None:
        """Return once the tenant is there and up to date.

        Raises ``Forbidden`` for an unknown tenant that must not be made here, and ``ConfigurationError``
        where a role or schema of its name is somebody else's: the caller is in order and no other token would
        help, so that is no refusal but a fault of this installation.
        """
        if names.tenant_id in self._ready:
            self._ready.move_to_end(names.tenant_id)
            return
        # Shared, and out of reach of the cancellation of whoever came first.
        making = self._making.get(names.tenant_id) or self._start(names)
        await asyncio.shield(making)

    def forget(self, names: Names) -> None:
        """The tenant turned out to be gone: look again next time."""
        self._ready.pop(names.tenant_id, None)

    async def close(self) -> None:
        """Let what is being made finish."""
        await asyncio.gather(*self._making.values(), return_exceptions=True)

    def _start(self, names: Names) -> asyncio.Task[None]:
        task = asyncio.create_task(self._make_ready(names))
        self._making[names.tenant_id] = task
        task.add_done_callback(lambda done: self._made(names, done))
        return task

    def _made(self, names: Names, task: asyncio.Task[None]) -> None:
        del self._making[names.tenant_id]
        if task.cancelled() or task.exception() is not None:
            return
        self._ready[names.tenant_id] = None
        if len(self._ready) > _REMEMBERED:
            self._ready.popitem(last=False)

    async def _make_ready(self, names: Names) -> None:
        async with self._pool.acquire() as connection:
            found = await self._find(connection, names)
            if self._is_ready(found):
                return
            if found is None and not self._create:
                raise Forbidden("tenant_unknown", detail="not made yet, and not to be made on demand")
            await self._make(connection, names)

    async def _make(self, connection: Any, names: Names) -> None:
        try:
            async with connection.transaction():
                await self._make_locked(connection, names)
        except asyncpg.InsufficientPrivilegeError as error:
            raise ConfigurationError(f"The login that makes tenants lacks a right: {error}.") from error

    async def _find(self, connection: Any, names: Names) -> Any:
        """The tenant's ``version`` and whether its role is ``usable``; None for an unknown tenant."""
        return await connection.fetchrow(load("tenant_find"), names.tenant_id, self._login.name, self._power)

    @property
    def _power(self) -> str:
        return "SET" if self._login.server_version >= 160000 else "MEMBER"

    def _is_ready(self, found: Any) -> bool:
        """A version beyond ours is a newer release beside us in a rolling deployment."""
        return found is not None and found["usable"] and found["version"] >= len(self._migrations)

    async def _make_locked(self, connection: Any, names: Names) -> None:
        await lock(connection, names.schema)
        found = await self._find(connection, names)  # somebody else may have been faster
        if self._is_ready(found):
            return
        await ensure_role(connection, names.role, self._mark, self._login)
        if found is None:
            await self._make_schema(connection, names)
        await self._migrate(connection, names, 0 if found is None else found["version"])

    async def _make_schema(self, connection: Any, names: Names) -> None:
        taken = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1::name"
        if await connection.fetchval(taken, names.schema):
            raise ConfigurationError(
                f"Schema {names.schema!r} exists and was not made by this deployment (tenantry.tenants does not have "
                "it): rename or drop it."
            )
        # Owned by this login; the tenant's role may look inside, and never create.
        await connection.execute(f"CREATE SCHEMA {identifier(names.schema)}")

    async def _migrate(self, connection: Any, names: Names, done: int) -> None:
        for number, script in enumerate(self._migrations[done:], done + 1):
            # Anew for each script: one that ends with another search_path must not move the next one.
            await connection.execute(f"SET LOCAL search_path={identifier(names.schema)},pg_temp")
            await _run_script(connection, number, script)
        await connection.execute("SET LOCAL search_path=pg_catalog,pg_temp")
        # Always, not only after a script: a cluster restored from a dump has the schemas and none of the roles.
        await _grant(connection, names)
        version = max(done, len(self._migrations))
        await connection.execute(load("tenant_record"), names.tenant_id, names.schema, names.role, version)


async def _run_script(connection: Any, number: int, script: Sequence[str]) -> None:
    for statement in script:
        await connection.execute(statement)
        if not connection.is_in_transaction():
            raise ConfigurationError(
                f"Migration {number} ends the transaction it runs in: leave out COMMIT and ROLLBACK."
            )


async def _grant(connection: Any, names: Names) -> None:
    """Use of what is there, by name from the catalog: see ``sql/relations.sql`` for why not ON ALL TABLES."""
    await connection.execute(f"GRANT USAGE ON SCHEMA {identifier(names.schema)} TO {identifier(names.role)}")
    rows = await connection.fetch(load("relations"), names.schema)
    for kind, privileges in ((False, f"{_PRIVILEGES} ON TABLE"), (True, "USAGE ON SEQUENCE")):
        listed = ", ".join(_qualified(names, row["name"]) for row in rows if row["sequence"] is kind)
        if listed:
            await connection.execute(f"GRANT {privileges} {listed} TO {identifier(names.role)}")


def _qualified(names: Names, relation: str) -> str:
    try:
        return f"{identifier(names.schema)}.{identifier(relation)}"
    except ValueError:
        raise ConfigurationError(f"A migration makes {relation!r}: use names of a-z, 0-9 and _ only.") from None


async def ensure_role(connection: Any, role: str, mark: str, login: Login) -> None:
    """Make ``role`` unless it is there, and let ``login`` become it.

    Raises ``ConfigurationError`` for a role without our mark: roles are shared by all databases of a cluster.
    """
    power = "SET" if login.server_version >= 160000 else "MEMBER"
    state = await connection.fetchrow(load("role_state"), role, login.name, power)
    if state is None:
        for statement in render("role", role=identifier(role), mark=literal(mark)):
            await connection.execute(statement)
    elif state["mark"] != mark:
        raise ConfigurationError(
            f"Role {role!r} exists and was not made by this deployment. Either another database of this PostgreSQL "
            "cluster uses it (give each deployment a cluster of its own), or it is left over (drop it)."
        )
    if not login.superuser and not (state and state["usable"]):
        await _grant_membership(connection, role, login)


async def _grant_membership(connection: Any, role: str, login: Login) -> None:
    name = "membership" if login.server_version >= 160000 else "membership_15"
    for statement in render(name, role=identifier(role), login=_login_identifier(login.name)):
        await connection.execute(statement)


def _login_identifier(name: str) -> str:
    try:
        return identifier(name)
    except ValueError:
        raise ConfigurationError(f"The database login is called {name!r}: use a name of a-z, 0-9 and _ only.") from None
