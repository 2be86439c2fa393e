"""The table of docs/reliability.md: what the matrix plays, and what floods cost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

from .floods import Flood
from .kinds import COLUMNS, KINDS, Kind, Statuses
from .subjects import SUBJECTS, Subject

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"

Cells = Mapping[tuple[str, str], Statuses | None]


def expected_cells() -> Cells:
    """What the tests hold the code to."""
    return {(subject.name, kind.name): kind.expected(subject) for subject in SUBJECTS for kind in KINDS}


def groups(cells: Cells) -> dict[str, Sequence[Subject]]:
    """The subjects that fare alike, by what they share: a column for each."""
    alike: dict[tuple[Statuses | None, ...], list[Subject]] = {}
    for subject in SUBJECTS:
        alike.setdefault(tuple(cells[subject.name, kind.name] for kind in KINDS), []).append(subject)
    return {", ".join(subject.name for subject in subjects): subjects for subjects in alike.values()}


def matrix_table(cells: Cells) -> str:
    """One row for each thing that goes wrong; a cell has the status of each caller, or one where all are alike."""
    columns = groups(cells)
    head = f"| {' / '.join(COLUMNS)} | {' | '.join(columns)} |"
    rows = [_row(kind, columns.values(), cells) for kind in KINDS]
    return "\n".join([head, "|---" * (len(columns) + 1) + "|", *rows])


def _row(kind: Kind, columns: Iterable[Sequence[Subject]], cells: Cells) -> str:
    statuses = (cells[subjects[0].name, kind.name] for subjects in columns)
    return f"| {kind.name} | {' | '.join(_cell(status) for status in statuses)} |"


def _cell(statuses: Statuses | None) -> str:
    if statuses is None:
        return "-"
    return str(statuses[0]) if len(set(statuses)) == 1 else " ".join(map(str, statuses))


def floods_table(floods: Iterable[Flood]) -> str:
    rows = [
        f"| {flood.name} | {flood.callers:,} | {flood.calls:,} | {flood.ratio} "
        f"| {', '.join(map(str, sorted(flood.statuses)))} |"
        for flood in floods
    ]
    return "\n".join(["| | callers | calls | | answers |", "|---|---|---|---|---|", *rows])


def block(page: str, name: str) -> str:
    """What stands between the marks of a block."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", page, re.DOTALL)
    if found is None:
        raise LookupError(f"docs/reliability.md has no block {name!r}")
    return found[1]


def write(cells: Cells, floods: Iterable[Flood], today: date) -> None:
    page = PAGE.read_text()
    made = {
        "matrix": matrix_table(cells),
        "floods": floods_table(floods),
        "date": f"Played on {today:%-d %B %Y}: {sum(len(one or ()) for one in cells.values())} cells.",
    }
    for name, text in made.items():
        mark = f"<!-- {name} -->\n"
        page = page.replace(f"{mark}{block(page, name)}\n", f"{mark}{text}\n")
    PAGE.write_text(page)
