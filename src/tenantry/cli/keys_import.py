"""Read the keys that ``tenantry keys import`` takes over: CSV with a header line, or one JSON object a line.

Columns or members: ``name`` and ``key``; ``tenant``, ``permissions`` (separated by blanks; in JSON also a list),
``expires_at``, ``not_before``, ``owner`` and ``id`` where there is something to say. ``key`` is ``sha256:<64 hex
digits>`` of the whole key, or the key itself, which is hashed at once and kept nowhere. No message quotes it.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..adapters.postgres.administration.key_import import Imported
from ..adapters.postgres.administration.keys import KeyEntry
from ..adapters.postgres.key_store import KEY_ID
from ..core import apikeys
from ..core.strict_json import parse_object
from ..errors import ConfigurationError
from ..static_keys import check_strength
from .words import moment

_MEMBERS = frozenset("name key tenant permissions expires_at not_before owner id".split())
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_MOST_BYTES = 8 * 1024 * 1024


def read(source: str) -> list[Imported]:
    """All keys of a file, or of standard input for "-". Raises ``ConfigurationError`` with the line's number."""
    text = _text(source)
    rows = _json_lines(text) if text.lstrip().startswith("{") else _csv(text)
    return [_imported(f"line {number}", row) for number, row in rows]


def _text(source: str) -> str:
    try:
        if source == "-":
            content = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigurationError(f"The input is larger than {_MOST_BYTES} bytes.")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{source!r} cannot be read ({(error.strerror or str(error)).lower()}).") from None
    except UnicodeDecodeError:
        raise ConfigurationError("The input is not UTF-8.") from None


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = parse_object(line.encode())
        except ValueError:
            raise ConfigurationError(f"line {number}: not a JSON object.") from None
        _check_members(f"line {number}", row)
        yield number, row


def _csv(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        _check_members("line 1", dict.fromkeys(name.strip() for name in reader.fieldnames or ()))
        for row in reader:
            if None in row or None in row.values():
                raise ConfigurationError(f"line {reader.line_num}: not as many cells as the header has.")
            yield reader.line_num, {name.strip(): value.strip() for name, value in row.items() if value.strip()}
    except csv.Error:
        raise ConfigurationError(f"line {reader.line_num}: not CSV.") from None


def _check_members(place: str, row: Mapping[str, Any]) -> None:
    # The names are not repeated: a file without its header has a key there.
    if not row.keys() <= _MEMBERS or not {"name", "key"} <= row.keys():
        raise ConfigurationError(
            f"{place}: the columns are {', '.join(sorted(_MEMBERS))}; name and key have to be there."
        )


def _imported(place: str, row: Mapping[str, Any]) -> Imported:
    def text(name: str) -> str | None:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{place}: {name} is not text.")
        return value or None

    key_id, digest = _key(place, text("key") or "", text("id"))
    entry = KeyEntry(
        key_id=key_id,
        name=text("name") or "",
        created_at=datetime.now(UTC),
        owner=text("owner"),
        tenant_id=text("tenant"),
        permissions=_permissions(place, row.get("permissions")),
        not_before=moment(f"{place}: not_before", text("not_before")),
        expires_at=moment(f"{place}: expires_at", text("expires_at")),
    )
    return Imported(place, entry, digest)


def _key(place: str, key: str, given: str | None) -> tuple[str, bytes]:
    """(id, digest). The id of a key of our form is inside it; of its digest alone nobody can read it."""
    if given is not None and not KEY_ID.fullmatch(given):
        raise ConfigurationError(f"{place}: id is not 8 to 12 letters and digits.")
    hashed = _DIGEST.fullmatch(key)
    if hashed is not None:
        digest = bytes.fromhex(hashed[1])
        return given or apikeys.digest_id(digest), digest
    if key.lower().startswith("sha256:"):
        raise ConfigurationError(f"{place}: key is not sha256: and 64 lower-case hexadecimal digits.")
    digest = apikeys.digest(key.encode())
    if key.startswith(apikeys.PREFIX):
        try:
            inside = apikeys.key_id_of(key)
        except ValueError:
            raise ConfigurationError(f"{place}: key begins as one of tenantry's, but its checksum is wrong.") from None
    else:
        check_strength(f"{place}: key", key, development=False)
        inside = apikeys.digest_id(digest)
    if given not in (None, inside):
        raise ConfigurationError(f"{place}: id is not the one of this key, which is {inside}.")
    return inside, digest


def _permissions(place: str, value: Any) -> tuple[str, ...]:
    names = value.split() if isinstance(value, str) else value
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f"{place}: permissions is not a list of names.")
    return tuple(sorted(set(names)))
