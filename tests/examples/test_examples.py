"""The examples, as programs: what their first lines promise, asked with the official client, or with httpx."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from anyio.from_thread import BlockingPortal
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from tests.examples.conftest import EXAMPLES, KEY, ROOT

from tenantry.postgres import EmbeddedPostgres
from tenantry.testing import DevIdp

FILES = sorted(EXAMPLES.glob("*.py"))
SERVERS = ["mcp1_server.py", "mcp2_server.py", "fastmcp_server.py"]
MODES = ["legacy", "2026-07-28"]
_MCP1_CLIENT = """
import asyncio, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client

async def main():
    headers = {"Authorization": "Bearer " + sys.stdin.read()}
    async with streamablehttp_client(sys.argv[1], headers=headers) as (read, write, _):
        async with ClientSession(read, write) as session:
            await session.initialize()
            print((await session.call_tool("hello", {})).content[0].text)

asyncio.run(main())
"""


@pytest.fixture
def serve(request: pytest.FixtureRequest, running: Callable[..., str]) -> Callable[[str], str]:
    def start(name: str) -> str:
        if name == "mcp1_server.py":
            return running(name, request.getfixturevalue("mcp1_python"))
        pytest.importorskip("fastmcp" if name.startswith("fastmcp") else "fastapi" if "fastapi" in name else "mcp")
        return running(name)

    return start


@contextlib.asynccontextmanager
async def client(url: str, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=20) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as opened,
    ):
        yield opened


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def may_write(idp: DevIdp, person: str) -> str:
    return idp.auth0.access_token(person, scope="notes:write", permissions=["notes:write"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_says_how_to_run_it(path: Path) -> None:
    assert f"python examples/{path.name}" in path.read_text().split('"""')[1]


# --- Servers ----------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SERVERS)
async def test_a_tool_greets_its_caller(serve: Callable[[str], str], idp: DevIdp, name: str, mode: str) -> None:
    if name == "mcp1_server.py" and mode != "legacy":
        mode = "auto"  # the client finds out that the server speaks older revisions only
    async with client(serve(name) + "/mcp", mode, **bearer(idp.google.id_token("ann"))) as ann:
        said = (await ann.call_tool("hello")).content[0].text
    assert re.fullmatch(r"Hello Ann .* of acme_example\.", said)


@pytest.mark.anyio
@pytest.mark.parametrize("name", SERVERS)
async def test_a_tool_is_for_those_who_have_its_permission(serve: Callable[[str], str], idp: DevIdp, name: str) -> None:
    async with client(serve(name) + "/mcp", **bearer(may_write(idp, "erin"))) as erin:
        wrote = (await erin.call_tool("write", {"text": "this"})).content[0].text
    assert re.fullmatch(r"auth0:\S+ wrote this", wrote)
    async with client(serve(name) + "/mcp", **{"X-API-Key": KEY}) as machine:
        told = (await machine.call_tool("whoami")).structured_content
        assert told["provider"] == "api_key"
        with pytest.raises(MCPError):
            await machine.call_tool("write", {"text": "this"})


@pytest.mark.parametrize("name", SERVERS)
def test_the_official_client_of_1_x_calls_a_tool_too(
    serve: Callable[[str], str], idp: DevIdp, mcp1_python: Path, name: str
) -> None:
    done = subprocess.run(
        [mcp1_python, "-W", "ignore", "-c", _MCP1_CLIENT, serve(name) + "/mcp"],
        input=idp.google.id_token("bob"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert re.fullmatch(r"Hello Bob .* of acme_example\.\n", done.stdout), done.stderr


@pytest.mark.parametrize("name", [*SERVERS, "fastapi_app.py", "starlette_app.py"])
def test_nobody_gets_in_without_a_credential(serve: Callable[[str], str], name: str) -> None:
    with httpx.Client(base_url=serve(name), trust_env=False, timeout=20) as http:
        answer = http.post("/mcp")
    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith('Bearer resource_metadata="http://127.0.0.1:')


def test_the_curl_line_of_the_first_example_is_a_whole_tool_call(serve: Callable[[str], str]) -> None:
    text = (EXAMPLES / "mcp2_server.py").read_text()
    line = re.sub(r"\\\n\s+", "", re.search(r"^ +(curl .*\n(?: +-.*\n)+)", text, re.MULTILINE)[1])
    command = line.replace("http://127.0.0.1:8000", serve("mcp2_server.py"))
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    assert "Hello" in json.loads(done.stdout)["result"]["content"][0]["text"]


# --- APIs with an MCP endpoint ----------------------------------------------------------------------------------------


@pytest.fixture
def http(serve: Callable[[str], str], request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=serve(request.param), trust_env=False, timeout=20) as http:
        yield http


@pytest.mark.parametrize("http", ["fastapi_app.py"], indirect=True)
def test_endpoints_of_fastapi_know_their_caller(http: httpx.Client, idp: DevIdp) -> None:
    told = http.get("/me", headers=bearer(idp.google.id_token("ann"))).json()
    assert (told["provider"], told["tenant_id"]) == ("google", "acme_example")
    wrote = http.post("/notes", params={"text": "this"}, headers=bearer(may_write(idp, "erin")))
    assert (wrote.status_code, wrote.json()["text"]) == (200, "this")
    refused = http.post("/notes", params={"text": "this"}, headers={"X-API-Key": KEY})
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")


@pytest.mark.parametrize("http", ["starlette_app.py"], indirect=True)
def test_endpoints_of_starlette_know_their_caller(http: httpx.Client, idp: DevIdp) -> None:
    told = http.get("/me", headers=bearer(idp.google.id_token("ann"))).json()
    assert told["tenant"] == "acme_example"
    wrote = http.post("/notes", content="this", headers=bearer(may_write(idp, "erin")))
    assert (wrote.status_code, wrote.json()["text"]) == (200, "this")
    refused = http.post("/notes", content="this", headers={"X-API-Key": KEY})
    assert (refused.status_code, refused.json()["error"]) == (403, "insufficient_scope")


@pytest.mark.anyio
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "path"),
    [("fastapi_app.py", "/assistant/mcp"), ("starlette_app.py", "/notes/mcp"), ("starlette_app.py", "/todos/mcp")],
)
async def test_the_mcp_endpoints_inside_of_them_work_too(
    serve: Callable[[str], str], idp: DevIdp, name: str, path: str, mode: str
) -> None:
    async with client(serve(name) + path, mode, **bearer(idp.google.id_token("ann"))) as ann:
        told = (await ann.call_tool("whoami")).structured_content
    assert (told["provider"], told["tenant_id"]) == ("google", "acme_example")


# --- The assistant ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def assistant(portal: BlockingPortal, running: Callable[..., str]) -> Iterator[str]:
    with portal.wrap_async_context_manager(EmbeddedPostgres()) as server:
        yield (
            running(
                "assistant.py",
                MCP_HTTP_DATABASE_CONNECTION_STRING=server.app_dsn,
                MCP_HTTP_DIRECT_DATABASE_URL=server.admin_dsn,
                MCP_HTTP_TENANT_MIGRATIONS=str(EXAMPLES.relative_to(ROOT) / "assistant_migrations"),
            )
            + "/mcp"
        )


def memory(idp: DevIdp, person: str, permission: str) -> dict[str, str]:
    return bearer(idp.auth0.access_token(person, scope=permission, permissions=[permission]))


async def ask(opened: Client, tool: str, **arguments: Any) -> Any:
    answer = await opened.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    return answer.structured_content["result"]


@pytest.mark.anyio
@pytest.mark.parametrize("mode", MODES)
async def test_the_assistant_remembers_for_a_tenant_and_tells_nobody_else(
    assistant: str, idp: DevIdp, mode: str
) -> None:
    async with client(assistant, mode, **memory(idp, "ann", "memory:write")) as ann:
        (project,) = await ask(ann, "add_project", name=f"Moving house, {mode}")
        first, second = [
            (await ask(ann, "add_todo", project=project["id"], title=title))[0] for title in ("Boxes", "Van")
        ]
        assert await ask(ann, "finish_todo", todo=first["id"]) == [first]
        await ask(ann, "save_document", title=f"Inventory {mode}", body="One piano, two lamps")
        todos = [row for row in await ask(ann, "list_todos") if row["project"] == project["id"]]
        assert {row["title"]: row["done"] for row in todos} == {"Boxes": True, "Van": False}
        assert all(row["author"].startswith("auth0:") for row in todos)
        assert second["title"] == "Van"
    async with client(assistant, mode, **memory(idp, "ann", "memory:read")) as reading:
        found = await ask(reading, "find_documents", words="piano lamps")
        assert f"Inventory {mode}" in [row["title"] for row in found]
        assert await ask(reading, "find_documents", words="piano violin") == []
    async with client(assistant, mode, **memory(idp, "erin", "memory:read")) as erin:
        assert await ask(erin, "list_todos") == []
        assert await ask(erin, "find_documents", words="piano") == []


@pytest.mark.anyio
async def test_who_may_only_read_sees_and_calls_no_more(assistant: str, idp: DevIdp) -> None:
    async with client(assistant, **memory(idp, "ann", "memory:read")) as reading:
        assert {tool.name for tool in (await reading.list_tools()).tools} == {"list_todos", "find_documents"}
        with pytest.raises(MCPError):
            await reading.call_tool("add_project", {"name": "Not mine"})
