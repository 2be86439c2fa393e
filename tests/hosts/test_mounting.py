"""Several MCP endpoints in one app, below paths: one gate around all of them, a gate below a path, a gate for each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import httpx2
import pytest
from fastapi import FastAPI
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from tenantry import Settings, TenantryMiddleware, current_user
from tenantry.testing import DevIdp, serve_on_loopback

pytestmark = pytest.mark.anyio

HOST = "https://mcp.example.com"
WELL_KNOWN = "/.well-known/oauth-protected-resource"
PATHS = ["/notes/mcp", "/todos/mcp"]


async def seen(ctx: Context[Any, Any]) -> str:
    return current_user(ctx).user_id


def mcp_app(**kind: Any) -> Starlette:
    server = MCPServer("tests", log_level="CRITICAL")
    server.add_tool(seen)
    return server.streamable_http_app(**kind)


def parent(kind: type[Any], apps: dict[str, Starlette]) -> Any:
    """As docs/hosts.md says: the parent runs the lifespan of what it mounts."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    made = kind(lifespan=lifespan)
    for path, app in apps.items():
        made.mount(path, app)
    return made


@pytest.fixture
async def idp() -> AsyncIterator[DevIdp]:
    idp = DevIdp()
    async with idp.serve():
        yield idp


@pytest.fixture
def configured(idp: DevIdp) -> Callable[..., Settings]:
    trusted = {name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings().items()}
    return lambda **values: Settings(**trusted | values)


async def who(url: str, token: str, mode: str) -> str:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=10) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        return str((await client.call_tool("seen")).structured_content["result"])


async def resource_for(client: httpx.AsyncClient, path: str) -> tuple[str, str]:
    """What a client that was refused at ``path`` is told: where the metadata is, and the resource in it."""
    refused = await client.post(path)
    assert refused.status_code == 401
    place = refused.headers["www-authenticate"].split('resource_metadata="')[1].split('"')[0].removeprefix(HOST)
    return place, (await client.get(place)).json()["resource"]


@pytest.mark.parametrize("kind", [Starlette, FastAPI])
async def test_one_gate_around_several_endpoints_knows_the_caller_on_each(
    idp: DevIdp, configured: Callable[..., Settings], kind: type[Any]
) -> None:
    apps = {"/notes": mcp_app(), "/todos": mcp_app(stateless_http=True)}
    gate = TenantryMiddleware(parent(kind, apps), settings=configured())
    ann, bob = (f"google:{idp.people[person].at_google().sub}" for person in ("ann", "bob"))
    async with serve_on_loopback(gate) as url:
        for path in PATHS:
            for mode in ("2026-07-28", "legacy"):
                assert await who(url + path, idp.google.id_token("ann"), mode) == ann
                assert await who(url + path, idp.google.id_token("bob"), mode) == bob


async def test_the_metadata_of_each_endpoint_names_it_as_its_users_type_it(configured: Callable[..., Settings]) -> None:
    settings = configured(public_url=f"{HOST}/notes/mcp", mcp_paths=",".join(PATHS))
    apps = {"/notes": mcp_app(), "/todos": mcp_app()}
    gate = TenantryMiddleware(parent(Starlette, apps), settings=settings)
    async with serve_on_loopback(gate) as url, httpx.AsyncClient(base_url=url) as client:
        for path in PATHS:
            expected = (WELL_KNOWN + path, HOST + path)
            assert await resource_for(client, path) == expected
            assert await resource_for(client, path + "/") == expected
        assert await resource_for(client, "/elsewhere") == (WELL_KNOWN + PATHS[0], HOST + PATHS[0])
        root = (await client.get(WELL_KNOWN)).json()
        assert root["resource"] == HOST + PATHS[0]
        assert (await client.get(f"{WELL_KNOWN}/elsewhere")).status_code == 404


async def test_without_the_paths_only_the_public_url_is_a_resource(configured: Callable[..., Settings]) -> None:
    """Nothing but the setting says which paths there are, and a document for another resource helps nobody."""
    gate = TenantryMiddleware(mcp_app(), settings=configured(public_url=f"{HOST}/notes/mcp"))
    async with serve_on_loopback(gate) as url, httpx.AsyncClient(base_url=url) as client:
        assert await resource_for(client, "/todos/mcp") == (f"{WELL_KNOWN}/notes/mcp", f"{HOST}/notes/mcp")
        assert (await client.get(f"{WELL_KNOWN}/todos/mcp")).status_code == 404


async def test_behind_a_proxy_that_takes_a_prefix_away_the_metadata_has_it(configured: Callable[..., Settings]) -> None:
    settings = configured(public_url=f"{HOST}/api/notes/mcp", mcp_paths=",".join(PATHS))
    gate = TenantryMiddleware(mcp_app(), settings=settings)
    async with serve_on_loopback(gate) as url, httpx.AsyncClient(base_url=url) as client:
        for path in PATHS:
            assert await resource_for(client, path) == (f"{WELL_KNOWN}/api{path}", f"{HOST}/api{path}")


async def test_a_gate_below_a_path_of_a_parent(idp: DevIdp, configured: Callable[..., Settings]) -> None:
    gate = TenantryMiddleware(mcp_app(), settings=configured(public_url=f"{HOST}/api/mcp"))
    routes = [Mount("/api", gate), Route("/.well-known/{rest:path}", gate)]
    app = Starlette(routes=routes, lifespan=gate.lifespan)
    async with serve_on_loopback(app) as url, httpx.AsyncClient(base_url=url) as client:
        place, resource = await resource_for(client, "/api/mcp")
        root = (await client.get(WELL_KNOWN)).json()
        below = [(await client.get(f"/api{path}")).json() for path in (place, WELL_KNOWN)]
        user = await who(f"{url}/api/mcp", idp.google.id_token("ann"), "legacy")
    assert (place, resource, root["resource"]) == (f"{WELL_KNOWN}/api/mcp", f"{HOST}/api/mcp", f"{HOST}/api/mcp")
    assert below == [root, root]
    assert user.startswith("google:")


async def test_a_gate_for_each_endpoint_takes_the_tokens_for_that_one_alone(
    idp: DevIdp, configured: Callable[..., Settings]
) -> None:
    gates = {
        path: TenantryMiddleware(mcp_app(), settings=configured(public_url=HOST + path, auth0_audience=HOST + path))
        for path in PATHS
    }
    routes = [
        *(Mount(path.removesuffix("/mcp"), gate) for path, gate in gates.items()),
        *(Route(WELL_KNOWN + path, gate) for path, gate in gates.items()),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with gates[PATHS[0]].lifespan(app), gates[PATHS[1]].lifespan(app):
            yield

    app = Starlette(routes=routes, lifespan=lifespan)
    tokens = {path: idp.auth0.access_token("ann", audience=HOST + path, scope="notes:read") for path in PATHS}
    async with serve_on_loopback(app) as url, httpx.AsyncClient(base_url=url) as client:
        for path in PATHS:
            assert await resource_for(client, path) == (WELL_KNOWN + path, HOST + path)
            assert (await who(url + path, tokens[path], "2026-07-28")).startswith("auth0:")
        answer = await client.post(PATHS[1], headers={"Authorization": f"Bearer {tokens[PATHS[0]]}"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_an_endpoint_whose_lifespan_nobody_runs_answers_nothing(
    idp: DevIdp, configured: Callable[..., Settings]
) -> None:
    gate = TenantryMiddleware(Starlette(routes=[Mount("/notes", mcp_app())]), settings=configured())
    headers = {"Authorization": f"Bearer {idp.google.id_token('ann')}"}
    async with serve_on_loopback(gate) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.post(PATHS[0], headers=headers)).status_code == 500


async def test_the_lifespan_of_a_gate_starts_and_closes_what_is_inside_it(configured: Callable[..., Settings]) -> None:
    told = []

    @contextlib.asynccontextmanager
    async def inner(_: Any) -> AsyncIterator[dict[str, str]]:
        told.append("began")
        yield {"of": "the app"}
        told.append("ended")

    gate = TenantryMiddleware(Starlette(lifespan=inner), settings=configured())
    async with gate.lifespan() as state:
        assert (told, state) == (["began"], {"of": "the app"})
    assert told == ["began", "ended"]
    bare = TenantryMiddleware(lambda scope, receive, send: None, settings=configured())
    async with bare.lifespan() as state:
        assert state is None
