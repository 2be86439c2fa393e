"""The policy through the whole middleware: what is refused does not run, and the caller hears why in one answer."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from tests.attacks.bodies import ADMIN, KEY, Host, batch, call, message, policed, post
from tests.support import World, bearer

from tenantry.devidp import serve_on_loopback

pytestmark = pytest.mark.anyio

META = "io.modelcontextprotocol"
MODES = ["2026-07-28", "legacy"]
REVISIONS = ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", ""]
KINDS = [{}, {"stateless_http": True}, {"json_response": True, "stateless_http": True}]


@pytest.fixture
def app() -> Host:
    return Host()


@pytest.fixture
def guarded(world: World, tmp_path: Path, app: Host) -> Any:
    return policed(world, tmp_path, app)


def challenged(challenge: str | None) -> dict[str, str]:
    assert challenge is not None
    assert challenge.startswith("Bearer ")
    return dict(re.findall(r'(\w+)="([^"]*)"', challenge))


# One answer


async def test_a_shortfall_is_403_with_all_permissions_that_would_do(guarded: Any, app: Host) -> None:
    reply = await post(guarded, call("admin"))
    assert (reply.status, reply.json()["error"]) == (403, "insufficient_scope")
    words = challenged(reply.challenge)
    assert (words["error"], set(words["scope"].split())) == ("insufficient_scope", {"admin:run", "notes:write"})
    assert words["resource_metadata"].endswith("/.well-known/oauth-protected-resource/mcp")
    assert app.untouched


async def test_who_has_the_permissions_gets_in(guarded: Any, app: Host) -> None:
    assert (await post(guarded, call("admin"), key=ADMIN)).status == 200
    assert app.ran == ["tools/call"]


@pytest.mark.parametrize(
    "body",
    [
        call("lead"),
        call("nothing about it"),
        call("SAFE"),
        call("safe "),
        call("anything", "prompts/get"),
        message("resources/read", {"uri": "file:///etc/passwd"}),
        message("resources/read", {"uri": "notes://a/../../b"}),
        message("resources/subscribe", {"uri": "other://a"}),
        message("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["notes://a", "other://a"]}}),
        message("completion/complete", {"ref": {"type": "ref/prompt", "name": "any"}, "argument": {}}),
        message("tasks/result", {"taskId": "1"}),
        message("acme/anything"),
    ],
    ids=lambda body: str(json.loads(body)["method"]),
)
async def test_what_no_permission_would_change_is_403_without_a_challenge(guarded: Any, app: Host, body: bytes) -> None:
    reply = await post(guarded, body, key=ADMIN)
    assert (reply.status, reply.json()["error"], reply.challenge) == (403, "access_denied", None)
    assert app.untouched


async def test_what_needs_no_rule_passes(guarded: Any, app: Host) -> None:
    asked = ["initialize", "ping", "tools/list", "prompts/list", "resources/list", "server/discover"]
    for method in asked:
        assert (await post(guarded, message(method))).status == 200
    assert (await post(guarded, message("notifications/cancelled", {"requestId": 1}, None))).status == 200
    answer = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}}).encode()
    assert (await post(guarded, answer)).status == 200
    assert app.ran == [*asked, "notifications/cancelled", None]


@pytest.mark.parametrize("forbidden", [call("admin", number=2), call("lead", number=2), message("acme/x", number=2)])
@pytest.mark.parametrize("first", [True, False])
async def test_a_batch_with_a_forbidden_member_is_refused_whole(
    guarded: Any, app: Host, forbidden: bytes, first: bool
) -> None:
    members = [forbidden, call("safe")] if first else [call("safe"), forbidden]
    reply = await post(guarded, batch(*members))
    assert (reply.status, reply.json()["reason"]) == (400, "batch_forbidden")
    assert app.untouched
    assert (await post(guarded, batch(call("safe"), call("help", number=2)))).status == 200


async def test_a_batch_of_one_is_answered_as_the_one(guarded: Any, app: Host) -> None:
    reply = await post(guarded, batch(call("admin")))
    assert (reply.status, reply.json()["error"]) == (403, "insufficient_scope")
    assert app.untouched


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"owner": "acme"}, 200),
        ({"owner": "other"}, 403),
        ({"owner": ["acme"]}, 403),
        ({"owner": None}, 403),
        ({"Owner": "acme"}, 403),
        ({}, 403),
    ],
)
async def test_a_rule_may_ask_the_arguments(guarded: Any, app: Host, arguments: dict[str, Any], status: int) -> None:
    assert (await post(guarded, call("mine", **arguments))).status == status
    assert app.untouched == (status == 403)


# Quotas


@pytest.fixture
def limited(world: World, tmp_path: Path, app: Host) -> Any:
    return policed(world, tmp_path, app, rate_limit_tenant="10/60")


def left(reply: Any) -> int:
    return int(re.fullmatch(r'"tenant";r=(\d+);t=\d+', reply.headers["ratelimit"])[1])


async def test_a_call_costs_what_its_rule_says(limited: Any) -> None:
    assert left(await post(limited, call("safe"))) == 9
    assert left(await post(limited, call("heavy"))) == 5
    assert left(await post(limited, batch(call("safe"), call("heavy", number=2)))) == 0


async def test_a_refused_call_costs_one_unit_whatever_its_rule_says(limited: Any, app: Host) -> None:
    for body in (call("admin"), call("unheard of"), b"{", batch(call("heavy"), call("admin", number=2))):
        assert (await post(limited, body)).status in (400, 403)
    assert left(await post(limited, call("safe"))) == 5


async def test_what_is_left_does_not_do_for_a_heavy_call(limited: Any, app: Host) -> None:
    for _ in range(7):
        await post(limited, call("safe"))
    app.scopes.clear()
    reply = await post(limited, call("heavy"))
    assert (reply.status, reply.json()["error"], reply.challenge) == (429, "too_many_requests", None)
    assert int(reply.headers["retry-after"]) >= 6
    assert app.untouched
    assert left(await post(limited, call("safe"))) == 1


# The official SDK on the other side


class Server:
    """An MCP server behind the gate: where it is, and what has run in it."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.mcp = MCPServer("tests", log_level="CRITICAL")
        for name in ("safe", "admin", "heavy", "lead", "help"):
            self.mcp.add_tool(self._tool(name), name=name)
        self.mcp.prompt("secret")(self._tool("secret"))
        self.mcp.resource("notes://a")(self._tool("notes://a"))
        self.mcp.resource("files://secret")(self._tool("files://secret"))

    def _tool(self, name: str) -> Callable[[], str]:
        def tool() -> str:
            self.ran.append(name)
            return f"{name} ran"

        return tool

    @contextlib.asynccontextmanager
    async def client(self, mode: str, key: str = KEY) -> AsyncIterator[Client]:
        async with (
            httpx2.AsyncClient(headers={"X-API-Key": key}, trust_env=False, timeout=10) as http,
            Client(streamable_http_client(f"{self.url}/mcp", http_client=http), mode=mode) as client,
        ):
            yield client

    async def ask(self, body: bytes, headers: dict[str, str], key: str = KEY) -> httpx.Response:
        sent = {"X-API-Key": key, "Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        async with httpx.AsyncClient(verify=False, trust_env=False, timeout=10) as http:
            return await http.post(f"{self.url}/mcp", content=body, headers=sent | headers)

    url = ""


@pytest.fixture(params=KINDS, ids=["stateful", "stateless", "json"])
async def server(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> AsyncIterator[Server]:
    made = Server()
    guarded = policed(world, tmp_path, made.mcp.streamable_http_app(**request.param))
    async with serve_on_loopback(guarded) as made.url:
        yield made


def asking(revision: str, name: str, header: str | None = None) -> tuple[bytes, dict[str, str]]:
    """A tools/call as a client of this revision sends it, with any ``Mcp-Name``."""
    params: dict[str, Any] = {"name": name, "arguments": {}}
    headers = {"MCP-Protocol-Version": revision} if revision else {}
    if revision == "2026-07-28":
        info = {"clientInfo": {"name": "t", "version": "0"}, "clientCapabilities": {}, "protocolVersion": revision}
        params["_meta"] = {f"{META}/{key}": value for key, value in info.items()}
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": header or name}
    elif header is not None:
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": header}
    return message("tools/call", params), headers


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_forbidden_tool_does_not_run_on_any_revision(server: Server, revision: str) -> None:
    for name in ("admin", "lead", "unheard of"):
        answer = await server.ask(*asking(revision, name))
        assert answer.status_code == 403
        assert ("www-authenticate" in answer.headers) == (name == "admin")
    assert server.ran == []


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_header_that_names_a_harmless_tool_runs_nothing(server: Server, revision: str) -> None:
    """Before 2026-07-28 the SDK itself does not look at the header, and would run what the body names."""
    for key in (KEY, ADMIN):
        answer = await server.ask(*asking(revision, "admin", header="safe"), key=key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)
    assert server.ran == []


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_uses_what_it_may(server: Server, mode: str) -> None:
    async with server.client(mode) as client:
        tools = await client.list_tools()
        assert {tool.name for tool in tools.tools} == {"safe", "heavy", "help"}
        assert (await client.list_prompts()).prompts == []
        assert [str(one.uri) for one in (await client.list_resources()).resources] == ["notes://a"]
        for name in ("safe", "heavy", "help"):
            assert (await client.call_tool(name)).content[0].text == f"{name} ran"
        assert (await client.read_resource("notes://a")).contents[0].text == "notes://a ran"
    assert server.ran == ["safe", "heavy", "help", "notes://a"]


@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_gets_an_error_for_what_it_may_not(server: Server, mode: str) -> None:
    for work in (
        lambda client: client.call_tool("admin"),
        lambda client: client.call_tool("lead"),
        lambda client: client.get_prompt("secret"),
        lambda client: client.read_resource("files://secret"),
    ):
        with pytest.raises(Exception):  # noqa: B017 - an error of its own or a group of the client's
            async with server.client(mode) as client:
                await work(client)
    assert server.ran == []


@pytest.mark.parametrize("mode", MODES)
async def test_an_admin_sees_and_uses_more(server: Server, mode: str) -> None:
    async with server.client(mode, ADMIN) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"safe", "admin", "heavy", "help"}
        await client.call_tool("admin")
    assert server.ran == ["admin"]


async def test_a_token_s_own_permissions_decide(world: World, tmp_path: Path, app: Host) -> None:
    guarded = policed(world, tmp_path, app, default_permissions="notes:read")
    token = world.idp.google.id_token("ann")
    assert (await post(guarded, call("safe"), bearer(token), key=None)).status == 200
    reply = await post(guarded, call("admin"), bearer(token), key=None)
    assert set(challenged(reply.challenge)["scope"].split()) >= {"admin:run", "notes:write"}
    assert app.ran == ["tools/call"]
