"""Attacks on sessions and long-lived streams (J and O of the catalogue)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp.server.auth.middleware.auth_context import get_access_token
from starlette.responses import StreamingResponse
from tests.support import Echo, World, a_client, a_scope, ask, bearer

from tenantry import current_user

pytestmark = pytest.mark.anyio

KEY = "a-key-of-our-own"
OTHER = "another-key-of-our-own"


def keys(world: World, app: Any) -> Any:
    return world.guard(
        app, api_keys={KEY: {"name": "a", "tenant_id": "acme"}, OTHER: {"name": "b", "tenant_id": "other"}}
    )


# J. The MCP layer


async def test_a_stolen_session_id_gives_nobody_s_identity(world: World) -> None:
    """MCP SDK CVE-2026-52869, oatpp-mcp CVE-2025-6515: the session id is no credential."""
    app = Echo()
    guarded = keys(world, app)
    await ask(guarded, headers=[*bearer(KEY), ("mcp-session-id", "s-1")])
    assert (await ask(guarded, headers=[("mcp-session-id", "s-1")])).status == 401
    other = await ask(guarded, headers=[*bearer(OTHER), ("mcp-session-id", "s-1")])
    assert other.json()["tenant"] == "other"
    assert len(app.scopes) == 2


async def test_keys_of_one_configuration_do_not_share_the_principal_of_a_session(world: World) -> None:
    """MCP SDK CVE-2026-52870: callers who share (client_id, issuer, subject) share sessions and tasks."""
    found = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        token = get_access_token()
        assert token is not None
        found.append((token.client_id, (token.claims or {}).get("iss"), token.subject))
        await Echo()(scope, receive, send)

    guarded = keys(world, app)
    for key in (KEY, OTHER):
        await ask(guarded, headers=bearer(key))
    assert found[0] != found[1]
    assert all(map(all, found))


async def test_the_token_is_not_handed_on_to_be_passed_upstream(world: World) -> None:
    """MCP authorization: a server must not pass its client's token to anybody."""
    token = world.idp.google.id_token("ann")
    app = Echo()
    await ask(world.guard(app), headers=bearer(token))
    (scope,) = app.scopes
    inside = f"{scope['state']} {scope['user'].access_token!r} {vars(scope['user'])} {scope['auth'].scopes}"
    assert token not in inside
    assert token.split(".")[2] not in inside


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example"]
)
async def test_a_name_rebound_to_this_machine_reaches_neither_app_nor_provider(world: World, host: str) -> None:
    """DNS rebinding: CVE-2025-66416 (Python), CVE-2025-66414 (TypeScript), CVE-2026-42559 (Rust)."""
    app = Echo()
    guarded = world.guard(app)
    token = world.idp.google.access_token("ann")
    for headers in ([("host", host)], [("host", host), ("origin", f"http://{host}")], [("origin", f"http://{host}")]):
        assert (await ask(guarded, headers=[*headers, *bearer(token)])).status in {403, 421}
    assert app.scopes == []
    assert len(world.idp.calls) == 0


async def test_a_websocket_from_another_page_reaches_nobody(world: World) -> None:
    """CVE-2026-59950: browsers send websockets anywhere, without a preflight."""
    app, sent = Echo(), []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [*bearer(KEY), ("origin", "https://evil.example")]
    await keys(world, app)(a_scope("websocket", headers=headers), receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
    assert app.scopes == []


async def test_the_urls_we_publish_hold_nothing_of_the_request(world: World) -> None:
    """mcp-remote CVE-2025-6514: clients act on what the metadata says."""
    guarded = world.guard(Echo())
    headers = [
        ("x-forwarded-host", "$(calc).example"),
        ("x-forwarded-proto", "javascript"),
        ("forwarded", "host=evil.example"),
    ]
    metadata = await ask(
        guarded,
        path="/.well-known/oauth-protected-resource",
        method="GET",
        headers=[("host", "evil.example"), *headers],
    )
    refused = await ask(guarded, headers=headers)
    for shown in (metadata.body.decode(), refused.challenge or ""):
        assert "evil" not in shown
        assert "calc" not in shown
        assert "javascript" not in shown


# O. Streams that outlive what opened them


class Feed:
    """Server-sent events that the test speaks into."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def body() -> Any:
            self.begun.set()
            try:
                while True:
                    yield await self.events.get()
            finally:
                self.ended.set()

        await StreamingResponse(body(), media_type="text/event-stream")(scope, receive, send)


async def test_an_event_stream_ends_when_its_token_ends_and_the_app_is_told(world: World) -> None:
    feed = Feed()
    token = world.idp.google.access_token("ann", expires_in=100)
    guarded = world.guard(feed)
    feed.events.put_nowait(b"data: one\n\n")
    world.clock.advance(99.8)
    async with a_client(guarded) as client:
        response = await client.get("/mcp", headers=dict(bearer(token)))
        await feed.ended.wait()
    assert response.content == b"data: one\n\n"


async def test_a_new_stream_needs_a_token_that_is_alive(world: World) -> None:
    feed = Feed()
    token = world.idp.google.access_token("ann", expires_in=100)
    guarded = world.guard(feed)
    world.clock.advance(99.8)
    async with a_client(guarded) as client:
        await client.get("/mcp", headers=dict(bearer(token)))
        world.clock.advance(1)
        assert (await client.get("/mcp", headers=dict(bearer(token)))).status_code == 401


async def test_two_streams_end_each_with_its_own_token(world: World) -> None:
    short, long = Feed(), Feed()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (short if scope["path"] == "/short" else long)(scope, receive, send)

    tokens = {seconds: world.idp.google.id_token("ann", expires_in=seconds) for seconds in (100, 10_000)}
    world.clock.advance(99.8)
    async with (
        a_client(world.guard(app)) as client,
        client.stream("GET", "/long", headers=dict(bearer(tokens[10_000]))) as going_on,
    ):
        chunks = going_on.aiter_bytes()
        await client.get("/short", headers=dict(bearer(tokens[100])))
        assert not long.ended.is_set()
        long.events.put_nowait(b"still here")
        assert await anext(chunks) == b"still here"


async def test_a_stream_knows_its_own_caller_to_the_end(world: World) -> None:
    """A context variable must not leak between the requests of one keep-alive connection."""
    go: asyncio.Queue[None] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def body() -> Any:
            yield current_user().tenant_id.encode() + b";"
            await go.get()
            yield current_user().tenant_id.encode()

        if scope["path"] == "/stream":
            await StreamingResponse(body())(scope, receive, send)
        else:
            await Echo()(scope, receive, send)

    async with (
        a_client(keys(world, app)) as client,
        client.stream("GET", "/stream", headers={"x-api-key": KEY}) as stream,
    ):
        chunks = stream.aiter_bytes()
        assert await anext(chunks) == b"acme;"
        assert (await client.post("/mcp", headers={"x-api-key": OTHER})).json()["tenant"] == "other"
        go.put_nowait(None)
        assert await anext(chunks) == b"acme"


async def test_an_app_that_ignores_the_end_of_the_token_is_not_heard_any_more(world: World) -> None:
    done = asyncio.Event()

    async def stubborn(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await send({"type": "http.response.body", "body": b"one more thing", "more_body": True})
            await send({"type": "http.response.body", "body": b"and another"})
            done.set()

    token = world.idp.google.id_token("ann", expires_in=100)
    world.clock.advance(99.9)
    reply = await ask(world.guard(stubborn), headers=bearer(token))
    assert done.is_set()
    assert reply.body == b""
    assert reply.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_detached_task_of_the_app_cannot_speak_after_the_end(world: World) -> None:
    spoken = asyncio.Event()
    begun: list[asyncio.Task[None]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

        async def later() -> None:
            world.clock.advance(1000)
            await send({"type": "http.response.body", "body": b"secret of tomorrow", "more_body": True})
            spoken.set()

        begun.append(asyncio.ensure_future(later()))
        await asyncio.Event().wait()

    reply = await ask(world.guard(app), headers=bearer(world.idp.google.id_token("ann", expires_in=100)))
    await spoken.wait()
    assert b"secret" not in reply.body
