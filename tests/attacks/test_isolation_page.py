"""docs/reliability.md prints what the isolation suite proves."""

from __future__ import annotations

import re

from tests.attacks.isolation import sections, table
from tests.faults.page import PAGE, block

# The sentences, by a word that each must have.
PROMISED = (
    "No token reaches a host",
    "never share an entry",
    "are two users",
    "unless mapped",
    "empties",
    "costs no call",
)


def test_the_page_prints_what_is_tested() -> None:
    assert block(PAGE.read_text(), "isolation") == table()
    assert re.fullmatch(r"Run on \d{1,2} [A-Z][a-z]+ 20\d\d: \d{3,} cases\.", block(PAGE.read_text(), "isolation date"))


def test_every_promise_has_tests() -> None:
    found = {section.sentence: section.tests for section in sections()}
    for words in PROMISED:
        (tests,) = (tests for sentence, tests in found.items() if words in sentence)
        assert tests
