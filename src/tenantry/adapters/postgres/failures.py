"""What a failure of the database means to a caller: his own statement's error, or a 503."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg

from ...errors import Unavailable

_LOST = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    # Only when connecting: a database is renamed, a password is changed, a limit is reached while we run.
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
)
# The connection is there and of no more use: the server is a standby since a failover, or statements of the driver
# are gone (a handler said DEALLOCATE, or a pooler gave another server connection).
_USELESS = (
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InternalClientError,  # the server's last word came before the connection's end
)
_NOT_NOW = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
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
    a lock that somebody else keeps, and a server that only reads (a standby since a failover).
    """
    try:
        yield
    except asyncpg.exceptions.ClientConfigurationError:
        raise  # a malformed DSN, which is a ValueError too
    except (*_LOST, *_NOT_NOW) as error:
        raise unavailable(error) from error


def answer_for(error: BaseException, connection: Any, *, readonly: bool = False) -> BaseException:
    """What the caller is told of a failed call: the statement's own error as it is, ``Unavailable`` for a connection
    that is lost or of no more use. TimeoutError is the statement's own."""
    if isinstance(error, TimeoutError):
        return error
    if isinstance(error, _USELESS) and not (readonly and isinstance(error, asyncpg.ReadOnlySQLTransactionError)):
        connection.terminate()
        return unavailable(error)
    if isinstance(error, asyncpg.InterfaceError):
        return unavailable(error) if is_lost(connection) else error  # else a wrong number of parameters, for instance
    return unavailable(error) if isinstance(error, _LOST) else error


def is_lost(connection: Any) -> bool:
    """Whether a pooled connection is closed; the pool may have taken it back because of that."""
    try:
        return bool(connection.is_closed())
    except asyncpg.InterfaceError:
        return True
