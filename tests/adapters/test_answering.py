"""Refusals that are raised behind the gate are answered as the gate's own, whatever the host makes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from tests.support import Reply, World, a_scope, ask, bearer

from tenantry import current_user, require_permission
from tenantry.errors import Forbidden, InsufficientScope, Unavailable
from tenantry.in_request import slot_variable
from tenantry.observations import Refused

pytestmark = pytest.mark.anyio

CHALLENGE = ['scope="notes:write notes:share"', 'error="insufficient_scope"', "resource_metadata="]
JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream")]
TOOL_ERROR = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "Error"}], "isError": True}}
RPC_ERROR = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32603, "message": "Internal error"}}
RESULT = {"jsonrpc": "2.0", "id": 1, "result": {"content": [], "isError": False}}


class Behind:
    """An app behind the gate, asked by a signed-in caller; ``refused`` are the refusals he was answered with."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def __call__(self, app: Any, **request: Any) -> Reply:
        return await ask(self.world.guard(app), headers=self._token(), **request)

    async def tell(self, app: Any, send: Any, **request: Any) -> None:
        """The same for a client of the test's own."""
        await self.world.guard(app)(a_scope(headers=self._token(), **request), None, send)  # type: ignore[arg-type]

    def _token(self) -> list[tuple[str, str]]:
        return bearer(self.world.idp.google.id_token("ann"))

    @property
    def refused(self) -> list[Refused]:
        return self.world.seen.of(Refused)


@pytest.fixture
def behind(world: World) -> Behind:
    return Behind(world)


def refuse(scope: Any) -> None:
    require_permission(scope, "notes:write", "notes:share")


def is_refusal(reply: Reply) -> bool:
    """Whether it is the gate's own answer, once and whole."""
    assert [message["type"] for message in reply.messages] == ["http.response.start", "http.response.body"]
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.json()["error"] == "insufficient_scope"
    assert all(words in (reply.challenge or "") for words in CHALLENGE)
    return reply.status == 403


def host(
    *bodies: bytes, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = JSON, refuse_at: int | None = 0
) -> Callable[..., Awaitable[None]]:
    """A host that turns the refusal of its handler into an answer of ``bodies``. It comes before the body of the number
    ``refuse_at``, 0 before the head; None never."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        def maybe(number: int) -> None:
            if number == refuse_at:
                with pytest.raises(InsufficientScope):
                    refuse(scope)

        maybe(0)
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for number, body in enumerate(bodies, 1):
            maybe(number)
            await send({"type": "http.response.body", "body": body, "more_body": number < len(bodies)})

    return app


def text(message: Any) -> bytes:
    return json.dumps(message).encode()


def event(message: Any) -> bytes:
    return b"event: message\r\ndata: " + text(message) + b"\r\n\r\n"


# --- Nothing has gone out: the whole answer is replaced ---------------------------------------------------------------

FAILURES = {
    "a tool's error": host(text(TOOL_ERROR)),
    "in pieces": host(text(TOOL_ERROR)[:9], text(TOOL_ERROR)[9:], b""),
    "a JSON-RPC error": host(text(RPC_ERROR)),
    "a JSON-RPC error as 400": host(text(RPC_ERROR), status=400),
    "a server error": host(b"Internal Server Error", status=500, headers=[(b"content-type", b"text/plain")]),
    "503": host(b"", status=503, headers=[]),
    "the first event": host(event(TOOL_ERROR), headers=SSE),
    "the first event, with the head out of the host early": host(event(TOOL_ERROR), b"", headers=SSE, refuse_at=1),
    "an event in pieces": host(event(TOOL_ERROR)[:20], event(TOOL_ERROR)[20:], headers=SSE),
    "an event that is an error": host(event(RPC_ERROR), headers=SSE),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_a_hosts_error_is_replaced_by_the_refusal(behind: Behind, case: str) -> None:
    assert is_refusal(await behind(FAILURES[case]))
    assert [refusal.reason for refusal in behind.refused] == ["permission_missing"]


async def test_no_answer_at_all_is_replaced_too(behind: Behind) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        refuse(scope)

    assert is_refusal(await behind(app))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refusal_out_of_a_handler_of_starlette_is_no_500(behind: Behind, method: str) -> None:
    async def endpoint(request: Request) -> Response:
        refuse(request)
        return PlainTextResponse("not reached")

    app = Starlette(routes=[Route("/mcp", endpoint, methods=[method])])
    assert is_refusal(await behind(app, method=method))


@pytest.mark.parametrize("debug", [False, True])
async def test_neither_is_one_that_nobody_recorded(behind: Behind, debug: bool) -> None:
    async def endpoint(request: Request) -> Response:
        raise Forbidden("tenant_unknown")

    reply = await behind(Starlette(debug=debug, routes=[Route("/mcp", endpoint)]), method="GET")
    assert (reply.status, reply.json()["error"], reply.challenge) == (403, "access_denied", None)


async def test_neither_is_one_that_passed_a_middleware_with_a_task_group(behind: Behind) -> None:
    async def through(request: Request, call_next: Any) -> Response:
        return await call_next(request)

    async def endpoint(request: Request) -> Response:
        refuse(request)
        return PlainTextResponse("not reached")

    app = Starlette(routes=[Route("/mcp", endpoint)], middleware=[Middleware(BaseHTTPMiddleware, dispatch=through)])
    assert is_refusal(await behind(app, method="GET"))


@pytest.mark.parametrize("wrap", ["cause", "group"])
async def test_a_refusal_inside_another_error_is_found(behind: Behind, wrap: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            refuse(scope)
        except InsufficientScope as refusal:
            if wrap == "group":
                raise ExceptionGroup("several", [ExceptionGroup("more", [refusal])]) from None
            raise RuntimeError("the tool failed") from refusal

    assert is_refusal(await behind(app))


async def test_a_head_request_gets_the_head_of_the_refusal(behind: Behind) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        refuse(scope)

    reply = await behind(app, method="HEAD")
    assert (reply.status, reply.body) == (403, b"")


async def test_an_outage_found_by_a_tool_is_a_503_with_retry_after(behind: Behind) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise Unavailable("store_unavailable", retry_after=5)

    reply = await behind(app)
    assert (reply.status, reply.headers["retry-after"], reply.challenge) == (503, "5", None)


async def test_nobody_signed_in_is_a_401(behind: Behind) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        current_user({**scope, "state": {name: value for name, value in scope["state"].items() if name != "user"}})

    reply = await behind(app)
    assert reply.status == 401
    assert (reply.challenge or "").startswith("Bearer resource_metadata=")


# --- Something has gone out: the error says why -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_on_a_stream_that_has_begun_the_tools_error_holds_the_challenge(behind: Behind, method: str) -> None:
    progress = event({"jsonrpc": "2.0", "method": "notifications/progress"})
    reply = await behind(
        host(progress, event(TOOL_ERROR)[:30], event(TOOL_ERROR)[30:], headers=SSE, refuse_at=2), method=method
    )
    assert reply.status == 200
    assert reply.body.startswith(progress)
    result = json.loads(reply.body.split(b"data: ")[2])["result"]
    assert result["isError"] is True
    assert result["content"] == [{"type": "text", "text": "More permissions are needed: notes:write notes:share"}]
    (challenge,) = result["_meta"]["mcp/www_authenticate"]
    assert challenge.startswith("Bearer ")
    assert all(words in challenge for words in CHALLENGE)


async def test_other_members_of_the_error_stay(behind: Behind) -> None:
    meta = {**TOOL_ERROR, "result": {**TOOL_ERROR["result"], "_meta": {"own": 1}, "structuredContent": {"a": 1}}}  # type: ignore[dict-item]
    reply = await behind(host(b": ping\n\n", event(meta), headers=SSE, refuse_at=2))
    result = json.loads(reply.body.split(b"data: ")[1])["result"]
    assert (result["_meta"]["own"], result["structuredContent"]) == (1, {"a": 1})


async def test_on_a_stream_that_has_begun_a_json_rpc_error_says_why(behind: Behind) -> None:
    reply = await behind(host(b"id: 1\ndata: \n\n", event(RPC_ERROR), headers=SSE, refuse_at=2))
    error = json.loads(reply.body.split(b"data: ")[2])["error"]
    assert error == {"code": -32603, "message": "More permissions are needed: notes:write notes:share"}


async def test_what_follows_the_error_on_its_stream_passes(behind: Behind) -> None:
    reply = await behind(host(b": a\n\n", event(TOOL_ERROR), event(TOOL_ERROR), headers=SSE, refuse_at=2))
    assert reply.body.endswith(event(TOOL_ERROR))
    assert len(behind.refused) == 1


async def test_an_app_that_fails_in_the_midst_of_its_answer_still_fails(behind: Behind) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        refuse(scope)

    with pytest.raises(InsufficientScope):
        await behind(app)


# --- What is no failure, or not ours ----------------------------------------------------------------------------------

OTHERS = {
    "a result": (host(text(RESULT)), text(RESULT)),
    "a result in pieces": (host(text(RESULT)[:5], text(RESULT)[5:]), text(RESULT)),
    "a result as event": (host(event(RESULT), headers=SSE), event(RESULT)),
    "JSON of another kind": (host(b'{"error": "nothing found"}'), b'{"error": "nothing found"}'),
    "no JSON": (host(b"{"), b"{"),
    "a page": (host(b"<p>", b"</p>", headers=[(b"content-type", b"text/html")]), b"<p></p>"),
    "compressed": (host(b"\x1f\x8b", headers=[*JSON, (b"content-encoding", b"gzip")]), b"\x1f\x8b"),
    "an answer of the handler's own": (host(b'{"no": 1}', status=404), b'{"no": 1}'),
    "large": (host(b"[", *[b" " * 400_000] * 3, b"]"), b"[" + b" " * 1_200_000 + b"]"),
}


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_handler_that_catches_the_refusal_and_answers_is_left_alone(
    behind: Behind, case: str, method: str
) -> None:
    app, body = OTHERS[case]
    reply = await behind(app, method=method)
    assert reply.body == body
    assert behind.refused == []


@pytest.mark.parametrize("status", [200, 400, 500, 503])
@pytest.mark.parametrize("body", [text(TOOL_ERROR), b"", b"x" * 2_000_000])
async def test_a_failure_that_is_no_refusal_is_left_alone(behind: Behind, status: int, body: bytes) -> None:
    reply = await behind(host(body, status=status, refuse_at=None))
    assert (reply.status, reply.body) == (status, body)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_another_error_is_raised_again_behind_the_hosts_500(behind: Behind, method: str) -> None:
    async def endpoint(request: Request) -> Response:
        with pytest.raises(InsufficientScope):
            refuse(request)
        raise LookupError("a mistake of the app")

    app = Starlette(routes=[Route("/mcp", endpoint, methods=[method])])
    reply = Reply()
    with pytest.raises(LookupError):
        reply = await behind(app, method=method)
    assert reply.messages == []
    assert behind.refused == []


@pytest.mark.parametrize("refused", [True, False])
async def test_an_app_that_waits_for_its_client_after_a_server_error_is_not_waited_for(
    behind: Behind, refused: bool
) -> None:
    out = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await host(b"failed", status=500, refuse_at=0 if refused else None)(scope, receive, send)
        await out.wait()

    reply = Reply()

    async def send(message: Any) -> None:
        reply.messages.append(message)
        if message["type"] == "http.response.body":
            out.set()

    async with asyncio.timeout(20):
        await behind.tell(app, send)
    assert is_refusal(reply) if refused else (reply.status, reply.body) == (500, b"failed")


async def test_a_request_that_is_cancelled_after_a_server_error_sends_nothing_more(behind: Behind) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await host(b"failed", status=500, refuse_at=None)(scope, receive, send)
        raise asyncio.CancelledError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(asyncio.CancelledError):
        await behind.tell(app, send)
    await asyncio.sleep(0)
    assert sent == []


async def test_the_end_of_a_stream_that_never_began_its_body_is_passed_on(behind: Behind) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert (await behind(app)).status == 200


async def test_a_refusal_in_work_after_the_answer_changes_nothing(behind: Behind) -> None:
    async def endpoint(request: Request) -> Response:
        def later() -> None:
            with pytest.raises(InsufficientScope):
                refuse(request)

        return JSONResponse({"ok": True}, background=BackgroundTask(later))

    reply = await behind(Starlette(routes=[Route("/mcp", endpoint, methods=["POST"])]))
    assert reply.json() == {"ok": True}


async def test_a_request_leaves_nothing_behind(behind: Behind) -> None:
    slots = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        slots.append(slot_variable.get())
        refuse(scope)

    await behind(app)
    assert slot_variable.get() is None
    slots[0].refusal = None
    slots[0].record(Forbidden("tenant_unknown"))
    assert slots[0].refusal is None


async def test_the_head_of_an_answer_to_a_get_goes_out_at_once(behind: Behind) -> None:
    """A client waits for it before it takes an event stream as open."""
    began = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        began.append(True)

    async def send(message: Any) -> None:
        began.append(message["type"])

    await behind.tell(app, send, method="GET")
    assert began == ["http.response.start", True]


async def test_the_head_of_a_stream_that_has_nothing_to_say_yet_goes_out_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenantry.adapters.answering.HEAD_SECONDS", 0.01)  # a second in earnest
    begun = asyncio.Event()

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": SSE})
        await begun.wait()
        await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": False})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        begun.set()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    guard = world.guard(silent)
    async with asyncio.timeout(20):
        await guard(a_scope(headers=bearer(world.idp.google.id_token("ann"))), receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["body"] == b"data: x\n\n"
