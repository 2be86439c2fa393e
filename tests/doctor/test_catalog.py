"""The catalog, the documentation and the grade agree."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from tenantry.doctor.catalog import AREAS, SUBJECTS
from tenantry.doctor.findings import DECISIVE, Finding, error, grade, note, ok, warning

ROOT = Path(__file__).parents[2]


def test_every_id_stands_in_the_documentation_with_its_area_and_question() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| ([a-z-]+) \| (.*?) \|$", page, re.MULTILINE)
    assert rows == [(name, subject.area, subject.asks) for name, subject in SUBJECTS.items()]


def test_every_id_is_yielded_by_some_check_and_no_other_is() -> None:
    folder = ROOT / "src" / "tenantry" / "doctor"
    source = "".join(path.read_text() for path in folder.rglob("*.py") if path.name != "catalog.py")
    assert [name for name in SUBJECTS if f'"{name}"' not in source] == []
    named = set(re.findall(r'(?:ok|note|warning|error|say)\(\s*"([a-z0-9-]+)"', source))
    assert named - set(SUBJECTS) == set()


def test_mends_are_one_line_that_ends() -> None:
    for subject in SUBJECTS.values():
        assert subject.mend.endswith((".", "superuser."))
        assert "\n" not in subject.mend


def test_the_areas_that_decide_are_areas() -> None:
    assert set(AREAS) >= DECISIVE


@pytest.mark.parametrize(
    ("findings", "worth"),
    [
        ([], "A"),
        ([ok("resource", ""), note("hsts", "")], "A"),
        ([warning("hsts", "")], "B"),
        ([error("resource", "")], "C"),
        ([error("resource", ""), error("issuer", ""), warning("hsts", "")], "C"),
        ([error("resource", ""), error("issuer", ""), error("pkce", "")], "D"),
        ([error("calls-closed", "")], "F"),
        ([error("https", "")], "F"),
    ],
)
def test_the_grade_follows_its_rule(findings: list[Finding], worth: str) -> None:
    assert grade(findings, complete=True) == worth
    assert grade(findings, complete=False) == ("F" if worth == "F" else None)


def test_another_finding_never_makes_a_grade_better() -> None:
    every = [make(name, "") for name, make in product(("resource", "calls-closed"), (ok, note, warning, error))]
    for one, other in product(every, every):
        assert (grade([one], complete=True) or "") <= (grade([one, other], complete=True) or "")
