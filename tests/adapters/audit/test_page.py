"""docs/audit.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from tenantry.adapters.audit.events import EVENTS, FIELDS

PAGE = (Path(__file__).parents[3] / "docs" / "audit.md").read_text()


def table(heading: str) -> dict[str, str]:
    part = PAGE[PAGE.index(heading) :].partition("\n|---|---|\n")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `([a-z_.]+)` \| (.*) \|$", part, re.MULTILINE))


def test_every_member_of_a_row_is_in_its_table() -> None:
    assert table("## A row") == dict(FIELDS)
    assert list(table("## A row")) == list(FIELDS)


def test_every_event_is_in_its_table() -> None:
    assert table("## Events") == dict(EVENTS)
