"""In process: what the gate adds to one request with a warm token, in microseconds, over the bare application.

The ASGI stack is called directly, without sockets, with the headers of a tools/call; in a process that has
imported the MCP SDK (its user object and context variable are then filled in too) and in one that has not.
Precedent: facts/performance.md section 2: floor 5.5, the SDK's middleware with a static verifier 12, every peer
that verifies 250 and more. Target: 15. ``--profile`` prints where it goes, step by step.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

from tenantry.adapters.exchange import Exchange
from tenantry.adapters.identity import publish, withdraw
from tenantry.adapters.incoming import cleaned
from tenantry.core.credentials import read_credential, single_headers

from .measure import Row, child, plain_rounds, rounds
from .stack import Stack, bare, drop, nothing, scope, stack, status_of

CALLS, ROUNDS = 2000, 25


def run(*, profile: bool = False) -> list[Row]:
    rows = []
    for name in ("mcp", "plain"):
        seen = child("bench.warm", name, "profile" if profile else "")
        loaded = "mcp loaded" if name == "mcp" else "mcp not loaded"
        for kind in ("id_token", "access_token"):
            title = f"in process: warm {kind.replace('_', ' ')}, {loaded}"
            rows.append(Row(title, seen[kind], "us", f"bare {seen['bare']:.1f} us", "<=", 15))
        if profile:
            print(f"\nwhere it goes, {loaded} (us, each step alone; added in all {seen['id_token']:.1f})")
            for step, us in seen["steps"].items():
                print(f"  {us:6.2f}  {step}")
    return rows


async def _measure(profile: bool) -> dict[str, Any]:
    gate = stack(bare)
    assert await status_of(gate.app, gate.id_token) == 200
    assert await status_of(gate.app, gate.access_token) == 200
    scopes = {"bare": scope(gate.id_token), "id_token": scope(gate.id_token), "access_token": scope(gate.access_token)}
    seen = await rounds(
        {
            "bare": lambda: bare(scopes["bare"], nothing, drop),
            "id_token": lambda: gate.app(scopes["id_token"], nothing, drop),
            "access_token": lambda: gate.app(scopes["access_token"], nothing, drop),
        },
        calls=CALLS,
        count=ROUNDS,
    )
    found: dict[str, Any] = {"bare": seen.of("bare")}
    found |= {name: seen.added(name, "bare") for name in ("id_token", "access_token")}
    if profile:
        found["steps"] = _steps(gate, scopes["id_token"])
    return found


def _steps(gate: Stack, asked: dict[str, Any]) -> dict[str, float]:
    """Every step of the warm path alone, in the order of the path."""
    front, cache = gate.made.front, gate.made.gate._verdicts
    peer = front.proxies.peer(asked)
    request = front.request(asked, peer)
    request.headers = headers = single_headers(asked["headers"])
    credential = read_credential(headers, b"")
    key = cache.key(credential, None)
    known = cache.admission(key)
    assert known is not None
    user, tenant = known.user, known.tenant
    exchange = Exchange(front, request, drop, https=False)

    def through(coroutine: Any) -> None:
        """A coroutine that never waits, run without a loop."""
        try:
            coroutine.send(None)
        except StopIteration:
            return

    steps: dict[str, Callable[[], Any]] = {
        "who is at the other end": lambda: front.proxies.peer(asked),
        "request and exchange made": lambda: Exchange(front, front.request(asked, peer), drop, https=False),
        "headers: those that may come once": lambda: single_headers(asked["headers"]),
        "host and origin": lambda: front.transport.check(headers),
        "credential": lambda: read_credential(headers, b""),
        "cache key (SHA-256 of the whole token)": lambda: cache.key(credential, None),
        "cache look-up and clocks": lambda: cache.admission(key),
        "tenant directory": lambda: through(gate.made.gate._directory.admit(tenant)),
        "quotas (off)": lambda: through(gate.made.gate._quotas.spend(user)),
        "what the app may not see": lambda: cleaned(asked, peer),
        "publish and take back": lambda: withdraw(publish(asked, user, exchange.slot)[1]),
        "the answer watched and completed": lambda: through(_answered(front, request, asked, user.expires_at)),
    }
    seen = plain_rounds(steps, calls=5000, count=7)
    found = {name: seen.of(name) for name in steps}
    return {**found, "sum": sum(us for name, us in found.items() if not name.startswith(" "))}


async def _answered(front: Any, request: Any, asked: dict[str, Any], expires_at: float | None) -> None:
    await Exchange(front, request, drop, https=False).run(bare, asked, nothing, expires_at)


if __name__ == "__main__":
    if sys.argv[1] == "mcp":
        import mcp.server  # noqa: F401 - being loaded is the point
    print(json.dumps(asyncio.run(_measure(sys.argv[2] == "profile"))))
