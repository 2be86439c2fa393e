"""The official MCP client, on both lines of the protocol, against a server behind the gate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from mcp import MCPError

pytestmark = pytest.mark.anyio

MODES = ["2026-07-28", "legacy"]
KINDS = [{}, {"stateless_http": True}, {"json_response": True}]
_HEADERS = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}


@pytest.mark.parametrize("kind", KINDS, ids=["stateful", "stateless", "json"])
@pytest.mark.parametrize("mode", MODES)
async def test_a_tool_call_knows_its_caller(serving: Callable, mode: str, kind: dict[str, bool]) -> None:
    world = await serving(**kind)
    async with world.client("ann", mode) as client:
        result = await client.call_tool("whoami")
    assert result.structured_content == dict.fromkeys(("by_request", "by_context"), world.user_id("ann"))


@pytest.mark.parametrize("mode", MODES)
async def test_two_users_at_once_are_never_mixed_up(serving: Callable, mode: str) -> None:
    world = await serving()
    async with world.client("ann", mode) as ann, world.client("bob", mode) as bob:
        calls = [(person, client.call_tool("whoami")) for _ in range(20) for person, client in two(ann, bob)]
        results = await asyncio.gather(*(call for _, call in calls))
    seen = [result.structured_content["by_request"] for result in results]
    assert seen == [world.user_id(person) for person, _ in calls]


@pytest.mark.parametrize("mode", MODES)
async def test_without_a_credential_the_client_gets_in_nowhere(serving: Callable, mode: str) -> None:
    world = await serving()
    world.http = lambda person: httpx2.AsyncClient(trust_env=False)
    with pytest.RaisesGroup(pytest.RaisesExc(MCPError), allow_unwrapped=True, flatten_subgroups=True):
        async with world.client("ann", mode) as client:
            await client.call_tool("whoami")


async def test_another_users_token_on_a_session_is_refused(serving: Callable) -> None:
    world = await serving()
    async with world.http("ann") as ann, world.http("bob") as bob:
        session = await begin_session(ann, world.url)
        own = await call_whoami(ann, world.url, session)
        foreign = await call_whoami(bob, world.url, session)
    assert own.status_code == 200
    assert world.user_id("ann") in own.text
    assert foreign.status_code in (403, 404)
    assert "google:" not in foreign.text


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_another_user_neither_listens_to_a_session_nor_ends_it(serving: Callable, method: str) -> None:
    world = await serving()
    async with world.http("ann") as ann, world.http("bob") as bob:
        session = await begin_session(ann, world.url)
        foreign = await bob.request(method, world.url, headers={**_HEADERS, "Mcp-Session-Id": session})
        own = await call_whoami(ann, world.url, session)
    assert foreign.status_code in (403, 404)
    assert own.status_code == 200


async def test_a_session_goes_on_with_a_new_token_of_the_same_user(serving: Callable) -> None:
    """Tokens last an hour, sessions longer: a refreshed token is still the same principal."""
    world = await serving()
    async with world.http("ann") as before, world.http("ann") as after:
        session = await begin_session(before, world.url)
        after.headers["Authorization"] = f"Bearer {world.idp.google.id_token('ann', jti='another')}"
        answer = await call_whoami(after, world.url, session)
    assert answer.status_code == 200
    assert world.user_id("ann") in answer.text


async def test_a_session_does_not_outlive_its_credential(serving: Callable) -> None:
    """Knowing a session id is no proof of anything."""
    world = await serving()
    async with world.http("ann") as ann, httpx2.AsyncClient(trust_env=False) as nobody:
        session = await begin_session(ann, world.url)
        answer = await call_whoami(nobody, world.url, session)
    assert answer.status_code == 401


def two(ann: Any, bob: Any) -> list[tuple[str, Any]]:
    return [("ann", ann), ("bob", bob)]


async def begin_session(http: httpx2.AsyncClient, url: str) -> str:
    """The legacy handshake; returns the session id."""
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}
    answer = await post(http, url, {}, {"id": 1, "method": "initialize", "params": client})
    session: str = answer.headers["mcp-session-id"]
    await post(http, url, {"Mcp-Session-Id": session}, {"method": "notifications/initialized"})
    return session


async def call_whoami(http: httpx2.AsyncClient, url: str, session: str) -> httpx2.Response:
    call = {"id": 2, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}
    return await post(http, url, {"Mcp-Session-Id": session}, call)


async def post(http: httpx2.AsyncClient, url: str, headers: dict[str, str], message: dict[str, Any]) -> httpx2.Response:
    content = json.dumps({"jsonrpc": "2.0", **message})
    return await http.post(url, headers={**_HEADERS, "Content-Type": "application/json", **headers}, content=content)
