"""A protected server on each host, and the development identity provider that it trusts."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support import World, a_world

from tenantry import Settings, TenantryMiddleware, current_user, require_permission
from tenantry.devidp import Call
from tenantry.testing import DevIdp, serve_on_loopback

HOSTS = ("mcp2", "fastmcp")


async def whoami() -> dict[str, str]:
    """The caller."""
    user = current_user()
    return {"user": user.user_id, "tenant": user.tenant_id, "client": user.client_id or ""}


@require_permission("notes:write")
async def write_note(text: str) -> str:
    """Somebody who may write."""
    return f"{current_user().user_id} wrote {text}"


@dataclass(frozen=True)
class Site:
    """``url`` is all that a client is told."""

    url: str
    idp: DevIdp

    def user_id(self, person: str) -> str:
        return f"auth0:{self.idp.people[person].at_auth0().sub}"

    def asked(self, endpoint: str) -> list[Call]:
        """The calls to one endpoint of the authorization server."""
        return self.idp.calls.of("auth0", endpoint)


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def app_on(host: str) -> Any:
    """The host's own ASGI application with both tools, protected by nothing."""
    if host == "fastmcp":
        pytest.importorskip("fastmcp")
        from fastmcp import FastMCP

        fast = FastMCP("tests")
        fast.tool(whoami)
        fast.tool(write_note)
        return fast.http_app()
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("tests", log_level="CRITICAL")
    server.add_tool(whoami)
    server.add_tool(write_note)
    return server.streamable_http_app()


@contextlib.asynccontextmanager
async def a_site(host: str = "mcp2", **changes: Any) -> AsyncIterator[Site]:
    """As an author mounts it: three providers are on, so that a client has to find the one that registers it."""
    async with serving(
        DevIdp(), lambda idp, url: TenantryMiddleware(app_on(host), settings=_settings(idp, url, changes))
    ) as site:
        yield site


@contextlib.asynccontextmanager
async def a_site_out_of_time(host: str = "mcp2") -> AsyncIterator[tuple[Site, World]]:
    """The same on a clock that stands still: ``world.clock.advance(seconds)``."""
    async with a_world() as world:
        port = free_port()
        url = f"http://127.0.0.1:{port}/mcp"
        app = world.guard(app_on(host), public_url=url, auth0_audience=url)
        async with serve_on_loopback(app, port=port):
            yield Site(url, world.idp), world


@contextlib.asynccontextmanager
async def serving(idp: DevIdp, app: Callable[[DevIdp, str], Any]) -> AsyncIterator[Site]:
    async with idp.serve():
        port = free_port()
        url = f"http://127.0.0.1:{port}/mcp"
        async with serve_on_loopback(app(idp, url), port=port):
            yield Site(url, idp)


def _settings(idp: DevIdp, url: str, changes: dict[str, Any]) -> Settings:
    values: dict[str, Any] = {
        name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings(url).items()
    }
    return Settings(**(values | changes))
