"""An endpoint has one form for its app and two for its clients."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.routing import Mount, Route
from tests.support import World, ask, bearer

pytestmark = pytest.mark.anyio


async def seen(request: Request) -> PlainTextResponse:
    return PlainTextResponse(
        f"{request.url.path} {request.scope['raw_path'].decode()} {(await request.body()).decode()}"
    )


def serving(path: str) -> Starlette:
    return Starlette(routes=[Route(path, seen, methods=["POST"]), Route("/other/", seen, methods=["POST"])])


@pytest.mark.parametrize("served", ["/mcp", "/mcp/"])
@pytest.mark.parametrize("asked", ["/mcp", "/mcp/"])
async def test_both_forms_of_an_endpoint_are_served_without_a_redirect(world: World, served: str, asked: str) -> None:
    guarded, caller = world.guard(serving(served)), bearer(world.idp.google.id_token("ann"))
    for _ in range(2):  # found out, and known
        reply = await ask(guarded, method="POST", path=asked, headers=caller, body=b"whole")
        assert (reply.status, reply.body) == (200, f"{served} {served} whole".encode())


async def test_an_app_that_is_mounted_under_the_endpoint_is_found(world: World) -> None:
    app = Starlette(routes=[Mount("/mcp", routes=[Route("/", seen, methods=["POST"])])])
    reply = await ask(world.guard(app), method="POST", headers=bearer(world.idp.google.id_token("ann")), body=b"whole")
    assert (reply.status, reply.body) == (200, b"/mcp/ /mcp/ whole")


async def test_rules_are_asked_about_the_body_in_either_form(world: World) -> None:
    guarded = world.guard(serving("/mcp"), tool_permissions={"add": "notes:write"})
    call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{}}}'
    headers = [*bearer(world.idp.google.id_token("ann")), ("content-type", "application/json")]
    headers.append(("content-length", str(len(call))))
    for path in ("/mcp", "/mcp/", "/mcp/"):
        assert (await ask(guarded, method="POST", path=path, headers=headers, body=call)).status == 403


async def test_nobody_gets_further_without_a_credential(world: World) -> None:
    guarded = world.guard(serving("/mcp"))
    assert [(await ask(guarded, method="POST", path=path)).status for path in ("/mcp", "/mcp/")] == [401, 401]


async def test_what_is_no_endpoint_keeps_its_redirects(world: World) -> None:
    guarded, caller = world.guard(serving("/mcp")), bearer(world.idp.google.id_token("ann"))
    assert (await ask(guarded, method="POST", path="/other", headers=caller)).status == 307


@pytest.mark.parametrize("place", ["/elsewhere", "http://evil.example/other", "/mcp"])
async def test_a_redirect_to_another_place_is_the_app_s_answer(world: World, place: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await RedirectResponse(place)(scope, receive, send)

    reply = await ask(world.guard(app), headers=bearer(world.idp.google.id_token("ann")))
    assert (reply.status, reply.headers["location"]) == (307, place)


@pytest.mark.parametrize("path", ["/mcp//", "//mcp", "/mcp///", "/mcp/./"])
async def test_a_third_form_is_the_app_s_business(world: World, path: str) -> None:
    """An endpoint has two; what is kept of them does not grow with what callers think of."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await RedirectResponse(scope["path"][:-1])(scope, receive, send)

    reply = await ask(world.guard(app), path=path, headers=bearer(world.idp.google.id_token("ann")))
    assert (reply.status, reply.headers["location"]) == (307, path[:-1])


async def test_two_forms_that_lead_to_each_other_end(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await RedirectResponse("/mcp" if scope["path"].endswith("/") else "/mcp/")(scope, receive, send)

    caller = bearer(world.idp.google.id_token("ann"))
    guarded = world.guard(app)
    assert [(await ask(guarded, path=path, headers=caller)).status for path in ("/mcp", "/mcp/")] == [307, 307]


async def test_a_body_that_has_been_read_is_not_asked_for_twice(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await RedirectResponse("/mcp/")(scope, receive, send)

    reply = await ask(world.guard(app), method="POST", headers=bearer(world.idp.google.id_token("ann")), body=b"whole")
    assert (reply.status, reply.headers["location"]) == (307, "/mcp/")
