"""The users' keys beside an audit file: ``<file>.keys``, one JSON object a line, for its owner's eyes only.

Several processes share it under the file's lock. It is read whole: for more than some 100,000 users keep the audit in
PostgreSQL.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from .locking import locked, replaced, written
from .pseudonyms import new_key
from .threads import in_thread


class FileKeys:
    """``path``: the audit file's."""

    def __init__(self, path: Path) -> None:
        self._audit = path
        self._path = path.with_name(path.name + ".keys")
        self._known: dict[str, bytes] = {}
        self._as_of: tuple[int, ...] = ()

    async def of(self, user_ids: Collection[str]) -> Mapping[str, bytes]:
        return await in_thread(partial(self._of, user_ids))

    def every(self) -> Mapping[str, bytes]:
        """All there are."""
        self._read()
        return self._known

    def erase(self, user_id: str) -> bool:
        """Drop a user's key; false when there is none."""
        with locked(self._audit):
            self._read()
            if user_id not in self._known:
                return False
            lines = self._path.read_text("utf-8").splitlines()
            replaced(self._path, "".join(f"{line}\n" for line in lines if _user(line) != user_id).encode())
            self._as_of = ()
            return True

    def _of(self, user_ids: Collection[str]) -> Mapping[str, bytes]:
        self._read()
        if any(user_id not in self._known for user_id in user_ids):
            with locked(self._audit):
                self._read()
                self._add([user_id for user_id in user_ids if user_id not in self._known])
        return {user_id: self._known[user_id] for user_id in user_ids}

    def _read(self) -> None:
        """Anew where the file has changed: somebody may have added a key, or dropped one."""
        try:
            state = self._path.stat()
        except FileNotFoundError:
            self._known, self._as_of = {}, ()
            return
        as_of = (state.st_ino, state.st_size, state.st_mtime_ns)
        if as_of == self._as_of:
            return
        known: dict[str, bytes] = {}
        for line in self._path.read_text("utf-8").splitlines():
            if (user := _user(line)) is not None:
                known.setdefault(user, bytes.fromhex(json.loads(line)["key"]))
        self._known, self._as_of = known, as_of

    def _add(self, user_ids: Collection[str]) -> None:
        made = {user_id: new_key() for user_id in user_ids}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        lines = [json.dumps({"user": user, "key": key.hex(), "created": now}) + "\n" for user, key in made.items()]
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(file).st_size
            torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"  # whoever was stopped in the middle of a line
            data = ("\n" if torn else "") + "".join(lines)
            written(file, data.encode())
            os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, size)
            raise
        finally:
            os.close(file)
        self._known, self._as_of = {**self._known, **made}, ()


def _user(line: str) -> str | None:
    """Whose key the line is; None for one that was torn."""
    try:
        entry = json.loads(line)
        if len(bytes.fromhex(entry["key"])) != 32:
            return None
        return str(entry["user"])
    except (ValueError, KeyError, TypeError):
        return None
