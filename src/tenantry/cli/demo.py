"""The whole thing on this machine: PostgreSQL, an identity provider with made-up people and an MCP server behind
tenantry; then a tour of who gets in, as whom, and who does not."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import logging
import os
import sys
from pathlib import Path

from ..errors import ConfigurationError
from .interruptible import interruptible

_NEEDS_EXTRA = "The demo needs the packages of its extra: pip install 'tenantry[demo]'."


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="end after the tour; exit code 1 if a row came out wrong")
    parser.add_argument(
        "--all-providers", action="store_true", help="trust every provider there is, with a caller of each"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output in place of tables")
    parser.add_argument("--port", type=int, metavar="N", help="port on 127.0.0.1 (default 8080, or a free one)")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="keep database and audit there (default: forget them)"
    )


def run(arguments: argparse.Namespace) -> int:
    _check_extra()
    return asyncio.run(interruptible(_demo(arguments)))


async def _demo(arguments: argparse.Namespace) -> int:
    from ..demo import programs, show, stack, tables, tour

    async with stack.running(
        arguments.port, arguments.data_dir, _say, all_providers=arguments.all_providers
    ) as running:
        report = await tour.tour(running, _say)
        if arguments.json:
            _print(programs.as_json(report))
        else:
            paint = tables.painted if _colourful() else tables.plain
            _print(show.as_text(report, paint, serving=not arguments.once))
        if not arguments.once:
            await _serve_on(running.url)
    return 0 if report.ok else 1


async def _serve_on(url: str) -> None:
    """Until interrupted. From now on refusals are logged: they are the visitor's own."""
    logging.getLogger("tenantry").setLevel(logging.INFO)
    _say(f"Serving on {url} until Ctrl-C.")
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    _say("Stopping ...")


def _check_extra() -> None:
    """The official SDK in its second line; what it needs it brings along."""
    try:
        version = importlib.metadata.version("mcp")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigurationError(_NEEDS_EXTRA) from None
    if not version.startswith("2."):
        raise ConfigurationError(f"{_NEEDS_EXTRA[:-1]} (mcp {version} is installed, and it takes 2.x).")


def _colourful() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ  # https://no-color.org


def _print(text: str) -> None:
    print(text, flush=True)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
