"""Server-sent events in transit (HTML standard, section 9.2): the data of each may be replaced, all else passes byte
for byte.

What is not data passes line by line, an event's data when the event ends. Lines end in LF, CRLF or CR, wherever the
stream is cut into chunks.
"""

from __future__ import annotations

from collections.abc import Callable

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event is larger than the limit."""


class EventStream:
    """``rewrite`` is given the data of an event (its lines joined by LF) and returns what to send in its place, without
    line ends in it, or None to leave it. ``limit``: bytes of one event."""

    def __init__(self, rewrite: Callable[[bytes], bytes | None], limit: int) -> None:
        self._rewrite = rewrite
        self._limit = limit
        self._line: list[bytes] = []  # pieces of the line that has not ended
        self._event: list[bytes] = []  # lines of the event that has not ended, from its first data on
        self._data: list[bytes] = []
        self._sizes = [0, 0]  # of _line and _event
        self._began = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> bytes:
        """What may go out now. Raises ``EventTooLarge``, and whatever ``rewrite`` raises."""
        out: list[bytes] = []
        if self._after_cr and chunk.startswith(b"\n"):  # the second half of a CRLF
            chunk = chunk[1:]
            if self._event:
                self._event[-1] += b"\n"
            else:
                out.append(b"\n")
            self._after_cr = False
        if not chunk:
            return b"".join(out)
        self._after_cr = chunk.endswith(b"\r")
        for line in self._lines(chunk):
            self._take(line, out)
        return b"".join(out)

    def end(self) -> bytes:
        """What is left when the stream ends without a blank line, as if one had come."""
        out: list[bytes] = []
        if self._line:
            self._take(b"".join(self._line), out)
            self._line = []
        self._dispatch(out)
        return b"".join(out)

    def _lines(self, chunk: bytes) -> list[bytes]:
        """The lines that end in ``chunk``; what is begun is kept."""
        lines: list[bytes] = []
        if b"\n" in chunk or b"\r" in chunk:
            lines = b"".join((*self._line, chunk)).splitlines(keepends=True)
            self._line, self._sizes[0] = [], 0
            chunk = b"" if lines[-1].endswith((b"\n", b"\r")) else lines.pop()
        self._line.append(chunk)
        self._grow(0, len(chunk))
        return lines

    def _take(self, line: bytes, out: list[bytes]) -> None:
        text = line.rstrip(b"\r\n")
        if not self._began:
            self._began, text = True, text.removeprefix(_BOM)
        if not text:
            self._dispatch(out)
        is_data, value = _data_of(text)
        if is_data:
            self._data.append(value)
        if is_data or self._event:
            self._event.append(line)
            self._grow(1, len(line))
        else:
            out.append(line)

    def _grow(self, which: int, size: int) -> None:
        self._sizes[which] += size
        if self._sizes[which] > self._limit:
            raise EventTooLarge("an event is larger than the limit")

    def _dispatch(self, out: list[bytes]) -> None:
        if self._event:
            data = self._rewrite(b"\n".join(self._data))
            out += self._event if data is None else _with_data(self._event, data)
            self._event, self._data, self._sizes[1] = [], [], 0


def _data_of(text: bytes) -> tuple[bool, bytes]:
    name, _, value = text.partition(b":")
    return name == b"data", value.removeprefix(b" ")


def _with_data(event: list[bytes], data: bytes) -> list[bytes]:
    """The event, whose first line is its first data, with ``data`` alone. All lines end in LF now: the CR of one would
    take the LF of another for its own, where the line between them has gone."""
    others = [line.rstrip(b"\r\n") for line in event[1:]]
    return [b"data: " + data + b"\n", *(line + b"\n" for line in others if not _data_of(line)[0])]
