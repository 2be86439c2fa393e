"""Make an API key. It is shown once; what the server is given is its digest."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from typing import Any

HELP = "make an API key"


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    create = actions.add_parser("create", help="a new key, and its entry for MCP_HTTP_API_KEYS")
    create.add_argument("--name", required=True, help="whose key it is, for people")
    create.add_argument("--tenant", metavar="TENANT_ID", help="the tenant it belongs to (default: one of its own)")
    create.add_argument("--permission", action="append", default=[], help="may be repeated; nothing by default")
    create.add_argument("--expires-at", metavar="TIME", help="ISO 8601 with offset, like 2027-01-31T00:00:00Z")
    create.add_argument("--env", default="live", help="2 to 12 lower-case letters inside the key (default: live)")
    create.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(arguments: argparse.Namespace) -> int:
    key, entry = _make(arguments)
    if arguments.json:
        print(json.dumps({"key": key, "entry": entry}, indent=2))
        return 0
    print("The key, shown this once:", file=sys.stderr)
    print(key)
    print("\nIts entry in MCP_HTTP_API_KEYS (a digest, not the key):", file=sys.stderr)
    print(json.dumps(entry))
    return 0


def _make(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """A key and its configuration entry, checked as the server will check it. Raises ``ConfigurationError``."""
    from ..core import apikeys
    from ..errors import ConfigurationError
    from ..settings import Settings

    try:
        key = apikeys.compose_key(arguments.env, secrets.token_bytes(8), secrets.token_bytes(32))
    except ValueError:
        raise ConfigurationError(f"--env {arguments.env!r}: use 2 to 12 lower-case letters.") from None
    record = {"name": arguments.name, "id": apikeys.key_id_of(key), "permissions": arguments.permission}
    optional = {"tenant_id": arguments.tenant, "expires_at": arguments.expires_at}
    record |= {name: value for name, value in optional.items() if value is not None}
    entry = {f"sha256:{apikeys.digest(key.encode()).hex()}": record}
    Settings(environment="development", api_keys=entry)
    return key, entry
