"""Little is left of what GitHub grants this server: who is known goes on, new callers share the rest, health tells."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import pytest
from tests.support import Echo, World, a_world, ask, bearer

from tenantry.devidp.github import checksummed
from tenantry.ports import HttpRequest, HttpResponse
from tenantry.testing import FakeFetch

pytestmark = pytest.mark.anyio

CHECK = "https://api.github.com/applications/ours/token"
LIMIT, WINDOW = 5000, 3600


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world


class GitHub(FakeFetch):
    """Every token is of our app unless ``foreign``; ``remaining`` goes down with each call that is made."""

    def __init__(self, world: World, remaining: int) -> None:
        super().__init__()
        self._clock, self.remaining = world.clock, remaining
        self.reset = int(world.clock.now()) + WINDOW
        self.foreign = False

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        self.remaining -= 1
        token = json.loads(request.body or b"{}")["access_token"]
        user = {"id": int.from_bytes(sha256(token.encode()).digest()[:6], "big"), "login": "octo", "type": "User"}
        answer = {"app": {"client_id": "ours"}, "user": user, "scopes": ["repo"]}
        headers = {"limit": LIMIT, "remaining": self.remaining, "reset": self.reset, "resource": "core"}
        told = {f"x-ratelimit-{name}": str(value) for name, value in headers.items()}
        return HttpResponse(404 if self.foreign else 200, told, json.dumps(answer).encode())


def guarded(world: World, remaining: int, **changes: Any) -> tuple[Any, GitHub]:
    world.fetch = github = GitHub(world, remaining)
    values = {"github_enabled": True, "github_client_id": "ours", "github_client_secret": "s" * 40}
    rest = {"rate_limit_anonymous": "off", "exempt_paths": None}
    return world.guard(Echo(), only=(), **(values | rest | changes)), github


async def call(app: Any, token: str, address: str = "203.0.113.7") -> Any:
    return await ask(app, headers=bearer(token), client=(address, 1))


async def test_while_much_is_left_a_proof_lives_for_the_ttl(world: World) -> None:
    app, github = guarded(world, LIMIT)
    token = checksummed("gho_")
    for _ in range(2):
        assert (await call(app, token)).status == 200
        world.clock.advance(301)
    assert len(github.requests) == 2


async def test_while_little_is_left_who_is_known_goes_on_for_a_quarter_of_an_hour(world: World) -> None:
    app, github = guarded(world, 100)
    token = checksummed("gho_")
    assert (await call(app, token)).status == 200
    world.clock.advance(890)
    assert (await call(app, token)).status == 200
    assert len(github.requests) == 1
    world.clock.advance(20)
    await call(app, token)
    assert len(github.requests) == 2


async def test_while_little_is_left_a_flood_of_new_tokens_leaves_calls_for_others(world: World) -> None:
    app, github = guarded(world, 100)
    statuses = [(await call(app, checksummed("gho_"))).status for _ in range(60)]
    assert statuses[0] == 200
    assert statuses.count(503) > 30
    assert github.remaining > 50
    refused = await call(app, checksummed("gho_"))
    assert (refused.status, refused.json()["reason"], refused.challenge) == (503, "provider_budget", None)
    assert int(refused.headers["retry-after"]) >= 1


async def test_a_newcomer_of_a_known_address_is_let_in_beside_a_flood_of_foreign_tokens(world: World) -> None:
    app, github = guarded(world, LIMIT)
    assert (await call(app, checksummed("gho_"), "192.0.2.9")).status == 200
    github.remaining, github.foreign = 100, True
    statuses = [(await call(app, checksummed("gho_"), "203.0.113.7")).status for _ in range(60)]
    assert set(statuses) == {401, 503}
    github.foreign = False
    assert (await call(app, checksummed("gho_"), "192.0.2.9")).status == 200


async def test_health_shows_it_and_stays_ready(world: World) -> None:
    app, _ = guarded(world, 100)
    before = await ask(app, path="/readyz", method="GET")
    await call(app, checksummed("gho_"))
    after = await ask(app, path="/readyz", method="GET")
    assert (before.status, before.json()) == (200, {"status": "ok"})
    assert (after.status, after.json()) == (200, {"status": "ok", "github": "few_calls_left"})


async def test_after_the_reset_everything_is_as_before(world: World) -> None:
    app, github = guarded(world, 100)
    for _ in range(60):
        await call(app, checksummed("gho_"))
    world.clock.advance(WINDOW + 1)
    github.remaining, github.reset = LIMIT, int(world.clock.now()) + WINDOW
    for _ in range(20):
        assert (await call(app, checksummed("gho_"))).status == 200
