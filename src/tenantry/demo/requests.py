"""Those who are refused, as bare requests: what their clients get to see."""

from __future__ import annotations

from typing import Any

import httpx2

from .cast import Denied, Refused
from .rows import AnswerRow, RefusalRow

# A complete call on every revision before 2026-07-28, to a server that keeps no sessions.
CALL_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
}


def http_client(headers: dict[str, str] | None = None) -> httpx2.AsyncClient:
    """Without the proxies of the environment: everything is on this machine."""
    return httpx2.AsyncClient(headers=headers, trust_env=False, timeout=10)


def tool_call(tool: str, **arguments: str) -> dict[str, Any]:
    """The JSON-RPC message that calls a tool."""
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


async def refusal(http: httpx2.AsyncClient, url: str, case: Refused) -> RefusalRow:
    with case.during:
        answer = await http.post(url, headers={**CALL_HEADERS, **case.headers}, json=tool_call("whoami"))
    body = answer.json()
    return RefusalRow(
        refused=case,
        request_id=answer.headers.get("x-request-id", ""),
        status=answer.status_code,
        error=str(body.get("error")),
        reason=str(body.get("reason")),
        description=str(body.get("error_description")),
        retry_after=answer.headers.get("retry-after"),
        wrong=_differs(answer, body, case),
    )


async def denial(http: httpx2.AsyncClient, url: str, case: Denied) -> AnswerRow:
    *before, answer = [
        await http.post(url, headers={**CALL_HEADERS, **case.headers}, json=tool_call(case.tool))
        for _ in range(case.times)
    ]
    body = answer.json()
    headers = {name: answer.headers[name] for name in case.told if name in answer.headers}
    early = [f"call {number} should succeed" for number, one in enumerate(before, 1) if not _succeeded(one)]
    untold = [f"{name} should say {text}" for name, text in case.told.items() if text not in headers.get(name, "")]
    absent = [f"{name} should be there" for name in case.told if name not in headers]
    return AnswerRow(
        denied=case,
        request_id=answer.headers.get("x-request-id", ""),
        status=answer.status_code,
        phrase=answer.reason_phrase,
        error=str(body.get("error")),
        reason=str(body.get("reason")),
        headers=headers,
        wrong="; ".join(filter(None, [*early, _differs(answer, body, case), *absent, *untold])),
    )


def _succeeded(answer: httpx2.Response) -> bool:
    return answer.status_code == 200 and answer.json()["result"]["isError"] is False


def _differs(answer: httpx2.Response, body: dict[str, Any], case: Refused | Denied) -> str:
    got = (answer.status_code, body.get("error"), body.get("reason"))
    expected = (case.status, case.error, case.reason)
    return "" if got == expected else f"should be {' '.join(map(str, expected))}"
