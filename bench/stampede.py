"""200 requests at once with one new credential: how often a provider is asked. Counts, not times.

The development identity provider answers over loopback HTTP after 50 ms, so that all 200 are waiting. Precedent:
facts/performance.md section 4: fastmcp makes 400 calls (two each), introspection 163-200, auth0-api-python up to
401. Target: exactly one set of calls for an opaque token, one key fetch for a JWT whose issuer's keys are cold.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tenantry import TenantryMiddleware
from tenantry.settings import Settings
from tenantry.testing import DevIdp

from .measure import Row
from .stack import HOST, bare, status_of

REQUESTS, DELAY = 200, 0.05


def run(*, profile: bool = False) -> list[Row]:
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    rows = []
    async with real_stack() as (app, idp):
        cases = {
            "Google opaque": ("google", idp.google.access_token("ann"), ("tokeninfo", "userinfo")),
            "GitHub opaque": ("github", idp.github.token("ann"), ("app_token",)),
            "Auth0 opaque (refused, shown to nobody)": ("auth0", idp.auth0.opaque_token(), ()),
            "Google JWT, keys cold": ("google", idp.google.id_token("ann"), ("certs",)),
            "Auth0 JWT, keys cold": ("auth0", idp.auth0.access_token("ann"), ("jwks",)),
        }
        for name, (provider, token, expected) in cases.items():
            idp.calls.clear()
            began = time.perf_counter()
            statuses = await asyncio.gather(*(status_of(app, token) for _ in range(REQUESTS)))
            spent = (time.perf_counter() - began) * 1e3
            assert set(statuses) == {200 if expected else 401}, set(statuses)
            made = [call.endpoint for call in idp.calls.of(provider)]
            assert set(made) <= set(expected), made
            against = f"calls for {REQUESTS} requests; expected {' + '.join(expected) or 'none'}; all in {spent:.0f} ms"
            rows.append(Row(f"stampede: {name}", len(made), "calls", against, "==", len(expected)))
        rows.append(await _bad_repeated(app, idp))
    return rows


async def _bad_repeated(app: TenantryMiddleware, idp: DevIdp) -> Row:
    """One after the other: a client that retries a dead token in a loop."""
    idp.calls.clear()
    bad = "ya29." + "never-issued" * 12
    statuses = {await status_of(app, bad) for _ in range(50)}
    assert statuses == {401}, statuses
    return Row("one bad opaque token, 50 times", len(idp.calls), "calls", "fastmcp: one each time", "==", 1)


@asynccontextmanager
async def real_stack() -> AsyncIterator[tuple[TenantryMiddleware, DevIdp]]:
    """The gate in development over real HTTP to the development identity provider, each answer 50 ms late."""
    logging.getLogger("tenantry").setLevel(logging.CRITICAL)
    idp = DevIdp()
    async with idp.serve():
        prefix = "MCP_HTTP_"
        named = {name.removeprefix(prefix).lower(): value for name, value in idp.settings().items()}
        app = TenantryMiddleware(
            bare, settings=Settings(**named, allowed_hosts=(HOST,), rate_limit_tenant="off", rate_limit_anonymous="off")
        )
        for provider in ("google", "auth0", "github"):
            idp.faults.set(provider, "slow", seconds=DELAY)
        try:
            yield app, idp
        finally:
            await app.aclose()
