"""What was found, for people and for programs."""

from __future__ import annotations

import json
from collections import Counter

from .catalog import AREAS
from .examine import Report
from .findings import Finding, State

_ORDER: tuple[State, ...] = ("error", "warning", "note", "ok")
_COLOURS: dict[State, str] = {"error": "31", "warning": "33", "note": "36", "ok": "32"}  # ECMA-48, SGR
_MEND = " " * 9


def as_json(report: Report) -> str:
    """``{"grade", "url", "findings": [{"id", "area", "state", "text", "mend"}], "requests", "seconds"}``."""
    return json.dumps(
        {
            "grade": report.grade,
            "url": report.url,
            "findings": [
                {"id": each.id, "area": each.area, "state": each.state, "text": each.text, "mend": each.mend}
                for each in report.findings
            ],
            "requests": report.requests,
            "seconds": round(report.seconds, 3),
        },
        indent=2,
    )


def as_text(report: Report, *, everything: bool = False, colour: bool = False) -> str:
    """The worst first, each with its mend below it; what is in order as one line an area, or with ``everything`` one
    line each. The grade comes last, where the eye is."""
    lines: list[str] = []
    for state in _ORDER:
        here = [finding for finding in report.findings if finding.state == state]
        here.sort(key=lambda finding: AREAS.index(finding.area))
        if state == "ok" and not everything:
            lines += _in_order(here, colour=colour)
        else:
            lines += [line for finding in here for line in _lines(finding, colour=colour)]
    return "\n".join([*lines, "", *_end(report)])


def _lines(finding: Finding, *, colour: bool) -> list[str]:
    lines = [f"{_painted(finding.state, colour=colour)}{finding.text}  [{finding.id}]"]
    return lines if finding.mend is None else [*lines, f"{_MEND}-> {finding.mend}"]


def _in_order(findings: list[Finding], *, colour: bool) -> list[str]:
    if not findings:
        return []
    areas = Counter(finding.area for finding in findings)
    told = ", ".join(f"{area} {number}" for area, number in areas.items())
    return [f"{_painted('ok', colour=colour)}{len(findings)} in order: {told} (--verbose names them)"]


def _painted(state: State, *, colour: bool) -> str:
    word = f"{state:<9}"
    return f"\x1b[{_COLOURS[state]}m{word}\x1b[0m" if colour else word


def _end(report: Report) -> list[str]:
    numbers = Counter(finding.state for finding in report.findings)
    told = ", ".join(f"{numbers[state]} {_plural(state, numbers[state])}" for state in _ORDER[:3])
    if report.url is None:
        return [f"Settings: {told}."]
    words = "No grade" if report.grade is None else f"Grade {report.grade}"
    return [f"{words} for {report.url}: {told}. {report.requests} requests in {report.seconds:.1f} s."]


def _plural(state: State, number: int) -> str:
    return state if number == 1 else f"{state}s"
