"""The caller, published in every place where a host looks for him, and taken back afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from mcp.server.auth.middleware.auth_context import auth_context_var, get_access_token
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.support import World, a_client, ask, bearer

from tenantry import MCPUserContext, current_user
from tenantry.adapters.identity import publish, withdraw
from tenantry.context import user_variable
from tenantry.errors import CredentialMissing
from tenantry.in_request import RefusalSlot

pytestmark = pytest.mark.anyio

KEY = "a-key-of-our-own"
OTHER = "another-key-of-our-own"


class Spy:
    """An application that keeps what it was given, and what it found around itself."""

    def __init__(self, then: Callable[[], Any] = lambda: None) -> None:
        self.scope: dict[str, Any] = {}
        self.user: Any = None
        self.sdk: Any = None
        self.token: Any = None
        self._then = then

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.user = scope, current_user()
        self.sdk, self.token = auth_context_var.get(), get_access_token()
        self._then()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def keys(world: World, app: Any, **changes: Any) -> Any:
    entry = {"name": "ci", "tenant_id": "acme", "permissions": ["notes:read", "notes:write"]}
    return world.guard(app, api_keys={KEY: entry, OTHER: entry | {"name": "cd"}}, **changes)


async def test_the_caller_is_in_all_four_places(world: World) -> None:
    spy = Spy()
    await ask(keys(world, spy), headers=bearer(KEY))
    user = spy.scope["state"]["user"]
    assert isinstance(user, MCPUserContext)
    assert spy.user is user
    assert isinstance(spy.scope["user"], AuthenticatedUser)
    assert spy.scope["user"].is_authenticated
    assert spy.sdk is spy.scope["user"]
    assert isinstance(spy.scope["auth"], AuthCredentials)
    assert set(spy.scope["auth"].scopes) == {"notes:read", "notes:write"}


async def test_the_sdk_s_token_has_the_whole_principal_and_not_the_token(world: World) -> None:
    spy = Spy()
    token = world.idp.google.id_token("ann")
    await ask(keys(world, spy), headers=bearer(token))
    assert isinstance(spy.token, AccessToken)
    assert spy.token.client_id == world.idp.google.client_id
    assert spy.token.subject == "google:110248495921238986420"
    assert spy.token.claims is not None
    assert spy.token.claims["iss"]
    assert spy.token.expires_at == int(world.clock.now()) + 3600
    assert token not in repr(spy.token.model_dump())
    assert spy.token.token.startswith("tenantry:")  # a stand-in, by which FastMCP keeps its cached answers apart


async def test_the_stand_in_for_the_token_differs_wherever_a_tool_may_see_something_else(world: World) -> None:
    idp, found = world.idp.auth0, []
    shown = [
        *(idp.access_token("ann", permissions=[name], scope=name, jti="1") for name in ("notes:read", "notes:write")),
        idp.access_token("ann", permissions=["notes:read"], scope="notes:read", jti="2"),
        idp.access_token("erin", permissions=["notes:read"], scope="notes:read", jti="1"),
    ]
    for token in [*shown, shown[0]]:
        spy = Spy()
        await ask(keys(world, spy), headers=bearer(token))
        assert spy.token is not None
        found.append(spy.token.token)
    assert len(set(found)) == len(shown)
    assert found[0] == found[-1]


def principal(token: AccessToken) -> tuple[Any, ...]:
    return token.client_id, (token.claims or {}).get("iss"), token.subject


async def test_no_two_callers_share_the_principal_to_which_the_sdk_binds_a_session(world: World) -> None:
    """MCP SDK CVE-2026-52869: a session not tied to (client_id, issuer, subject) is anybody's."""
    found = []
    tokens = [
        world.idp.google.id_token("ann"),
        world.idp.google.id_token("bob"),
        world.idp.auth0.access_token("ann"),
        world.idp.auth0.machine_token("a"),
        world.idp.auth0.machine_token("b"),
        world.idp.github.token("octo"),
        world.idp.github.token("ann"),
        KEY,
        OTHER,
    ]
    for token in tokens:
        spy = Spy()
        await ask(keys(world, spy), headers=bearer(token))
        assert all(principal(spy.token)), "an empty part would be shared"
        found.append(principal(spy.token))
    assert len(set(found)) == len(tokens)


async def test_two_tokens_of_one_person_are_one_principal(world: World) -> None:
    found = set()
    for token in (world.idp.google.id_token("ann"), world.idp.google.id_token("ann", jti="2")):
        spy = Spy()
        await ask(keys(world, spy), headers=bearer(token))
        found.add(principal(spy.token))
    assert len(found) == 1


async def test_a_claim_of_a_token_cannot_take_the_place_of_the_principal(world: World) -> None:
    spy = Spy()
    await ask(
        keys(world, spy), headers=bearer(world.idp.google.id_token("ann", client_id_="x", subject="y", scopes=["z"]))
    )
    assert spy.token.subject == "google:110248495921238986420"
    assert spy.token.scopes == []


async def test_everything_is_taken_back_after_the_request(world: World) -> None:
    await ask(keys(world, Spy()), headers=bearer(KEY))
    assert user_variable.get() is None
    assert auth_context_var.get() is None
    with pytest.raises(CredentialMissing):
        current_user()


async def test_everything_is_taken_back_after_an_exception(world: World) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await ask(keys(world, Spy(fail)), headers=bearer(KEY))
    assert (user_variable.get(), auth_context_var.get()) == (None, None)


async def test_everything_is_taken_back_after_a_cancellation(world: World) -> None:
    begun = asyncio.Event()
    left: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def serve() -> None:
        try:
            await ask(keys(world, app), headers=bearer(world.idp.google.id_token("ann")))
        finally:
            left.extend([user_variable.get(), auth_context_var.get()])

    serving = asyncio.ensure_future(serve())
    await begun.wait()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert left == [None, None]


async def test_what_was_there_before_is_there_again_afterwards(world: World) -> None:
    user = MCPUserContext("outer:1", "outer", "1", "outer")
    token = user_variable.set(user)
    try:
        spy = Spy()
        await ask(keys(world, spy), headers=bearer(KEY))
        assert spy.user.provider == "api_key"
        assert current_user() == user
    finally:
        user_variable.reset(token)


async def test_a_refused_request_publishes_nobody(world: World) -> None:
    outer = MCPUserContext("outer:1", "outer", "1", "outer")
    mine, tokens = publish({"type": "http", "headers": []}, outer, RefusalSlot())
    try:
        reply = await ask(keys(world, Spy()), headers=bearer("junk"))
        assert reply.status == 401
        assert current_user(mine) == outer
    finally:
        withdraw(tokens)
    assert user_variable.get() is None


async def test_concurrent_requests_see_each_their_own_caller(world: World) -> None:
    both = asyncio.Barrier(2)
    seen: dict[str, tuple[str, str]] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await both.wait()
        seen[scope["path"]] = (current_user().name or "", get_access_token().subject or "")  # type: ignore[union-attr]
        await both.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    guarded = keys(world, app)
    tokens = {"/a": KEY, "/b": OTHER}
    await asyncio.gather(*(ask(guarded, path=path, headers=bearer(token)) for path, token in tokens.items()))
    assert (seen["/a"][0], seen["/b"][0]) == ("ci", "cd")
    assert seen["/a"][1] != seen["/b"][1]


async def test_an_identity_header_or_scope_of_the_caller_changes_nothing(world: World) -> None:
    spy = Spy()
    forged = [
        ("x-user-id", "google:1"),
        ("x-tenant-id", "victim"),
        ("x-forwarded-user", "root"),
        ("x_forwarded_email", "a@b.c"),
    ]
    await ask(
        keys(world, spy), headers=[*bearer(KEY), *forged], path="/victim", query_string=b"tenant=victim&user=root"
    )
    assert (spy.user.tenant_id, spy.user.provider) == ("acme", "api_key")


async def test_an_outer_middleware_s_user_is_replaced(world: World) -> None:
    spy = Spy()
    await ask(keys(world, spy), headers=bearer(KEY), user="root", auth="everything", state={"user": "root", "kept": 1})
    assert spy.scope["user"].display_name.startswith("apikey:")
    assert spy.scope["state"]["kept"] == 1
    assert isinstance(spy.scope["state"]["user"], MCPUserContext)
    assert isinstance(spy.scope["auth"], AuthCredentials)


async def test_a_starlette_request_has_its_user(world: World) -> None:
    async def show(request: Request) -> JSONResponse:
        return JSONResponse(
            {
                "state": request.state.user.user_id,
                "request": current_user(request).user_id,
                "scope": current_user(request.scope).user_id,
                "variable": current_user().user_id,
                "sdk": request.user.access_token.subject,
                "auth": request.auth.scopes,
            }
        )

    inner = Starlette(routes=[Route("/mcp", show, methods=["POST"])])
    async with a_client(keys(world, inner)) as client:
        answer = (await client.post("/mcp", headers={"x-api-key": KEY})).json()
    assert len({answer[name] for name in ("state", "request", "scope", "variable", "sdk")}) == 1
    assert sorted(answer["auth"]) == ["notes:read", "notes:write"]


async def test_the_request_at_hand_comes_before_the_context_variable() -> None:
    """On stateful MCP 1.x sessions the variable is the caller who began the session."""
    alice, bob = (MCPUserContext(f"x:{name}", "x", name, "t") for name in ("alice", "bob"))
    token = user_variable.set(alice)
    try:
        request = SimpleNamespace(scope={"type": "http", "state": {"user": bob}})
        context = SimpleNamespace(request_context=SimpleNamespace(request=request))
        for source in (context, request, request.scope):
            assert current_user(source) == bob
        nobody = SimpleNamespace(scope={"type": "http", "state": {}})
        with pytest.raises(CredentialMissing):
            current_user(nobody)
        forged = SimpleNamespace(scope={"type": "http", "state": {"user": "bob"}})
        with pytest.raises(CredentialMissing):
            current_user(forged)
    finally:
        user_variable.reset(token)
