"""What has been done to a trail: rows that are missing, changed, added or out of order.

Rows come in the order in which they are kept, from whatever place; each writer's own must follow each other. What the
heads say a writer has written must be there. A row that only no head confirms yet is no finding in a file: a process
that was killed leaves such rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any, NamedTuple

from .chain import GENESIS, Head, Seal, parted

_CONTINUED = "writer.continued"


class Finding(NamedTuple):
    """One thing that is wrong. ``place``: a file, or a table; ``writer`` and ``seq``: the row, as far as known."""

    place: str
    writer: str | None
    seq: int | None
    problem: str

    def __str__(self) -> str:
        row = "" if self.writer is None else f" writer {self.writer}" + ("" if self.seq is None else f" row {self.seq}")
        return f"{self.place}:{row} {self.problem}"


class Row(NamedTuple):
    """A row as it was read. ``members``: what it says."""

    line: str
    members: Mapping[str, Any]

    @property
    def writer(self) -> str:
        return str(self.members["writer"])

    @property
    def seq(self) -> int:
        return int(self.members["seq"])


def read_row(line: str) -> Row | None:
    """None for what is no row: text of somebody else's, or a line that was torn."""
    try:
        members = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(members, dict) and isinstance(members.get("writer"), str) and type(members.get("seq")) is int
    return Row(line, members) if whole else None


@dataclass(slots=True)
class Verification:
    """Of one place, or of several files that follow each other. ``heads``: of each writer the last row that must be
    there; ``strict``: rows and heads are written together, so no row is without."""

    seal: Seal
    place: str
    heads: Mapping[str, Head] = field(default_factory=dict)
    strict: bool = False
    rows: int = 0
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _ends: dict[str, Head] = field(default_factory=dict)

    def add(self, line: str, where: str = "") -> Row | None:
        """The next row. ``where``: said of what is no row."""
        row = read_row(line)
        found = parted(line)
        if row is None or found is None:
            self.notes.append(
                f"{self.place}: {where or 'something'} is no whole row: a writer was stopped in it, or "
                "it is not the audit's"
            )
            return None
        content, digest = found
        self.rows += 1
        self._check(row, content, digest)
        last = self._ends.get(row.writer)
        if last is None or row.seq > last.seq:
            self._ends[row.writer] = Head(row.seq, digest)
        head = self.heads.get(row.writer)
        if head is not None and head.seq == row.seq and not compare_digest(head.hash, digest):
            self._find(row, "is not the row that was written")
        return row

    def finish(self) -> None:
        """After the last row: what should have been there."""
        for writer, head in self.heads.items():
            last = self._ends.get(writer)
            if last is None:
                self.findings.append(Finding(self.place, writer, None, f"all rows up to {head.seq} are missing"))
            elif last.seq < head.seq:
                missing = _rows(last.seq + 1, head.seq)
                self.findings.append(Finding(self.place, writer, None, f"{missing} at the end missing"))
        for writer, last in self._ends.items():
            confirmed = self.heads[writer].seq if writer in self.heads else 0
            if last.seq > confirmed:
                self._unconfirmed(writer, confirmed, last.seq)

    def _unconfirmed(self, writer: str, confirmed: int, last: int) -> None:
        if self.strict:
            self.findings.append(Finding(self.place, writer, None, f"{_rows(confirmed + 1, last)} not in the heads"))
        elif self.heads:
            self.notes.append(
                f"{self.place}: writer {writer} {_rows(confirmed + 1, last)} not confirmed yet: the process was "
                "stopped before it could, or is about to"
            )

    def _check(self, row: Row, content: bytes, digest: str) -> None:
        members, last = row.members, self._ends.get(row.writer)
        if not compare_digest(self.seal.row(content), digest):
            self._find(row, self._why(row))
        if last is None:
            self._check_first(row)
        elif row.seq <= last.seq:
            self._find(row, f"is out of order or there twice: row {last.seq} was before it")
        elif row.seq > last.seq + 1:
            self._find(row, f"follows row {last.seq}: {_rows(last.seq + 1, row.seq - 1)} missing")
        elif members.get("prev") != last.hash:
            self._find(row, "does not follow the row before it: one of the two has been changed")

    def _check_first(self, row: Row) -> None:
        if row.seq == 1 and row.members.get("prev") == GENESIS:
            return
        if row.members.get("event") == _CONTINUED:
            self.notes.append(
                f"{self.place}: writer {row.writer} begins here with row {row.seq}: the rows before it are in an older "
                "file, which was not given"
            )
        else:
            self._find(row, f"is the first there is: {_rows(1, row.seq - 1)} missing")

    def _why(self, row: Row) -> str:
        key = row.members.get("key")
        if key != self.seal.fingerprint:
            if key is None:
                return "has been written without the key that MCP_HTTP_AUDIT_HMAC_KEY names"
            return f"has been sealed with another key ({key}): give that as MCP_HTTP_AUDIT_HMAC_KEY"
        return "has been changed"

    def _find(self, row: Row, problem: str) -> None:
        self.findings.append(Finding(self.place, row.writer, row.seq, problem))


def _rows(first: int, last: int) -> str:
    """ "row 3 is", "rows 3-7 are"."""
    return f"row {first} is" if first >= last else f"rows {first}-{last} are"
