"""Serve an ASGI app behind the gate, with the settings of the environment (MCP_HTTP_*). One that is wrapped in
TenantryMiddleware already is served as it is, with the settings that it has."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from functools import partial, reduce
from typing import Any

from ..errors import ConfigurationError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--app", required=True, metavar="MODULE:ATTRIBUTE", help="the app, importable from here: package.module:app"
    )
    parser.add_argument("--factory", action="store_true", help="ATTRIBUTE is a function that makes the app")
    parser.add_argument("--host", help="address to listen on (default MCP_HTTP_HOST, else 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port (default MCP_HTTP_PORT or PORT, else 8000; 0: a free one)")


def run(arguments: argparse.Namespace) -> int:
    from ..server import serve
    from ..settings import Settings

    said = {"host": arguments.host, "port": arguments.port}
    read = partial(Settings, **{name: value for name, value in said.items() if value is not None})
    serve(load_app(arguments.app, factory=arguments.factory), read(), read)
    return 0


def load_app(target: str, *, factory: bool = False) -> Any:
    """The app that ``target`` ("module:attribute", dots allowed on both sides) names; with ``factory``, what it
    returns.

    Raises ``ConfigurationError`` for whatever is missing or cannot be called; an exception out of the module's
    own code passes, with its traceback.
    """
    module_name, colon, path = target.partition(":")
    if not (module_name and colon and path):
        raise ConfigurationError(f"--app is {target!r}: write module:attribute, like my_server:app.")
    module = _module(module_name)
    try:
        found = reduce(getattr, path.split("."), module)
    except AttributeError:
        raise ConfigurationError(f"--app: module {module_name!r} has no attribute {path!r}.") from None
    app = _called(found, target) if factory else found
    if not callable(app):
        raise ConfigurationError(_not_callable(app, target))
    return app


def _module(name: str) -> Any:
    """Import a module; the current directory comes first, as for ``python -m``."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise ConfigurationError(f"--app: there is no module {name!r} here or among the installed ones.") from None
        raise ConfigurationError(f"--app: {name!r} imports {missing!r}, which is not installed.") from None
    except (ImportError, ValueError, TypeError) as error:  # a relative name, for instance
        raise ConfigurationError(f"--app: {name!r} cannot be imported: {error}.") from error


def _called(factory: Any, target: str) -> Any:
    if not callable(factory):
        raise ConfigurationError(f"--factory: {target!r} is not a function.")
    return factory()


def _not_callable(app: Any, target: str) -> str:
    if hasattr(app, "streamable_http_app"):
        return (
            f"--app: {target!r} is an MCP server and not an ASGI app: use --factory --app {target}.streamable_http_app."
        )
    return f"--app: {target!r} is not an ASGI app: it cannot be called."
