"""``TenantConnection``: what a scope hands out."""

# ruff: noqa: ASYNC109 - asyncpg's own parameter: unlike asyncio.timeout it also stops the statement on the server

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from math import inf
from time import monotonic
from typing import Any

import asyncpg

from .failures import answer_for, is_lost, unavailable
from .statements import identifier

SILENCE_SECONDS = 10.0  # a server that keeps a statement's limit has answered by then
# One statement that reads or writes rows, and prepares nothing.
_DROPS = re.compile(r"\b(?:deallocate|discard)\b", re.IGNORECASE)  # the driver's own statements may be gone then
_PLAIN = re.compile(r"\s*(?:select|insert|update|delete|with|values|table|merge)\b[^;]*;?\s*", re.IGNORECASE)


@lru_cache(maxsize=2048)
def is_plain(query: str) -> bool:
    """Whether a query can leave nothing prepared. Looking there costs as much as the rest of the clean-up, or several
    times that with many statements cached, and is saved where it can be."""
    return _PLAIN.fullmatch(query) is not None


class TenantConnection:
    """What a scope hands out: the connection inside one tenant and one transaction.

    ``query`` takes ``$1`` parameters; ``timeout`` is in seconds. Rows are ``asyncpg.Record``. Errors are
    asyncpg's, except that a lost connection is ``Unavailable``. Unusable once the block ends.
    """

    __slots__ = ("_connection", "_patience", "_readonly", "_savepoints", "_waiting", "prepares", "spoilt")

    def __init__(self, connection: Any, waiting: dict[Any, float], *, readonly: bool, limit: float | None) -> None:
        self._connection: Any = connection
        self._waiting, self._readonly = waiting, readonly
        self._patience = inf if limit is None else limit + SILENCE_SECONDS
        self._savepoints = 0
        self.prepares = self.spoilt = False

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

    async def _run(self, method: str, query: str, *args: Any, **options: Any) -> Any:
        connection = self._connection
        if connection is None:
            raise asyncpg.InterfaceError("the block has ended, and the connection has gone back")
        if not is_plain(query):
            self.prepares = True
            self.spoilt = self.spoilt or _DROPS.search(query) is not None
        waiting = self._waiting
        waiting[connection] = monotonic() + self._patience
        try:
            result = await getattr(connection, method)(query, *args, **options)
        except Exception as error:
            answer = answer_for(error, connection, readonly=self._readonly)
            if answer is error:
                raise
            raise answer from error
        finally:
            waiting.pop(connection, None)
        self.check()
        return result

    def check(self) -> None:
        """Raise ``RuntimeError`` when a statement ended the transaction: role and path went with it."""
        if is_lost(self._connection):
            raise unavailable(ConnectionError())
        if not self._connection.is_in_transaction():
            raise RuntimeError("COMMIT and ROLLBACK belong to the scope: use transaction() for a part of it")

    def end(self) -> None:
        """Nothing more goes through here."""
        self._connection = None
