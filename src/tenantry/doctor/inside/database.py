"""Each database as it is: nothing is made or changed. What ``tenantry tenants check`` proves of every tenant is not
repeated here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import ConfigurationError, Refusal
from ..findings import Finding, error, note, ok, warning
from .here import Here

if TYPE_CHECKING:
    from ...adapters.postgres.administration.plan import Plan
    from ...adapters.postgres.control import Login
    from ...adapters.postgres.database import Database

_CONNECT_SECONDS = 5.0
_SET_CONFIG = "SELECT has_function_privilege('public', 'pg_catalog.set_config(text, text, boolean)', 'EXECUTE')"


@dataclass(frozen=True, slots=True)
class Seen:
    """One way into a database: its login, whether nothing is in between, and whether everybody may use set_config."""

    login: Login
    direct: bool
    set_config: bool


async def databases_are_in_order(here: Here) -> AsyncIterator[Finding]:
    settings = here.settings
    if settings.database_connection_string is None:
        yield note("database", "No tenant database.")
        return
    ways = {"main": (settings.database_connection_string, settings.direct_database_url)}
    ways |= {dsn_id: (entry.url, entry.direct_url) for dsn_id, entry in (settings.databases or {}).items()}
    reached = True
    for dsn_id, (url, direct_url) in ways.items():
        try:
            request = await _look(url.get_secret_value())
            direct = request if direct_url is None else await _look(direct_url.get_secret_value())
        except ConfigurationError as problem:
            reached = False
            yield error("database", f"Database {dsn_id}: {problem}")
            continue
        for finding in (*_logins(dsn_id, request, direct), *_state(dsn_id, request, direct, direct_url is not None)):
            yield finding
    if reached:
        async for finding in _migrations(here):
            yield finding


async def _look(dsn: str) -> Seen:
    """Raises ``ConfigurationError``, which quotes nothing of the connection string."""
    import asyncpg

    from ...adapters.postgres.control import inspect

    try:
        connection = await asyncpg.connect(
            dsn, timeout=_CONNECT_SECONDS, command_timeout=_CONNECT_SECONDS, statement_cache_size=0
        )
    except asyncpg.PostgresError as refused:
        raise ConfigurationError(f"the server refuses the login ({type(refused).__name__}).") from None
    except (OSError, asyncpg.InterfaceError):  # a TimeoutError is an OSError
        raise ConfigurationError("no connection within 5 s.") from None
    except ValueError:
        raise ConfigurationError(
            "its connection string cannot be used: write postgresql://user:password@host:5432/database."
        ) from None
    try:
        login = await inspect(connection)
        backend = await connection.fetchval("SELECT pg_catalog.pg_backend_pid()")
        return Seen(login, backend == connection.get_server_pid(), await connection.fetchval(_SET_CONFIG))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as problem:
        raise ConfigurationError(f"it does not answer ({type(problem).__name__}).") from None
    finally:
        with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await connection.close(timeout=_CONNECT_SECONDS)


def _logins(dsn_id: str, request: Seen, direct: Seen) -> Iterator[Finding]:
    major = direct.login.server_version // 10000
    yield ok("database", f"Database {dsn_id}: PostgreSQL {major} answers.")
    same = request.login.name == direct.login.name
    if same and direct.login.may_make_roles:
        power = "a superuser" if direct.login.superuser else f"{direct.login.name!r}, which may make roles"
        say = note if direct.login.superuser else ok
        yield say("database-login", f"Database {dsn_id}: administered by {power}; requests get logins made for them.")
    elif request.login.privileged:
        yield error("database-login", f"Database {dsn_id}: the login {request.login.name!r} has rights of its own.")
    elif request.login.inherits and request.login.server_version < 160000:
        yield error(
            "database-login",
            f"Database {dsn_id}: the login {request.login.name!r} would have the rights of all tenants at once.",
            f"ALTER ROLE {request.login.name} NOINHERIT.",
        )
    else:
        yield ok("database-login", f"Database {dsn_id}: the login {request.login.name!r} has no rights of its own.")


def _state(dsn_id: str, request: Seen, direct: Seen, named: bool) -> Iterator[Finding]:
    if direct.login.installed and direct.login.hardened:
        yield ok("prepared", f"Database {dsn_id}: prepared and closed to everybody else.")
    elif direct.login.installed:
        yield warning("prepared", f"Database {dsn_id}: open to every login of the server.")
    else:
        yield warning("prepared", f"Database {dsn_id}: nothing has been made there yet.")
    if not direct.direct:
        told = "DIRECT_DATABASE_URL leads" if named else "the only connection string leads"
        yield error(
            "pooler", f"Database {dsn_id}: {told} to a pooler; making tenants and hearing of changes needs a session."
        )
    else:
        yield ok(
            "pooler", f"Database {dsn_id}: {'direct' if request.direct else 'a pooler serves requests, passed by'}."
        )
    if not direct.set_config:
        yield ok("set-config", f"Database {dsn_id}: set_config is nobody's.")
    else:
        yield note(
            "set-config",
            f"Database {dsn_id}: everybody may use set_config; SQL that others wrote then needs more care.",
            "REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC, as a superuser.",
        )


async def _migrations(here: Here) -> AsyncIterator[Finding]:
    from ...adapters.postgres.administration.plan import plan
    from ...adapters.postgres.configured import database_from

    try:
        database = database_from(here.settings)
        plans = [] if database is None else await plan(database)
    except ConfigurationError as problem:
        yield error("migrations", str(problem))
        return
    except Refusal as refusal:
        yield error("migrations", f"{refusal.description}.")
        return
    for each in plans:
        if database is not None:
            yield _of_plan(each, database)


def _of_plan(plan: Plan, database: Database) -> Finding:
    tenants = sum(plan.versions.values())
    behind = sum(
        number for version, number in plan.versions.items() if version < database.provisioner.migrations.minimum
    )
    if behind:
        return error(
            "migrations", f"Database {plan.dsn_id}: {behind} of {tenants} tenants lack migrations and get 503."
        )
    if plan.files:
        most = max(plan.files.values())
        return warning("migrations", f"Database {plan.dsn_id}: {', '.join(plan.files)} pending for {most} tenants.")
    return ok("migrations", f"Database {plan.dsn_id}: {tenants} tenants, none lacks a migration.")
