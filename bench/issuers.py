"""What nineteen further issuers cost the requests of one: routing is a look-up, never a loop of attempts.

Two gates by turns, one with one entry in MCP_HTTP_OIDC_PROVIDERS and one with twenty, both asked by the last of them:
with a warm token (all that happens is a look-up by its digest) and with tokens never seen before (read, routed,
checked, one signature). Target: 5 % more at most.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

from tenantry.adapters.expiry import Message
from tenantry.ports import HttpResponse
from tenantry.testing import FakeFetch, TokenMint

from .measure import Row, rounds
from .stack import bare, drop, nothing, scope, stack, status_of

ISSUERS = 20
AUDIENCE = "https://mcp.example.com/mcp"
WARM_CALLS, WARM_ROUNDS = 2000, 25
NEW_CALLS, NEW_ROUNDS = 60, 15


def run(*, profile: bool = False) -> list[Row]:
    warm, unseen, one, new = asyncio.run(_measure())
    return [
        Row(f"{ISSUERS} issuers: warm token", warm, "x", f"one issuer {one:.1f} us", "<=", 1.05),
        Row(f"{ISSUERS} issuers: token never seen", unseen, "x", f"one issuer {new:.0f} us", "<=", 1.05),
    ]


class _Fleet:
    """A gate that trusts ``count`` issuers, and the tokens of the last one."""

    def __init__(self, count: int) -> None:
        self._mint = TokenMint("bench issuers")
        keys = json.dumps(self._mint.jwks()).encode()
        answer = HttpResponse(200, {"cache-control": "max-age=86400"}, keys)
        fetch = FakeFetch({f"https://id{number}.example/keys": answer for number in range(count)})
        entries = [
            {"name": f"id{number}", "issuer": f"https://id{number}.example", "audience": AUDIENCE}
            | {"jwks_uri": f"https://id{number}.example/keys", "claims": {"tenant": "org"}}
            for number in range(count)
        ]
        self._issuer = f"https://id{count - 1}.example"
        self.app = stack(bare, fetch=fetch, oidc_providers=entries).app
        self.token = self.new(0)

    def new(self, number: int) -> str:
        """About 1,000 bytes, as usual."""
        return self._mint.sign(
            {
                "iss": self._issuer,
                "aud": AUDIENCE,
                "sub": f"{number:032}",
                "org": "acme",
                "scope": "openid profile email notes:read notes:write",
                "name": "Ann Archer",
                "picture": f"https://pictures.example/{'p' * 120}",
                "iat": 1_700_000_000,
                "exp": 4_000_000_000,
            }
        )


async def _measure() -> tuple[float, float, float, float]:
    one, many = _Fleet(1), _Fleet(ISSUERS)
    for fleet in (one, many):
        assert await status_of(fleet.app, fleet.token) == 200
    asked = {"one": scope(one.token), "many": scope(many.token)}
    warm = await rounds(
        {
            "one": lambda: one.app(asked["one"], nothing, drop),
            "many": lambda: many.app(asked["many"], nothing, drop),
        },
        calls=WARM_CALLS,
        count=WARM_ROUNDS,
    )
    statuses: set[int] = set()

    async def send(message: Message) -> None:
        if "status" in message:
            statuses.add(message["status"])

    new = {"one": _scopes(one), "many": _scopes(many)}
    unseen = await rounds(
        {
            "one": lambda: one.app(next(new["one"]), nothing, send),
            "many": lambda: many.app(next(new["many"]), nothing, send),
        },
        calls=NEW_CALLS,
        count=NEW_ROUNDS,
    )
    assert statuses == {200}, statuses
    return warm.ratio("many", "one"), unseen.ratio("many", "one"), warm.of("one"), unseen.of("one")


def _scopes(fleet: _Fleet) -> Iterator[dict[str, Any]]:
    """Signed beforehand: signing costs twenty times what verifying does."""
    return iter([scope(fleet.new(number)) for number in range(1, NEW_CALLS * (NEW_ROUNDS + 1) + 1)])
