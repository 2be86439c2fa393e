"""API keys: make, list, rotate, revoke and import them. A key is shown once, when it is made; what is kept is its
digest."""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from .database import actor, with_database
from .words import TIME, iso, moment, say, table

if TYPE_CHECKING:
    from ..adapters.postgres.administration.keys import KeyEntry, NewKey
    from ..adapters.postgres.database import Database

_COLUMNS = ("ID", "STATE", "NAME", "TENANT", "EXPIRES", "LAST USED", "PERMISSIONS")


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    create = actions.add_parser(
        "create", help="a new key: into the database, or without one as an entry for MCP_HTTP_API_KEYS"
    )
    create.add_argument("--name", required=True, help="what it is for, for people")
    create.add_argument("--owner", help="who answers for it, for people (database only)")
    create.add_argument("--tenant", metavar="TENANT_ID", help="the tenant it belongs to (default: one of its own)")
    create.add_argument("--permission", action="append", default=[], help="may be repeated; nothing by default")
    create.add_argument("--not-before", metavar="TIME", help=f"when it begins to work: {TIME}")
    create.add_argument("--expires-at", metavar="TIME", help=f"when it ends: {TIME}")
    create.add_argument("--no-database", action="store_true", help="an entry for MCP_HTTP_API_KEYS in any case")
    listing = actions.add_parser("list", help="all keys of the database, without anything secret")
    listing.add_argument("--tenant", metavar="TENANT_ID", help="those of one tenant")
    rotate = actions.add_parser("rotate", help="a new key in the place of an old one, which ends after an overlap")
    when = rotate.add_mutually_exclusive_group()
    when.add_argument(
        "--overlap", type=int, default=604_800, metavar="SECONDS", help="how long both work (default: 7 days)"
    )
    when.add_argument("--now", dest="overlap", action="store_const", const=0, help="revoke the old one at once")
    revoke = actions.add_parser("revoke", help="make a key worthless, on every server within a second")
    for action in (rotate, revoke):
        action.add_argument("key_id", metavar="KEY_ID", help="its id, as list shows it; never the key itself")
    for action in (create, rotate):
        action.add_argument("--env", default="live", help="2 to 12 lower-case letters inside the key (default: live)")
    takeover = actions.add_parser(
        "import",
        help="take keys over: all of a file, or none",
        description="CSV with a header line, or one JSON object a line: name, key, tenant, permissions, expires_at, "
        "not_before, owner, id. key is sha256:<hex digest>, or the key itself, which is hashed at once. A key that "
        "does not begin with mcpk_ is known in X-API-Key only.",
    )
    takeover.add_argument("file", metavar="FILE", help="the file, or - for standard input")
    takeover.add_argument("--dry-run", action="store_true", help="check everything, and change nothing")
    for action in (create, listing, rotate, revoke, takeover):
        action.add_argument("--json", action="store_true", help="one JSON object on standard output")


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "create" and (arguments.no_database or not _has_database()):
        return _print_entry(arguments)
    if arguments.action == "import":
        from .keys_import import read

        arguments.keys = read(arguments.file)  # before a connection is made: most mistakes are in the file
    work = _ACTIONS[arguments.action]
    return with_database(lambda database: work(database, arguments))


def _has_database() -> bool:
    from ..settings import Settings

    # Only the one setting is asked for: what a server would need besides need not be here.
    settings = Settings(environment="development", host="127.0.0.1", api_key="none")
    return settings.database_connection_string is not None


async def _create(database: Database, arguments: argparse.Namespace) -> int:
    from ..adapters.postgres.administration.keys import create_key

    made = await create_key(
        database,
        actor=actor(),
        name=arguments.name,
        owner=arguments.owner,
        tenant_id=arguments.tenant,
        permissions=arguments.permission,
        not_before=moment("--not-before", arguments.not_before),
        expires_at=moment("--expires-at", arguments.expires_at),
        environment=arguments.env,
    )
    _show(made, arguments)
    if arguments.tenant is not None and await database.registry.find(arguments.tenant) is None:
        say(f"There is no tenant {arguments.tenant} yet: see MCP_HTTP_TENANT_PROVISIONING for when it is made.")
    return 0


async def _list(database: Database, arguments: argparse.Namespace) -> int:
    from ..adapters.postgres.administration.keys import list_keys

    entries, now = await list_keys(database, arguments.tenant), datetime.now(UTC)
    if arguments.json:
        print(json.dumps({"keys": [_members(entry, now) for entry in entries]}, indent=2))
    elif entries:
        print(table([_COLUMNS, *(_cells(entry, now) for entry in entries)]))
    else:
        say("No keys.")
    return 0


async def _rotate(database: Database, arguments: argparse.Namespace) -> int:
    from ..adapters.postgres.administration.keys import rotate_key

    made = await rotate_key(
        database, arguments.key_id, actor=actor(), overlap=arguments.overlap, environment=arguments.env
    )
    _show(made, arguments)
    if made.replaces is not None:
        end = "has been revoked" if made.replaces.revoked_at else f"works until {iso(made.replaces.expires_at)}"
        say(f"The old key {arguments.key_id} {end}.")
    return 0


async def _revoke(database: Database, arguments: argparse.Namespace) -> int:
    from ..adapters.postgres.administration.keys import revoke_key

    ended = await revoke_key(database, arguments.key_id, actor=actor())
    if arguments.json:
        print(json.dumps({"entry": _members(ended, datetime.now(UTC))}, indent=2))
    say(f"The key {ended.key_id} ({ended.name}) has been revoked, {iso(ended.revoked_at)}.")
    return 0


async def _import(database: Database, arguments: argparse.Namespace) -> int:
    from ..adapters.postgres.administration.key_import import import_keys

    entries = await import_keys(database, arguments.keys, actor=actor(), dry_run=arguments.dry_run)
    now = datetime.now(UTC)
    if arguments.json:
        print(json.dumps({"imported": not arguments.dry_run, "keys": [_members(e, now) for e in entries]}, indent=2))
    else:
        print(table([_COLUMNS, *(_cells(entry, now) for entry in entries)]))
    many = f"{len(entries)} key{'' if len(entries) == 1 else 's'}"
    say(f"{many} would be imported; nothing has been changed." if arguments.dry_run else f"{many} imported.")
    foreign = sum(entry.key_id.startswith("d") and len(entry.key_id) == 12 for entry in entries)
    if foreign:
        say(f"{foreign} without the form mcpk_..., or by a digest without id: good in X-API-Key only.")
    return 0


_ACTIONS: dict[str, Callable[[Database, argparse.Namespace], Awaitable[int]]] = {
    "create": _create,
    "list": _list,
    "rotate": _rotate,
    "revoke": _revoke,
    "import": _import,
}


def _show(made: NewKey, arguments: argparse.Namespace) -> None:
    if arguments.json:
        now = datetime.now(UTC)
        replaced = {} if made.replaces is None else {"replaces": _members(made.replaces, now)}
        print(json.dumps({"key": made.key, "entry": _members(made.entry, now), **replaced}, indent=2))
        return
    say("The key, shown this once:")
    print(made.key, flush=True)
    say(f"Its id is {made.entry.key_id}; every server knows it from now on.")


def _members(entry: KeyEntry, now: datetime) -> dict[str, Any]:
    return {
        "key_id": entry.key_id,
        "name": entry.name,
        "state": entry.state(now),
        "owner": entry.owner,
        "tenant_id": entry.tenant_id,
        "permissions": list(entry.permissions),
        "created_at": iso(entry.created_at),
        "not_before": iso(entry.not_before),
        "expires_at": iso(entry.expires_at),
        "revoked_at": iso(entry.revoked_at),
        "last_used_at": iso(entry.last_used_at),
        "replaced_by": entry.replaced_by,
    }


def _cells(entry: KeyEntry, now: datetime) -> tuple[str, ...]:
    return (
        entry.key_id,
        entry.state(now),
        entry.name,
        entry.tenant_id or "its own",
        iso(entry.expires_at) or "never",
        iso(entry.last_used_at) or "never",
        " ".join(entry.permissions) or "none",
    )


def _print_entry(arguments: argparse.Namespace) -> int:
    if arguments.owner is not None:
        raise ConfigurationError("--owner is kept in the database: leave it out where there is none.")
    key, entry = _make(arguments)
    if arguments.json:
        print(json.dumps({"key": key, "entry": entry}, indent=2))
        return 0
    say("The key, shown this once:")
    print(key, flush=True)
    say("\nIts entry in MCP_HTTP_API_KEYS (a digest, not the key):")
    print(json.dumps(entry))
    return 0


def _make(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """A key and its configuration entry, checked as the server will check it. Raises ``ConfigurationError``."""
    from ..core import apikeys
    from ..settings import Settings

    try:
        key = apikeys.compose_key(arguments.env, secrets.token_bytes(8), secrets.token_bytes(32))
    except ValueError:
        raise ConfigurationError(f"--env {arguments.env!r}: use 2 to 12 lower-case letters.") from None
    record = {"name": arguments.name, "id": apikeys.key_id_of(key), "permissions": arguments.permission}
    optional = {
        "tenant_id": arguments.tenant,
        "not_before": arguments.not_before,
        "expires_at": arguments.expires_at,
    }
    record |= {name: value for name, value in optional.items() if value is not None}
    entry = {f"sha256:{apikeys.digest(key.encode()).hex()}": record}
    Settings(environment="development", host="127.0.0.1", api_keys=entry)
    return key, entry
