"""How commands speak: sentences to standard error, tables and moments for people and programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from ..errors import ConfigurationError

TIME = "ISO 8601 with offset, like 2027-01-31T00:00:00Z"


def say(sentence: str) -> None:
    """To standard error: standard output is for results."""
    print(sentence, file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, two blanks between."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines)


def iso(moment: datetime | None) -> str | None:
    """ISO 8601 in UTC, to the second."""
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(what: str, text: str | None) -> datetime | None:
    """A time that somebody wrote; None for None. Raises ``ConfigurationError``, which names it as ``what``."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{what} is {text!r}: write a time as {TIME}.") from None
    if found.tzinfo is None:
        raise ConfigurationError(f"{what} is {text!r}, without a time zone: write it as {TIME}.")
    return found
