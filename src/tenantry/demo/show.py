"""What came out of the tour, for people (a table of at most 120 columns, plain text) and for programs (JSON)."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .cast import Caller
from .tour import CALL_HEADERS, CallerRow, RefusalRow, Report, tool_call

Paint = Callable[[str, str], str]

_STYLES = {"head": "1", "good": "32", "bad": "1;31", "faint": "2"}
_GAP = "  "
_CALLER_COLUMNS = (
    "caller",
    "credential",
    "provider",
    "user_id",
    "tenant_id",
    "schema",
    "notes by",
    "cold ms",
    "warm ms",
)
_REFUSAL_COLUMNS = ("refusal", "status", "error", "reason")
_ON_THE_RIGHT = frozenset({"cold ms", "warm ms", "status"})


def painted(text: str, style: str) -> str:
    """``text`` in the terminal's colours (ECMA-48 SGR)."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if text else text


def plain(text: str, style: str) -> str:
    """``text`` as it is, for files and pipes."""
    return text


def as_json(report: Report) -> str:
    """The report as one JSON object. ``tokens`` are development credentials of made-up people."""
    return json.dumps(
        {
            "ok": report.ok,
            "url": report.url,
            "identity_provider": report.idp_url,
            "callers": [_caller_members(row) for row in report.callers],
            "refusals": [_refusal_members(row) for row in report.refusals],
            "tokens": {row.caller.name: row.caller.token for row in report.callers},
            "curl": curl_lines(report),
            **client_configuration(report),
        },
        indent=2,
    )


def _caller_members(row: CallerRow) -> dict[str, Any]:
    return {
        "caller": row.caller.name,
        "credential": row.caller.credential,
        "provider": row.provider,
        "user_id": row.user_id,
        "tenant_id": row.tenant_id,
        "schema": row.schema,
        "notes": list(row.notes),
        "cold_ms": round(row.cold_ms, 2),
        "warm_ms": round(row.warm_ms, 2),
        **_verdict(row.wrong),
    }


def _refusal_members(row: RefusalRow) -> dict[str, Any]:
    return {
        "case": row.refused.case,
        "status": row.status,
        "error": row.error,
        "reason": row.reason,
        "retry_after": row.retry_after,
        **_verdict(row.wrong),
    }


def _verdict(wrong: str) -> dict[str, Any]:
    return {"ok": False, "wrong": wrong} if wrong else {"ok": True}


def as_text(report: Report, paint: Paint, *, serving: bool) -> str:
    """The tables; while the server goes on, also what to paste into other programs."""
    parts = [
        "",
        *_table(_CALLER_COLUMNS, [(_caller_cells(row, report), row.wrong) for row in report.callers], paint),
        "",
        *_table(_REFUSAL_COLUMNS, [(_refusal_cells(row), row.wrong) for row in report.refusals], paint),
        "",
        _summary(report, paint),
    ]
    if serving:
        parts += ["", *_to_paste(report, paint)]
    return "\n".join(parts) + "\n"


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
    names = {other.caller.note: other.caller.name for other in report.callers}
    known = [names[note] for note in row.notes if note in names]
    others = len(row.notes) - len(known)
    return " ".join([*known, *([f"+{others}"] if others else [])]) or "-"


def _refusal_cells(row: RefusalRow) -> tuple[str, ...]:
    return (row.refused.case, str(row.status), row.error, row.description)


def shortened(text: str, width: int) -> str:
    """``text`` in ``width`` columns: the beginning and the end tell ids apart, the middle is left out."""
    if len(text) <= width:
        return text
    tail = (width - 2) // 3
    return f"{text[: width - 2 - tail]}..{text[-tail:]}"


def _table(columns: Sequence[str], rows: Iterable[tuple[tuple[str, ...], str]], paint: Paint) -> list[str]:
    """Aligned lines. A row that came out wrong is marked, and says below what it should be."""
    rows = list(rows)
    widths = [max(len(name), *(len(cells[i]) for cells, _ in rows)) for i, name in enumerate(columns)]
    lines = [paint(_line("", columns, columns, widths), "head")]
    for cells, wrong in rows:
        line = _line("! " if wrong else "", columns, cells, widths)
        lines.append(paint(line, "bad") if wrong else line)
        if wrong:
            lines.append(paint(f"{_GAP * 2}{wrong}", "bad"))
    return lines


def _line(mark: str, columns: Sequence[str], cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.rjust(width) if name in _ON_THE_RIGHT else cell.ljust(width)
        for name, cell, width in zip(columns, cells, widths, strict=True)
    )
    return (mark + _GAP.join(aligned)).rstrip()


def _summary(report: Report, paint: Paint) -> str:
    wrong = sum(bool(row.wrong) for row in report.rows)
    if wrong:
        return paint(f"{wrong} of {len(report.rows)} rows came out wrong.", "bad")
    return paint(f"All {len(report.rows)} rows came out as expected.", "good")


def _to_paste(report: Report, paint: Paint) -> list[str]:
    configuration = json.dumps(client_configuration(report), indent=2)
    return [
        paint("Call a tool yourself", "head"),
        *curl_lines(report),
        "",
        paint("Client configuration (Claude Code: .mcp.json; Cursor: mcp.json)", "head"),
        configuration,
        "",
        paint("Tokens, made up and good for this demo only", "head"),
        *(f"{row.caller.name.upper()}={shlex.quote(row.caller.token)}" for row in report.callers),
        "",
        paint(f"More tokens and faults: curl -s {report.idp_url}/_devidp/", "faint"),
    ]


def curl_lines(report: Report) -> list[str]:
    """Complete commands, one a line; only for callers whose credential fits on it."""
    by_name = {row.caller.name: row.caller for row in report.callers}
    return [
        _curl(report.url, by_name["ci"], "whoami"),
        _curl(report.url, by_name["octo"], "add_note", text="from curl"),
        _curl(report.url, by_name["octo"], "list_notes"),
    ]


def _curl(url: str, caller: Caller, tool: str, **arguments: str) -> str:
    words = ["curl", "-s", url]
    for name, value in {**caller.headers, **CALL_HEADERS}.items():
        words += ["-H", f"{name}: {value}"]
    return shlex.join([*words, "-d", json.dumps(tool_call(tool, **arguments))])


def client_configuration(report: Report) -> dict[str, Any]:
    """``mcpServers`` as clients with configurable headers read it."""
    caller = next(row.caller for row in report.callers if row.caller.header == "X-API-Key")
    server = {"type": "http", "url": report.url, "headers": caller.headers}
    return {"mcpServers": {"tenantry-demo": server}}
