"""What came out of the tour, for programs: one JSON object, command lines, a client's configuration."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from .cast import Caller
from .requests import CALL_HEADERS, tool_call
from .rows import AnswerRow, AuditRow, CallerRow, ListRow, RefusalRow, Report


def as_json(report: Report) -> str:
    """The report as one JSON object. ``tokens`` are development credentials of made-up people."""
    return json.dumps(
        {
            "ok": report.ok,
            "url": report.url,
            "identity_provider": report.idp_url,
            "policy": str(report.policy),
            "callers": [_caller(row) for row in (*report.callers, *report.others)],
            "refusals": [_refusal(row) for row in report.refusals],
            "lists": [_list(row) for row in report.lists],
            "answers": [_answer(row) for row in report.answers],
            "audit": _audit(report.audit),
            "tokens": {row.caller.name: row.caller.token for row in (*report.callers, *report.others)},
            "curl": curl_lines(report),
            "curl_refused": refused_curl_line(report),
            **client_configuration(report),
        },
        indent=2,
    )


def _caller(row: CallerRow) -> dict[str, Any]:
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


def _refusal(row: RefusalRow) -> dict[str, Any]:
    return {
        "case": row.refused.case,
        "status": row.status,
        "error": row.error,
        "reason": row.reason,
        "retry_after": row.retry_after,
        **_verdict(row.wrong),
    }


def _list(row: ListRow) -> dict[str, Any]:
    return {
        "caller": row.caller.name,
        "permissions": list(row.permissions),
        "tools": list(row.tools),
        **_verdict(row.wrong),
    }


def _answer(row: AnswerRow) -> dict[str, Any]:
    return {
        "caller": row.denied.caller,
        "tool": row.denied.tool,
        "status": row.status,
        "error": row.error,
        "reason": row.reason,
        "headers": dict(row.headers),
        **_verdict(row.wrong),
    }


def _audit(row: AuditRow) -> dict[str, Any]:
    verify, tail = audit_commands(row)
    return {
        "file": str(row.file),
        "kept": row.kept,
        "rows": row.rows,
        "findings": list(row.findings),
        "events": [dict(event) for event in row.last],
        "verify": verify,
        "tail": tail,
        **_verdict(row.wrong),
    }


def _verdict(wrong: str) -> dict[str, Any]:
    return {"ok": False, "wrong": wrong} if wrong else {"ok": True}


def curl_lines(report: Report) -> list[str]:
    """Complete commands, one a line; only for callers whose credential fits on it."""
    by_name = {row.caller.name: row.caller for row in report.callers}
    return [
        _curl(report.url, by_name["ci"], "whoami"),
        _curl(report.url, by_name["octo"], "add_note", text="from curl"),
        _curl(report.url, by_name["octo"], "list_notes"),
    ]


def refused_curl_line(report: Report) -> str:
    """One that gets 403, and shows the challenge."""
    octo = next(row.caller for row in report.callers if row.caller.name == "octo")
    return _curl(report.url, octo, "forget_notes", option="-si")


def _curl(url: str, caller: Caller, tool: str, *, option: str = "-s", **arguments: str) -> str:
    words = ["curl", option, url]
    for name, value in {**caller.headers, **CALL_HEADERS}.items():
        words += ["-H", f"{name}: {value}"]
    return shlex.join([*words, "-d", json.dumps(tool_call(tool, **arguments))])


def audit_commands(row: AuditRow) -> tuple[str, str]:
    """What verifies the audit, and what shows it as it goes on."""
    file = str(row.file.absolute())
    return shlex.join([*_tenantry(), "audit", "verify", file]), shlex.join(
        [*_tenantry(), "audit", "tail", "--follow", file]
    )


def _tenantry() -> list[str]:
    """This command, in the words that find it again in this shell."""
    called = Path(sys.argv[0])
    if called.name != "tenantry":
        return [sys.executable, "-m", "tenantry"]
    found = shutil.which("tenantry")
    return ["tenantry"] if found and Path(found).samefile(called) else [str(called)]


def client_configuration(report: Report) -> dict[str, Any]:
    """``mcpServers`` as clients with configurable headers read it."""
    caller = next(row.caller for row in report.callers if row.caller.header == "X-API-Key")
    server = {"type": "http", "url": report.url, "headers": caller.headers}
    return {"mcpServers": {"tenantry-demo": server}}
