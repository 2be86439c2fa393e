"""What a database remembers of the migrations that its tenants have, so that nobody changes one afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import ConfigurationError
from .migrations import Migration, Migrations
from .statements import load

_FILE = ".sql"


async def check(connection: Any, migrations: Migrations) -> int:
    """How many the database knows; more than ``migrations`` has where a newer release was here.

    Raises ``ConfigurationError`` when one is no longer what it was when a tenant first had it.
    """
    rows = await connection.fetch("SELECT number, name, checksum FROM tenantry.migrations ORDER BY number")
    for row in rows:
        if row["number"] <= migrations.newest:
            _compare(migrations[row["number"] - 1], row["name"], row["checksum"])
    return max((row["number"] for row in rows), default=0)


async def record(connection: Any, migrations: Migrations, scripts: Sequence[Migration]) -> None:
    """Write down that a tenant has got ``scripts``: part of that transaction, for a file that failed may be mended, and
    the end of it, for others wait who write down the same. Raises as ``check``."""
    if not scripts:
        return
    known = await check(connection, migrations)
    new = [row_of(each) for each in scripts if each.number > known]
    if new:
        await connection.executemany(load("migration_record"), new)
        await check(connection, migrations)  # somebody else may have been faster, with another file


def row_of(migration: Migration) -> tuple[int, str, str, str]:
    """The parameters of ``sql/migration_record.sql``."""
    return migration.number, migration.name, migration.phase, migration.checksum


def _compare(migration: Migration, name: str, checksum: str) -> None:
    # Scripts that were handed in as text have numbers for names.
    renamed = migration.name != name and migration.name.endswith(_FILE) and name.endswith(_FILE)
    if migration.checksum == checksum and not renamed:
        return
    if migration.name == name:
        raise ConfigurationError(
            f"Migration {name!r} was changed after it was applied: restore it, and put the change into a new file."
        )
    raise ConfigurationError(
        f"Migration {migration.name!r} stands where {name!r} was when it was applied: do not rename or remove a file, "
        "nor put one before it."
    )
