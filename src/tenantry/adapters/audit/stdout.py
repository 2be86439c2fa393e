"""The sink that writes to standard output, for whoever collects that. It keeps no heads: the collector has the rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from .chain import START, Chain, Seal
from .events import Event
from .threads import in_thread

_STDOUT = 1


class StdoutSink:
    """Whole lines to file descriptor 1, past Python's own buffer."""

    name = "stdout"

    def __init__(self, writer: str, seal: Seal) -> None:
        self._chain, self._head = Chain(writer, "stdout", seal), START
        self._rest = b""

    async def write(self, events: Sequence[Event]) -> None:
        await in_thread(partial(self._write, events))

    async def aclose(self) -> None:
        """Standard output is not ours to close."""

    def _write(self, events: Sequence[Event]) -> None:
        """What a pipe took in part cannot be taken back: the rest of it comes first, the next time."""
        if not self._rest:
            lines, self._head = self._chain.rows(self._head, [event.body for event in events])
            self._rest = ("\n".join(lines) + "\n").encode("ascii")
        while self._rest:
            self._rest = self._rest[os.write(_STDOUT, self._rest) :]
