"""The Database of the request at hand, for ``tenantry.postgres``. Only the middleware sets it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .database import Database

# It holds a reference and nothing of the caller, so a context that outlives its request does no harm.
current_database: ContextVar[Database | None] = ContextVar("tenantry_database", default=None)


@contextmanager
def use_database(database: Database | None) -> Iterator[None]:
    """Make ``database`` the one that ``tenantry.postgres`` finds in this block and in tasks started there."""
    token = current_database.set(database)
    try:
        yield
    finally:
        current_database.reset(token)
