"""One server behind the gate, in a process of its own: ``python serve.py mcp2|mcp1|fastmcp``, or ``web`` for FastAPI
and Starlette. Its first line says where it listens; it ends with its standard input. Below ``/auth`` is the same server
without the gate, behind the host's own auth.

It runs in environments that have neither pytest nor the other tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from tenantry import MCPUserContext, Settings, TenantryMiddleware, current_user, require_permission, whoami
from tenantry.core.rules import Rule, Rules
from tenantry.errors import Forbidden, InsufficientScope
from tenantry.testing import DevIdp

HOST = sys.argv[1] if len(sys.argv) > 1 else "mcp2"
MODES: dict[str, dict[str, Any]] = {
    "stateful": {},
    "stateless": {"stateless_http": True},
    "json": {"json_response": True},
    "stateless-json": {"stateless_http": True, "json_response": True},
}

if HOST == "fastmcp":
    from fastmcp import Context
    from fastmcp import FastMCP as Server
elif HOST == "mcp1":
    from mcp.server.fastmcp import Context
    from mcp.server.fastmcp import FastMCP as Server
elif HOST == "mcp2":
    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver import MCPServer as Server


# Of one person, whose permissions change from one token to the next.
PERMISSIONS = {"reader": ["notes:read"], "writer": ["notes:write", "notes:share"]}
# Of others: one more person, and two API keys of one tenant.
STRANGER = ["notes:read", "notes:write", "notes:share"]
KEYS = {"key": "k" * 32, "other-key": "o" * 32}
RULES = Rules(
    [
        Rule("tool", "admin_*", permissions=["notes:admin"]),
        Rule("tool", "*", permissions=["notes:read"]),
        Rule("prompt", "admin_*", permissions=["notes:admin"]),
        Rule("prompt", "*", permissions=["notes:read"]),
        Rule("resource", "notes://admin/*", permissions=["notes:admin"]),
        Rule("resource", "notes://*", permissions=["notes:read"]),
        Rule("method", "*", permissions=["notes:read"]),
    ]
)


# --- The tools --------------------------------------------------------------------------------------------------------


@require_permission("notes:write", "notes:share")
async def later(text: str, ctx: Context) -> str:
    """Written."""
    return f"{current_user(ctx).user_id} {text}"


@require_permission("notes:write", "notes:share")
def at_once(text: str) -> str:
    return text


@require_permission("notes:write")
@require_permission("notes:share")
async def twice(text: str = "text") -> str:
    return text


async def direct(ctx: Context) -> str:
    require_permission(ctx, "notes:write", "notes:share")
    return "text"


def by_user() -> str:
    current_user().require_permission("notes:write")
    return "text"


async def foreign(ctx: Context) -> str:
    raise Forbidden("tenant_unknown")


async def careful(ctx: Context) -> str:
    try:
        require_permission(ctx, "notes:write")
    except InsufficientScope:
        return "may not"
    return "may"


async def broken() -> str:
    raise LookupError("a mistake of the app")


async def begun(ctx: Context) -> str:
    """The client has heard something before it is refused."""
    await ctx.report_progress(1, 2)
    require_permission(ctx, "notes:write", "notes:share")
    return "text"


async def admin_tool() -> str:
    return "admin"


def told(user: MCPUserContext) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "tenant_id": user.tenant_id,
        "token": user.claims.get("jti"),
        "permissions": sorted(user.permissions),
        "in_a_thread": threading.current_thread() is not threading.main_thread(),
    }


async def seen(ctx: Context) -> dict[str, Any]:
    return told(current_user(ctx))


def seen_at_once(ctx: Context) -> dict[str, Any]:
    return told(current_user(ctx))


async def seen_by_itself() -> dict[str, Any]:
    return told(current_user())


def seen_at_once_by_itself() -> dict[str, Any]:
    return told(current_user())


SEEN = (seen, seen_at_once, seen_by_itself, seen_at_once_by_itself)
TOOLS = (later, at_once, twice, direct, by_user, foreign, careful, broken, begun, admin_tool, whoami, *SEEN)


@require_permission("notes:write", "notes:share")
async def guarded_resource() -> str:
    return "text"


@require_permission("notes:write", "notes:share")
def guarded_prompt() -> str:
    return "text"


async def open_prompt() -> str:
    return "text"


def server(mode: dict[str, Any], **auth: Any) -> Any:
    """The tools, prompts and resources on the host's own server class."""
    quiet = {} if HOST == "fastmcp" else {"log_level": "CRITICAL"}  # drawing a traceback takes longer than a test
    made = Server("tests", **quiet, **auth, **(mode if HOST == "mcp1" else {}))
    for tool in TOOLS:
        if HOST == "fastmcp":
            made.tool(tool)
        else:
            made.add_tool(tool)
    made.resource("notes://guarded/1")(guarded_resource)
    made.resource("notes://admin/1")(open_prompt)
    made.prompt(name="guarded")(guarded_prompt)
    made.prompt(name="admin_prompt")(open_prompt)
    return made


def mcp_app(mode: dict[str, Any], **auth: Any) -> Any:
    made = server(mode, **auth)
    if HOST == "mcp1":
        return made.streamable_http_app()
    return made.http_app(**mode) if HOST == "fastmcp" else made.streamable_http_app(**mode)


def caching_app() -> Any:
    """With FastMCP's cache of answers."""
    from fastmcp.server.middleware.caching import ResponseCachingMiddleware

    made = server({})
    made.add_middleware(ResponseCachingMiddleware())
    return made.http_app()


def host_auth_app(settings: Settings) -> Any:
    """Behind the host's own auth. Nothing closes the adapter of the SDK: it ends with the process."""
    if HOST == "fastmcp":
        from tenantry.adapters.fastmcp import TenantryAuthProvider

        provider = TenantryAuthProvider(settings)
        return mcp_app({}, auth=provider, lifespan=provider.lifespan)
    from tenantry.adapters.mcp_sdk import TenantryTokenVerifier

    verifier = TenantryTokenVerifier(settings)
    return mcp_app({}, auth=verifier.auth_settings(), token_verifier=verifier)


def replaying_app() -> Any:
    """With an event store, from which a client that was cut off hears again what it missed."""
    from mcp.server.streamable_http import EventMessage, EventStore

    class Events(EventStore):
        def __init__(self) -> None:
            self.events: list[tuple[str, Any]] = []

        async def store_event(self, stream_id: str, message: Any) -> str:
            self.events.append((stream_id, message))
            return str(len(self.events))

        async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
            wanted = self.events[int(last_event_id) - 1][0]
            for number, (stream, message) in enumerate(self.events[int(last_event_id) :], int(last_event_id) + 1):
                if stream == wanted and message is not None:
                    await send_callback(EventMessage(message, str(number)))
            return wanted

    return server({}).streamable_http_app(event_store=Events())


# --- The apps ---------------------------------------------------------------------------------------------------------


def mounted(
    apps: dict[str, Any], settings: Settings, rules: Rules | None, auth: Any = None
) -> Callable[..., Awaitable[None]]:
    """Each app at its name, with its lifespan, all behind one gate; ``auth`` below ``/auth`` without it."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for app in (*apps.values(), *([auth] if auth else [])):
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    app = Starlette(routes=[Mount(f"/{name}", app) for name, app in apps.items()], lifespan=lifespan)
    gate = TenantryMiddleware(app, settings=settings, rules=rules)

    async def chosen(scope: Any, receive: Any, send: Any) -> None:
        if auth and scope.get("path", "").startswith("/auth/"):
            await auth({**scope, "path": scope["path"].removeprefix("/auth")}, receive, send)
        else:
            await gate(scope, receive, send)

    return chosen


def hosts(settings: Settings, of_host_auth: Settings) -> Callable[..., Awaitable[None]]:
    if HOST == "web":
        from web import fastapi_app, starlette_app

        return mounted({"fastapi": fastapi_app(), "starlette": starlette_app()}, settings, None)
    apps = {name: mcp_app(mode) for name, mode in MODES.items()}
    if HOST == "mcp2":
        apps["replay"] = replaying_app()
    if HOST == "fastmcp":
        apps["caching"] = caching_app()
    return mounted(apps, settings, RULES, host_auth_app(of_host_auth))


async def serve() -> None:
    idp = DevIdp()
    async with idp.serve():
        trusted = {name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings().items()}
        tokens = {
            name: idp.auth0.access_token("ann", scope=" ".join(permissions), permissions=permissions, jti=name)
            for name, permissions in PERMISSIONS.items()
        }
        tokens["stranger"] = idp.auth0.access_token("erin", scope=" ".join(STRANGER), permissions=STRANGER)
        tokens["down"] = idp.google.access_token("bob")
        idp.faults.set("google", "error")
        keys = {
            key: {"name": name, "tenant_id": "robots", "permissions": PERMISSIONS["reader"]}
            for name, key in KEYS.items()
        }
        common = {"rate_limit_tenant": "off", "api_keys": keys, "environment": "development"}
        auth0 = {name: value for name, value in trusted.items() if name.startswith("auth0")}
        app = hosts(Settings(**common | auth0), Settings(**trusted | common))
        await listen(app, tokens | KEYS)


async def listen(app: Callable[..., Any], tokens: dict[str, str]) -> None:
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    serving = asyncio.create_task(uvicorn_server.serve())
    while not uvicorn_server.started:
        if serving.done():
            serving.result()
            raise SystemExit("the server did not start")
        await asyncio.sleep(0.01)
    port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
    print(json.dumps({"url": f"http://127.0.0.1:{port}", "tokens": tokens}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    uvicorn_server.should_exit = uvicorn_server.force_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(serve())
