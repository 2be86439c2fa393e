"""New settings while requests go on: what changes, what stays, and what is refused."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import Echo, World, a_scope, a_world, ask, bearer

from tenantry import TenantryMiddleware
from tenantry.observations import ConfigurationRefused

pytestmark = pytest.mark.anyio

OLD, NEW = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE", "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"
POLICY = """
[[rule]]
tool = "*"
permissions = ["{permission}"]
"""
CALL = b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "add", "arguments": {}}}'


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Whose tokens are good now: what is mounted here runs on the real clock."""
    async with a_world() as world:
        world.clock.advance(time.time() - world.clock.now())
        yield world


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes the configuration file that the settings are read from."""
    path = tmp_path / "tenantry.toml"
    monkeypatch.setenv("MCP_HTTP_CONFIG_FILE", str(path))

    def write(*keys: str, **more: str) -> None:
        entries = "\n".join(f'"{key}" = {{ name = "k{number}" }}' for number, key in enumerate(keys))
        rest = "\n".join(f"{name} = {value}" for name, value in more.items())
        fresh = path.with_suffix(".new")
        fresh.write_text(f'environment = "development"\n{rest}\n[api_keys]\n{entries}\n')
        fresh.replace(path)

    return write


def key(value: str) -> list[tuple[str, str]]:
    return [("x-api-key", value)]


async def status(app: Any, value: str) -> int:
    return (await ask(app, headers=key(value))).status


def told_in_the_log(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, word: str) -> asyncio.Event:
    """Set when the log has a line with ``word``."""
    heard = asyncio.Event()
    log = logging.getLogger("tenantry")
    before = log.level
    log.setLevel(logging.INFO)
    request.addfinalizer(lambda: log.setLevel(before))
    handler = logging.Handler()
    handler.emit = lambda record: heard.set() if word in record.getMessage().lower() else None  # type: ignore[method-assign]
    monkeypatch.setattr(log, "handlers", [handler])
    return heard


def told(app: TenantryMiddleware) -> list[Any]:
    """What is observed from now on."""
    seen: list[Any] = []
    app.front.observe.are([seen.append])
    return seen


async def test_a_key_that_is_new_is_let_in_and_one_that_is_gone_is_not(config: Any) -> None:
    config(OLD)
    app = TenantryMiddleware(Echo())
    assert [await status(app, value) for value in (OLD, NEW)] == [200, 401]
    config(NEW)
    assert app.reload()
    assert [await status(app, value) for value in (OLD, NEW)] == [401, 200]
    await app.aclose()


@pytest.mark.parametrize(
    "more",
    [{"clock_skew": "-1"}, {"colour": '"red"'}, {"log_level": '"debug"'}, {"rate_limit_tenant": '"many"'}],
    ids=["out of range", "unknown", "takes a restart", "malformed"],
)
async def test_a_bad_configuration_is_refused_and_the_old_one_goes_on(config: Any, more: dict[str, str]) -> None:
    config(OLD)
    app = TenantryMiddleware(Echo())
    before, seen = app.front, told(app)
    config(NEW, **more)
    assert not app.reload()
    assert app.front is before
    assert [await status(app, value) for value in (OLD, NEW)] == [200, 401]
    (refused,) = [event for event in seen if isinstance(event, ConfigurationRefused)]
    assert next(iter(more)) in refused.problem.lower()
    assert NEW not in refused.problem
    config(NEW)
    assert app.reload()
    assert await status(app, NEW) == 200
    await app.aclose()


async def test_a_file_that_is_not_toml_or_not_there_is_refused(config: Any, tmp_path: Path) -> None:
    config(OLD)
    app = TenantryMiddleware(Echo())
    for spoil in ((lambda: (tmp_path / "tenantry.toml").write_text("= =")), (tmp_path / "tenantry.toml").unlink):
        spoil()
        assert not app.reload()
        assert await status(app, OLD) == 200
    await app.aclose()


async def test_a_request_under_way_ends_under_the_configuration_it_began_with(config: Any) -> None:
    config(OLD)
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        inside.set()
        await go_on.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = TenantryMiddleware(slow)
    before = app.front
    request = asyncio.ensure_future(ask(app, headers=key(OLD)))
    await inside.wait()
    config(NEW)
    assert app.reload()
    idle = asyncio.ensure_future(before.traffic.idle())
    await asyncio.sleep(0)
    assert not idle.done()
    go_on.set()
    assert (await request).status == 204
    await idle
    await app.aclose()


async def test_quotas_and_keys_of_providers_outlive_a_change_of_something_else(world: World) -> None:
    settings = world.settings(rate_limit_tenant="2/60", api_keys={OLD: {"name": "ci"}})
    changed = settings.model_copy(update={"max_body": 2048})
    said = [settings]
    app = TenantryMiddleware(Echo(), settings=settings, read=lambda: said[0])
    token = bearer(world.idp.google.id_token("ann"))
    assert (await ask(app, headers=token)).status == 200
    before = app.front.gate.providers["google"]
    said[0] = changed
    assert app.reload()
    assert app.front.gate.providers["google"] is before
    with world.idp.faults.during("google", "error"):  # its keys are still there
        assert [(await ask(app, headers=token)).status for _ in range(2)] == [200, 429]
    await app.aclose()


async def test_a_provider_that_changes_is_made_anew_and_its_proofs_are_forgotten(world: World) -> None:
    settings = world.settings()
    said = [settings]
    app = TenantryMiddleware(Echo(), settings=settings, read=lambda: said[0])
    token = bearer(world.idp.google.id_token("ann"))
    assert (await ask(app, headers=token)).status == 200
    said[0] = settings.model_copy(update={"google_client_id": ("another",)})
    assert app.reload()
    assert (await ask(app, headers=token)).status == 401
    await app.aclose()


async def test_a_changed_policy_file_is_noticed_by_itself(
    world: World, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY.format(permission="notes:read"))
    settings = world.settings(policy_file=path, api_keys={OLD: {"name": "ci", "permissions": ["notes:read"]}})
    app = TenantryMiddleware(Echo(), settings=settings)
    loaded = told_in_the_log(request, monkeypatch, "configuration")
    assert app._start is not None
    app._start()

    async def call() -> int:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": CALL, "more_body": False}

        return await calling(app, receive)

    assert await call() == 200
    path.write_text(POLICY.format(permission="notes:write") + "\n# longer\n")
    async with asyncio.timeout(20):
        await loaded.wait()
    assert await call() == 403
    await app.aclose()


async def calling(app: Any, receive: Any) -> int:
    seen: list[Any] = []

    async def send(message: Any) -> None:
        seen.append(message)

    headers = [*key(OLD), ("content-type", "application/json"), ("content-length", str(len(CALL)))]
    await app(a_scope(headers=headers), receive, send)
    return int(seen[0]["status"])
