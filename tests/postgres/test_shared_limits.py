"""Two servers, one limit: whole gates over a shared store let in together what one would."""

# ruff: noqa: ASYNC110 - what the server does sets no event here

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from tests.redis_server import RedisServer
from tests.support import Echo, ask

from tenantry import TenantryMiddleware
from tenantry.settings import Settings

pytestmark = pytest.mark.anyio

KEY = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE"
LIMIT = 10


def common(dsns: Any, store: str) -> dict[str, Any]:
    return {
        "environment": "development",
        "api_keys": {KEY: {"name": "ci", "tenant_id": "acme"}},
        "rate_limit_store": store,
        "rate_limit_tenant": f"{LIMIT}/86400",
        "database_connection_string": dsns.app,
        "direct_database_url": dsns.admin,
    }


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with RedisServer() as server:
        yield server


@pytest.fixture(params=["postgres", "redis"])
def shared(request: pytest.FixtureRequest, dsns: Any, redis: RedisServer) -> dict[str, Any]:
    """The settings of every server."""
    return common(dsns, request.param) | ({"redis_url": redis.url} if request.param == "redis" else {})


@asynccontextmanager
async def servers(values: dict[str, Any], count: int = 2) -> AsyncIterator[list[TenantryMiddleware]]:
    async with AsyncExitStack() as stack:
        apps = []
        for _ in range(count):
            app = TenantryMiddleware(Echo(), settings=Settings(**values))
            stack.push_async_callback(app.aclose)
            apps.append(app)
        yield apps


async def call(app: Any) -> Any:
    return await ask(app, headers=[("x-api-key", KEY)])


async def test_two_servers_together_let_exactly_the_limit_pass(shared: dict[str, Any]) -> None:
    async with servers(shared) as (one, other):
        for app in (one, other):  # the tenant and the connections are made before it counts
            assert (await ask(app, path="/readyz", method="GET")).status == 200
        replies = await asyncio.gather(*(call(app) for app in (one, other) for _ in range(50)))
    statuses = [reply.status for reply in replies]
    assert (statuses.count(200), statuses.count(429)) == (LIMIT, 100 - LIMIT)
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.headers["ratelimit-policy"] == f'"tenant";q={LIMIT};w=86400'
    assert int(refused.headers["retry-after"]) > 0
    told = [reply.headers["ratelimit"] for reply in replies if reply.status == 200]
    assert all(words.startswith('"tenant";r=') for words in told)


@pytest.mark.parametrize(("on_error", "expected"), [("closed", 503), ("open", 200)])
async def test_while_the_store_is_down_the_setting_decides_and_it_is_told(
    dsns: Any, redis: RedisServer, on_error: str, expected: int
) -> None:
    values = common(dsns, "redis") | {"redis_url": redis.url, "rate_limit_on_error": on_error}
    async with servers(values, 1) as (app,):
        assert (await call(app)).status == 200
        seen: list[Any] = []
        app.front.observe.are([seen.append])  # type: ignore[attr-defined]
        redis.kill()
        reply = await call(app)
        assert reply.status == expected
        assert [type(told).__name__ for told in seen if type(told).__name__ == "QuotaUnchecked"]
        if expected == 503:
            assert "retry-after" in reply.headers
        await redis.start()
        async with asyncio.timeout(30):
            while "ratelimit" not in (reply := await call(app)).headers:
                await asyncio.sleep(0.05)
        assert reply.status == 200
