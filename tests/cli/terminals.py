"""The command on a terminal of its own, typed to by a test."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from .conftest import COMMAND, PATIENCE, environment


class Terminal:
    """``shown`` is everything that appeared so far, also what the terminal itself echoed."""

    def __init__(self, process: subprocess.Popen[bytes], screen: int) -> None:
        self.process = process
        self.shown = ""
        self._screen = screen
        self._heard_to = 0

    def until(self, words: str) -> None:
        """Wait for these words after those that were waited for last."""
        while (found := self.shown.find(words, self._heard_to)) < 0:
            ready, _, _ = select.select([self._screen], [], [], PATIENCE)
            assert ready, f"{words!r} never came; it showed:\n{self.shown}"
            try:
                piece = os.read(self._screen, 4096)
            except OSError:  # EIO: the command has ended and closed its side
                piece = b""
            assert piece, f"it ended before {words!r}; it showed:\n{self.shown}"
            self.shown += piece.decode()
        self._heard_to = found + len(words)

    def type(self, line: str) -> None:
        os.write(self._screen, f"{line}\n".encode())

    def code(self) -> int:
        return self.process.wait(PATIENCE)


@contextmanager
def terminal(*words: str, **env: str) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(**env), start_new_session=True
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
