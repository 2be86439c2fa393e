"""What the commands that work on the tenant database share."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ..errors import ConfigurationError, Refusal

if TYPE_CHECKING:
    from ..adapters.postgres.database import Database


def with_database(work: Callable[[Database], Awaitable[int]], *, prepared: bool = True) -> int:
    """Run ``work`` on the database that the settings name; its exit code. ``prepared``: make there first what it needs
    once. Raises ``ConfigurationError``, also for what a server answers with a refusal and for what PostgreSQL refuses.
    """
    import asyncpg

    from ..adapters.postgres.configured import database_from
    from ..settings import Settings

    database = database_from(Settings())
    if database is None:
        raise ConfigurationError("No tenant database: set MCP_HTTP_DATABASE_CONNECTION_STRING (or DATABASE_URL).")

    async def whole() -> int:
        async with database:
            if prepared:
                await database.confirm()
            return await work(database)

    try:
        return asyncio.run(whole())
    except Refusal as refusal:
        why = refusal.detail or refusal.hint
        raise ConfigurationError(f"{refusal.description}{f' ({why})' if why else ''}.") from None
    except asyncpg.PostgresError as error:
        raise ConfigurationError(f"The database refused ({type(error).__name__}): {error.args[0]}.") from error


def actor() -> str:
    """Who is at the keyboard, for the audit; in a container a number that has no name."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # OSError since Python 3.13
        return f"cli:{os.getuid()}"
