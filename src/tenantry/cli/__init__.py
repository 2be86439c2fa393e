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
from collections.abc import Sequence

from ..errors import ConfigurationError
from . import audit, demo, keys, migrate, policy, serve, tenants, version

OK, WRONG, MISCONFIGURED, INTERRUPTED = 0, 1, 2, 130
_COMMANDS = {
    "demo": demo,
    "serve": serve,
    "keys": keys,
    "migrate": migrate,
    "tenants": tenants,
    "policy": policy,
    "audit": audit,
    "version": version,
}
_EPILOG = "Exit codes: 0 in order, 1 a row or a check came out wrong, 2 usage or configuration error, 130 interrupted."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (the process's own arguments by default) and return its exit code.

    Usage errors and help end in argparse's ``SystemExit`` (2 and 0).
    """
    arguments = _parser().parse_args(argv)
    try:
        code: int = _COMMANDS[arguments.command].run(arguments)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tenantry",
        description="Who is calling, for which tenant, and what may they do? Token validation and tenant routing "
        "for MCP servers over HTTP.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"tenantry {version.number()}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, module in _COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__, epilog=_EPILOG)
        module.configure(command)
    return parser
