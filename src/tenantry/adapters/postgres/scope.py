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
say SET ROLE itself. Such text belongs on ``untrusted_connection``.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import asyncpg

from ...errors import Forbidden
from ...model import MCPUserContext
from .connections import Pool
from .failures import answer_for, reaching, unavailable
from .session import END_SESSION, NOTHING_LEFT, Manners, entering
from .stuck import Stuck
from .tenant_connection import SILENCE_SECONDS, TenantConnection

# SET LOCAL ROLE is the only statement of the entrance that can fail so: no such role, or not for this login.
_NO_SUCH_ROLE = (
    asyncpg.InvalidParameterValueError,
    asyncpg.UndefinedObjectError,
    asyncpg.InsufficientPrivilegeError,
)
_CLEAN_UP_SECONDS = 5.0


class Place(NamedTuple):
    """Where a tenant is entered: the pool and its bucket, what is said there, ``opening`` after BEGIN, and the seconds
    that one statement may take unless the scope says otherwise (None: the pool decides)."""

    pool: Pool
    bucket: int
    manners: Manners
    opening: str
    statement_seconds: float | None


class Places(Protocol):
    """Who knows where tenants are (``Database``)."""

    stuck: Stuck

    def known(self, tenant_id: str) -> Place | None: ...
    def forget(self, tenant_id: str) -> None: ...
    async def place(self, tenant_id: str) -> Place: ...


class TenantScope:
    """``async with``: one transaction in one tenant. See ``Database.tenant_connection``.

    Its own two round trips take no timer each, which would be a tenth of their cost: ``Stuck`` looks after them.
    """

    __slots__ = ("_connection", "_place", "_places", "_readonly", "_tenant", "_timeout", "_who")

    def __init__(self, places: Places, who: MCPUserContext | str, *, readonly: bool, timeout: float | None) -> None:
        self._places, self._who = places, who
        self._readonly, self._timeout = readonly, timeout
        self._tenant: TenantConnection | None = None

    async def __aenter__(self) -> TenantConnection:
        who, places = self._who, self._places
        user = who if isinstance(who, MCPUserContext) else None
        tenant_id = user.tenant_id if user else str(who)
        self._place = place = places.known(tenant_id) or await places.place(tenant_id)
        text = entering(place.manners, place.opening, user, readonly=self._readonly, timeout=self._timeout)
        connection = place.pool.take(place.bucket)
        if connection is None:
            with reaching():
                connection = await place.pool.acquire(place.bucket)
        self._connection = connection
        try:
            await self._say(text)
        except _NO_SUCH_ROLE as error:
            places.forget(tenant_id)
            raise Forbidden("tenant_unknown", detail=type(error).__name__) from error
        limit = self._timeout or place.statement_seconds
        tenant = TenantConnection(connection, places.stuck.waiting, readonly=self._readonly, limit=limit)
        self._tenant = tenant
        return tenant

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        connection, place, tenant = self._connection, self._place, self._tenant
        if tenant is None:
            raise asyncpg.InterfaceError("the block has not been entered")
        try:
            if error is None:
                tenant.check()
        except BaseException:
            await self._abandon()
            raise
        finally:
            tenant.end()
        if error is not None:
            await self._abandon()
            return
        look = place.manners.look if tenant.prepares else ""
        status = await self._say(place.manners.commit + look)
        await _part(place, connection, clean=not look or (status == NOTHING_LEFT and not tenant.spoilt), looked=look)

    async def _say(self, text: str) -> str:
        """Send what enters or leaves; after an error the connection has been given back."""
        connection, waiting = self._connection, self._places.stuck.waiting
        waiting[connection] = monotonic() + SILENCE_SECONDS
        try:
            status: str = await connection.execute(text)
        except BaseException as error:
            # A time limit is not the handler's here, but the database's silence.
            answer = unavailable(error) if isinstance(error, TimeoutError) else answer_for(error, connection)
            await self._abandon()  # last: after it the connection may be somebody else's
            if answer is error:
                raise
            raise answer from error
        finally:
            waiting.pop(connection, None)
        return status

    async def _abandon(self) -> None:
        """Roll back and give the connection back, also when the caller is cancelled, as often as it likes."""
        spoilt = self._tenant is not None and self._tenant.spoilt
        task = asyncio.create_task(_abandon(self._place, self._connection, spoilt=spoilt))
        _SETTLING.add(task)
        task.add_done_callback(_SETTLING.discard)
        await asyncio.shield(task)


_SETTLING: set[asyncio.Task[None]] = set()  # asyncio itself keeps no task alive


async def _abandon(place: Place, connection: Any, *, spoilt: bool) -> None:
    """Roll back and give the connection back; end it where that cannot be done. Never raises."""
    manners = place.manners
    try:
        async with asyncio.timeout(_CLEAN_UP_SECONDS):
            status = await connection.execute(manners.rollback + manners.look)
            clean = not manners.look or (status == NOTHING_LEFT and not spoilt)
            await _part(place, connection, clean=clean, looked=manners.look)
    except Exception:  # whatever it was, the state is unknown now
        await place.pool.discard(connection)


async def _part(place: Place, connection: Any, *, clean: bool, looked: str) -> None:
    """Give a connection back whose work is done; one that is not clean ends, the session behind a pooler too."""
    if looked and place.manners.lent:
        try:
            await connection.execute("COMMIT" if clean else END_SESSION)
        except Exception:  # it was the last word to this session, one way or the other
            clean = False
    if clean:
        await place.pool.release(connection, place.bucket)
    else:
        await place.pool.discard(connection)
