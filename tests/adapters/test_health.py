"""The health checks: answered by us, for anybody, and saying no more than a reason's name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.support import World

from tenantry.adapters.asgi import GateMiddleware
from tenantry.adapters.health import Health
from tenantry.errors import ConfigurationError, Unavailable
from tenantry.observations import Misconfigured

from .test_asgi import KEY, Echo, ask

pytestmark = pytest.mark.anyio


@pytest.fixture
def served(world: World) -> Callable[..., Any]:
    """A guarded app whose readiness is ``check``'s to say, and what was observed."""

    def make(check: Any = None, **changes: Any) -> tuple[GateMiddleware, Echo, list[Any]]:
        seen: list[Any] = []
        made = world.assembly(api_keys={KEY: {"name": "ci"}}, **changes)
        health = Health({"database": check} if check else {}, world.clock, seen.append)
        app = Echo()
        return GateMiddleware(app, replace(made.front, health=health)), app, seen

    return make


def said(reply: Any) -> tuple[int, dict[str, str]]:
    body = b"".join(message.get("body", b"") for message in reply.messages)
    return reply.status, json.loads(body)


async def down() -> None:
    raise Unavailable("database_unavailable", retry_after=5, detail="ConnectionRefusedError")


async def up() -> None:
    return None


async def test_a_process_that_runs_is_live_whatever_it_needs(served: Any) -> None:
    guarded, app, _ = served(down)
    assert said(await ask(guarded, path="/livez", method="GET")) == (200, {"status": "ok"})
    assert app.scopes == []


async def test_ready_is_what_can_reach_what_it_needs(served: Any) -> None:
    guarded, app, _ = served(up)
    assert said(await ask(guarded, path="/readyz", method="GET")) == (200, {"status": "ok", "database": "ok"})
    assert app.scopes == []


async def test_not_ready_says_why_by_the_reason_s_name_alone(served: Any) -> None:
    guarded, _, _ = served(down)
    reply = await ask(guarded, path="/readyz", method="GET")
    assert said(reply) == (503, {"status": "unavailable", "database": "database_unavailable"})
    assert dict(reply.messages[0]["headers"])[b"retry-after"] == b"5"


async def test_a_misconfiguration_is_for_the_log_and_not_for_whoever_asks(served: Any) -> None:
    async def wrong() -> None:
        raise ConfigurationError("The login 'ops' may not make roles.")

    guarded, _, seen = served(wrong)
    status, document = said(await ask(guarded, path="/readyz", method="GET"))
    assert (status, document["database"]) == (503, "server_misconfigured")
    assert "ops" not in json.dumps(document)
    assert seen == [Misconfigured("database", "The login 'ops' may not make roles.")]


async def test_many_who_ask_at_once_cost_one_look(served: Any, world: World) -> None:
    looks = 0

    async def counted() -> None:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)

    guarded, _, _ = served(counted)
    await asyncio.gather(*(ask(guarded, path="/readyz", method="GET") for _ in range(50)))
    await ask(guarded, path="/readyz", method="GET")
    assert looks == 1
    world.clock.advance(2)
    await ask(guarded, path="/readyz", method="GET")
    assert looks == 2


@pytest.mark.parametrize("path", ["/readyz/", "//readyz", "/mcp/readyz", "/readyz.json", "/READYZ"])
async def test_no_other_path_is_answered(served: Any, path: str) -> None:
    guarded, app, _ = served(up)
    assert (await ask(guarded, path=path, method="GET")).status == 401
    assert app.scopes == []


async def test_another_method_is_a_call_like_any_other(served: Any) -> None:
    guarded, app, _ = served(up)
    assert (await ask(guarded, path="/readyz", method="POST")).status == 401
    assert app.scopes == []


async def test_an_exempt_path_is_the_app_s(served: Any) -> None:
    guarded, app, _ = served(down, exempt_paths=("/readyz",))
    assert (await ask(guarded, path="/readyz", method="GET")).status == 200
    assert len(app.scopes) == 1
