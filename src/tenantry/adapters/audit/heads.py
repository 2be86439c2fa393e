"""Where each writer of an audit file has got to: ``<file>.heads``, so that rows missing at the end are found too.

It is written after the rows it tells of: what a crash leaves is rows that no head confirms yet, never a head without
its row. It belongs to one file, told by the hash of that file's first row; when the file has been rotated away, it is
kept as ``<file>.heads.<12 digits of that hash>``.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from .chain import Head, Seal
from .locking import replaced


@dataclass(slots=True)
class Heads:
    """``file``: hash of the first row; ``writers``: the last row of each; ``whole``: nobody has changed it."""

    file: str
    writers: dict[str, Head] = field(default_factory=dict)
    whole: bool = True


def beside(audit: Path) -> Path:
    return audit.with_name(audit.name + ".heads")


def read(path: Path, seal: Seal) -> Heads | None:
    """What a file of heads says; None where there is none."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return None
    content, _, end = text.rstrip("\n").rpartition("\n")
    try:
        entry = json.loads(content)
        writers = {writer: Head(int(seq), str(digest)) for writer, (seq, digest) in entry["writers"].items()}
        return Heads(str(entry["file"]), writers, end == seal.head(content.encode()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Heads("", whole=False)


def write(path: Path, heads: Heads, seal: Seal) -> None:
    content = json.dumps({"file": heads.file, "writers": heads.writers}, separators=(",", ":"))
    replaced(path, f"{content}\n{seal.head(content.encode())}\n".encode())


def put_away(path: Path, heads: Heads) -> None:
    """Keep the heads of a file that has been rotated away."""
    os.replace(path, path.with_name(f"{path.name}.{heads.file[:12] or 'unreadable'}"))
