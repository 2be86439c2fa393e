"""A tenant's rows: read out of one schema, written into another, and proved to be the same.

Only rows and the positions of sequences travel. The tables come from the migrations, up to the version that the
tenant has, so a copy is always what its migrations make and never what somebody altered by hand. The same code
carries a tenant to another database (``moving.py``) and to a file and back (``exports.py``).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import asyncpg

from ....errors import ConfigurationError
from .. import registry, schemas
from ..audit_rows import TABLE as TRAIL
from ..audit_rows import ensure_table
from ..cluster import Cluster
from ..control import lock
from ..names import Deployment, Names
from ..statements import identifier, load
from ..tenants import Provisioner

_CHUNKS = 16  # that wait between a reader and a slower writer
# What the text of a value depends on, as pg_dump sets it, the same on both sides; and no limit for a large table.
_SETTINGS = (
    "datestyle='ISO, YMD'",
    "intervalstyle=postgres",
    "timezone='UTC'",
    "bytea_output=hex",
    "extra_float_digits=1",
    "xmloption=content",
    "lc_monetary='C'",
    "row_security=off",  # an error instead of a copy without the rows that a policy hides
    "synchronize_seqscans=off",
    "statement_timeout=0",
)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one table. ``columns`` without generated ones; ``qualified`` as PostgreSQL writes its name."""

    name: str
    qualified: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a schema has. ``shape`` is one line a part (``sql/transfer_shape.sql``), without the schema's name;
    ``sequences`` the last value of each and whether it has been given out."""

    shape: tuple[str, ...]
    tables: tuple[Table, ...]
    sequences: Mapping[str, tuple[int, bool]]


class Digest:
    """Of a table's rows, in whatever order they come: how many, and the sum of the SHA-256 of each (as COPY writes
    it, in text) modulo 2**256. A copy has the same rows and need not have them in the same order."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._rest = b""

    def add(self, data: bytes) -> None:
        """The next bytes of COPY's text, in which every row ends in its only line feed."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.rows += len(lines)
        self._sum += sum(int.from_bytes(hashlib.sha256(line).digest(), "big") for line in lines)

    @property
    def checksum(self) -> str:
        return f"{self._sum % 2**256:064x}"

    @property
    def proof(self) -> tuple[int, str]:
        """What two equal tables have in common."""
        return self.rows, self.checksum


Rows = Callable[[Table, Digest], AbstractAsyncContextManager[AsyncIterator[bytes]]]


# --- Reading ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def reading(connection: Any, deployment: Deployment, names: Names) -> AsyncIterator[Contents]:
    """One moment of a schema. Nobody may be changing its tables (``lifecycle.exclusively``): a snapshot does not show
    the rows of a table that is rewritten after it was taken."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await act_in(connection, deployment, names)
        yield await contents(connection, names)


async def act_in(connection: Any, deployment: Deployment, names: Names) -> None:
    """For the rest of the transaction: as the owner, in the schema, with values written as ``_SETTINGS`` say."""
    await connection.execute(f"SET LOCAL ROLE {identifier(deployment.owner)}")
    await connection.execute(f"SET LOCAL search_path={identifier(names.schema)},pg_temp")
    for setting in _SETTINGS:
        await connection.execute(f"SET LOCAL {setting}")


async def contents(connection: Any, names: Names) -> Contents:
    """What there is in the schema, in which the connection acts."""
    shape = await connection.fetch(load("transfer_shape"), names.schema)
    tables = await connection.fetch(load("transfer_tables"), names.schema)
    sequences = {}
    for row in await connection.fetch(load("transfer_sequences"), names.schema):
        last = await connection.fetchrow(row["query"])
        sequences[row["name"]] = (last["last_value"], last["is_called"])
    return Contents(
        tuple(row["part"] for row in shape),
        tuple(Table(row["name"], row["qualified"], tuple(row["columns"])) for row in tables),
        sequences,
    )


async def copy_out(
    connection: Any, names: Names, table: Table, take: Callable[[bytes], Awaitable[None] | None]
) -> Digest:
    """Hand all rows to ``take``. Raises ``ConfigurationError`` where a policy would hide some."""
    digest = Digest()

    async def output(data: bytes) -> None:
        digest.add(data)
        waiting = take(bytes(data))
        if waiting is not None:
            await waiting

    try:
        await connection.copy_from_table(
            table.name, schema_name=names.schema, columns=table.columns or None, output=output
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"Table {table.name!r} of tenant {names.tenant_id!r} cannot be read whole ({error}): it belongs to its "
            "schema's owner and must not have FORCE ROW LEVEL SECURITY."
        ) from None
    return digest


def from_connection(connection: Any, names: Names) -> Rows:
    """``Rows`` straight out of another schema, which ``connection`` reads."""

    @asynccontextmanager
    async def rows(table: Table, digest: Digest) -> AsyncIterator[AsyncIterator[bytes]]:
        async with aclosing(_streamed(connection, names, table, digest)) as stream:
            yield stream

    return rows


async def _streamed(connection: Any, names: Names, table: Table, digest: Digest) -> AsyncGenerator[bytes, None]:
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(_CHUNKS)

    async def copy() -> None:
        try:
            await copy_out(connection, names, table, queue.put)
        finally:
            await queue.put(None)

    copying = asyncio.create_task(copy())
    try:
        while (data := await queue.get()) is not None:
            digest.add(data)
            yield data
        await copying
    finally:
        copying.cancel()
        with suppress(asyncio.CancelledError):
            await copying


# --- Writing ----------------------------------------------------------------------------------------------------------


async def make_filled(
    provisioner: Provisioner,
    cluster: Cluster,
    names: Names,
    source: Contents,
    rows: Rows,
    *,
    version: int,
    bucket: int,
    origin: str | None,
    record: bool,
) -> dict[str, tuple[int, str]]:
    """Make a tenant of that version with those rows: whole and proved, or not at all. ``origin`` is its domain or
    organisation; ``record`` whether it gets a line among the tenants of that database. Gives ``Digest.proof`` of each
    table.

    Raises ``ConfigurationError`` where the schema exists, is not what the migrations make, or the rows that arrived
    are not those that were sent.
    """
    ready = await cluster.ready()
    async with cluster.administering() as connection, connection.transaction():
        await lock(connection, names.schema)
        await _refuse_existing(connection, cluster, names)
        await provisioner.ensure_roles(connection, ready, names, bucket)
        await schemas.create(connection, ready.deployment, names)
        await provisioner.apply(connection, ready.deployment, names, provisioner.migrations[:version])
        await act_in(connection, ready.deployment, names)
        if any(table.name == TRAIL for table in source.tables):
            await ensure_table(connection, names)
        proofs = await fill(connection, names, source, rows)
        await connection.execute("SET LOCAL ROLE NONE")
        await connection.execute("SET LOCAL search_path=pg_catalog,pg_temp")
        if record:
            await registry.record(
                connection,
                names,
                source=origin,
                dsn_id=cluster.dsn_id,
                bucket=bucket,
                version=version,
                state="active",
            )
    return proofs


async def _refuse_existing(connection: Any, cluster: Cluster, names: Names) -> None:
    if await connection.fetchrow(load("schema_state"), names.schema) is not None:
        raise ConfigurationError(
            f"Database {cluster.dsn_id!r} has a schema {names.schema!r} already, which would be overwritten: drop the "
            "tenant, or purge its old copy, first."
        )


async def fill(connection: Any, names: Names, source: Contents, rows: Rows) -> dict[str, tuple[int, str]]:
    """Put rows into a schema that has just been made, in which the connection acts as its owner."""
    made = await contents(connection, names)
    refuse_other_shape(names, source.shape, made.shape)
    if made.tables:  # a migration may have put rows there, and they are among those that come
        await connection.execute("TRUNCATE TABLE " + ", ".join(table.qualified for table in made.tables))
    altered = await connection.fetch(load("transfer_alter"), names.schema)
    for row in altered:
        await connection.execute(row["before"])
    tables = _like(source, made)
    sent = {table.name: await _copy_in(connection, names, table, rows) for table in tables}
    await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for row in altered:
        await connection.execute(row["after"])
    for name, (last, called) in source.sequences.items():
        await connection.execute(load("transfer_position"), names.schema, name, last, called)
    for row in await connection.fetch(load("transfer_views"), names.schema):
        await connection.execute(f"REFRESH MATERIALIZED VIEW {row['qualified']}")
    await _prove(connection, names, tables, sent)
    if made.tables:
        await connection.execute("ANALYZE " + ", ".join(table.qualified for table in made.tables))
    return sent


def refuse_other_shape(names: Names, source: Sequence[str], made: Sequence[str]) -> None:
    """Raise ``ConfigurationError`` where a tenant is not what its migrations make: the copy would lack something."""
    if set(source) == set(made):
        return
    more, less = sorted(set(source) - set(made)), sorted(set(made) - set(source))
    difference = f"has {more[0]!r}, which they do not make" if more else f"lacks {less[0]!r}, which they make"
    raise ConfigurationError(
        f"The schema of tenant {names.tenant_id!r} is not the sum of its migrations (it {difference}): alter it "
        "by hand until it is, then try again."
    )


def _like(source: Contents, made: Contents) -> list[Table]:
    """The tables of ``made`` with their columns in the order in which the rows come."""
    columns = {table.name: table.columns for table in source.tables}
    return [Table(table.name, table.qualified, columns[table.name]) for table in made.tables]


async def _copy_in(connection: Any, names: Names, table: Table, rows: Rows) -> tuple[int, str]:
    digest = Digest()
    async with rows(table, digest) as stream:
        await connection.copy_to_table(
            table.name, schema_name=names.schema, columns=table.columns or None, source=stream
        )
    return digest.proof


async def _prove(connection: Any, names: Names, tables: Sequence[Table], sent: Mapping[str, tuple[int, str]]) -> None:
    """Read back what was written."""
    for table in tables:
        arrived = await copy_out(connection, names, table, _forget)
        if arrived.proof != sent[table.name]:
            raise ConfigurationError(
                f"Table {table.name!r} of tenant {names.tenant_id!r} did not arrive as it was sent "
                f"({sent[table.name][0]} rows sent, {arrived.rows} there): nothing of the copy has been kept."
            )


def _forget(_: bytes) -> None:
    """The digest is all that is wanted."""
