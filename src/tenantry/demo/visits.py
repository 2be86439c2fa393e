"""The callers' turns, with the official MCP client."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from .cast import Caller
from .requests import http_client
from .rows import CallerRow, ListRow
from .stack import Say

PROTOCOL = "2026-07-28"
_WARM_ROUNDS = 9
_EXPECTED = ("provider", "user_id", "tenant_id", "schema")
# The server said no, or the tool did: a row that came out wrong. Anything else is a mistake of ours.
_FAILURES = (MCPError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Visit:
    """What a caller's first visit brought, or how it failed."""

    who: dict[str, Any] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    cold_ms: float = 0.0
    warm_ms: float = 0.0
    failure: str = ""


async def visits(url: str, everybody: list[Caller], side_by_side: Sequence[str], say: Say) -> tuple[list[Any], ...]:
    """First everybody writes a note, then everybody reads. The rows of all, and what those named see of the tools."""
    async with contextlib.AsyncExitStack() as open_clients:
        first = []
        for caller in everybody:
            say(f"{caller.name} calls with {caller.credential} ...")
            client = await open_clients.enter_async_context(_client(url, caller))
            first.append((caller, client, await _first_visit(client, caller)))
        rows = [await _second_visit(caller, client, seen, everybody) for caller, client, seen in first]
    return rows, [_list_row(caller, seen) for caller, _, seen in first if caller.name in side_by_side]


@contextlib.asynccontextmanager
async def _client(url: str, caller: Caller) -> AsyncIterator[Client]:
    async with (
        http_client(caller.headers) as http,
        Client(streamable_http_client(url, http_client=http), mode=PROTOCOL) as client,
    ):
        yield client


async def _first_visit(client: Client, caller: Caller) -> Visit:
    """Time the same light request cold and warm, ask who we are, write the note."""
    try:
        (cold, tools), *more = [await _timed_listing(client) for _ in range(1 + _WARM_ROUNDS)]
        who = await _call(client, "whoami")
        await _call(client, "add_note", text=caller.note)
    except _FAILURES as failure:
        return Visit(failure=str(failure))
    return Visit(who, tools, cold, statistics.median(warm for warm, _ in more))


async def _timed_listing(client: Client) -> tuple[float, tuple[str, ...]]:
    started = time.perf_counter()
    found = await client.list_tools(cache_mode="bypass")
    return (time.perf_counter() - started) * 1000, tuple(tool.name for tool in found.tools)


async def _second_visit(caller: Caller, client: Client, seen: Visit, everybody: list[Caller]) -> CallerRow:
    """Read everything there is to read, and compare."""
    try:
        notebook = {} if seen.failure else await _call(client, "list_notes")
    except _FAILURES as failure:
        notebook, seen = {}, Visit(failure=str(failure))
    # One of each text: a kept database also holds the notes of earlier tours.
    notes = tuple(dict.fromkeys(note["text"] for note in notebook.get("notes", ())))
    said = {**seen.who, "schema": notebook.get("schema_name", "-")}
    got = {name: str(said.get(name, "-")) for name in _EXPECTED}
    wrong = [seen.failure] if seen.failure else [*_differences(got, caller), *_misread(notes, caller, everybody)]
    return CallerRow(caller, **got, notes=notes, cold_ms=seen.cold_ms, warm_ms=seen.warm_ms, wrong="; ".join(wrong))


def _list_row(caller: Caller, seen: Visit) -> ListRow:
    wrong = seen.failure or ("" if seen.tools == caller.tools else f"should be {' '.join(caller.tools)}")
    return ListRow(caller, tuple(seen.who.get("permissions", ())), seen.tools, wrong)


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
