"""A tenant's schema: made, brought forward by migrations, opened to the tenant's role. Each call is part of the
caller's transaction and ends as the caller's own role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from ...errors import ConfigurationError
from .migrations import Migration
from .names import Deployment, Names
from .statements import identifier, literal, render

PATIENCE = "10s"


async def create(connection: Any, deployment: Deployment, names: Names) -> None:
    """Make the empty schema. Raises ``ConfigurationError`` for one that is there."""
    taken = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1::name"
    if await connection.fetchval(taken, names.schema):
        raise ConfigurationError(
            f"Schema {names.schema!r} exists and was not made by this deployment (tenantry.tenants does not have it): "
            "rename or drop it."
        )
    await connection.execute(f"CREATE SCHEMA {identifier(names.schema)} AUTHORIZATION {identifier(deployment.owner)}")


async def migrate(
    connection: Any,
    deployment: Deployment,
    work: Sequence[tuple[Names, Sequence[Migration]]],
    *,
    patience: str = PATIENCE,
) -> None:
    """Run scripts in tenants' schemas as their owner, and let each tenant's role use what is there then.

    ``patience``: how long a statement may wait for a lock. Raises asyncpg's errors, with script and statement in a
    note, and ``ConfigurationError``.
    """
    await run(connection, deployment, work, patience=patience)
    for row in await connection.fetch(granting([names for names, _ in work])):
        await connection.execute(row["statement"])
    await connection.execute("SET LOCAL ROLE NONE")


async def run(
    connection: Any, deployment: Deployment, work: Sequence[tuple[Names, Sequence[Migration]]], *, patience: str
) -> None:
    """The scripts alone. Leaves the transaction as ``granting`` needs it."""
    for names, scripts in work:
        for script in scripts:
            await connection.execute(_entering(deployment, names.schema, patience))
            await _run(connection, script)
    # With pg_catalog alone in the path, PostgreSQL writes every name in full.
    await connection.execute(_entering(deployment, "pg_catalog", patience))


def granting(tenants: Sequence[Names]) -> str:
    """The query for the GRANTs that are missing: ``statement``, to be run by the owner."""
    values = ", ".join(f"({literal(names.schema)}::name, {literal(names.role)}::name)" for names in tenants)
    (query,) = render("grants", tenants=values)
    return query


def _entering(deployment: Deployment, schema: str, patience: str) -> str:
    """Said before each script: what one leaves behind (SET LOCAL) must not reach the next one, or the next tenant."""
    return (
        f"RESET ALL;SET LOCAL lock_timeout={literal(patience)};SET LOCAL ROLE {identifier(deployment.owner)};"
        f"SET LOCAL search_path={identifier(schema)},pg_temp"
    )


async def _run(connection: Any, script: Migration) -> None:
    for number, statement in enumerate(script.statements, 1):
        try:
            await connection.execute(statement)
        except asyncpg.PostgresError as error:
            error.add_note(f"statement {number} of migration {script.name!r}")
            raise
        if not connection.is_in_transaction():
            raise ConfigurationError(
                f"Migration {script.name!r} ends the transaction it runs in: leave out COMMIT and ROLLBACK."
            )
