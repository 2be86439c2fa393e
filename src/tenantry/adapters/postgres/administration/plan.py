"""What ``tenantry migrate`` would do: looks, and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from ....errors import ConfigurationError
from .. import history
from ..cluster import Cluster
from ..control import inspect
from ..failures import reaching
from ..migrations import Migrations, Phase, not_portable
from ..registry import Entry, every
from ..tenants import MAIN
from .batches import LEFT_ALONE
from .migrate import behind, named

if TYPE_CHECKING:
    from ..database import Database


@dataclass(frozen=True, slots=True)
class Plan:
    """One database. ``prepared``: nothing is to be made there first; ``versions``: how many of its tenants have which
    version; ``files``: name of a migration to the number of tenants that would get it; ``skipped``: tenant id to the
    state for which it would not be touched."""

    dsn_id: str
    prepared: bool
    versions: Mapping[int, int]
    files: Mapping[str, int]
    skipped: Mapping[str, str]


async def plan(database: Database, *, phase: Phase = "post", tenants: Sequence[str] | None = None) -> list[Plan]:
    """What ``migrate`` would do now, for each database. Raises as it does."""
    migrations = database.provisioner.migrations
    entries: list[Entry] = []
    plans = []
    for dsn_id, cluster in database.clusters.items():  # the main one is the first
        async with looking(cluster) as connection:
            login = await inspect(connection)
            if login.installed:
                await history.check(connection, migrations)
                if dsn_id == MAIN:
                    entries = named(await every(connection), tenants)
            elif dsn_id == MAIN:
                named([], tenants)
        here = [entry for entry in entries if entry.dsn_id == dsn_id]
        plans.append(_plan(dsn_id, login.installed and login.hardened, here, migrations, phase))
    return plans


@asynccontextmanager
async def looking(cluster: Cluster) -> AsyncIterator[Any]:
    """A direct connection to a database as it is, prepared or not."""
    with addressing(cluster), reaching():
        connection = await cluster.listen()
    try:
        with reaching():
            yield connection
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(f"The login of database {cluster.dsn_id!r} lacks a right: {error}.") from None
    finally:
        connection.terminate()


@contextmanager
def addressing(cluster: Cluster) -> Iterator[None]:
    """Around connecting: a connection string that is none is one sentence."""
    try:
        yield
    except ValueError:  # its text may quote the connection string
        raise ConfigurationError(
            f"The connection string of database {cluster.dsn_id!r} cannot be used: write "
            "postgresql://user:password@host:5432/database."
        ) from None


def _plan(dsn_id: str, prepared: bool, entries: Sequence[Entry], migrations: Migrations, phase: Phase) -> Plan:
    version = migrations.up_to(phase)
    served = [entry for entry in entries if entry.state not in LEFT_ALONE]
    files: Counter[str] = Counter()
    for entry in behind(served, version):
        # One that is still being made is made whole.
        to = migrations.newest if entry.state == "creating" else version
        files.update(migration.name for migration in migrations[entry.version : to])
    return Plan(
        dsn_id,
        prepared,
        dict(sorted(Counter(entry.version for entry in served).items())),
        {migration.name: files[migration.name] for migration in migrations if files[migration.name]},
        {each.names.tenant_id: each.state for each in behind(entries, version) if each.state in LEFT_ALONE},
    )


def not_on_citus(migrations: Migrations) -> list[str]:
    """What PostgreSQL takes and Citus does not: one sentence for each statement, with the file's name."""
    return [
        f"{migration.name}: statement {number} has {reason}, which Citus refuses"
        for migration in migrations
        for number, statement in enumerate(migration.statements, 1)
        if (reason := not_portable(statement))
    ]
