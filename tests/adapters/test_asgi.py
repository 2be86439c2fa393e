"""The middleware: which scopes are guarded, what passes, and that no stream outlives its token."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route
from tests.support import Echo, World, a_client, a_scope, ask, bearer

from tenantry import TenantryMiddleware, current_user
from tenantry.adapters.asgi import GateMiddleware
from tenantry.adapters.transport import Transport
from tenantry.errors import InsufficientScope

pytestmark = pytest.mark.anyio
KEY = "a-key-of-our-own"


@pytest.fixture
def app() -> Echo:
    return Echo()


@pytest.fixture
def guarded(world: World, app: Echo) -> Any:
    return world.guard(app, api_keys={KEY: {"name": "ci", "tenant_id": "acme"}})


# http


async def test_a_good_token_reaches_the_app_with_its_caller(world: World, guarded: Any, app: Echo) -> None:
    reply = await ask(guarded, headers=bearer(world.idp.google.id_token("ann")))
    assert reply.status == 200
    assert reply.json()["user"] == "google:110248495921238986420"
    assert len(app.scopes) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "NONSENSE"])
async def test_no_method_reaches_the_app_without_a_caller(guarded: Any, app: Echo, method: str) -> None:
    reply = await ask(guarded, method=method)
    assert reply.status == 401
    assert reply.challenge is not None
    assert app.scopes == []


@pytest.mark.parametrize("path", ["/", "/mcp", "/mcp/", "/anything/else", "", "/health", "/metrics", "*"])
async def test_no_path_reaches_the_app_without_a_caller(guarded: Any, app: Echo, path: str) -> None:
    assert (await ask(guarded, path=path)).status == 401
    assert app.scopes == []


async def test_a_bad_credential_never_falls_through_to_anonymous(guarded: Any, app: Echo) -> None:
    for headers in (bearer("junk"), [("authorization", "Basic YTpi")], [("authorization", "")], [("x-api-key", "")]):
        assert (await ask(guarded, headers=headers)).status in {400, 401}
    assert app.scopes == []


async def test_a_head_request_is_refused_without_a_body(guarded: Any) -> None:
    reply = await ask(guarded, method="HEAD")
    assert reply.body == b""
    assert int(reply.headers["content-length"]) > 0


async def test_the_server_s_own_scope_is_not_changed(guarded: Any) -> None:
    scope = a_scope(headers=bearer(KEY))
    before = {name: value for name, value in scope.items() if name != "state"}

    async def send(message: Any) -> None:
        pass

    await guarded(scope, None, send)
    assert {name: value for name, value in scope.items() if name != "state"} == before
    assert scope["state"] == {}


# Exempt paths


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_health_paths_need_no_caller_and_have_none(guarded: Any, app: Echo, path: str) -> None:
    headers = [("host", "anything.example"), ("origin", "https://evil.example"), *bearer("junk")]
    assert (await ask(guarded, path=path, method="GET", headers=headers)).status == 200
    assert "user" not in app.scopes[0]["state"]


@pytest.mark.parametrize(
    "path",
    [
        "//livez",
        "/livez/",
        "/livez/..",
        "/livez/../mcp",
        "/LIVEZ",
        "/livez ",
        " /livez",
        "/livez%2f",
        "/livez%2f..%2fmcp",
        "/livez;x",
        "/livez?x",
        "/livez#x",
        "/livez\x00",
        "/mcp/livez",
        "/./livez",
        "/livezz",
        "livez",
        "/livez\\",
        "/livez.json",
        "/%6civez",
    ],
)
async def test_only_the_exact_path_is_exempt(guarded: Any, app: Echo, path: str) -> None:
    assert (await ask(guarded, path=path, method="GET")).status == 401
    assert app.scopes == []


async def test_over_a_socket_no_spelling_of_a_path_gets_around_the_gate(guarded: Any, app: Echo) -> None:
    async with a_client(guarded) as client:
        for path in (
            "//livez",
            "/livez/",
            "/livez%2f",
            "/livez%2f..%2fmcp",
            "/livez/%2e%2e/mcp",
            "/livez%00",
            "/%2flivez",
        ):
            assert (await client.get(path)).status_code == 401, path
        assert (await client.get("/livez?x=1")).status_code == 200
    assert [scope["path"] for scope in app.scopes] == ["/livez"]


async def test_a_host_header_cannot_make_a_path_exempt(guarded: Any, app: Echo) -> None:
    """Starlette's BadHost, CVE-2026-48710: a URL built from a hostile Host has another path than the request."""
    for host in ("127.0.0.1:8000/livez?", "x/livez#", "127.0.0.1:8000/livez"):
        assert (await ask(guarded, headers=[("host", host)])).status in {401, 421}
    assert app.scopes == []


async def test_below_a_mount_the_local_path_is_compared(world: World) -> None:
    inner = Echo()
    guarded = world.guard(inner, api_keys={KEY: {"name": "ci"}})
    outer = Starlette(routes=[Mount("/tools", app=guarded)])
    assert (await ask(outer, path="/tools/livez", method="GET")).status == 200
    for path in ("/tools/mcp", "/tools//livez", "/tools/tools/livez", "/tools/"):
        assert (await ask(outer, path=path, method="GET")).status == 401, path
    assert len(inner.scopes) == 1


async def test_a_root_path_that_is_no_prefix_changes_nothing(guarded: Any, app: Echo) -> None:
    for root in ("/mcp", "/m", "/mcp/", "/other", "/mcp/livez"):
        assert (await ask(guarded, path="/mcp/livez/x", root_path=root, method="GET")).status == 401
    assert app.scopes == []


async def test_where_nothing_is_exempt_nothing_passes(world: World) -> None:
    app = Echo()
    door = world.assembly()
    guarded = TenantryMiddleware(app, gate=door.gate, transport=Transport())
    assert (await ask(guarded, path="/livez", method="GET")).status == 401
    assert app.scopes == []


# Other scopes


async def test_an_unknown_scope_type_is_refused(guarded: Any, app: Echo) -> None:
    for kind in ("webtransport", "HTTP", "", "http2"):
        with pytest.raises(RuntimeError, match="refused"):
            await guarded(a_scope(kind), None, None)
    assert app.scopes == []


async def test_the_lifespan_is_the_app_s_and_closes_what_is_ours(world: World) -> None:
    said: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, str]]:
        said.append("up")
        yield {"from": "the app"}
        said.append("down")

    async def show(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.state._state["from"] + request.state.user.tenant_id)

    inner = Starlette(routes=[Route("/mcp", show, methods=["POST"])], lifespan=lifespan)
    made = world.assembly(api_keys={KEY: {"name": "ci", "tenant_id": "acme"}})

    async def close() -> None:
        said.append("closed")

    guarded = GateMiddleware(inner, made.front, close=close)
    async with a_client(guarded, lifespan="on") as client:
        assert said == ["up"]
        assert (await client.post("/mcp", headers={"x-api-key": KEY})).text == "the appacme"
    assert said == ["up", "down", "closed"]


async def test_a_lifespan_that_fails_to_start_is_told_as_it_is(world: World) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        raise ZeroDivisionError("no")
        yield

    guarded = world.guard(Starlette(lifespan=lifespan))
    with pytest.raises(ZeroDivisionError):
        async with a_client(guarded, lifespan="on"):
            pass


# websocket


class Socket:
    """One websocket by hand: what the server sends in, what the app sends out."""

    def __init__(self, app: Any, headers: Any = (), *, can_answer: bool = False, **scope: Any) -> None:
        self.sent: list[Any] = []
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.inbox.put_nowait({"type": "websocket.connect"})
        self.accepted = asyncio.Event()
        extensions = {"websocket.http.response": {}} if can_answer else {}
        self.scope = a_scope("websocket", headers=headers, extensions=extensions, subprotocols=[], **scope)
        self.app = app

    async def run(self) -> list[Any]:
        await self.app(self.scope, self.inbox.get, self.send)
        return self.sent

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if message["type"] == "websocket.accept":
            self.accepted.set()


async def chat(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": scope["state"]["user"].user_id})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def test_a_websocket_with_a_good_token_has_its_caller(world: World) -> None:
    socket = Socket(world.guard(chat), bearer(world.idp.google.id_token("ann")))
    socket.inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
    sent = await socket.run()
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]
    assert sent[1]["text"] == "google:110248495921238986420"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        (bearer("junk"), 401),
        ([*bearer("a"), *bearer("b")], 400),
        ([*bearer("a"), ("x-api-key", "b")], 400),
        ([("origin", "https://evil.example")], 403),
        ([("host", "evil.example")], 421),
    ],
)
async def test_a_websocket_is_guarded_like_a_request(world: World, headers: Any, status: int) -> None:
    """MCP SDK CVE-2026-59950: websockets without a check of Host and Origin."""
    app = Echo()
    guarded = world.guard(app)
    closed = await Socket(guarded, headers).run()
    assert closed == [{"type": "websocket.close", "code": 4000 + status, "reason": "refused"}]
    answered = await Socket(guarded, headers, can_answer=True).run()
    assert [message["type"] for message in answered] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert answered[0]["status"] == status
    assert app.scopes == []


@pytest.mark.parametrize("path", ["/livez", "/.well-known/oauth-protected-resource"])
async def test_no_path_is_exempt_for_a_websocket(world: World, path: str) -> None:
    app = Echo()
    (closed,) = await Socket(world.guard(app), path=path).run()
    assert closed["type"] == "websocket.close"
    assert app.scopes == []


async def test_a_token_in_a_websocket_s_query_is_refused(world: World) -> None:
    (closed,) = await Socket(world.guard(chat), query_string=b"access_token=x").run()
    assert closed["code"] == 4400


async def test_a_websocket_is_closed_when_its_token_ends(world: World) -> None:
    token = world.idp.google.id_token("ann", expires_in=100)
    world.clock.advance(99.95)
    sent = await Socket(world.guard(chat), bearer(token)).run()
    assert sent[-1] == {"type": "websocket.close", "code": 4401, "reason": "token expired"}


async def test_a_websocket_that_the_app_closed_is_not_closed_twice(world: World) -> None:
    lingering = asyncio.Event()

    async def closing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})
        asyncio.get_running_loop().call_later(0.1, lingering.set)
        await lingering.wait()

    token = world.idp.google.id_token("ann", expires_in=100)
    world.clock.advance(99.95)
    sent = await Socket(world.guard(closing), bearer(token)).run()
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert sent[-1]["code"] == 1000


# Streams


async def forever() -> AsyncIterator[bytes]:
    yield b"data: first\n\n"
    await asyncio.Event().wait()


async def starlette_stream(scope: Any, receive: Any, send: Any) -> None:
    await StreamingResponse(forever(), media_type="text/event-stream")(scope, receive, send)


async def sse_starlette_stream(scope: Any, receive: Any, send: Any) -> None:
    from sse_starlette import EventSourceResponse

    async def events() -> AsyncIterator[dict[str, str]]:
        yield {"data": "first"}
        await asyncio.Event().wait()

    await EventSourceResponse(events(), ping=3600)(scope, receive, send)


async def plain_stream(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"data: first\n\n", "more_body": True})
    await asyncio.Event().wait()


async def stream_of_a_child_task(scope: Any, receive: Any, send: Any) -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(plain_stream(scope, receive, send))


async def stream_that_swallows(scope: Any, receive: Any, send: Any) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await plain_stream(scope, receive, send)


STREAMS = [starlette_stream, plain_stream, stream_of_a_child_task, stream_that_swallows]
if importlib.util.find_spec("sse_starlette"):
    STREAMS.append(sse_starlette_stream)


@pytest.mark.parametrize("stream", STREAMS)
async def test_a_stream_ends_cleanly_when_its_token_ends(world: World, stream: Callable[..., Any]) -> None:
    token = world.idp.google.id_token("ann", expires_in=100)
    world.clock.advance(99.9)
    async with (
        a_client(world.guard(stream)) as client,
        client.stream("POST", "/mcp", headers=dict(bearer(token))) as response,
    ):
        body = [chunk async for chunk in response.aiter_bytes()]  # a cut body would raise RemoteProtocolError
    assert response.status_code == 200
    assert b"first" in b"".join(body)


async def test_a_connection_serves_on_after_its_stream_was_ended(world: World) -> None:
    """The cancellation is the stream's and not the connection's: the next request on it is a request like any other."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (starlette_stream if scope["path"] == "/stream" else Echo())(scope, receive, send)

    short, long = (world.idp.google.id_token("ann", expires_in=seconds) for seconds in (100, 1000))
    world.clock.advance(99.95)
    async with a_client(world.guard(app)) as client:
        for _ in range(3):
            assert (await client.post("/stream", headers=dict(bearer(short)))).status_code == 200
            assert (await client.post("/mcp", headers=dict(bearer(long)))).json()["tenant"] == "acme_example"


async def test_a_stream_that_has_said_nothing_yet_ends_as_well(world: World) -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await asyncio.Event().wait()

    token = world.idp.google.id_token("ann", expires_in=100)
    world.clock.advance(99.9)
    async with a_client(world.guard(silent)) as client:
        response = await client.post("/mcp", headers=dict(bearer(token)))
    assert (response.status_code, response.content) == (200, b"")


async def test_an_event_stream_that_begins_after_the_end_of_its_token_ends_at_once(world: World) -> None:
    async def late(scope: Any, receive: Any, send: Any) -> None:
        world.clock.advance(200)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await asyncio.Event().wait()

    reply = await ask(world.guard(late), headers=bearer(world.idp.google.id_token("ann", expires_in=100)))
    assert (reply.status, reply.body) == (200, b"")
    assert len(reply.messages) == 2


async def test_who_is_let_in_for_the_skew_of_clocks_gets_an_answer(world: World) -> None:
    """Hosts answer calls with event streams: cut off at once, a client would see neither an answer nor a 401."""

    async def answering(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"data: answer\n\n", "more_body": True})
        world.clock.advance(60)
        await send({"type": "http.response.body", "body": b"data: too late\n\n", "more_body": True})

    token = world.idp.google.id_token("ann", expires_in=100)
    world.clock.advance(110)
    reply = await ask(world.guard(answering), headers=bearer(token))
    assert (reply.status, reply.body) == (200, b"data: answer\n\n")


async def test_an_event_after_the_end_of_the_token_is_not_sent(world: World) -> None:
    async def late(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        world.clock.advance(200)
        await send({"type": "http.response.body", "body": b"secret of tomorrow", "more_body": True})
        await asyncio.Event().wait()

    token = world.idp.google.id_token("ann", expires_in=100)
    reply = await ask(world.guard(late), headers=bearer(token))
    assert b"secret" not in reply.body
    assert reply.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_whole_answer_is_sent_although_the_token_ended_while_it_was_made(world: World) -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        world.clock.advance(200)
        await PlainTextResponse("done")(scope, receive, send)

    reply = await ask(world.guard(slow), headers=bearer(world.idp.google.id_token("ann", expires_in=100)))
    assert (reply.status, reply.body) == (200, b"done")


async def test_work_after_a_finished_stream_is_left_alone(world: World) -> None:
    done = asyncio.Event()

    async def afterwards() -> None:
        waiting = asyncio.Event()
        asyncio.get_running_loop().call_later(0.1, waiting.set)
        await waiting.wait()
        done.set()

    async def brief() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(brief(), background=BackgroundTask(afterwards))(scope, receive, send)

    token = world.idp.google.id_token("ann", expires_in=100)
    world.clock.advance(99.95)
    async with a_client(world.guard(app)) as client:
        assert (await client.post("/mcp", headers=dict(bearer(token)))).content == b"ab"
        await done.wait()


async def test_a_stream_of_a_key_without_an_end_is_never_ended(guarded: Any, world: World) -> None:
    go = asyncio.Event()

    async def counting() -> AsyncIterator[bytes]:
        yield b"1"
        await go.wait()
        yield b"2"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await StreamingResponse(counting())(scope, receive, send)

    async with (
        a_client(world.guard(app, api_keys={KEY: {"name": "ci"}})) as client,
        client.stream("POST", "/mcp", headers={"x-api-key": KEY}) as response,
    ):
        chunks = response.aiter_bytes()
        assert await anext(chunks) == b"1"
        world.clock.advance(10**6)
        go.set()
        assert await anext(chunks) == b"2"


async def test_an_api_key_s_end_ends_its_streams(world: World) -> None:
    guarded = world.guard(starlette_stream, api_keys={KEY: {"name": "ci", "expires_at": world.clock.now() + 0.1}})
    async with a_client(guarded) as client:
        response = await client.post("/mcp", headers={"x-api-key": KEY})
    assert response.content == b"data: first\n\n"


async def test_a_stream_can_look_far_ahead(world: World) -> None:
    """An end beyond what a timer can count (some keys are made to last) must not break the stream."""
    guarded = world.guard(starlette_stream, api_keys={KEY: {"name": "ci", "expires_at": 1e12}})
    async with (
        a_client(guarded) as client,
        client.stream("POST", "/mcp", headers={"x-api-key": KEY}) as response,
    ):
        assert await anext(response.aiter_bytes()) == b"data: first\n\n"


async def test_a_client_that_hangs_up_leaves_no_timer_and_no_task(world: World) -> None:
    token = world.idp.google.id_token("ann", expires_in=1000)
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await starlette_stream(scope, receive, send)
        finally:
            ended.set()

    async with a_client(world.guard(app)) as client:
        async with client.stream("POST", "/mcp", headers=dict(bearer(token))) as response:
            await anext(response.aiter_bytes())
        await ended.wait()


async def test_somebody_else_s_cancellation_is_not_swallowed(world: World) -> None:
    begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        begun.set()
        await asyncio.Event().wait()

    token = world.idp.google.id_token("ann", expires_in=1000)
    running = asyncio.ensure_future(ask(world.guard(app), headers=bearer(token)))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_task_that_served_an_ended_stream_is_not_left_cancelled(world: World) -> None:
    """What runs around the middleware (a timeout, a task group) counts the cancellations of its task."""
    token = world.idp.google.id_token("ann", expires_in=100)
    world.clock.advance(99.99)
    for stream in (plain_stream, stream_of_a_child_task, stream_that_swallows):
        reply = await ask(world.guard(stream), headers=bearer(token))
        assert reply.messages[-1]["more_body"] is False
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


async def test_an_exception_of_the_app_is_the_app_s(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError

    guarded = world.guard(app)
    with pytest.raises(ZeroDivisionError):
        await ask(guarded, headers=bearer(world.idp.google.id_token("ann")))
    with pytest.raises(Exception, match="credential_missing"):
        current_user()


async def test_the_middleware_mounts_from_the_environment_in_one_line(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in world.idp.settings().items():
        monkeypatch.setenv(name, value)
    world.clock.advance(time.time() - world.clock.now())
    app = TenantryMiddleware(Echo())
    try:
        async with a_client(app) as client:
            answer: httpx.Response = await client.post("/mcp", headers=dict(bearer(world.idp.google.id_token("ann"))))
        assert answer.json()["tenant"] == "acme_example"
    finally:
        await app.aclose()


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_an_answer_after_an_early_hint_carries_what_every_answer_does(world: World, method: str) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</style.css>; rel=preload"]}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(hint)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    reply = await ask(world.guard(app), headers=bearer(world.idp.google.id_token("ann")), method=method)
    assert [message["type"] for message in reply.messages] == [
        "http.response.early_hint",
        "http.response.start",
        "http.response.body",
    ]
    assert dict(reply.messages[1]["headers"]).keys() >= {b"x-request-id", b"x-content-type-options"}


async def test_what_an_app_raises_after_its_answer_has_begun_is_no_second_answer(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"ok", "more_body": True})
        raise InsufficientScope("permission_missing", scopes=("notes:write",))

    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    with pytest.raises(InsufficientScope):
        await world.guard(app)(a_scope(headers=bearer(world.idp.google.id_token("ann"))), None, send)  # type: ignore[arg-type]
    assert sent == ["http.response.start", "http.response.body"]
