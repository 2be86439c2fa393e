"""The audit of the tour: it must be whole, tell of everything that was tried, and give no credential away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenantry.adapters.audit.chain import Seal
from tenantry.adapters.audit.file_keys import FileKeys
from tenantry.adapters.audit.reading import People, Query, Wanted, members_of, newest, verify

from .rows import AnswerRow, AuditRow, CallerRow, RefusalRow
from .stack import Stack

_LAST = 10  # events that are shown
_OF_A_TOUR = 1000  # events, and more than there are
_PATIENCE = 10.0  # seconds; a batch is written five times a second
_LOOK_SECONDS = 0.05

Row = RefusalRow | AnswerRow


async def audited(stack: Stack, callers: Sequence[CallerRow], refused: Sequence[Row]) -> AuditRow:
    """What is in the file, once the last of ``refused`` is."""
    events = await _events(stack.audit, refused[-1].request_id)
    rows, findings, _ = await asyncio.to_thread(verify, [stack.audit], Seal(None))
    text = stack.audit.read_text() if stack.audit.exists() else ""
    given_away = [f"must not hold a credential ({which})" for which, token in _sent(callers, refused) if token in text]
    wrong = [*map(str, findings), *_missing(events, callers, refused), *given_away]
    return AuditRow(
        file=stack.audit,
        kept=stack.kept,
        rows=rows,
        findings=tuple(map(str, findings)),
        last=tuple(events[-_LAST:]),
        wrong="; ".join(wrong),
    )


async def _events(file: Path, last: str) -> list[dict[str, Any]]:
    """The newest events; those of the tour are there when its ``last`` request is, or never."""
    events: list[dict[str, Any]] = []
    for _ in range(int(_PATIENCE / _LOOK_SECONDS)):
        events = await asyncio.to_thread(_read, file)
        if any(event.get("request_id") == last for event in events):
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return events


def _read(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    people = People(FileKeys(file).every())
    return [people.shown(members_of(line)) for line in newest([file], Wanted.of(Query(), people), _OF_A_TOUR)]


def _missing(
    events: Sequence[Mapping[str, Any]], callers: Sequence[CallerRow], refused: Sequence[Row]
) -> Iterator[str]:
    """Everybody's call of a tool, and every refusal under the request id that its client got."""
    told = {(event.get("request_id"), event.get("status"), event.get("reason")) for event in events}
    called = {(event.get("user"), event.get("name")) for event in events if event["event"] == "called"}
    for row in refused:
        if (row.request_id, row.status, row.reason) not in told:
            yield f"should tell of request {row.request_id} ({row.status} {row.reason})"
    for caller in callers:
        if (caller.user_id, "add_note") not in called:
            yield f"should tell of {caller.caller.name}'s call of add_note"


def _sent(callers: Sequence[CallerRow], refused: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Every credential of the tour, good or bad."""
    for row in callers:
        yield row.caller.name, row.caller.token
    for other in refused:
        case = other.refused if isinstance(other, RefusalRow) else other.denied
        for value in case.headers.values():
            yield str(other.reason), value.removeprefix("Bearer ")
