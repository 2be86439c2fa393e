"""What came out of the tour: a row for everything that was tried, each with whether that is what must come out.

``wrong`` says in every row what differs from the expectation in ``cast.py``; empty when nothing does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cast import Caller, Denied, Refused


@dataclass(frozen=True, slots=True)
class CallerRow:
    """One caller's turn. ``notes`` are the texts he saw; ``cold_ms`` is his first request, ``warm_ms`` the median
    of the next ones."""

    caller: Caller
    provider: str
    user_id: str
    tenant_id: str
    schema: str
    notes: tuple[str, ...]
    cold_ms: float
    warm_ms: float
    wrong: str


@dataclass(frozen=True, slots=True)
class ListRow:
    """What a caller sees of the server's tools."""

    caller: Caller
    permissions: tuple[str, ...]
    tools: tuple[str, ...]
    wrong: str


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """One credential that is not let in, and the answer."""

    refused: Refused
    request_id: str
    status: int
    error: str
    reason: str
    description: str
    retry_after: str | None
    wrong: str


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """A call by somebody who is let in, that is refused all the same. ``headers`` are those that tell the client what
    to do about it."""

    denied: Denied
    request_id: str
    status: int
    phrase: str
    error: str
    reason: str
    headers: Mapping[str, str]
    wrong: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """What the audit says of the tour. ``rows`` were verified, ``findings`` is what was wrong with them; ``last`` are
    the newest, with people as they are; ``kept`` says whether the file outlives the demo."""

    file: Path
    kept: bool
    rows: int
    findings: tuple[str, ...]
    last: tuple[Mapping[str, Any], ...]
    wrong: str


@dataclass(frozen=True, slots=True)
class Report:
    """The whole tour. ``policy`` is the file with the rules; ``others`` are callers of further providers."""

    url: str
    idp_url: str
    policy: Path
    callers: tuple[CallerRow, ...]
    others: tuple[CallerRow, ...]
    refusals: tuple[RefusalRow, ...]
    lists: tuple[ListRow, ...]
    answers: tuple[AnswerRow, ...]
    audit: AuditRow

    @property
    def rows(self) -> tuple[CallerRow | RefusalRow | ListRow | AnswerRow | AuditRow, ...]:
        return (*self.callers, *self.others, *self.refusals, *self.lists, *self.answers, self.audit)

    @property
    def ok(self) -> bool:
        """Whether every row came out as expected."""
        return not any(row.wrong for row in self.rows)
