"""What came out of the tour, for people: tables of at most 120 columns, plain text."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from .cast import TOOLS, Caller
from .programs import audit_commands, client_configuration, curl_lines, refused_curl_line
from .rows import AnswerRow, AuditRow, CallerRow, ListRow, RefusalRow, Report
from .tables import Paint, header_lines, shortened, table, wrong_words

_CALLERS = ("caller", "credential", "provider", "user_id", "tenant_id", "schema", "notes by", "cold ms", "warm ms")
_OTHERS = ("provider", "credential", "user_id", "tenant_id", "notes by", "cold ms", "warm ms")
_REFUSALS = ("refusal", "status", "error", "reason")
_LISTS = ("tools/list", "permissions", *TOOLS)
_EVENTS = ("audit", "event", "user", "tenant", "about", "status", "reason", "ms")


def as_text(report: Report, paint: Paint, *, serving: bool) -> str:
    """The tables; while the server goes on, also what to paste into other programs."""
    parts = [
        "",
        *table(_CALLERS, [(_caller_cells(row, report), row.wrong) for row in report.callers], paint),
        *_others(report, paint),
        "",
        *table(_REFUSALS, [(_refusal_cells(row), row.wrong) for row in report.refusals], paint),
        "",
        *table(_LISTS, [(_list_cells(row), row.wrong) for row in report.lists], paint),
    ]
    for row in report.answers:
        parts += ["", *_answer(row, paint)]
    parts += ["", *_audit(report.audit, paint), "", _summary(report, paint)]
    if serving:
        parts += ["", *_to_paste(report, paint)]
    elif report.audit.kept:
        parts += ["", *_audit_to_paste(report.audit, paint)]
    return "\n".join(parts) + "\n"


def _others(report: Report, paint: Paint) -> list[str]:
    rows = [(_other_cells(row, report), row.wrong) for row in report.others]
    return ["", *table(_OTHERS, rows, paint)] if rows else []


def _other_cells(row: CallerRow, report: Report) -> tuple[str, ...]:
    return (
        row.provider,
        row.caller.credential,
        shortened(row.user_id, 27),
        shortened(row.tenant_id, 13),
        shortened(_writers(row, report), 16),
        f"{row.cold_ms:.1f}",
        f"{row.warm_ms:.1f}",
    )


def _caller_cells(row: CallerRow, report: Report) -> tuple[str, ...]:
    return (
        row.caller.name,
        row.caller.credential,
        row.provider,
        shortened(row.user_id, 17),
        shortened(row.tenant_id, 13),
        shortened(row.schema, 19),
        _writers(row, report),
        f"{row.cold_ms:.1f}",
        f"{row.warm_ms:.1f}",
    )


def _writers(row: CallerRow, report: Report) -> str:
    """Whose notes were seen, in short; notes that are none of this tour's are only counted."""
    names = {other.caller.note: other.caller.name for other in (*report.callers, *report.others)}
    known = [names[note] for note in row.notes if note in names]
    others = len(row.notes) - len(known)
    return " ".join([*known, *([f"+{others}"] if others else [])]) or "-"


def _refusal_cells(row: RefusalRow) -> tuple[str, ...]:
    return (row.refused.case, str(row.status), row.error, row.description)


def _list_cells(row: ListRow) -> tuple[str, ...]:
    sees = ["yes" if tool in row.tools else "-" for tool in TOOLS]
    return (row.caller.name, " ".join(row.permissions), *sees)


def _answer(row: AnswerRow, paint: Paint) -> list[str]:
    """As curl -i would show it."""
    return [
        paint(row.denied.what, "head"),
        f"HTTP/1.1 {row.status} {row.phrase}",
        *header_lines(row.headers),
        *wrong_words(row.wrong, paint),
    ]


def _audit(row: AuditRow, paint: Paint) -> list[str]:
    """The newest events, and what verifying all of them says."""
    return [
        *table(_EVENTS, [(_event_cells(event), "") for event in row.last], paint),
        f"{row.rows} rows verified: {_findings(row)}.",
        *wrong_words(row.wrong, paint),
    ]


def _findings(row: AuditRow) -> str:
    return f"{len(row.findings)} findings" if row.findings else "nothing missing, changed or out of order"


def _event_cells(event: Mapping[str, Any]) -> tuple[str, ...]:
    at = str(event["at"])
    return (
        at[at.index("T") + 1 : at.index("T") + 13],
        event["event"],
        shortened(event.get("user", "-"), 17),
        shortened(event.get("tenant", "-"), 13),
        event.get("name") or event.get("provider") or "-",
        str(event.get("status", "-")),
        event.get("reason", "-"),
        f"{event['duration_ms']:.1f}" if "duration_ms" in event else "-",
    )


def _summary(report: Report, paint: Paint) -> str:
    wrong = sum(bool(row.wrong) for row in report.rows)
    if wrong:
        return paint(f"{wrong} of {len(report.rows)} rows came out wrong.", "bad")
    return paint(f"All {len(report.rows)} rows came out as expected.", "good")


def _audit_to_paste(row: AuditRow, paint: Paint) -> list[str]:
    return [paint("Verify the audit yourself, or watch it", "head"), *audit_commands(row)]


def _to_paste(report: Report, paint: Paint) -> list[str]:
    configuration = json.dumps(client_configuration(report), indent=2)
    return [
        paint("Call a tool yourself", "head"),
        *curl_lines(report),
        "",
        paint("One that the caller may not call: 403, and what he lacks", "head"),
        refused_curl_line(report),
        "",
        *_audit_to_paste(report.audit, paint),
        "",
        paint("Client configuration (Claude Code: .mcp.json; Cursor: mcp.json)", "head"),
        configuration,
        "",
        paint("Tokens, made up and good for this demo only", "head"),
        *(_assigned(row.caller) for row in (*report.callers, *report.others)),
        "",
        paint(f"More tokens and faults: curl -s {report.idp_url}/_devidp/", "faint"),
        paint(f"Who may call what: {report.policy} (a change is in force a second later)", "faint"),
    ]


def _assigned(caller: Caller) -> str:
    """For a shell."""
    return f"{caller.name.upper().replace('-', '_')}={shlex.quote(caller.token)}"
