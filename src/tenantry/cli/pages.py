"""Markdown pages for a terminal: headings stay, tables become lists of terms, links keep their words."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")
_ITEM = re.compile(r"\s*(?:[-*]|\d+\.)\s+")
_CELLS = re.compile(r"(?<!\\)\|")


def section(text: str, heading: str) -> str:
    """The part under one heading, up to the next of its level. Raises ``ValueError`` when there is none."""
    found: list[str] = []
    level, code = 0, False
    for line in text.splitlines():
        code ^= line.startswith("```")
        depth = 0 if code else len(line) - len(line.lstrip("#"))
        if depth and not found and line.lstrip("# ").replace("`", "").lower() == heading.lower():
            level = depth
        elif depth and depth <= level:
            break
        if level:
            found.append(line)
    if not found:
        raise ValueError(f"no heading {heading!r}")
    return "\n".join(found)


def setting(text: str, name: str) -> str | None:
    """The row of one setting in docs/settings.md; None when there is none."""
    for line in text.splitlines():
        cells = _row(line)
        if cells and name in re.findall(r"`([A-Z0-9_]+)`", cells[0]):
            default = f"Default: {_plain(cells[1])}. " if cells[1] else ""
            names = ", ".join(f"MCP_HTTP_{each}" for each in re.findall(r"`([A-Z0-9_]+)`", cells[0]))
            return f"{names}\n{_wrapped(f'{default}{_plain(cells[2])}', 80, '  ')}"
    return None


def rendered(text: str, *, width: int) -> str:
    """The page in lines of at most ``width`` characters, but for code, which stays as it is."""
    return "\n".join(_lines(text, width)).strip("\n")


def _lines(text: str, width: int) -> Iterator[str]:
    for kind, lines in _blocks(text):
        if kind == "code":
            yield from (f"    {line}" for line in lines)
        elif kind == "table":
            yield from _list(lines, width)
        elif kind == "heading":
            yield _plain(lines[0].lstrip("# ")).upper()
        elif kind == "text":
            yield _paragraph(lines, width)
        else:
            yield ""


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Runs of lines that belong together: code, a table, a heading, a paragraph or list item, or an empty line."""
    kind, code = "", False
    run: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            code = not code
            continue
        if line.startswith("<!--") and not code:
            continue
        now = "code" if code else _kind(line)
        if run and (now != kind or now == "heading" or (now == "text" and _ITEM.match(line))):
            yield kind, run
            run = []
        kind = now
        run.append(line)
    if run:
        yield kind, run


def _kind(line: str) -> str:
    if _row(line) is not None:
        return "table"
    if line.startswith("#"):
        return "heading"
    return "text" if line.strip() else "empty"


def _paragraph(lines: list[str], width: int) -> str:
    item = _ITEM.match(lines[0])
    return textwrap.fill(
        _plain(" ".join(line.strip() for line in lines)),
        width,
        initial_indent=" " * (len(lines[0]) - len(lines[0].lstrip())),
        subsequent_indent=" " * len(item[0]) if item else "",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _list(lines: list[str], width: int) -> Iterator[str]:
    header, *rows = (cells for line in lines if (cells := _row(line)) is not None)
    for cells in rows:
        if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            yield from _term(header, cells, width)


def _row(line: str) -> list[str] | None:
    if not (line.startswith("|") and line.rstrip().endswith("|")):
        return None
    return [cell.strip().replace("\\|", "|") for cell in _CELLS.split(line.strip())[1:-1]]


def _term(header: list[str], cells: list[str], width: int) -> Iterator[str]:
    """A row: its first cell, and below it the others, each under its column's name where there are several."""
    yield f"  {_plain(cells[0])}"
    for name, cell in zip(header[1:], cells[1:], strict=False):
        if cell:
            label = f"{_plain(name)}: " if len(cells) > 2 and name else ""
            yield _wrapped(f"{label}{_plain(cell)}", width, "      ")


def _wrapped(text: str, width: int, indent: str) -> str:
    return textwrap.fill(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _plain(text: str) -> str:
    return _LINK.sub(r"\1", text).replace("`", "").replace("**", "")
