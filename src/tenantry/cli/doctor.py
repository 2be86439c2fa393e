"""Find what is wrong: with the settings of this environment, or with a running MCP server at URL, whether it runs
tenantry or not. One line for each finding, with its mend below it.

A look at a server takes up to 60 requests, one after the other, and needs no token. It sends tokens that no server may
accept. A good token of yours, where you have one, shows more: name a file that holds it, or set MCP_TOKEN. It goes to
URL alone. Exit codes: 0 for grade A or B and no error in the settings, 1 for anything worse, 2 for a mistake in the
command line. docs/doctor.md has every check and the rule of the grade."""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..doctor.examine import Report
    from ..doctor.outside.target import Header

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_TOKEN = re.compile(r"[\x21-\x7e]{8,16384}")
_VARIABLE = "MCP_TOKEN"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", nargs="?", metavar="URL", help="the MCP endpoint, like https://mcp.example.com/mcp")
    parser.add_argument("--settings", action="store_true", help="with a URL: look at the settings as well")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument("-v", "--verbose", action="store_true", help="name also what is in order")
    parser.add_argument(
        "--token-file", metavar="FILE", help=f"a file that holds a good token, - for standard input (or {_VARIABLE})"
    )
    parser.add_argument("--header", action="append", metavar="NAME:VALUE", default=[], help="send this too; repeatable")
    parser.add_argument(
        "--behind-tls",
        action="store_true",
        help="ask as the proxy that ends TLS would: X-Forwarded-Proto:https (--header Host:NAME for the public name)",
    )
    parser.add_argument("--ca-file", metavar="FILE", help="trust these certificates (PEM), not the system's")
    parser.add_argument(
        "--only-server", action="store_true", help="do not ask the authorization servers that the server names"
    )


def run(arguments: argparse.Namespace) -> int:
    from ..doctor.report import as_json, as_text

    _check(arguments)
    report = asyncio.run(_examined(arguments))
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    print(as_json(report) if arguments.json else as_text(report, everything=arguments.verbose, colour=colour))
    return 0 if report.good else 1


def _check(arguments: argparse.Namespace) -> None:
    """Raises ``ConfigurationError`` for options that are of no use."""
    if arguments.url is not None:
        return
    for name in ("settings", "token_file", "header", "behind_tls", "ca_file", "only_server"):
        if getattr(arguments, name):
            raise ConfigurationError(f"--{name.replace('_', '-')} is about a running server: give its URL too.")


async def _examined(arguments: argparse.Namespace) -> Report:
    from dataclasses import replace

    from ..doctor.examine import examine_server, examine_settings
    from ..doctor.outside.probe import Probe
    from ..doctor.outside.target import Target

    if arguments.url is None:
        return await examine_settings(os.environ)
    target = Target.of(arguments.url, _headers(arguments))
    token = _token(arguments.token_file)
    if token is not None and not (target.https or target.local):
        raise ConfigurationError("A token is not sent over plain http to another machine: leave it out, or use https.")
    async with Probe(target, token=token, ca_file=_file(arguments.ca_file), others=not arguments.only_server) as probe:
        report = await examine_server(probe)
    if arguments.settings:
        inside = await examine_settings(os.environ)
        report = replace(report, findings=(*report.findings, *inside.findings))
    return report


def _headers(arguments: argparse.Namespace) -> list[Header]:
    headers = [("x-forwarded-proto", "https")] if arguments.behind_tls else []
    for text in arguments.header:
        name, colon, value = text.partition(":")
        if not colon or not _NAME.fullmatch(name) or not value.strip().isprintable() or not value.isascii():
            raise ConfigurationError(
                "--header is NAME:VALUE, like X-Forwarded-Proto:https."
            )  # the value may be a secret
        headers.append((name.lower(), value.strip()))
    return headers


def _file(name: str | None) -> str | None:
    """Raises ``ConfigurationError`` for a file without certificates."""
    import ssl

    if name is not None:
        try:
            ssl.create_default_context(cafile=name)
        except (OSError, ssl.SSLError):
            raise ConfigurationError(f"--ca-file {name!r} holds no certificates in PEM.") from None
    return name


def _token(file: str | None) -> str | None:
    """The good token, from a file, standard input or the environment: never an argument, which everybody here can read.
    Raises ``ConfigurationError``, which does not quote it."""
    if file is None:
        text, place = os.environ.get(_VARIABLE), _VARIABLE
    elif file == "-":
        text, place = sys.stdin.readline(), "Standard input"
    else:
        place = f"--token-file {file!r}"
        try:
            text = Path(file).read_text("ascii")
        except (OSError, UnicodeError):
            raise ConfigurationError(f"{place} cannot be read as text.") from None
    if text is None:
        return None
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise ConfigurationError(f"{place} holds no token: one line, without the word Bearer.")
    return token
