"""A real ``tools/call`` on the MCP SDK (2.x, revision 2026-07-28, one POST) behind the gate, against the same
server without any authentication; a warm RS256 ID token.

Twice: in process (ASGI calls by turns in one child; every microsecond of server counts, none of sockets) and over
uvicorn (as in ``http.py``). Precedent: facts/performance.md section 3: 625 us without, 643 behind the floor, 1,024
with PyJWT in the SDK's own verifier. Target: 0.95 of the calls per second.
"""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version
from typing import Any

from .floor import Floor
from .http import compare, cpu_ratio, rate, ratio
from .measure import Row, child, rounds
from .stack import scope, stack, tool_server

CALLS, ROUNDS = 150, 25
_META = "io.modelcontextprotocol"
CALL = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {
            "name": "add",
            "arguments": {"a": 1, "b": 2},
            "_meta": {
                f"{_META}/protocolVersion": "2026-07-28",
                f"{_META}/clientInfo": {"name": "bench", "version": "1"},
                f"{_META}/clientCapabilities": {},
            },
        },
    }
).encode()


def run(*, profile: bool = False) -> list[Row]:
    seen = child("bench.tools_call")
    against = f"mcp {version('mcp')} without auth: {seen['bare']:.0f} us a call, {seen['added']:.1f} us added"
    rows = [Row("tools/call, warm, in process", 1 / seen["ratio"], "x", against, ">=", 0.95)]
    against = "the same server without auth"
    rows.append(Row("tools/call, in process: the hand-written floor", 1 / seen["floor"], "x", against))
    runs, server = compare("tool", CALL, ("id_token",), 7)
    pairs = runs["id_token"]
    against = f"{cpu_ratio(pairs)}; same server without auth: {rate(pairs):,.0f} req/s ({server.parser}, {server.loop})"
    return [*rows, Row("tools/call, warm, over sockets", ratio(pairs), "x", against, ">=", 0.95)]


async def _measure() -> dict[str, float]:
    app = tool_server()
    gated = stack(app)

    async def call(app: Any, asked: dict[str, Any]) -> None:
        answer: list[Any] = []
        body = iter([{"type": "http.request", "body": CALL, "more_body": False}])

        async def receive() -> Any:
            for message in body:
                return message
            return await asyncio.get_running_loop().create_future()  # the client stays

        async def send(message: Any) -> None:
            answer.append(message)

        await app(asked, receive, send)
        if answer[0]["status"] != 200 or b'"isError":true' in answer[1]["body"]:
            raise RuntimeError(f"not a result: {answer}")

    asked = scope(gated.id_token, length=len(CALL))
    floor_app = Floor(app, gated.id_token)
    async with app.router.lifespan_context(app):
        seen = await rounds(
            {
                "bare": lambda: call(app, dict(asked)),
                "gated": lambda: call(gated.app, dict(asked)),
                "floor": lambda: call(floor_app, dict(asked)),
            },
            calls=CALLS,
            count=ROUNDS,
        )
    added = seen.added("gated", "bare")
    ratios = {"ratio": seen.ratio("gated", "bare"), "floor": seen.ratio("floor", "bare")}
    return {"bare": seen.of("bare"), "added": added, **ratios}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure())))
