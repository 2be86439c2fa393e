"""The command ``tenantry``. Nothing heavy is imported before a command runs, so that help is instant.

Exit codes, for scripts:

    0    done; for ``demo``: every row came out as expected; for ``serve``: stopped in good order
    1    a row or a check came out wrong; for ``migrate``: a tenant was left behind; for ``policy test``: refused
    2    usage or configuration error, with its sentence on standard error
    130  interrupted before there was a result
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from .. import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

OK, WRONG, MISCONFIGURED, INTERRUPTED = 0, 1, 2, 130
# The commands in the order of the help, with its line for each. `some-name` is the module `some_name` of this package:
# a docstring, configure(parser) and run(arguments) -> exit code. It is imported when the command is asked for.
COMMANDS = {
    "init": "write a commented .env: who may vouch, and where it runs",
    "demo": "a guided tour on this machine, without an account anywhere",
    "dev": "an identity provider and a database for a server that is being written",
    "serve": "serve an ASGI app behind the gate",
    "doctor": "find what is wrong with the settings, or with a running MCP server",
    "token": "explain why a token is let in or refused",
    "client-config": "print the configuration of an MCP client",
    "healthcheck": "ask the server on this machine whether it is alive or ready",
    "keys": "make, list, rotate, revoke and import API keys",
    "migrate": "bring all tenants to the newest version",
    "tenants": "make, list, map, suspend, export, check, move and drop tenants",
    "policy": "check the rules, and try them on a caller and a call",
    "audit": "read, search and verify the audit, and erase a person from it",
    "completion": "print a completion script for bash, zsh or fish",
    "help": "read about a command, a topic, a setting or a reason",
    "version": "print the version, and what a bug report needs",
}
EPILOG = "Exit codes: 0 in order, 1 a row or a check came out wrong, 2 usage or configuration error, 130 interrupted."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (the process's own arguments by default) and return its exit code.

    Usage errors and help end in argparse's ``SystemExit`` (2 and 0).
    """
    words = sys.argv[1:] if argv is None else argv
    arguments = parser_for(words).parse_args(words)
    from ..errors import ConfigurationError  # not for a help page

    try:
        code: int = module_of(arguments.command).run(arguments)
        sys.stdout.flush()
    except ConfigurationError as error:
        print(f"tenantry: {error}", file=sys.stderr)
        return MISCONFIGURED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough; the interpreter's own flush must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRONG
    return code


def module_of(command: str) -> ModuleType:
    """The module behind a command."""
    return import_module(f".{command.replace('-', '_')}", __name__)


def parser_for(words: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of a command line: only the command in ``words`` is imported and has its own arguments."""
    named = next((word for word in words if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="tenantry",
        description="Who is calling, for which tenant, and what may they do? Token validation and tenant routing "
        "for MCP servers over HTTP.",
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"tenantry {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, summary in COMMANDS.items():
        if name == named:
            module = module_of(name)
            module.configure(commands.add_parser(name, help=summary, description=module.__doc__, epilog=EPILOG))
        else:
            commands.add_parser(name, help=summary)
    return parser
