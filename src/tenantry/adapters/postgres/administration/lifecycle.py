"""What an operator does to a tenant that need not move any data: make, suspend, resume, map.

Every change is announced, so that all replicas act on it, and written to the audit with who did it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from ....core.tenancy import canonical_domain, check_mapped_name, check_tenant_id, decode_domain
from ....errors import ConfigurationError
from ..cluster import Cluster
from ..control import NO_ROLES, lock
from ..database import Database
from ..names import Names
from ..registry import Entry, State, announce, find, tell
from ..statements import identifier, load, operators_identifier, render
from ..tenants import MAIN

_ORGANIZATION = re.compile(r"[a-z][a-z0-9_-]{0,31}:[!-~]{1,255}", re.ASCII)
_PERSONAL = "u___"


# --- What the commands have in common ---------------------------------------------------------------------------------


def checked_tenant_id(tenant_id: str) -> str:
    """``tenant_id`` when it can be anybody's. Raises ``ConfigurationError``."""
    try:
        return check_tenant_id(tenant_id)
    except ValueError:
        raise ConfigurationError(
            f"{tenant_id!r} is not a tenant id: write a name of a-z, 0-9 and _, or give a domain with --domain."
        ) from None


def checked_source(source: str) -> str:
    """A canonical domain, or ``<provider>:<organisation>``. Raises ``ConfigurationError``."""
    if ":" in source:
        if _ORGANIZATION.fullmatch(source):
            return source
        raise ConfigurationError(f"{source!r} is not an organisation: write <provider>:<its id>, like auth0:org_1.")
    try:
        return canonical_domain(source)
    except ValueError:
        raise ConfigurationError(
            f"{source!r} is not a domain: write it in ASCII lower case, like example.com or xn--bcher-kva.example."
        ) from None


async def existing(database: Database, tenant_id: str) -> Entry:
    """A tenant that must be there. Raises ``ConfigurationError``."""
    entry = await database.registry.find(checked_tenant_id(tenant_id))
    if entry is None:
        raise ConfigurationError(f"There is no tenant {tenant_id!r}: `tenantry tenants list` says which there are.")
    return entry


@asynccontextmanager
async def exclusively(cluster: Cluster, names: Names) -> AsyncIterator[None]:
    """Nobody else makes, migrates, moves or drops the tenant in this database meanwhile (``control.lock``).

    Raises ``ConfigurationError`` when somebody is about to.
    """
    async with cluster.administering() as connection, connection.transaction():
        try:
            await lock(connection, names.schema)
        except asyncpg.LockNotAvailableError:
            raise ConfigurationError(
                f"Another command is at work on tenant {names.tenant_id!r}: try again when it has ended."
            ) from None
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout=0")  # a copy may take hours
        yield


async def change_state(
    database: Database, tenant_id: str, before: State, after: State, *, actor: str, detail: Mapping[str, Any] | None
) -> bool:
    """From one state into another and tell everybody; false when it is in neither of them."""
    async with database.clusters[MAIN].administering() as connection, connection.transaction():
        status = await connection.execute(load("tenant_state"), tenant_id, before, after)
        if status == "UPDATE 0":
            return False
        deployment = await database.registry.deployment()
        await announce(connection, deployment, actor, f"tenant.{after}", tenant_id, detail)
        return True


async def close_schema(connection: Any, names: Names) -> None:
    """Let nobody in, whatever a replica still believes: without USAGE the role finds no table, also none of which it
    has a statement prepared. The connection acts as the schema's owner."""
    if await connection.fetchval(load("role_exists"), names.role) is not None:
        for statement in render("schema_close", schema=identifier(names.schema), role=identifier(names.role)):
            await connection.execute(statement)


async def open_schema(connection: Any, names: Names) -> None:
    """The opposite of ``close_schema``."""
    for statement in render("schema_open", schema=identifier(names.schema), role=identifier(names.role)):
        await connection.execute(statement)


def membership_ends(role: str, login: str) -> list[str]:
    """The statements that keep ``login`` from becoming ``role``."""
    return list(render("membership_end", role=identifier(role), login=operators_identifier(login, "database login")))


# --- Making, suspending, resuming -------------------------------------------------------------------------------------


async def create(
    database: Database, tenant_id: str, *, source: str | None, dsn_id: str, actor: str
) -> tuple[Entry, bool]:
    """Make a tenant unless it is there; the tenant, and whether it was made. Replicas that remembered it as unknown
    hear of it. Raises ``ConfigurationError``, ``Unavailable``."""
    checked_tenant_id(tenant_id)
    if dsn_id not in database.clusters:
        raise ConfigurationError(f"There is no database {dsn_id!r}: {_choices(database)}.")
    known = await database.registry.find(tenant_id)
    if known is not None and known.state != "creating":
        return known, False
    _, ready = await database.provisioner.cluster(dsn_id)
    if not ready.login.may_make_roles:
        raise ConfigurationError(NO_ROLES.format(login=ready.login.name))
    made = await database.provisioner.make(tenant_id, source=source, dsn_id=dsn_id, actor=actor)
    async with database.clusters[MAIN].administering() as connection, connection.transaction():
        await tell(connection, await database.registry.deployment())
    return made, True


def _choices(database: Database) -> str:
    return "MCP_HTTP_DATABASES and the main one give " + ", ".join(sorted(database.clusters))


async def suspend(database: Database, tenant_id: str, *, actor: str) -> bool:
    """Serve the tenant no longer; false when it was suspended already. Open scopes finish."""
    return await _switch(database, tenant_id, "active", "suspended", actor)


async def resume(database: Database, tenant_id: str, *, actor: str) -> bool:
    """Serve a suspended tenant again; false when it is served already."""
    return await _switch(database, tenant_id, "suspended", "active", actor)


_UNFINISHED: dict[State, str] = {
    "creating": "has been made by half: `tenantry tenants create` completes it",
    "moving": "is being moved: `tenantry tenants move` completes that, or undoes it with --cancel",
    "dropping": "is being dropped: `tenantry tenants drop` completes that",
}


async def _switch(database: Database, tenant_id: str, before: State, after: State, actor: str) -> bool:
    entry = await existing(database, tenant_id)
    if entry.state == after:
        return False
    if not await change_state(database, tenant_id, before, after, actor=actor, detail=None):
        entry = await existing(database, tenant_id)
        raise ConfigurationError(f"Tenant {tenant_id!r} {_UNFINISHED.get(entry.state, 'has just changed: try again')}.")
    return True


# --- Mappings ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mapped:
    """``added``: the sources that lead to the tenant now and did not before; empty when nothing had to be done."""

    tenant_id: str
    added: tuple[str, ...]


async def map_source(
    database: Database, source: str, tenant_id: str, configured: Mapping[str, str], *, actor: str
) -> Mapped:
    """Give the people of a domain or organisation to a tenant. ``configured`` is MCP_HTTP_TENANT_MAPPING.

    A tenant whose id follows from a domain of its own keeps that domain: its mapping is written too, because once a
    mapping gives out the name, people are no longer let in for its spelling alone (``TenantRules``). Raises
    ``ConfigurationError`` when somebody else says otherwise.
    """
    source, tenant_id = checked_source(source), checked_tenant_id(tenant_id)
    if tenant_id.startswith(_PERSONAL):
        raise ConfigurationError(f"Tenant {tenant_id!r} is one person's own: nobody else may be mapped to it.")
    if configured.get(source, tenant_id) != tenant_id:
        raise ConfigurationError(
            f"MCP_HTTP_TENANT_MAPPING gives {source!r} to {configured[source]!r}, and its word holds: change it there."
        )
    deployment = await database.registry.deployment()
    async with database.clusters[MAIN].administering() as connection, connection.transaction():
        await lock(connection, "the mappings")
        known = {row["source"]: row["tenant_id"] for row in await connection.fetch(load("mappings"))}
        if source in known:
            _check_same(source, known[source], tenant_id)
            return Mapped(tenant_id, ())
        entry = await find(connection, tenant_id)
        if entry is None:
            _check_mappable(tenant_id)
        added = (source, *_own_domain(entry, source, {**known, **configured}))
        await connection.executemany(load("mapping_add"), [(one, tenant_id) for one in added])
        for one in added:
            await announce(connection, deployment, actor, "source.mapped", one, {"tenant": tenant_id})
        return Mapped(tenant_id, added)


def _check_same(source: str, known: str, tenant_id: str) -> None:
    if known != tenant_id:
        raise ConfigurationError(
            f"{source!r} is mapped to tenant {known!r}: `tenantry tenants unmap {source}` first, if that is to change."
        )


def _check_mappable(tenant_id: str) -> None:
    try:
        check_mapped_name(tenant_id)
    except ValueError as error:
        raise ConfigurationError(
            f"There is no tenant {tenant_id!r}, and none can be given that name: {error}."
        ) from None


def _own_domain(entry: Entry | None, source: str, mapping: Mapping[str, str]) -> tuple[str, ...]:
    """The domain whose people have been this tenant by the spelling of their domain alone, until now."""
    if entry is None or entry.names.tenant_id in mapping.values():
        return ()
    try:
        domain = decode_domain(entry.names.tenant_id)
    except ValueError:
        return ()
    if domain == source or domain in mapping or entry.source not in (None, domain):
        return ()
    return (domain,)


async def unmap(database: Database, source: str, *, actor: str) -> str | None:
    """Take a mapping back; the tenant it led to, None when there was none. Raises ``ConfigurationError``."""
    source = checked_source(source)
    deployment = await database.registry.deployment()
    async with database.clusters[MAIN].administering() as connection, connection.transaction():
        await lock(connection, "the mappings")
        tenant_id: str | None = await connection.fetchval(load("mapping_remove"), source)
        if tenant_id is not None:
            await announce(connection, deployment, actor, "source.unmapped", source, {"tenant": tenant_id})
        return tenant_id
