"""The tenant's database inside a request.

    db = await get_tenant_database(user.tenant_id)
    rows = await db.fetch("select id, title from notes")

    async with tenant_connection(user) as connection:      # one transaction
        await connection.execute("insert into notes (title) values ($1)", title)

    async with untrusted_connection(user) as connection:   # for SQL that a tenant or a model wrote
        rows = await connection.fetch(text)

The middleware says which database (``current_database``). A tenant given by name must be the caller's own: a
tool's argument never chooses the tenant. ``Database.tenant`` makes no such check and is for administration.
"""

from __future__ import annotations

from .adapters.postgres.current import current_database, use_database
from .adapters.postgres.database import Database
from .adapters.postgres.embedded import EmbeddedPostgres
from .adapters.postgres.policies import user_policy
from .adapters.postgres.scope import TenantScope
from .adapters.postgres.tenant_connection import TenantConnection
from .adapters.postgres.tenant_database import TenantDatabase
from .adapters.postgres.untrusted import LimitExceeded, Limits, Rows, UntrustedConnection, UntrustedScope
from .context import peek_user
from .errors import ConfigurationError, Forbidden, Refusal
from .in_request import record
from .model import MCPUserContext

__all__ = [
    "Database",
    "EmbeddedPostgres",
    "LimitExceeded",
    "Limits",
    "Rows",
    "TenantConnection",
    "TenantDatabase",
    "UntrustedConnection",
    "current_database",
    "get_tenant_database",
    "tenant_connection",
    "untrusted_connection",
    "use_database",
    "user_policy",
]

_NONE_SET = (
    "No tenant database: set MCP_HTTP_DATABASE_CONNECTION_STRING (or DATABASE_URL), and ask for it inside a "
    "request that TenantryMiddleware serves."
)


async def get_tenant_database(tenant: str | MCPUserContext) -> TenantDatabase:
    """The tenant's database, made or brought up to date first where the settings allow it.

    ``tenant`` is the caller's ``tenant_id``, or the caller, whose id statements then see
    (``tenant_connection``). Raises ``Forbidden("tenant_unknown")``, also for a tenant that is not the
    caller's; ``Unavailable``; ``ConfigurationError`` when there is no database.
    """
    database = _database_for(tenant)
    try:
        await database.ensure_tenant(tenant.tenant_id if isinstance(tenant, MCPUserContext) else tenant)
    except Refusal as refusal:
        record(refusal)
        raise
    return database.tenant(tenant)


def tenant_connection(
    user: MCPUserContext | str, *, readonly: bool = False, timeout: float | None = None
) -> TenantScope:
    """One transaction in the caller's tenant: see ``Database.tenant_connection``. Raises as above."""
    return _database_for(user).tenant_connection(user, readonly=readonly, timeout=timeout)


def untrusted_connection(
    user: MCPUserContext | str, *, readonly: bool = True, limits: Limits | None = None
) -> UntrustedScope:
    """For SQL that a tenant or a model wrote: see ``Database.untrusted_connection``. Raises as above."""
    return _database_for(user).untrusted_connection(user, readonly=readonly, limits=limits)


def _database_for(tenant: str | MCPUserContext) -> Database:
    database = current_database.get()
    if database is None:
        raise ConfigurationError(_NONE_SET)
    if isinstance(tenant, str):
        _check_own(tenant)
    return database


def _check_own(tenant_id: str) -> None:
    """A context is proof enough (only the gate makes one); a name may come from anywhere.

    A session that outlives its first request may remember an earlier caller here (``context.py``): that
    refuses, and passing the ``MCPUserContext`` of the request works.
    """
    caller = peek_user()
    if caller is not None and caller.tenant_id != tenant_id:
        raise record(Forbidden("tenant_unknown", detail="not the caller's tenant"))
