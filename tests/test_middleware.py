"""The three-line mount, with what it makes from the settings: started with the app's lifespan, closed with it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from tenantry import Settings, TenantryMiddleware
from tenantry.devidp.faults import error
from tenantry.testing import DevIdp, serve_on_loopback

pytestmark = pytest.mark.anyio


def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.state.user.tenant_id)


@pytest.fixture
async def idp() -> AsyncIterator[DevIdp]:
    made = DevIdp()
    async with made.serve():
        yield made


@contextlib.asynccontextmanager
async def served(idp: DevIdp) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    values: dict[str, Any] = {name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings().items()}
    app = TenantryMiddleware(Starlette(routes=[Route("/mcp", hello)]), settings=Settings(**values))
    async with serve_on_loopback(app) as url, httpx.AsyncClient(trust_env=False) as client:
        yield f"{url}/mcp", client


async def test_the_keys_are_fetched_when_the_server_starts_and_not_again_for_the_first_caller(idp: DevIdp) -> None:
    async with served(idp) as (url, client):
        async with asyncio.timeout(10):
            await idp.calls.reached(1, "google", "certs")
            await idp.calls.reached(1, "auth0", "jwks")
        answer = await client.get(url, headers={"Authorization": f"Bearer {idp.google.id_token('ann')}"})
    assert (answer.status_code, answer.text) == (200, "acme_example")
    assert idp.calls.count("google", "certs") == 1


async def test_a_provider_that_is_down_does_not_keep_the_server_down(idp: DevIdp) -> None:
    with idp.faults.during("google", error()), idp.faults.during("auth0", error()):
        async with served(idp) as (url, client):
            answer = await client.get(url, headers={"Authorization": f"Bearer {idp.github.token('octo')}"})
            assert answer.status_code == 200
            answer = await client.get(url, headers={"Authorization": f"Bearer {idp.google.id_token('ann')}"})
            assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
