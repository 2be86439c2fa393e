"""A server on the official MCP SDK behind the gate, on a real socket, and whoever wants to call it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import Context, MCPServer

from tenantry import Settings, TenantryMiddleware, current_user
from tenantry.testing import DevIdp, serve_on_loopback


async def whoami(ctx: Context[Any, Any]) -> dict[str, str]:
    """The caller twice: by the request, as a tool should ask, and by the fallback."""
    return {"by_request": current_user(ctx).user_id, "by_context": current_user().user_id}


class World:
    """The identity provider and the address of the server's MCP endpoint."""

    def __init__(self, idp: DevIdp, url: str) -> None:
        self.idp = idp
        self.url = url

    def http(self, person: str) -> httpx2.AsyncClient:
        """An HTTP client that carries a Google ID token of ``person``."""
        headers = {"Authorization": f"Bearer {self.idp.google.id_token(person)}"}
        return httpx2.AsyncClient(headers=headers, trust_env=False, timeout=10)

    @contextlib.asynccontextmanager
    async def client(self, person: str, mode: str) -> AsyncIterator[Client]:
        """The official client, signed in as ``person``, on one line of the protocol."""
        async with (
            self.http(person) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=mode) as client,
        ):
            yield client

    def user_id(self, person: str) -> str:
        return f"google:{self.idp.people[person].at_google().sub}"


@pytest.fixture
async def serving() -> AsyncIterator[Callable]:
    """``await serving(stateless_http=...)``: a World around a server of that kind."""
    async with contextlib.AsyncExitStack() as stack:

        async def serve(**kind: Any) -> World:
            idp = DevIdp()
            await stack.enter_async_context(idp.serve())
            values = {name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings().items()}
            server = MCPServer("tests", log_level="ERROR")
            server.add_tool(whoami)
            app = TenantryMiddleware(server.streamable_http_app(**kind), settings=Settings(**values))
            return World(idp, await stack.enter_async_context(serve_on_loopback(app)) + "/mcp")

        yield serve
