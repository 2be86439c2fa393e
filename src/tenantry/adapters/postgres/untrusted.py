"""SQL that a tenant or a language model wrote.

    async with untrusted_connection(user) as connection:
        rows = await connection.fetch(text_of_a_model)      # one query or, with readonly=False, one INSERT ...

The wall is the login: the connection's is the tenant's own role, which has no other to become and shares its session
with nobody. Before it stand a fence and the limits:

* Each text is given to the server's own parser first, alone, and then again inside of WITH ( ... ). What passes both
  is one complete statement, and one that reads or writes rows: no SET, DO, PREPARE, COMMIT, CREATE.
* Time: our own clock. The statement is cancelled, and where it goes on, its server process is ended.
* Rows and bytes: counted by the statement around it, and what arrives is counted here again, because an error may
  quote a value of 1 GB. Nothing of this is a setting, so nothing that the text says changes it.

What it does not stop. Memory: ``Limits.memory`` bounds each sort and hash, but one value may take 1 GB, and where
``set_config`` has not been taken from PUBLIC (``harden_superuser.sql``, by a superuser) a text may raise it: only the
system can bound a server process (cgroup, ulimit -v, vm.overcommit_memory=2). Disk: temporary files are bounded where
the direct login may set ``temp_file_limit``, else by the time alone. Processor and I/O are the neighbours' as well.
Names of other tenants' schemas, tables and roles are in the catalog for everybody (MCP_HTTP_SCHEMA_NAMES=opaque);
nothing of their contents is. Advisory locks are one space: a text can hold up the making of a tenant until its block
ends. Functions of the application's own that build SQL from text are the application's to guard.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import asyncpg

from ...model import MCPUserContext
from .failures import answer_for
from .session import milliseconds
from .statements import identifier, literal, render
from .untrusted_login import Link, Links

_MARK = "tenantry: more bytes than allowed: "
# A text of 2 characters may be 12 bytes on the wire (an element of an array of int8), and an answer has a frame.
_ON_THE_WIRE, _FRAME = 8, 64 * 1024
_SERVER_GRACE = 1.0  # our clock speaks first, so that there is one error for one thing
_RETURNING = "\nRETURNING 1"  # so that what writes and returns nothing can be counted
_COMMIT = "SET CONSTRAINTS ALL IMMEDIATE;COMMIT"  # the first is an error where COMMIT would roll back


@dataclass(frozen=True, slots=True)
class Limits:
    """``seconds`` for the whole block; ``rows``, and ``bytes`` of all of them, for each answer; ``memory``: bytes for
    each sort and hash before it goes to disk. Raises ``ValueError`` for what is out of range."""

    seconds: float = 10.0
    rows: int = 1000
    bytes: int = 1 << 20
    memory: int = 16 << 20

    def __post_init__(self) -> None:
        if not 0.001 <= self.seconds <= 86_400:
            raise ValueError("seconds: from 0.001 to 86400")
        if not 1 <= self.rows <= 1_000_000:
            raise ValueError("rows: from 1 to 1000000")
        if not 1 << 10 <= self.bytes <= 1 << 28:  # a row has a header
            raise ValueError("bytes: from 1 KiB to 256 MiB")
        if not 64 << 10 <= self.memory <= 1 << 30:  # 64 kB is the least that work_mem takes
            raise ValueError("memory: from 64 KiB to 1 GiB")


class LimitExceeded(Exception):
    """A limit was reached; ``limit`` is "seconds" or "bytes". The sentence is for whoever wrote the SQL."""

    def __init__(self, limit: str, sentence: str) -> None:
        super().__init__(sentence)
        self.limit = limit


class Rows(list[Any]):
    """Records. ``truncated``: there were more than ``Limits.rows``. No error, because a first page is what somebody
    who looks around wants, and a flag, because a page must not be taken for the whole."""

    truncated: bool = False


class UntrustedConnection:
    """One statement of somebody else's a call, with ``$1`` parameters; all calls of a block are one transaction.

    Errors of the statement are asyncpg's; ``LimitExceeded``; ``Unavailable`` for a lost connection.
    """

    __slots__ = ("_deadline", "_limits", "_link", "_readonly")

    def __init__(self, link: Link, limits: Limits, deadline: float, *, readonly: bool) -> None:
        self._link: Link | None = link
        self._limits, self._deadline, self._readonly = limits, deadline, readonly

    async def fetch(self, query: str, *args: Any) -> Rows:
        """The first ``Limits.rows`` rows."""
        rows = Rows(await self._ask(query, args, self._limits.rows + 1))
        rows.truncated = len(rows) > self._limits.rows
        del rows[self._limits.rows :]
        return rows

    async def fetchrow(self, query: str, *args: Any) -> Any:
        """The first row, or None."""
        rows = await self._ask(query, args, 1)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *args: Any, column: int = 0) -> Any:
        """One column of the first row, or None."""
        row = await self.fetchrow(query, *args)
        return None if row is None else row[column]

    async def execute(self, query: str, *args: Any) -> int:
        """How many rows were written (or read, or returned)."""
        number: int = (await self._ask(query, args, None))[0][0]
        return number

    async def _ask(self, query: str, args: tuple[Any, ...], limit: int | None) -> list[Any]:
        """The rows, ``limit`` at most; with None, their number."""
        link = self._link
        if link is None:
            raise asyncpg.InterfaceError("the block has ended")
        _check_text(query)
        query = query.rstrip().removesuffix(";")  # which models like to write
        try:
            async with asyncio.timeout_at(self._deadline):
                link.meter.allow(_ON_THE_WIRE * self._limits.bytes + _FRAME)
                # Alone, before it stands in brackets: no bracket, quote or comment in it reaches beyond its end.
                parsed = await link.connection.prepare(query, name="")
                columns = bool(parsed.get_attributes())
                statement = self._around(query if columns else query + _RETURNING, limit if columns else None)
                rows: list[Any] = await link.connection.fetch(statement, *args)
        except Exception as error:
            answer = self._answer(error, link)
            if answer is error:
                raise
            raise answer from error
        return rows if columns or limit is None else []

    def _around(self, query: str, limit: int | None) -> str:
        if limit is None:
            (statement,) = render("untrusted_count", statement=query)
        else:
            size = str(self._limits.bytes)
            (statement,) = render("untrusted_rows", statement=query, rows=str(limit), bytes=size, mark=literal(_MARK))
        return statement

    def _answer(self, error: Exception, link: Link) -> BaseException:
        if isinstance(error, TimeoutError):
            return LimitExceeded("seconds", f"Stopped: it took longer than {self._limits.seconds:g} seconds.")
        said_so = isinstance(error, asyncpg.InvalidTextRepresentationError) and _MARK in str(error)
        if said_so or link.meter.exceeded:
            sentence = f"Stopped: the answer is longer than {self._limits.bytes} bytes. Ask for fewer or shorter rows."
            return LimitExceeded("bytes", sentence)
        return answer_for(error, link.connection, readonly=self._readonly)

    async def commit(self) -> None:
        """The end of a block that may write. Deferred constraints and triggers are work too, and have its time."""
        link = self._link
        if link is None:
            raise asyncpg.InterfaceError("the block has ended")
        try:
            async with asyncio.timeout_at(self._deadline):
                link.meter.allow(_FRAME)
                await link.connection.execute(_COMMIT)
        except Exception as error:
            answer = self._answer(error, link)
            if answer is error:
                raise
            raise answer from error

    def end(self) -> None:
        """Nothing more goes through here."""
        self._link = None


def _check_text(query: str) -> None:
    """What cannot be sent as it is. Raises asyncpg's ``PostgresSyntaxError``, as for any other bad text."""
    if "\0" in query or (not query.isascii() and query.encode(errors="replace").decode() != query):
        raise asyncpg.PostgresSyntaxError("the text holds a NUL, or is no Unicode")


class UntrustedScope:
    """``async with``: see ``Database.untrusted_connection``."""

    __slots__ = ("_connection", "_limits", "_link", "_links", "_readonly", "_who")

    def __init__(self, links: Links, who: MCPUserContext | str, *, readonly: bool, limits: Limits | None) -> None:
        self._links, self._who, self._readonly, self._limits = links, who, readonly, limits or Limits()

    async def __aenter__(self) -> UntrustedConnection:
        user = self._who if isinstance(self._who, MCPUserContext) else None
        link = await self._links.open(str(self._who) if user is None else str(user.tenant_id))
        try:
            await link.begin(_entering(link, user, self._limits, readonly=self._readonly))
        except BaseException:
            await link.abandon()
            raise
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        self._link = link
        self._connection = UntrustedConnection(link, self._limits, deadline, readonly=self._readonly)
        return self._connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """A block that only reads is rolled back: what it announced (NOTIFY) or made (large objects) goes with it."""
        try:
            if error is None and not self._readonly:
                await self._connection.commit()
        finally:
            self._connection.end()
            await self._link.abandon()


def _entering(link: Link, user: MCPUserContext | None, limits: Limits, *, readonly: bool) -> str:
    return ";".join(
        render(
            "untrusted_begin",
            mode="READ ONLY" if readonly else "READ WRITE",
            schema=identifier(link.names.schema),
            milliseconds=str(milliseconds(limits.seconds + _SERVER_GRACE)),
            kilobytes=str(limits.memory >> 10),
            user=literal("" if user is None else user.user_id),
            permissions=literal("" if user is None else " ".join(sorted(user.permissions))),
        )
    )
