"""docs/reliability.md prints the matrix that the tests play."""

from __future__ import annotations

import re

from .kinds import KINDS
from .page import PAGE, block, expected_cells, matrix_table
from .subjects import SUBJECTS


def test_the_page_prints_the_matrix_as_it_is_tested() -> None:
    assert block(PAGE.read_text(), "matrix") == matrix_table(expected_cells())


def test_every_kind_of_credential_and_every_fault_is_in_it() -> None:
    table = block(PAGE.read_text(), "matrix")
    assert [subject.name for subject in SUBJECTS if subject.name not in table] == []
    assert [kind.name for kind in KINDS if f"| {kind.name} |" not in table] == []


def test_it_says_when_it_was_played_and_how_many_cells_there_are() -> None:
    cells = sum(len(statuses or ()) for statuses in expected_cells().values())
    assert re.fullmatch(rf"Played on \d{{1,2}} [A-Z][a-z]+ 20\d\d: {cells} cells\.", block(PAGE.read_text(), "date"))


def test_every_answer_in_it_is_one_of_four() -> None:
    statuses = {status for cell in expected_cells().values() for status in cell or ()}
    assert statuses <= {200, 401, 429, 503}
