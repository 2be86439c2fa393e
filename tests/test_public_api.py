"""Semantic versioning is a promise about a list of names: the list is a page, and the changelog knows its state."""

from __future__ import annotations

import pytest

from .public_api import CHANGELOG, MODULES, PAGE, mark, newest_section, page


def test_the_page_of_the_public_api_is_what_the_code_offers() -> None:
    pytest.importorskip("fastmcp", reason="the names of its adapter")
    assert PAGE.read_text() == page(), "say what changed in CHANGELOG.md, then: python -m tests.public_api"


def test_a_change_of_the_public_api_stands_in_the_changelog() -> None:
    assert mark(PAGE.read_text()) in newest_section(CHANGELOG.read_text())


def test_a_changed_page_has_another_mark() -> None:
    assert mark(PAGE.read_text() + "one_more_name()\n") != mark(PAGE.read_text())


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_stands_on_the_page(module: str) -> None:
    assert f"## `{module}`" in PAGE.read_text()
