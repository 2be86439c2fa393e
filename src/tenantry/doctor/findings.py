"""A finding, and what all of them together are worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .catalog import SUBJECTS

State = Literal["ok", "note", "warning", "error"]
Grade = Literal["A", "B", "C", "D", "F"]
# An error here means that somebody gets in who should not, or that tokens travel where others read them.
DECISIVE = frozenset({"access", "https"})
_MANY = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """``id`` is a key of ``SUBJECTS``. ``text``: one line, what was seen; ``mend``: one line, what to change, None
    where nothing is to be changed."""

    id: str
    state: State
    text: str
    mend: str | None = None

    @property
    def area(self) -> str:
        return SUBJECTS[self.id].area


def ok(subject: str, text: str) -> Finding:
    return Finding(subject, "ok", text)


def note(subject: str, text: str, mend: str | None = None) -> Finding:
    """Worth knowing; lowers no grade. Without ``mend`` there is nothing to change."""
    return Finding(subject, "note", text, mend)


def warning(subject: str, text: str, mend: str | None = None) -> Finding:
    """Some clients or people will stumble over it. ``mend`` where the catalog's is not the right one."""
    return Finding(subject, "warning", text, mend or SUBJECTS[subject].mend)


def error(subject: str, text: str, mend: str | None = None) -> Finding:
    """Broken or unsafe."""
    return Finding(subject, "error", text, mend or SUBJECTS[subject].mend)


def grade(findings: Iterable[Finding], *, complete: bool) -> Grade | None:
    """F: an error in a decisive area; D: three other errors or more; C: one or two; B: a warning; A: neither.

    None where not everything could be looked at (``complete`` is false): what was not seen may be worse. An F stays.
    """
    found = list(findings)
    errors = [finding for finding in found if finding.state == "error"]
    if any(finding.area in DECISIVE for finding in errors):
        return "F"
    if not complete:
        return None
    if errors:
        return "D" if len(errors) >= _MANY else "C"
    return "B" if any(finding.state == "warning" for finding in found) else "A"
