"""Permissions in tools, prompts and resources, on each host and mode of MCP: what goes over the wire."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tests.hosts.conftest import Mcp, Served, message

OLD, NEW = "2025-11-25", "2026-07-28"
MODES = ("stateful", "stateless", "json", "stateless-json")
KINDS = [
    *(("mcp1", mode, OLD) for mode in MODES),
    *(("mcp2", mode, revision) for mode in MODES for revision in (OLD, NEW)),
    *(("fastmcp", mode, revision) for mode in MODES for revision in (OLD, NEW)),
]
ALL = 'error="insufficient_scope", error_description="More permissions are needed"'


@pytest.fixture(params=KINDS, ids=" ".join)
def kind(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return request.param


@pytest.fixture
def reader(kind: tuple[str, ...], caller: Callable[..., Mcp]) -> Mcp:
    return caller(*kind, "reader")


@pytest.fixture
def writer(kind: tuple[str, ...], caller: Callable[..., Mcp]) -> Mcp:
    return caller(*kind, "writer")


@pytest.mark.parametrize("tool", ["later", "at_once", "twice", "direct"])
def test_a_tool_that_needs_more_is_a_403_that_names_all_permissions(reader: Mcp, tool: str) -> None:
    answer = reader.call(tool, **({} if tool == "direct" else {"text": "text"}))
    assert (answer.status_code, answer.json()["error"]) == (403, "insufficient_scope")
    assert ALL in answer.headers["www-authenticate"]
    assert 'scope="notes:write notes:share"' in answer.headers["www-authenticate"]
    assert answer.headers["www-authenticate"].startswith('Bearer resource_metadata="http://')


def test_so_is_one_that_asks_the_caller_himself(reader: Mcp) -> None:
    answer = reader.call("by_user")
    assert answer.status_code == 403
    assert 'scope="notes:write"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("tool", ["later", "at_once", "twice", "direct"])
def test_who_has_the_permissions_gets_the_tools_result(writer: Mcp, tool: str) -> None:
    answer = writer.call(tool, **({} if tool == "direct" else {"text": "text"}))
    assert answer.status_code == 200
    result = message(answer)["result"]
    assert not result.get("isError")
    assert result["content"][0]["text"].endswith("text")


@pytest.mark.parametrize(
    ("method", "params"),
    [("resources/read", {"uri": "notes://guarded/1"}), ("prompts/get", {"name": "guarded", "arguments": {}})],
)
def test_prompts_and_resources_are_guarded_the_same_way(reader: Mcp, writer: Mcp, method: str, params: dict) -> None:
    assert reader.ask(method, params).status_code == 403
    answer = writer.ask(method, params)
    assert answer.status_code == 200
    assert "text" in str(message(answer)["result"])


def test_a_tool_that_catches_the_refusal_answers_as_it_likes(reader: Mcp, writer: Mcp) -> None:
    assert message(reader.call("careful"))["result"]["content"][0]["text"] == "may not"
    assert message(writer.call("careful"))["result"]["content"][0]["text"] == "may"


def test_a_mistake_of_a_tool_stays_the_hosts_tool_error(reader: Mcp) -> None:
    answer = reader.call("broken")
    assert answer.status_code == 200
    assert message(answer)["result"]["isError"] is True


def test_on_a_stream_that_has_begun_the_tools_error_holds_the_challenge(reader: Mcp, kind: tuple[str, ...]) -> None:
    answer = reader.ask("tools/call", {"name": "begun", "arguments": {}}, progressToken="p")
    if "json" in kind[1]:
        assert answer.status_code == 403
        return
    assert answer.status_code == 200
    assert "notifications/progress" in answer.text
    result = message(answer)["result"]
    assert result["isError"] is True
    assert result["content"][0]["text"] == "More permissions are needed: notes:write notes:share"
    (challenge,) = result["_meta"]["mcp/www_authenticate"]
    assert ALL in challenge


def test_a_caller_learns_who_he_is(reader: Mcp, writer: Mcp) -> None:
    first, second = (message(mcp.call("whoami"))["result"]["structuredContent"] for mcp in (reader, writer))
    assert first["permissions"] == ["notes:read"]
    assert second["permissions"] == ["notes:share", "notes:write"]
    assert first["user_id"].startswith("auth0:")
    assert isinstance(first["expires_at"], float)
    assert first.keys() == {"user_id", "provider", "tenant_id", "email", "permissions", "roles", "expires_at"}
    same = first.keys() - {"permissions", "expires_at"}  # the tokens may be of two seconds
    assert {name: first[name] for name in same} == {name: second[name] for name in same}


@pytest.mark.parametrize("host", ["mcp1", "mcp2", "fastmcp"])
@pytest.mark.parametrize("mode", ["stateful", "json"])
def test_within_a_session_each_request_has_the_permissions_of_its_own_token(
    caller: Callable[..., Mcp], host: str, mode: str
) -> None:
    """Whatever the host keeps of the request that began the session, also for tools that take no context."""
    reader, writer = caller(host, mode, OLD, "reader"), caller(host, mode, OLD, "writer")
    session, token = reader.http.headers["Mcp-Session-Id"], writer.http.headers["Authorization"]
    own = {"Mcp-Session-Id": session}
    for tool in ("later", "at_once", "twice"):
        assert reader.call(tool, text="text").status_code == 403
        answer = reader.call(tool, text="text", headers={**own, "Authorization": token})
        assert answer.status_code == 200
        assert 'isError":true' not in answer.text
        assert reader.call(tool, text="text").status_code == 403
    told = message(reader.call("whoami", headers={**own, "Authorization": token}))["result"]["structuredContent"]
    assert told["permissions"] == ["notes:share", "notes:write"]


def test_the_tools_say_which_scopes_they_take(reader: Mcp) -> None:
    tools = message(reader.ask("tools/list"))["result"]["tools"]
    assert all(tool["securitySchemes"] == [{"type": "oauth2", "scopes": ["notes:read"]}] for tool in tools)


def test_the_tools_are_described_as_their_functions_are(reader: Mcp) -> None:
    tools = {tool["name"]: tool for tool in message(reader.ask("tools/list"))["result"]["tools"]}
    assert tools["later"]["description"] == "Written."
    assert set(tools["later"]["inputSchema"]["properties"]) == {"text"}
    assert tools["later"]["inputSchema"]["required"] == ["text"]
    assert tools["whoami"]["inputSchema"].get("properties", {}) == {}
    assert "permissions" in str(tools["whoami"]["outputSchema"])


@pytest.mark.parametrize(
    ("method", "of", "key", "hidden", "seen"),
    [
        ("tools/list", "tools", "name", "admin_tool", "later"),
        ("prompts/list", "prompts", "name", "admin_prompt", "guarded"),
        ("resources/list", "resources", "uri", "notes://admin/1", "notes://guarded/1"),
    ],
)
def test_a_list_shows_what_the_caller_may_use(
    reader: Mcp, method: str, of: str, key: str, hidden: str, seen: str
) -> None:
    answer = reader.ask(method)
    result = message(answer)["result"]
    assert seen in [member[key] for member in result[of]]
    assert hidden not in answer.text
    assert result["cacheScope"] == "private"


def test_a_replay_of_a_list_is_cut_as_well(caller: Callable[..., Mcp]) -> None:
    mcp = caller("mcp2", "replay", OLD, "reader")
    answer = mcp.ask("tools/list")
    first = answer.text.split("id: ")[1].splitlines()[0]
    assert "admin_tool" not in answer.text
    replayed = mcp.replay(first)
    assert '"tools":' in replayed
    assert "later" in replayed
    assert "admin_tool" not in replayed


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["mcp1", "mcp2", "fastmcp"])
@pytest.mark.parametrize("mode", MODES)
async def test_the_official_client_reads_what_is_left_of_a_list(
    serving: Callable[[str], Served], host: str, mode: str
) -> None:
    served = serving(host)
    headers = {"Authorization": f"Bearer {served.tokens['reader']}"}
    async with (
        httpx2.AsyncClient(headers=headers, verify=False, trust_env=False, timeout=20) as http,
        Client(streamable_http_client(f"{served.url}/{mode}/mcp", http_client=http), mode="auto") as client,
    ):
        tools = (await client.list_tools()).tools
        told = await client.call_tool("whoami")
    assert "later" in [tool.name for tool in tools]
    assert "admin_tool" not in [tool.name for tool in tools]
    assert told.structured_content["permissions"] == ["notes:read"]
