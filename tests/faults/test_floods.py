"""What a bad hour costs in calls, whom it costs nothing, and how many connections it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import Door, World

from tenantry.adapters.http import HttpFetch
from tenantry.devidp import serve_on_loopback
from tenantry.devidp.faults import slow
from tenantry.errors import Refusal
from tenantry.observations import CircuitOpened
from tenantry.providers.base import CALLS_AT_ONCE

from . import floods
from .stage import Stage, a_stage

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with a_stage() as stage:
        yield stage


async def test_a_thousand_requests_with_one_new_token_cost_one_proof(stage: Stage) -> None:
    flood = await floods.stampede(stage)
    assert (flood.calls, flood.statuses) == (2, {200})


async def test_new_opaque_tokens_in_an_outage_cost_one_call_in_half_a_minute(stage: Stage) -> None:
    flood = await floods.outage_of_calls(stage)
    assert flood.statuses == {503}
    assert flood.calls <= 5 + floods.MINUTES * 2 + 4
    assert len(stage.seen.of(CircuitOpened)) == 1


async def test_a_server_without_keys_asks_once_a_second(stage: Stage) -> None:
    flood = await floods.outage_of_keys(stage)
    assert flood.statuses == {503}
    assert flood.calls <= floods.MINUTES * 60 + 1


async def test_a_server_with_keys_asks_every_five_seconds_and_lets_everybody_in(stage: Stage) -> None:
    flood = await floods.outage_with_keys(stage)
    assert flood.statuses == {200}
    assert flood.calls <= floods.MINUTES * 12 + 1


async def test_invented_key_ids_cost_two_calls_a_minute(stage: Stage) -> None:
    flood = await floods.unknown_keys(stage)
    assert flood.statuses <= {401, 503}
    assert flood.calls <= 6 + 2 * floods.MINUTES


async def test_a_provider_that_hangs_takes_nothing_from_the_others() -> None:
    """Three times as many callers as GitHub has turns hang there, and Google's are let in beside them."""
    fetch = HttpFetch(allow_loopback_http=True)  # with the bounds that a server has
    world = World(fetch)
    async with world.idp.serve():
        door = world.door(rate_limit_anonymous="off")
        world.idp.faults.set("github", slow(3600))
        tokens = [world.idp.github.token("octo") for _ in range(3 * CALLS_AT_ONCE)]
        hanging = [asyncio.ensure_future(_status(door, token)) for token in tokens]
        await asyncio.wait_for(world.idp.calls.reached(CALLS_AT_ONCE, "github"), timeout=30)
        google = [world.idp.google.access_token(person) for person in ("ann", "bob") * 10]
        assert await asyncio.gather(*(_status(door, token) for token in google)) == [200] * 20
        assert world.idp.calls.count("github") == CALLS_AT_ONCE
        assert not any(task.done() for task in hanging)
        world.idp.faults.clear()
        assert set(await asyncio.gather(*hanging)) == {200}
        await world.aclose()
        await fetch.aclose()


async def _status(door: Door, token: str) -> int:
    try:
        await door.admit(token)
    except Refusal as refusal:
        return refusal.status
    return 200


class Counted:
    """The development identity provider, counting the connections that calls come over."""

    def __init__(self, world: World) -> None:
        self._app = world.idp.app
        self.connections: set[Any] = set()
        self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.calls += 1
            self.connections.add(tuple(scope["client"]))
            assert scope["http_version"] == "1.1"
        await self._app(scope, receive, send)


async def test_calls_share_a_few_connections_that_are_kept() -> None:
    fetch = HttpFetch(allow_loopback_http=True)
    world = World(fetch)
    counted = Counted(world)
    async with serve_on_loopback(counted):
        door = world.door(rate_limit_anonymous="off", rate_limit_tenant="off")
        for _ in range(50):
            await door.admit(world.idp.google.access_token("ann"))
        assert (counted.calls, len(counted.connections)) == (100, 1)
        tokens = [world.idp.google.access_token("bob") for _ in range(200)]
        assert set(await asyncio.gather(*(_status(door, token) for token in tokens))) == {200}
        assert counted.calls == 500
        assert len(counted.connections) <= CALLS_AT_ONCE
        await world.aclose()
        await fetch.aclose()
