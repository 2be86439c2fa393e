"""The sink that appends to a file: whole lines, several processes at once, each with a chain of its own.

Under the file's lock a batch is written, forced to the disk, and then confirmed in the heads (``heads.py``). What
fails in between is taken back, so a batch is there whole or not at all, unless the process dies: then its last line
may be torn, and whoever writes next begins a new one. A file that was renamed (logrotate) or emptied is begun anew.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from . import heads
from .chain import START, Chain, Head, Seal, parted
from .events import Event, Moments
from .heads import Heads
from .locking import locked, written
from .threads import in_thread

_FIRST_LINE = 4096  # it is one of our own, and short
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe of that name is not waited for


class FileSink:
    """``path``: the audit file, made with mode 0600."""

    name = "file"

    def __init__(self, path: Path, writer: str, seal: Seal) -> None:
        self._path, self._seal = path, seal
        self._chain = Chain(writer, "file", seal)
        self._head = START
        self._file: int | None = None
        self._begun = ""  # the hash of the first row of the file we wrote to
        self._moments = Moments()

    async def write(self, events: Sequence[Event]) -> None:
        await in_thread(partial(self._write, events))

    async def aclose(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, events: Sequence[Event]) -> None:
        with locked(self._path):
            file = self._opened()
            size = os.fstat(file).st_size
            first = _first_hash(file) if size else None
            bodies = [event.body for event in events]
            if first is None or first != self._begun:
                bodies.insert(0, self._beginning(events[0]))
            lines, head = self._chain.rows(self._head, bodies)
            first = first or _hash(lines[0])
            try:
                _append(file, size, lines)
                self._confirm(first, head)
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(file, size)
                raise
            self._head, self._begun = head, first

    def _opened(self) -> int:
        """The file that has the name now."""
        if self._file is not None:
            with suppress(FileNotFoundError):
                there, ours = os.stat(self._path), os.fstat(self._file)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return self._file
            os.close(self._file)
            self._file = None
        file = os.open(self._path, _FLAGS, 0o600)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError("the audit file is not a regular file")
        self._file = file
        return file

    def _beginning(self, event: Event) -> str:
        """What this writer says first in each file."""
        kind = "writer.started" if self._head == START else "writer.continued"
        return f'"id":"{self._chain.writer}-0.{self._head.seq}","at":"{self._moments.text(event.at)}","event":"{kind}"'

    def _confirm(self, first: str, head: Head) -> None:
        path = heads.beside(self._path)
        known = heads.read(path, self._seal)
        if known is not None and (known.file != first or not known.whole):
            heads.put_away(path, known)
            known = None
        known = known or Heads(first)
        known.writers[self._chain.writer] = head
        heads.write(path, known, self._seal)


def _append(file: int, size: int, lines: Sequence[str]) -> None:
    torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"  # a writer was stopped in the middle of a line
    written(file, (("\n" if torn else "") + "\n".join(lines) + "\n").encode("ascii"))
    os.fsync(file)


def _first_hash(file: int) -> str:
    """Which file it is: the hash of its first row; of its bytes where that is none."""
    line = os.pread(file, _FIRST_LINE, 0).partition(b"\n")[0]
    return _hash(line.decode("latin-1"))


def _hash(line: str) -> str:
    found = parted(line)
    return found[1] if found else "torn"
