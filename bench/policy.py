"""Policy: reading a body strictly, and deciding by rules.

The baseline of reading is ``json.loads`` of the same bytes; ours is ``read_calls`` and ``agree``, which is all that a
rule adds to a request before it decides. Bodies: a plain call, 10 KB and 1 MB of records (many small objects: the
hardest), and 1 MB of text. Target: 1.5 times the baseline. Deciding: 10,000 rules at most twice of ten, for names that
are known and for names never seen before, as an attacker sends them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import cycle
from typing import Any

from tenantry.core.jsonrpc import Call, agree, read_calls
from tenantry.core.rules import Kind, Rule, Rules
from tenantry.model import MCPUserContext

from .measure import Row, plain_rounds

HEADERS = {b"mcp-protocol-version": b"2025-11-25"}
USER = MCPUserContext("google:1", "google", "1", "acme_com", permissions=frozenset({"notes:read", "notes:write"}))


def run(*, profile: bool = False) -> list[Row]:
    return [*_reading(profile), *_deciding(profile)]


def _reading(profile: bool) -> list[Row]:
    rows = []
    for name, body, calls in _bodies():
        seen = plain_rounds(_readers(body), calls=calls, count=21)
        if profile:
            print(f"\n{name}, {len(body):,} bytes (us)")
            print("\n".join(f"  {seen.of(step):10.2f}  {step}" for step in seen.us))
        against = f"json.loads {seen.of('json.loads'):,.1f} us"
        rows.append(Row(f"policy: body, {name}", seen.ratio("ours", "json.loads"), "x", against, "<=", 1.5))
    return rows


def _readers(body: bytes) -> dict[str, Callable[[], Any]]:
    return {"json.loads": lambda: json.loads(body), "ours": lambda: agree(HEADERS, read_calls(body))}


def _bodies() -> list[tuple[str, bytes, int]]:
    """Name, bytes, and how often in a round."""
    plain = {"title": "Minutes of the meeting", "text": "We agreed to meet again on Thursday. " * 2, "pinned": False}
    return [
        ("200 B", _body(plain), 20_000),
        ("10 KB of records", _body({"items": _records(82)}), 500),
        ("1 MB of records", _body({"items": _records(8_000)}), 5),
        ("1 MB of text", _body({"text": 'She said: "No [not yet]."\n' * 36_000}), 20),
    ]


def _body(arguments: dict[str, Any]) -> bytes:
    params = {"name": "notes_write", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    return json.dumps(message, separators=(",", ":")).encode()


def _records(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": n,
            "title": f"Note {n}",
            "at": "2026-07-28T12:00:00Z",
            "tags": ["a", f"t{n}"],
            "done": n % 2 == 0,
            "size": n / 7,
        }
        for n in range(count)
    ]


def _deciding(profile: bool) -> list[Row]:
    few, many = _rules(10), _rules(10_000)
    usual = [Call("tools/call", "t4_read", {}, 1, "tool")]
    subjects: dict[str, Callable[[], Any]] = {
        "10 rules": lambda: few.decide(USER, usual),
        "10,000 rules": lambda: many.decide(USER, usual),
    }
    for name, rules in (("10 rules", few), ("10,000 rules", many)):
        subjects[f"{name}, unseen names"] = _unseen(rules)
    seen = plain_rounds(subjects, calls=20_000, count=11)
    if profile:
        print("\ndeciding (us)")
        print("\n".join(f"  {seen.of(step):6.2f}  {step}" for step in seen.us))
    rows = [Row("policy: one decision", seen.of("10,000 rules"), "us", "10,000 rules")]
    for more in ("", ", unseen names"):
        ratio = seen.ratio(f"10,000 rules{more}", f"10 rules{more}")
        against = f"10 rules {seen.of('10 rules' + more):.2f} us"
        rows.append(Row(f"policy: 10,000 rules{more}", ratio, "x", against, "<=", 2.0))
    return rows


def _unseen(rules: Rules) -> Callable[[], Any]:
    calls = cycle([[Call("tools/call", f"t{n % 3}_{n}", {}, 1, "tool")] for n in range(20_000)])
    return lambda: rules.decide(USER, next(calls))


def _rules(count: int) -> Rules:
    """By turns: a name, the beginning of one, a pattern with a star inside, and a resource."""
    turns: list[tuple[Kind, str]]
    made = []
    for n in range(count):
        turns = [
            ("tool", f"t{n}_read"),
            ("tool", f"t{n - 1}_*"),
            ("tool", f"u{n}_*_all"),
            ("resource", f"notes://{n}/*"),
        ]
        kind, pattern = turns[n % 4]
        made.append(Rule(kind, pattern, permissions=["notes:read"]))
    return Rules([*made, Rule("tool", "t*", permissions=["notes:read"])])
