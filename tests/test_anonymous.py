"""Callers without a credential: which methods are theirs, what the app sees of them, and what they cost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.middleware.auth_context import auth_context_var, get_access_token
from mcp.server.mcpserver import Context, MCPServer
from tests.attacks.bodies import HERE, KEY, Host, Upload, batch, call, message, policed, post
from tests.support import Reply, World, a_client, a_world, ask, bearer

from tenantry import current_user, require_permission
from tenantry.context import user_variable
from tenantry.devidp import serve_on_loopback
from tenantry.errors import ConfigurationError, CredentialMissing
from tenantry.model import Credential
from tenantry.observations import Called, Refused

pytestmark = pytest.mark.anyio

METHODS = "initialize,ping,tools/list,server/discover"
THERE = ("198.51.100.9", 50_000)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world


@pytest.fixture
def app() -> Host:
    return Host()


@pytest.fixture
def guarded(world: World, app: Host) -> Any:
    """Without rules."""
    return world.guard(app, api_keys={KEY: {"name": "ci"}}, anonymous_methods=METHODS)


@pytest.fixture
def open_to_all(world: World, tmp_path: Path, app: Host) -> Any:
    """With rules, of which one opens ``help`` to everybody."""
    methods = METHODS + ",tools/call,resources/read"
    return policed(world, tmp_path, app, anonymous_methods=methods, policy=POLICY)


POLICY = """
[[rule]]
tool = "help"
public = true

[[rule]]
tool = "heavy"
public = true
weight = 3

[[rule]]
resource = "notes://public/*"
public = true

[[rule]]
tool = "*"
permissions = ["notes:read"]
"""


async def nobody(guarded: Any, body: bytes | Upload, *headers: tuple[str, str], **scope: Any) -> Reply:
    """A request without a credential."""
    return await post(guarded, body, headers, key=None, **scope)


# Which methods


@pytest.mark.parametrize("method", METHODS.split(","))
async def test_a_method_of_the_list_needs_no_credential(guarded: Any, app: Host, method: str) -> None:
    assert (await nobody(guarded, message(method))).status == 200
    assert app.ran == [method]


@pytest.mark.parametrize(
    "method",
    ["tools/call", "prompts/list", "resources/list", "Ping", "ping ", "ping/x", "tools/listx", "tools", "*", "rpc.x"],
)
async def test_every_other_method_does(guarded: Any, app: Host, method: str) -> None:
    reply = await nobody(guarded, message(method, {"name": "safe"}))
    assert (reply.status, reply.json()["error"]) == (401, "unauthorized")
    assert reply.challenge is not None
    assert "error=" not in reply.challenge
    assert app.untouched


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
async def test_what_asks_for_no_method_at_all_needs_a_credential(guarded: Any, app: Host, method: str) -> None:
    assert (await nobody(guarded, b"", method=method)).status == 401
    assert (await nobody(guarded, message("ping"), method=method)).status == 401
    answer = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}).encode()
    assert (await nobody(guarded, answer)).status == 401
    assert app.untouched


async def test_a_websocket_needs_a_credential(guarded: Any, app: Host) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {"type": "websocket", "path": "/mcp", "query_string": b"", "headers": [(b"host", b"127.0.0.1:8000")]}
    await guarded(scope, receive, send)
    assert [(event["type"], event["code"]) for event in sent] == [("websocket.close", 4401)]
    assert app.untouched


async def test_the_handshake_of_older_revisions_goes_to_its_end(guarded: Any, app: Host) -> None:
    """Clients that are refused the second half of it give up."""
    assert (await nobody(guarded, message("initialize"))).status == 200
    assert (await nobody(guarded, message("notifications/initialized", number=None))).status == 200
    assert (await nobody(guarded, message("notifications/cancelled", {"requestId": 1}, None))).status == 401
    assert app.ran == ["initialize", "notifications/initialized"]


async def test_a_batch_of_them_passes_and_one_with_another_does_not(guarded: Any, app: Host) -> None:
    assert (await nobody(guarded, batch(message("ping"), message("tools/list", number=2)))).status == 200
    assert app.ran == ["ping", "tools/list"]
    for other in (call("safe", number=2), message("prompts/list", number=2), message("notifications/x", None, None)):
        for members in ((message("ping"), other), (other, message("ping"))):
            assert (await nobody(guarded, batch(*members))).status == 401
    assert app.ran == ["ping", "tools/list"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("authorization", "Bearer junk")], 401),
        ([("authorization", "Bearer ya29.invented")], 401),
        ([("x-api-key", "junk")], 401),
        ([("authorization", "Basic YTpi")], 401),
        ([("authorization", "Bearer ${TOKEN}")], 401),
        ([("authorization", "")], 400),
        ([("authorization", "Bearer")], 400),
        ([("x-api-key", "")], 400),
        ([("authorization", f"Bearer {KEY}"), ("x-api-key", KEY)], 400),
        ([("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")], 400),
    ],
)
async def test_a_bad_credential_never_falls_through_to_anonymous(
    guarded: Any, app: Host, headers: list[tuple[str, str]], status: int
) -> None:
    for method in METHODS.split(","):
        assert (await nobody(guarded, message(method), *headers)).status == status
    assert app.untouched


@pytest.mark.parametrize("query", [b"access_token=x", b"api_key=x", b"a=b&access_token"])
async def test_a_token_in_the_query_is_refused_all_the_same(guarded: Any, app: Host, query: bytes) -> None:
    assert (await nobody(guarded, message("ping"), query_string=query)).status == 400
    assert app.untouched


async def test_a_header_alone_makes_no_call_anonymous(guarded: Any, app: Host) -> None:
    reply = await nobody(guarded, call("safe"), ("mcp-method", "ping"))
    assert reply.status == 400
    reply = await nobody(guarded, call("safe"), ("mcp-method", "ping"), ("mcp-protocol-version", "2026-07-28"))
    assert reply.status == 400
    assert app.untouched


async def test_a_header_that_names_another_method_is_enough_for_a_401(guarded: Any) -> None:
    """Also of a request that is too large to be read from a stranger: the client is to sign in, not to give up."""
    upload = Upload(call("safe", text="x" * 100_000))
    assert (await nobody(guarded, upload, ("mcp-method", "tools/call"))).status == 401
    assert upload.taken == 0


@pytest.mark.parametrize(
    ("body", "header", "status"),
    [
        (b"{", None, 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', None, 400),
        (message("ping"), ("content-type", "text/plain"), 401),
        (message("ping"), ("content-type", ""), 401),
        (message("ping"), ("content-encoding", "gzip"), 401),
    ],
)
async def test_a_body_that_cannot_be_read_is_nobody_s(
    guarded: Any, app: Host, body: bytes, header: tuple[str, str] | None, status: int
) -> None:
    """What is no JSON-RPC may be anything that one has to sign in for."""
    assert (await nobody(guarded, body, *([header] if header else []))).status == status
    assert app.untouched


@pytest.mark.parametrize("announced", [True, False])
async def test_a_stranger_s_body_is_64_kib_at_most(guarded: Any, app: Host, announced: bool) -> None:
    for size, status in ((64 * 1024, 200), (64 * 1024 + 1, 413)):
        body = message("ping").ljust(size)
        upload = Upload(body[:1000], body[1000:])
        length = [("content-length", str(size))] if announced else []
        assert (await nobody(guarded, upload, *length)).status == status
    assert upload.taken == (0 if announced else size)
    assert app.ran == ["ping"]
    assert (await post(guarded, message("ping").ljust(size))).status == 200


async def test_without_the_setting_no_body_of_a_stranger_is_read(world: World, tmp_path: Path, app: Host) -> None:
    for guarded in (world.guard(app), policed(world, tmp_path, app)):
        upload = Upload(message("ping"))
        assert (await nobody(guarded, upload)).status == 401
        assert upload.taken == 0
    assert app.untouched


# What is open to everybody


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (call("help"), 200),
        (call("safe"), 401),
        (call("Help"), 401),
        (call("help", "prompts/get"), 401),
        (message("resources/read", {"uri": "notes://public/a"}), 200),
        (message("resources/read", {"uri": "notes://private/a"}), 401),
        (message("resources/read", {"uri": "notes://public/../private/a"}), 403),
        (message("resources/subscribe", {"uri": "notes://public/a"}), 401),
        (batch(call("help"), call("heavy", number=2)), 200),
        (batch(call("help"), call("safe", number=2)), 400),
        (batch(call("help"), message("prompts/list", number=2)), 401),
    ],
)
async def test_a_call_needs_both_the_list_and_a_public_rule(
    open_to_all: Any, app: Host, body: bytes, status: int
) -> None:
    assert (await nobody(open_to_all, body)).status == status
    assert app.untouched == (status != 200)


async def test_a_public_tool_is_closed_where_calls_are_not_on_the_list(world: World, tmp_path: Path, app: Host) -> None:
    guarded = policed(world, tmp_path, app, anonymous_methods=METHODS, policy=POLICY)
    assert (await nobody(guarded, call("help"))).status == 401
    assert (await post(guarded, call("help"))).status == 200


# What the app sees


@pytest.mark.parametrize("outer", [False, True], ids=["alone", "inside a layer that says who it is"])
async def test_the_app_sees_nobody(world: World, outer: bool) -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(
            user=scope.get("user"),
            auth=scope.get("auth"),
            state=scope["state"].get("user"),
            other=scope["state"].get("other"),
            sdk=get_access_token(),
            variable=user_variable.get(),
        )
        for source in (None, scope):
            with pytest.raises(CredentialMissing):
                current_user(source)
        await Host()(scope, receive, send)

    guarded = world.guard(app, anonymous_methods="ping", api_keys={KEY: {"name": "ci"}})
    admitted = await guarded.front.gate.validate(Credential(KEY.encode()))
    forged: dict[str, Any] = {}
    tokens: list[tuple[ContextVar[Any], Any]] = []
    if outer:
        forged = {"user": "mallory", "auth": "all", "state": {"user": admitted.user, "other": 1}}
        tokens = [(variable, variable.set(admitted.user)) for variable in (user_variable, auth_context_var)]
    try:
        await nobody(guarded, message("ping"), **forged)
        assert [variable.get() for variable, _ in tokens] == [admitted.user] * len(tokens)
    finally:
        for variable, token in tokens:
            variable.reset(token)
    assert seen.pop("other") == (1 if outer else None)
    assert seen == dict.fromkeys(("user", "auth", "state", "sdk", "variable"))
    if outer:
        assert forged["state"]["user"] is admitted.user  # the other layer's own scope is not changed


@pytest.mark.parametrize(
    "asking",
    [lambda scope: current_user(scope), lambda scope: current_user(), lambda scope: require_permission(scope, "a:b")],
    ids=["by the request", "by the variable", "a permission"],
)
async def test_an_app_that_needs_a_caller_answers_401(world: World, asking: Any) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        asking(scope)

    reply = await nobody(world.guard(app, anonymous_methods="ping"), message("ping"))
    assert (reply.status, reply.json()["error"]) == (401, "unauthorized")
    assert reply.challenge is not None
    assert "resource_metadata=" in reply.challenge


@pytest.mark.parametrize("kind", [{}, {"stateless_http": True}], ids=["stateful", "stateless"])
@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_the_official_client_looks_around_without_a_credential(
    world: World, tmp_path: Path, mode: str, kind: dict[str, bool]
) -> None:
    ran: list[str] = []
    server = MCPServer("tests", log_level="CRITICAL")

    async def help(ctx: Context[Any, Any]) -> str:
        ran.append("help")
        return "there you are"

    async def safe(ctx: Context[Any, Any]) -> str:
        ran.append("safe")
        return current_user(ctx).user_id

    for tool in (help, safe):
        server.add_tool(tool)
    methods = METHODS + ",tools/call"
    guarded = policed(world, tmp_path, server.streamable_http_app(**kind), anonymous_methods=methods, policy=POLICY)
    async with (
        serve_on_loopback(guarded) as url,
        httpx2.AsyncClient(trust_env=False, timeout=10) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        assert [tool.name for tool in (await client.list_tools()).tools] == ["help"]
        assert (await client.call_tool("help")).content[0].text == "there you are"
    with pytest.raises(Exception):  # noqa: B017 - an error of its own or a group of the client's
        async with (
            serve_on_loopback(guarded) as url,
            httpx2.AsyncClient(trust_env=False, timeout=10) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
        ):
            await client.call_tool("safe")
    assert ran == ["help"]


async def test_a_tool_of_the_sdk_that_needs_a_caller_answers_401(world: World, tmp_path: Path) -> None:
    server = MCPServer("tests", log_level="CRITICAL")

    async def help(ctx: Context[Any, Any]) -> str:
        return current_user(ctx).user_id

    server.add_tool(help)
    app = server.streamable_http_app(stateless_http=True)
    guarded = policed(world, tmp_path, app, anonymous_methods="tools/call", policy=POLICY)
    async with a_client(guarded, lifespan="on") as client:
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        answer = await client.post("/mcp", content=call("help"), headers=headers)
        assert answer.status_code == 401
        assert "resource_metadata=" in answer.headers["www-authenticate"]
        assert "google:" not in answer.text


# What it costs


def limited(world: World, app: Any, quota: str, **changes: Any) -> Any:
    return world.guard(app, anonymous_methods=METHODS, rate_limit_anonymous=quota, **changes)


async def test_anonymous_calls_count_against_the_client_s_address(world: World, app: Host) -> None:
    guarded = limited(world, app, "3/60")
    replies = [await nobody(guarded, message("ping")) for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    assert replies[0].headers["ratelimit-policy"] == '"address";q=3;w=60'
    assert [reply.headers["ratelimit"] for reply in replies] == [
        '"address";r=2;t=20',
        '"address";r=1;t=40',
        '"address";r=0;t=60',
        '"address";r=0;t=20',
    ]
    refused = replies[-1]
    assert (refused.headers["retry-after"], refused.headers["content-type"]) == ("20", "application/problem+json")
    assert refused.challenge is None
    assert len(app.scopes) == 3
    assert (await nobody(guarded, message("ping"), client=THERE)).status == 200
    world.clock.advance(20)
    assert (await nobody(guarded, message("ping"))).status == 200


async def test_a_stranger_who_has_had_enough_is_not_even_read(world: World, app: Host) -> None:
    """A body costs memory and time: the quota comes first, as it does for everybody."""
    guarded = limited(world, app, "1/60")
    assert (await nobody(guarded, message("ping"))).status == 200
    upload = Upload(message("ping"))
    assert (await nobody(guarded, upload)).status == 429
    assert upload.taken == 0


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (call("safe"), None),
        (b"{", None),
        (b"x" * 100_000, None),
        (message("ping"), ("content-type", "text/plain")),
        (message("ping"), ("content-length", "100000")),
        (message("ping"), ("mcp-method", "tools/list")),
    ],
    ids=["another method", "malformed", "too large", "another type", "announced as too large", "a header that lies"],
)
async def test_whatever_a_stranger_is_refused_for_counts_once(
    world: World, app: Host, body: bytes, header: tuple[str, str] | None
) -> None:
    guarded = limited(world, app, "3/60")
    statuses = [(await nobody(guarded, body, *([header] if header else []))).status for _ in range(5)]
    assert 429 not in statuses[:3]
    assert statuses[3:] == [429, 429]
    assert app.untouched


async def test_a_public_tool_costs_what_its_rule_says(world: World, tmp_path: Path, app: Host) -> None:
    changes = {"anonymous_methods": "tools/call", "policy": POLICY, "rate_limit_anonymous": "5/60"}
    guarded = policed(world, tmp_path, app, **changes)
    assert (await nobody(guarded, call("heavy"))).headers["ratelimit"].startswith('"address";r=2;')
    assert (await nobody(guarded, call("help"))).headers["ratelimit"].startswith('"address";r=1;')
    assert (await nobody(guarded, call("heavy"))).status == 429
    assert len(app.scopes) == 2


async def test_a_caller_with_a_credential_does_not_pay_for_strangers(world: World, app: Host) -> None:
    guarded = limited(world, app, "1/60", api_keys={KEY: {"name": "ci"}})
    for _ in range(3):
        await nobody(guarded, message("ping"))
    reply = await post(guarded, message("ping"))
    assert reply.status == 200
    assert "address" not in reply.headers["ratelimit"]


# What is written down


async def test_it_is_observed_as_a_call_of_nobody(world: World, guarded: Any) -> None:
    await nobody(guarded, message("ping"))
    await nobody(guarded, call("safe"))
    (called,), (refused,) = world.seen.of(Called), world.seen.of(Refused)
    assert (called.user, called.about.method, called.about.address, called.status) == (None, "ping", HERE[0], 200)
    assert (refused.user, refused.about.method, refused.about.name) == (None, "tools/call", "safe")


# What is a mistake at start


@pytest.mark.parametrize(
    ("methods", "word"),
    [
        ("tools/call", "tools/call"),
        ("ping,prompts/get", "prompts/get"),
        ("resources/read", "resources/read"),
        ("resources/subscribe", "resources/subscribe"),
        ("resources/unsubscribe", "resources/unsubscribe"),
        ("completion/complete", "completion/complete"),
        ("subscriptions/listen", "subscriptions/listen"),
        ("tasks/result", "tasks/result"),
        ("acme/anything", "acme/anything"),
        ("tool/list", "tool/list"),
        ("Ping", "Ping"),
        ("tools/*", "tools/*"),
        ("*", "*"),
    ],
)
async def test_without_rules_nothing_that_reaches_something_may_be_anonymous(
    world: World, app: Host, methods: str, word: str
) -> None:
    with pytest.raises(ConfigurationError, match="MCP_HTTP_ANONYMOUS_METHODS") as caught:
        world.guard(app, anonymous_methods=methods)
    assert repr(word) in str(caught.value)
    assert str(caught.value).count("\n") == 0


async def test_a_method_that_a_rule_closes_is_not_open_as_well(world: World, tmp_path: Path, app: Host) -> None:
    policy = '[[rule]]\nmethod = "tools/list"\npermissions = ["notes:read"]\n'
    with pytest.raises(ConfigurationError, match=r"line 1.*tools/list"):
        policed(world, tmp_path, app, anonymous_methods="tools/list", policy=policy)


@pytest.mark.parametrize("methods", ["prompts/get", "tasks/result", "ping,prompts/get"])
async def test_with_rules_a_public_one_must_be_there_for_it(
    world: World, tmp_path: Path, app: Host, methods: str
) -> None:
    with pytest.raises(ConfigurationError, match="public"):
        policed(world, tmp_path, app, anonymous_methods=methods, policy=POLICY)


async def test_tool_permissions_alone_open_nothing_to_strangers(world: World, app: Host) -> None:
    with pytest.raises(ConfigurationError, match="public"):
        world.guard(app, anonymous_methods="tools/call", tool_permissions={"safe": "notes:read"})


@pytest.mark.parametrize(
    "methods",
    [METHODS, "prompts/list,resources/list,resources/templates/list", "notifications/initialized", "logging/setLevel"],
)
async def test_the_harmless_ones_may(world: World, app: Host, methods: str) -> None:
    assert (await nobody(world.guard(app, anonymous_methods=methods), message(methods.split(",")[0]))).status == 200


async def test_a_method_of_an_extension_may_where_a_public_rule_names_it(
    world: World, tmp_path: Path, app: Host
) -> None:
    policy = '[[rule]]\nmethod = "acme/*"\npublic = true\n'
    guarded = policed(world, tmp_path, app, anonymous_methods="acme/status", policy=policy)
    assert (await nobody(guarded, message("acme/status"))).status == 200
    assert (await nobody(guarded, message("acme/other"))).status == 401


async def test_the_health_paths_and_the_metadata_are_not_affected(guarded: Any) -> None:
    reply = await ask(guarded, path="/.well-known/oauth-protected-resource/mcp", method="GET")
    assert reply.status == 200
    assert (await ask(guarded, headers=bearer("junk"))).status == 401
