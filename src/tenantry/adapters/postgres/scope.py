"""One block of database work = one transaction inside one tenant.

    BEGIN; SET LOCAL ROLE; SET LOCAL search_path; ...                 one round trip in
    the handler's statements
    COMMIT; RESET ROLE; RESET ALL; unlock                             one round trip out

* The role comes first: it fails for a tenant that does not exist, where a search_path of nowhere is accepted.
* ``public`` is never in the path, and ``pg_temp`` is named because PostgreSQL searches it first when it is
not.
* Everything is LOCAL to the transaction, so an end of any kind undoes it; what a handler did to the session
  besides (SET, SET ROLE, advisory locks, cursors, LISTEN) is undone by the clean-up.

The role is a wall against mistakes. It is none against SQL written by a tenant or a language model: that can
say SET ROLE itself. Never run such text here.
"""

# ruff: noqa: ASYNC109 - asyncpg's own parameter: unlike asyncio.timeout it also stops the statement on the server

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from ...errors import Unavailable
from ...model import MCPUserContext
from .statements import identifier, literal

# Temporary tables and SQL-level PREPARE are the two things it leaves: TEMP is revoked (harden.sql), and
# DEALLOCATE ALL would break the driver's own statements. A cursor WITH HOLD survives a transaction and would
# hand its rows on.
CLEAN_UP = (
    "RESET SESSION AUTHORIZATION;RESET ROLE;RESET ALL;CLOSE ALL;UNLISTEN *;SELECT pg_catalog.pg_advisory_unlock_all()"
)
# COMMIT of a transaction in which a statement failed is a silent ROLLBACK. SET CONSTRAINTS is an error there,
# and otherwise does what COMMIT would do next, while the tenant's role still applies.
COMMIT = f"SET CONSTRAINTS ALL IMMEDIATE;COMMIT;{CLEAN_UP}"
ROLLBACK = f"ROLLBACK;{CLEAN_UP}"

_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    # Only when connecting: a database is renamed, a password is changed, a limit is reached while we run.
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_RETRY_AFTER = 5.0  # a restart or a failover of a managed PostgreSQL takes seconds to a minute


def unavailable(error: BaseException) -> Unavailable:
    """The refusal for a database that cannot be used now. Only the error's type is kept: texts may hold a
    DSN.
    """
    return Unavailable("database_unavailable", retry_after=_RETRY_AFTER, detail=type(error).__name__)


@contextmanager
def reaching() -> Iterator[None]:
    """Around connecting and provisioning: what says that the database is out of reach becomes ``Unavailable``.

    A TimeoutError does (an OSError since Python 3.11), an InterfaceError (the pool or the connection is closed),
    and a lock that somebody else keeps.
    """
    try:
        yield
    except asyncpg.exceptions.ClientConfigurationError:
        raise  # a malformed DSN, which is a ValueError too
    except (*_LOST, asyncpg.InterfaceError, asyncpg.LockNotAvailableError) as error:
        raise unavailable(error) from error


async def ask(connection: Any, method: str, *args: Any, **options: Any) -> Any:
    """Call a method of the connection; a lost one is ``Unavailable``. TimeoutError is the statement's own."""
    try:
        return await getattr(connection, method)(*args, **options)
    except TimeoutError:
        raise
    except (*_LOST, asyncpg.InterfaceError) as error:
        if isinstance(error, asyncpg.InterfaceError) and not is_lost(connection):
            raise  # a wrong number of parameters, for instance
        raise unavailable(error) from error


def is_lost(connection: Any) -> bool:
    """Whether a pooled connection is closed; the pool may have taken it back because of that."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True


def entering(role: str, schema: str, user: MCPUserContext | None, *, readonly: bool, timeout: float | None) -> str:
    """The one string that enters a tenant. ``timeout`` is the limit of each statement in seconds.

    Raises ``ValueError`` for names that are no identifiers and for a timeout outside 1 ms to 24 days (int4).
    """
    steps = [
        "BEGIN READ ONLY" if readonly else "BEGIN",
        f"SET LOCAL ROLE {identifier(role)}",
        f"SET LOCAL search_path={identifier(schema)},pg_temp",
    ]
    if timeout is not None:
        steps.append(f"SET LOCAL statement_timeout={_milliseconds(timeout)}")
    if user is not None:
        steps.append(f"SET LOCAL tenantry.user_id={literal(user.user_id)}")
        steps.append(f"SET LOCAL tenantry.permissions={literal(' '.join(sorted(user.permissions)))}")
    return ";".join(steps)


def _milliseconds(seconds: float) -> int:
    milliseconds = round(seconds * 1000)
    if not 1 <= milliseconds < 2**31:
        raise ValueError("a timeout is between 0.001 and 2147483 seconds")
    return milliseconds


class ScopedConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg ships no types
    """A pooled connection that knows whether its last scope left it clean."""

    __slots__ = ("_left_clean",)

    async def leave(self, ending: str) -> None:
        """End the scope with ``COMMIT`` or ``ROLLBACK`` above."""
        await self.execute(ending)
        self._left_clean = True

    async def clean(self) -> None:
        """The pool's reset: nothing after a scope that left cleanly, else everything."""
        if not getattr(self, "_left_clean", False):
            await self.execute(CLEAN_UP)
        self._left_clean = False


class TenantConnection:
    """What a scope hands out: the connection inside one tenant and one transaction.

    ``query`` takes ``$1`` parameters; ``timeout`` is in seconds. Rows are ``asyncpg.Record``. Errors are
    asyncpg's, except that a lost connection is ``Unavailable``. Unusable once the block ends.
    """

    __slots__ = ("_connection", "_savepoints")

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._savepoints = 0

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """All rows."""
        rows: list[Any] = await self._run("fetch", query, *args, timeout=timeout)
        return rows

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        """The first row, or None."""
        return await self._run("fetchrow", query, *args, timeout=timeout)

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        """One column of the first row, or None."""
        return await self._run("fetchval", query, *args, column=column, timeout=timeout)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """The status word ("INSERT 0 1"). Without ``args``, ``query`` may hold several statements."""
        status: str = await self._run("execute", query, *args, timeout=timeout)
        return status

    async def executemany(self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None) -> None:
        """Once for each sequence of parameters."""
        await self._run("executemany", query, args, timeout=timeout)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[TenantConnection]:
        """A savepoint: an exception in the block undoes the block, and the scope can go on."""
        self._savepoints += 1
        name = identifier(f"tenantry_{self._savepoints}")
        await self.execute(f"SAVEPOINT {name}")
        try:
            yield self
        except Exception:
            await self.execute(f"ROLLBACK TO SAVEPOINT {name};RELEASE SAVEPOINT {name}")
            raise
        await self.execute(f"RELEASE SAVEPOINT {name}")

    async def _run(self, method: str, *args: Any, **options: Any) -> Any:
        result = await ask(self._connection, method, *args, **options)
        self.check()
        return result

    def check(self) -> None:
        """Raise ``RuntimeError`` when a statement ended the transaction: role and path went with it."""
        if is_lost(self._connection):
            raise unavailable(ConnectionError())
        if not self._connection.is_in_transaction():
            raise RuntimeError("COMMIT and ROLLBACK belong to the scope: use transaction() for a part of it")
