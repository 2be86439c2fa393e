"""Reading a trail: which rows are wanted, who is behind a pseudonym, and rows out of files."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from ...core.tenancy import personal_tenant_id
from ...errors import ConfigurationError
from . import heads
from .chain import Head, Seal, parted
from .locking import locked
from .pseudonyms import tenant_word, user_word
from .verify import Finding, Row, Verification, read_row

_BLOCK = 1 << 16
# Rows are written in batches, by several processes: one may stand behind rows that are later, but not by much.
_SLACK = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody asks for; None for what he does not ask about. ``user``: a real user id."""

    tenant: str | None = None
    user: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    events: tuple[str, ...] | None = None


class Wanted(NamedTuple):
    """A query in the words of the rows: ``users`` and ``tenants`` with their pseudonyms."""

    users: frozenset[str] | None
    tenants: frozenset[str] | None
    query: Query

    @classmethod
    def of(cls, query: Query, people: People) -> Wanted:
        users = None if query.user is None else frozenset({query.user, *people.words_of(query.user)})
        tenants = None if query.tenant is None else frozenset({query.tenant, *people.tenant_words(query.tenant)})
        return cls(users, tenants, query)

    def has(self, row: Row) -> bool:
        """Whether the row is one of those."""
        members, query = row.members, self.query
        if self.users is not None and members.get("user") not in self.users:
            return False
        if self.tenants is not None and members.get("tenant") not in self.tenants:
            return False
        if query.events is not None and members.get("event") not in query.events:
            return False
        if query.since is None and query.until is None:
            return True
        try:
            at = datetime.fromisoformat(str(members.get("at")))
        except ValueError:
            return False
        return (query.since is None or at >= query.since) and (query.until is None or at < query.until)


class People:
    """Who is behind which pseudonym, for those whose key is there."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = keys
        self._users = {user_word(key, user_id): user_id for user_id, key in keys.items()}
        self._tenants: dict[str, str] = {}
        for user_id, key in keys.items():
            own = personal_tenant_id(user_id)
            self._tenants[tenant_word(key, own)] = own

    def words_of(self, user_id: str) -> tuple[str, ...]:
        key = self._keys.get(user_id)
        return () if key is None else (user_word(key, user_id),)

    def tenant_words(self, tenant_id: str) -> tuple[str, ...]:
        return tuple(word for word, own in self._tenants.items() if own == tenant_id)

    def shown(self, members: Mapping[str, Any]) -> dict[str, Any]:
        """A row with the people as they are."""
        known = dict(members)
        if known.get("user") in self._users:
            known["user"] = self._users[known["user"]]
        if known.get("tenant") in self._tenants:
            known["tenant"] = self._tenants[known["tenant"]]
        return known


# --- Files ------------------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> Iterator[str]:
    """The whole lines of an audit file (also a compressed one), and the torn one at its end."""
    with _opened(path) as file:
        for line in file:
            yield line.decode("utf-8", "replace").rstrip("\n")


def _opened(path: Path) -> IO[bytes]:
    try:
        return cast("IO[bytes]", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"{str(path)!r} cannot be read ({error.strerror}): name an audit file.") from None


def newest(paths: Sequence[Path], wanted: Wanted, limit: int) -> list[str]:
    """The newest rows that are wanted, the oldest of them first. From the end, and no further than need be."""
    found: list[str] = []
    since = wanted.query.since
    early = None if since is None else (since.astimezone(UTC) - _SLACK).isoformat()
    for path in reversed(in_order(paths)):
        for line in _backwards(path):
            row = read_row(line)
            if row is None:
                continue
            if early is not None and str(row.members.get("at")) < early:
                return found[::-1]
            if wanted.has(row):
                found.append(line)
                if len(found) == limit:
                    return found[::-1]
    return found[::-1]


def _backwards(path: Path) -> Iterator[str]:
    """The lines of a file, the last one first."""
    if path.suffix == ".gz":
        yield from reversed(list(rows_of(path)))
        return
    with _opened(path) as file:
        place, rest = file.seek(0, os.SEEK_END), b""
        while place > 0:
            size = min(_BLOCK, place)
            place = file.seek(place - size)
            first, *lines = (file.read(size) + rest).split(b"\n")
            for line in reversed(lines):
                yield line.decode("utf-8", "replace")
            rest = first
        yield rest.decode("utf-8", "replace")


def in_order(paths: Sequence[Path]) -> list[Path]:
    """Files by the time of their first row."""
    return sorted(paths, key=lambda path: str((_first(path) or {}).get("at", "")))


def _first(path: Path) -> Mapping[str, Any] | None:
    for line in rows_of(path):
        row = read_row(line)
        if row is not None:
            return row.members
    return None


def verify(paths: Sequence[Path], seal: Seal) -> tuple[int, list[Finding], list[str]]:
    """Files that follow each other: rows looked at, what is wrong, and what else there is to say."""
    ordered = in_order(paths)
    checking = Verification(seal, ", ".join(path.name for path in ordered))
    snapshots = [_snapshot(path, seal) for path in ordered]
    last: dict[str, Head] = {}
    for snapshot in snapshots:
        checking.findings += snapshot.findings
        checking.notes += snapshot.notes
        last |= snapshot.writers
    checking.heads = last
    for path, snapshot in zip(ordered, snapshots, strict=True):
        for number, line in enumerate(_up_to(path, snapshot.size), 1):
            if line:
                checking.add(line, f"{path.name} line {number}")
    checking.finish()
    return checking.rows, checking.findings, checking.notes


class _Snapshot(NamedTuple):
    """A file and its heads at one moment. ``size``: in bytes, None for what nobody writes to any more."""

    size: int | None
    writers: Mapping[str, Head]
    findings: list[Finding]
    notes: list[str]


def _snapshot(path: Path, seal: Seal) -> _Snapshot:
    if path.suffix == ".gz":
        return _heads(path, seal, None)
    try:
        with locked(path):
            return _heads(path, seal, path.stat().st_size)
    except OSError:  # a copy somewhere else, where nobody writes
        return _heads(path, seal, None)


def _heads(path: Path, seal: Seal, size: int | None) -> _Snapshot:
    line = next(rows_of(path), "")
    row, found = read_row(line), parted(line)
    if row is not None and row.members.get("stream") == "stdout":
        note = f"{path.name}: standard output keeps no heads, so rows missing at the end are not found"
        return _Snapshot(size, {}, [], [note])
    first = found[1] if found is not None else "torn"
    findings: list[Finding] = []
    writers: dict[str, Head] = {}
    candidates = [each for each in path.parent.iterdir() if ".heads" in each.name and not each.name.endswith(".new")]
    for name in sorted(candidates, reverse=True):
        known = heads.read(name, seal)
        current = name == heads.beside(path)
        if known is None or (known.file != first and not current):
            continue
        if not known.whole:
            problem = f"the heads in {name.name} have been changed, or sealed with another key"
            findings.append(Finding(path.name, None, None, problem))
        if known.file != first and known.whole:
            problem = "does not begin with the row that it began with"
            findings.append(Finding(path.name, None, None, problem))
        writers |= known.writers
    if not writers and not findings:
        problem = "has no heads beside it (FILE.heads), so nobody can tell whether its last rows are missing"
        findings.append(Finding(path.name, None, None, problem))
    return _Snapshot(size, writers, findings, [])


def _up_to(path: Path, size: int | None) -> Iterator[str]:
    if size is None:
        yield from rows_of(path)
        return
    with _opened(path) as file:
        while size > 0 and (line := file.readline(size)):
            size -= len(line)
            yield line.decode("utf-8", "replace").rstrip("\n")


def members_of(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found


def known_events(events: Collection[str], words: Sequence[str]) -> tuple[str, ...]:
    """``key`` means all that begin with ``key.``. Raises ``ConfigurationError`` for what is no event."""
    chosen = []
    for word in words:
        found = [event for event in events if event == word or event.startswith(f"{word}.")]
        if not found:
            raise ConfigurationError(f"There is no event {word!r}: docs/audit.md lists them.")
        chosen += found
    return tuple(chosen)
