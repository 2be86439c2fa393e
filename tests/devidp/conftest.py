"""One development identity provider a test, over a real socket, with a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from tests.devidp.relying import Relying, registered

from tenantry.devidp import DevIdp

NOW = 1_795_000_000.0  # 2026-11-18


class StillClock:
    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> float:
        return self.time


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _development(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCP_HTTP_ENVIRONMENT", raising=False)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
async def idp(clock: StillClock) -> AsyncIterator[DevIdp]:
    idp = DevIdp(clock=clock)
    async with idp.serve():
        yield idp


@pytest.fixture
async def client(idp: DevIdp) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=idp.base_url, trust_env=False, timeout=5) as client:
        yield client


@pytest.fixture
async def relying(client: httpx.AsyncClient) -> Relying:
    """A public client that has just registered."""
    return await registered(client)
