"""What a company would switch on: quotas of tenant and user in memory and the audit to a file, on the warm path.

Over sockets as in ``http.py``, against the bare application; what writes the audit is in the same process and on the
same core. How much of the target is left by the headers of an answer alone (six that each answer carries, two of the
quotas; the server looks at every one) is a row of its own. In process what is added to one request, with all that the
audit does with it until it is in the file. Targets: 0.75 of the requests per second, 35 us.

Then with rules as well, which read the body: a tools/call of some 200 bytes.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from .http import compare, cpu_ratio, latencies, rate, ratio
from .measure import Row, child, rounds
from .stack import Stack, bare, drop, scope, stack, status_of, whole_options
from .tools_call import CALL

REQUESTS, ROUNDS, SOCKET_ROUNDS = 2000, 25, 7


def run(*, profile: bool = False) -> list[Row]:
    runs, bare_server = compare("bare", b"{}", ("id_token",), SOCKET_ROUNDS, "whole")
    pairs = runs["id_token"]
    server = f"bare {rate(pairs):,.0f} req/s ({bare_server.parser}, {bare_server.loop}); p50/p99 {latencies(pairs)} ms"
    headers, _ = compare("bare", b"{}", ("id_token",), SOCKET_ROUNDS, "headers")
    seen = child("bench.whole")
    return [
        Row("over sockets: quotas and audit", ratio(pairs), "x", f"{cpu_ratio(pairs)}; {server}", ">=", 0.75),
        Row(
            "over sockets: the headers of such an answer alone",
            ratio(headers["id_token"]),
            "x",
            f"{cpu_ratio(headers['id_token'])}; the bare app, which sends them itself",
        ),
        Row(
            "in process: quotas and audit, all in all",
            seen["whole"],
            "us",
            f"bare {seen['bare']:.1f} us; neither of them {seen['plain']:.1f} us",
            "<=",
            35,
        ),
        *(
            Row(f"in process: the same and {what}", seen[name], "us", f"a body of {len(CALL)} bytes is read")
            for name, what in (("rule", "one rule"), ("rules", "rules of 10 tools"))
        ),
    ]


async def _measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        plain = stack(bare)
        assert await status_of(plain.app, plain.id_token) == 200
        subjects = {"bare": _many(bare, plain), "plain": _many(plain.app, plain)}
        gates = [_gate(name, Path(folder)) for name in ("whole", "rule", "rules")]
        for name, gate in zip(("whole", "rule", "rules"), gates, strict=True):
            gate.made.start()
            assert await status_of(gate.app, gate.id_token, CALL) == 200
            subjects[name] = _many(gate.app, gate, gate.made.parts["audit"])
        seen = await rounds(subjects, calls=1, count=ROUNDS)
        for gate in gates:
            assert gate.made.parts["audit"].dropped == 0
            await gate.made.aclose()
    found = {name: seen.added(name, "bare") / REQUESTS for name in subjects if name != "bare"}
    return {**found, "bare": seen.of("bare") / REQUESTS}


def _gate(name: str, folder: Path) -> Stack:
    options = whole_options("whole" if name == "whole" else "rules", folder / name)
    (folder / name).mkdir()
    if name == "rule":
        options["tool_permissions"] = {"*": "tools:call"}
    return stack(bare, **options)


def _many(app: Any, gate: Stack, audit: Any = None) -> Callable[[], Awaitable[None]]:
    """``REQUESTS`` requests, one after the other, and all that the audit does with them."""
    asked = scope(gate.id_token, length=len(CALL))

    async def many() -> None:
        for _ in range(REQUESTS):
            await app(asked, _call, drop)
        if audit is not None:
            await audit.flush()

    return many


async def _call() -> dict[str, Any]:
    return {"type": "http.request", "body": CALL, "more_body": False}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure())))
