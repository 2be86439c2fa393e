"""The audit: read it, search it, prove that nobody has changed it, and make one person unknown in it."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from .database import actor, with_database
from .words import TIME, moment, say

if TYPE_CHECKING:
    from ..adapters.audit.reading import People, Query
    from ..adapters.audit.verify import Finding
    from ..adapters.postgres.audit_reading import DatabaseTrail
    from ..settings import Settings

OK, WRONG = 0, 1
_TAIL = 20
_EVERY_SECONDS = 1.0
_AT_ONCE = 10_000  # rows that are looked for at a time while following
_SHOWN = (
    "tenant",
    "user",
    "method",
    "name",
    "status",
    "reason",
    "duration_ms",
    "address",
    "actor",
    "subject",
    "detail",
)

Read = Callable[["Query", int], Awaitable[list[dict[str, Any]]]]


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    tail = actions.add_parser("tail", help="the newest rows")
    tail.add_argument("--follow", action="store_true", help="and those that come, until interrupted")
    search = actions.add_parser("search", help="rows of a tenant, a user, a time, an event")
    search.add_argument("--until", metavar="TIME", help=f"before then: {TIME}")
    search.add_argument("--since", metavar="TIME", help=f"from then on: {TIME}")
    for action, most in ((tail, _TAIL), (search, 1000)):
        action.add_argument("file", metavar="FILE", nargs="*", type=Path, help="audit files (default: the settings')")
        action.add_argument("--tenant", metavar="TENANT_ID")
        action.add_argument("--user", metavar="USER_ID", help="as tools see it, like google:123")
        action.add_argument("--event", action="append", help="may be repeated; key means all of key.*")
        action.add_argument("--limit", type=int, default=most, help=f"the newest so many (default: {most})")
        how = action.add_mutually_exclusive_group()
        how.add_argument("--json", action="store_true", help="one JSON object a line")
        how.add_argument("--format", choices=("text", "json", "ocsf"), default="text", help="ocsf: OCSF 1.3.0 events")
    verify = actions.add_parser("verify", help="find rows that are missing, changed or out of order")
    verify.add_argument("file", metavar="FILE", nargs="*", type=Path, help="audit files (default: the settings')")
    verify.add_argument("--json", action="store_true", help="one JSON object on standard output")
    erase = actions.add_parser("erase", help="drop what relates a person's pseudonyms to him, for ever")
    erase.add_argument("--user", metavar="USER_ID", required=True, help="as tools see it, like google:123")


def run(arguments: argparse.Namespace) -> int:
    return _ACTIONS[arguments.action](arguments)


# --- Reading ----------------------------------------------------------------------------------------------------------


def _read(arguments: argparse.Namespace) -> int:
    query = _query(arguments)
    if arguments.limit < 1:
        raise ConfigurationError("--limit is at least 1.")

    async def show(read: Read) -> int:
        follow = getattr(arguments, "follow", False)
        rows = await read(query, max(arguments.limit, _AT_ONCE) if follow else arguments.limit)
        _print(rows[-arguments.limit :], arguments)
        if follow:
            await _follow(read, query, rows, arguments)
        elif not rows:
            say("No rows.")
        return OK

    settings, files = _settings(), _files(arguments)
    if not files and _kept_in(settings).postgres:
        return _with_trail(lambda trail: show(_from_database(trail)))
    paths = files or [_file_of(settings)]
    return asyncio.run(show(_from_files(paths)))


def _query(arguments: argparse.Namespace) -> Query:
    from ..adapters.audit.events import EVENTS
    from ..adapters.audit.reading import Query, known_events

    return Query(
        tenant=arguments.tenant,
        user=arguments.user,
        since=moment("--since", getattr(arguments, "since", None)),
        until=moment("--until", getattr(arguments, "until", None)),
        events=None if arguments.event is None else known_events(EVENTS, arguments.event),
    )


def _from_database(trail: DatabaseTrail) -> Read:
    async def read(query: Query, limit: int) -> list[dict[str, Any]]:
        from ..adapters.audit.reading import People, Wanted

        people = People(await trail.keys())
        return _resolved(await trail.newest(query, Wanted.of(query, people), limit), people)

    return read


def _from_files(paths: Sequence[Path]) -> Read:
    async def read(query: Query, limit: int) -> list[dict[str, Any]]:
        from ..adapters.audit.reading import People, Wanted, newest

        people = People(_keys_beside(paths))
        return _resolved(newest(paths, Wanted.of(query, people), limit), people)

    return read


def _keys_beside(paths: Sequence[Path]) -> Mapping[str, bytes]:
    """Rotated files have their keys beside the file that they once were: ``audit.log.keys`` for ``audit.log.1``."""
    from ..adapters.audit.file_keys import FileKeys

    known: dict[str, bytes] = {}
    for former in {path.with_name(name) for path in paths for name in _names(path.name)}:
        known |= FileKeys(former).every()
    return known


def _names(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _resolved(lines: Sequence[str], people: People) -> list[dict[str, Any]]:
    from ..adapters.audit.reading import members_of

    return [people.shown(members_of(line)) for line in lines]


async def _follow(read: Read, query: Query, rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """What is new since the last look, by time and then by what has been seen of that moment and later."""
    from dataclasses import replace

    seen = {_identity(row) for row in rows}
    since = rows[-1]["at"] if rows else None
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        # A batch may be written up to some seconds after what it tells of, and after rows of another process.
        begin = None if since is None else _a_little_before(since)
        found = await read(replace(query, since=begin), _AT_ONCE)
        new = [row for row in found if _identity(row) not in seen]
        _print(new, arguments)
        if found:
            seen, since = {_identity(row) for row in found}, max(str(row["at"]) for row in found)


def _identity(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row.get("writer"), row.get("stream"), row.get("seq"), row.get("hash")


def _a_little_before(at: str) -> datetime:
    from datetime import timedelta

    return datetime.fromisoformat(at) - timedelta(seconds=10)


def _print(rows: Sequence[Mapping[str, Any]], arguments: argparse.Namespace) -> None:
    for row in rows:
        if arguments.format == "ocsf":
            from ..adapters.audit.ocsf import mapped

            print(json.dumps(mapped(row)))
        elif arguments.json or arguments.format == "json":
            print(json.dumps(row))
        else:
            print(_text(row))
    if rows:
        print(end="", flush=True)


def _text(row: Mapping[str, Any]) -> str:
    """One line; what a caller chose cannot move the cursor."""
    shown = [f"{name}={_plain(row[name])}" for name in _SHOWN if name in row]
    return "  ".join([_plain(row.get("at", "?")), _plain(row.get("event", "?")).ljust(18), *shown])


def _plain(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text and '"' not in text else json.dumps(text)


# --- Verifying --------------------------------------------------------------------------------------------------------


def _verify(arguments: argparse.Namespace) -> int:
    settings, files = _settings(), _files(arguments)
    if files:
        return _verified(arguments, *_verify_files(files, settings))
    kept = _kept_in(settings)
    rows, findings, notes = 0, list[Any](), list[str]()
    if kept.file is not None and kept.file.exists():
        rows, findings, notes = _verify_files([kept.file], settings)
    if not kept.postgres:
        _file_of(settings)
        return _verified(arguments, rows, findings, notes)

    async def both(trail: DatabaseTrail) -> int:
        more, found, said = await trail.verify()
        return _verified(arguments, rows + more, [*findings, *found], [*notes, *said])

    return _with_trail(both)


def _verify_files(files: Sequence[Path], settings: Settings) -> tuple[int, list[Finding], list[str]]:
    from ..adapters.audit.chain import Seal
    from ..adapters.audit.configured import secret
    from ..adapters.audit.reading import verify

    return verify(files, Seal(secret(settings)))


def _verified(arguments: argparse.Namespace, rows: int, findings: Sequence[Finding], notes: Sequence[str]) -> int:
    if arguments.json:
        members = {
            "whole": not findings,
            "rows": rows,
            "findings": [finding._asdict() for finding in findings],
            "notes": list(notes),
        }
        print(json.dumps(members, indent=2))
    else:
        for finding in findings:
            print(finding)
    for note in notes:
        say(f"Note: {note}.")
    say(f"{rows} rows: {'whole' if not findings else f'{len(findings)} findings'}.")
    return WRONG if findings else OK


# --- Erasing ----------------------------------------------------------------------------------------------------------


def _erase(arguments: argparse.Namespace) -> int:
    settings, user_id = _settings(), arguments.user
    kept = _kept_in(settings)
    if kept.postgres:

        async def drop(trail: DatabaseTrail) -> int:
            return _erased(user_id, await trail.erase(user_id, actor()))

        return _with_trail(drop)
    if kept.file is not None:
        from ..adapters.audit.file_keys import FileKeys

        return _erased(user_id, FileKeys(kept.file).erase(user_id))
    raise ConfigurationError(
        "On standard output alone nobody can be erased: all pseudonyms follow from MCP_HTTP_AUDIT_HMAC_KEY. Keep the "
        "audit in a file or in PostgreSQL too, where each person has a key of his own."
    )


def _erased(user_id: str, dropped: bool) -> int:
    if not dropped:
        say(f"There is no key for {user_id}: nobody of that id is in the audit under a pseudonym, or no longer.")
        return WRONG
    say(f"The key of {user_id} has been dropped. Running servers forget it within a minute; backups may still have it.")
    return OK


# --- Where it is ------------------------------------------------------------------------------------------------------


def _settings() -> Settings:
    from ..settings import Settings

    # Only the audit's settings and the database's are asked for: what a server would need besides need not be here.
    return Settings(environment="development", host="127.0.0.1", api_key="none")


def _kept_in(settings: Settings) -> Any:
    from ..adapters.audit.configured import places

    found = places(settings)
    if found is None:
        raise ConfigurationError("There is no audit: set MCP_HTTP_AUDIT_SINKS, or name a file.")
    return found


def _file_of(settings: Settings) -> Path:
    file: Path | None = _kept_in(settings).file
    if file is None:
        raise ConfigurationError("The audit goes to standard output alone: name a file in which that was collected.")
    if not file.exists():
        raise ConfigurationError(f"MCP_HTTP_AUDIT_SINKS names {str(file)!r}, where nothing has been written yet.")
    return file


def _files(arguments: argparse.Namespace) -> list[Path]:
    files: list[Path] = arguments.file
    for file in files:
        if not file.is_file():
            raise ConfigurationError(f"{str(file)!r} is not a file: name an audit file.")
    return files


def _with_trail(work: Callable[[DatabaseTrail], Awaitable[int]]) -> int:
    from ..adapters.audit.chain import Seal
    from ..adapters.audit.configured import secret
    from ..adapters.postgres.audit_reading import DatabaseTrail

    seal = Seal(secret(_settings()))
    return with_database(lambda database: work(DatabaseTrail(database, seal)))


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "tail": _read,
    "search": _read,
    "verify": _verify,
    "erase": _erase,
}
