"""``TenantDatabase``: what ``get_tenant_database`` hands to a tool."""

# ruff: noqa: ASYNC109 - asyncpg's own parameter: unlike asyncio.timeout it also stops the statement on the server

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...model import MCPUserContext
from .scope import TenantScope


class TenantDatabase:
    """The database as one tenant sees it: every call is a scope, and a transaction, of its own.

    For several statements in one transaction: ``async with db.transaction() as connection``. Errors as in
    ``Database.tenant_connection`` and ``TenantConnection``.
    """

    def __init__(self, enter: Callable[..., TenantScope], who: MCPUserContext | str) -> None:
        self._enter, self._who = enter, who

    @property
    def tenant_id(self) -> str:
        """Whose data this is."""
        return self._who.tenant_id if isinstance(self._who, MCPUserContext) else self._who

    def transaction(self, *, readonly: bool = False, timeout: float | None = None) -> TenantScope:
        """One scope: see ``Database.tenant_connection``."""
        return self._enter(self._who, readonly=readonly, timeout=timeout)

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """All rows."""
        async with self.transaction() as connection:
            return await connection.fetch(query, *args, timeout=timeout)

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        """The first row, or None."""
        async with self.transaction() as connection:
            return await connection.fetchrow(query, *args, timeout=timeout)

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        """One column of the first row, or None."""
        async with self.transaction() as connection:
            return await connection.fetchval(query, *args, column=column, timeout=timeout)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """The status word ("INSERT 0 1")."""
        async with self.transaction() as connection:
            return await connection.execute(query, *args, timeout=timeout)

    async def executemany(self, query: str, args: Iterable[Sequence[Any]], *, timeout: float | None = None) -> None:
        """Once for each sequence of parameters: all of them or none."""
        async with self.transaction() as connection:
            await connection.executemany(query, args, timeout=timeout)
