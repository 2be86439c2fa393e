"""Tables and answers as text of at most 120 columns, with or without colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import wrap

Paint = Callable[[str, str], str]

WIDTH = 120
GAP = "  "
_STYLES = {"head": "1", "good": "32", "bad": "1;31", "faint": "2"}
_ON_THE_RIGHT = frozenset({"cold ms", "warm ms", "ms", "status"})


def painted(text: str, style: str) -> str:
    """``text`` in the terminal's colours (ECMA-48 SGR)."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if text else text


def plain(text: str, style: str) -> str:
    """``text`` as it is, for files and pipes."""
    return text


def shortened(text: str, width: int) -> str:
    """``text`` in ``width`` columns: the beginning and the end tell ids apart, the middle is left out."""
    if len(text) <= width:
        return text
    tail = (width - 2) // 3
    return f"{text[: width - 2 - tail]}..{text[-tail:]}"


def table(columns: Sequence[str], rows: Iterable[tuple[tuple[str, ...], str]], paint: Paint) -> list[str]:
    """Aligned lines. A row that came out wrong is marked, and says below what it should be."""
    rows = list(rows)
    widths = [max(len(name), *(len(cells[i]) for cells, _ in rows)) for i, name in enumerate(columns)]
    lines = [paint(_line("", columns, columns, widths), "head")]
    for cells, wrong in rows:
        line = _line("! " if wrong else "", columns, cells, widths)
        lines += [paint(line, "bad"), *wrong_words(wrong, paint)] if wrong else [line]
    return lines


def wrong_words(wrong: str, paint: Paint) -> list[str]:
    """What a row should be, where it is not."""
    return [paint(GAP * 2 + part, "bad") for part in wrong.splitlines()]


def header_lines(headers: Mapping[str, str]) -> list[str]:
    """As they stand in an answer; long ones go on in the next line, further in."""
    lines = []
    for name, value in headers.items():
        lines += wrap(
            f"{_title(name)}: {value}", WIDTH, subsequent_indent=GAP * 2, break_long_words=False, break_on_hyphens=False
        )
    return lines


def _title(name: str) -> str:
    """As specifications write it: HTTP does not care."""
    known = {"www-authenticate": "WWW-Authenticate", "ratelimit": "RateLimit", "ratelimit-policy": "RateLimit-Policy"}
    return known.get(name, name.title())


def _line(mark: str, columns: Sequence[str], cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if name in _ON_THE_RIGHT else cell.ljust(width)
        for name, cell, width in zip(columns, cells, widths, strict=True)
    )
    return (mark + GAP.join(aligned)).rstrip()
