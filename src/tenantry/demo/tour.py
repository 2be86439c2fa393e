"""Everybody's turn over real HTTP: callers with the official MCP client, refusals as bare requests.

A row holds what came out and whether that is what ``cast.py`` expects.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from .cast import Caller, Refused, callers, refusals
from .stack import Say, Stack

PROTOCOL = "2026-07-28"
_WARM_ROUNDS = 9
_EXPECTED = ("provider", "user_id", "tenant_id", "schema")
# The server said no, or the tool did: a row that came out wrong. Anything else is a mistake of ours.
_FAILURES = (MCPError, RuntimeError)
# A complete call on every revision before 2026-07-28, to a server that keeps no sessions.
CALL_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2025-11-25",
}


@dataclass(frozen=True, slots=True)
class CallerRow:
    """One caller's turn. ``notes`` are the texts he saw; ``cold_ms`` is his first request, ``warm_ms`` the median
    of the next ones. ``wrong`` says what differs from the expectation; empty when nothing does."""

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
class RefusalRow:
    """One refusal: what the answer was. ``wrong`` as above."""

    refused: Refused
    status: int
    error: str
    reason: str
    description: str
    retry_after: str | None
    wrong: str


@dataclass(frozen=True, slots=True)
class Report:
    """The whole tour."""

    url: str
    idp_url: str
    callers: tuple[CallerRow, ...]
    refusals: tuple[RefusalRow, ...]

    @property
    def rows(self) -> tuple[CallerRow | RefusalRow, ...]:
        return (*self.callers, *self.refusals)

    @property
    def ok(self) -> bool:
        """Whether every row came out as expected."""
        return not any(row.wrong for row in self.rows)


async def tour(stack: Stack, say: Say) -> Report:
    """First everybody writes a note, then everybody reads, then come those who must not get in."""
    everybody = callers(stack)
    async with contextlib.AsyncExitStack() as open_clients:
        visits = []
        for caller in everybody:
            say(f"{caller.name} calls with {caller.credential} ...")
            client = await open_clients.enter_async_context(_client(stack.url, caller))
            visits.append((caller, client, await _first_visit(client, caller)))
        rows = [await _second_visit(*visit, everybody) for visit in visits]
    async with _http() as http:
        refused = []
        for case in refusals(stack):
            say(f"{case.case} ...")
            refused.append(await _refusal(http, stack.url, case))
    return Report(stack.url, stack.idp.base_url, tuple(rows), tuple(refused))


@contextlib.asynccontextmanager
async def _client(url: str, caller: Caller) -> AsyncIterator[Client]:
    async with (
        _http(caller.headers) as http,
        Client(streamable_http_client(url, http_client=http), mode=PROTOCOL) as client,
    ):
        yield client


def _http(headers: dict[str, str] | None = None) -> httpx2.AsyncClient:
    """Without the proxies of the environment: everything is on this machine."""
    return httpx2.AsyncClient(headers=headers, trust_env=False, timeout=10)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the first visit brought, or how it failed."""

    whoami: dict[str, Any] = field(default_factory=dict)
    cold_ms: float = 0.0
    warm_ms: float = 0.0
    failure: str = ""


async def _first_visit(client: Client, caller: Caller) -> _Seen:
    """Time the same light request cold and warm, ask who we are, write the note."""
    try:
        cold, *warm = [await _timed_listing(client) for _ in range(1 + _WARM_ROUNDS)]
        who = await _call(client, "whoami")
        await _call(client, "add_note", text=caller.note)
    except _FAILURES as failure:
        return _Seen(failure=str(failure))
    return _Seen(who, cold, statistics.median(warm))


async def _timed_listing(client: Client) -> float:
    started = time.perf_counter()
    await client.list_tools(cache_mode="bypass")
    return (time.perf_counter() - started) * 1000


async def _second_visit(caller: Caller, client: Client, seen: _Seen, everybody: list[Caller]) -> CallerRow:
    """Read everything there is to read, and compare."""
    try:
        notebook = {} if seen.failure else await _call(client, "list_notes")
    except _FAILURES as failure:
        notebook, seen = {}, _Seen(failure=str(failure))
    # One of each text: a kept database also holds the notes of earlier tours.
    notes = tuple(dict.fromkeys(note["text"] for note in notebook.get("notes", ())))
    said = {**seen.whoami, "schema": notebook.get("schema_name", "-")}
    got = {name: str(said.get(name, "-")) for name in _EXPECTED}
    wrong = [seen.failure] if seen.failure else [*_differences(got, caller), *_misread(notes, caller, everybody)]
    return CallerRow(caller, **got, notes=notes, cold_ms=seen.cold_ms, warm_ms=seen.warm_ms, wrong="; ".join(wrong))


def _differences(got: dict[str, str], expected: Caller) -> list[str]:
    return [f"{name} should be {getattr(expected, name)}" for name in _EXPECTED if got[name] != getattr(expected, name)]


def _misread(notes: tuple[str, ...], reader: Caller, everybody: list[Caller]) -> list[str]:
    """Every note of the reader's own tenant, and none of anybody else's."""
    return [
        f"{'should' if ours else 'must not'} see {writer.note!r}"
        for writer in everybody
        if (ours := writer.tenant_id == reader.tenant_id) != (writer.note in notes)
    ]


async def _call(client: Client, tool: str, **arguments: str) -> dict[str, Any]:
    """The structured result of a tool call; ``RuntimeError`` with the tool's own words when it failed."""
    result = await client.call_tool(tool, arguments)
    if result.is_error or result.structured_content is None:
        raise RuntimeError(f"{tool} failed: {result.content}")
    return dict(result.structured_content)


async def _refusal(http: httpx2.AsyncClient, url: str, case: Refused) -> RefusalRow:
    with case.during:
        answer = await http.post(url, headers={**CALL_HEADERS, **case.headers}, json=tool_call("whoami"))
    body = answer.json()
    got = (answer.status_code, body.get("error"), body.get("reason"))
    expected = (case.status, case.error, case.reason)
    return RefusalRow(
        refused=case,
        status=answer.status_code,
        error=str(body.get("error")),
        reason=str(body.get("reason")),
        description=str(body.get("error_description")),
        retry_after=answer.headers.get("retry-after"),
        wrong="" if got == expected else f"should be {' '.join(map(str, expected))}",
    )


def tool_call(tool: str, **arguments: str) -> dict[str, Any]:
    """The JSON-RPC message that calls a tool."""
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
