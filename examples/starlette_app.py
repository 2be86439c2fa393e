"""An HTTP API on Starlette and two MCP servers in one app, behind one gate.

    pip install 'tenantry[mcp]'
    export MCP_HTTP_ENVIRONMENT=development MCP_HTTP_API_KEY=only-for-this-machine
    python examples/starlette_app.py

    curl -s http://127.0.0.1:8000/me -H 'X-API-Key: only-for-this-machine'

Of several endpoints MCP_HTTP_PUBLIC_URL names the first, like https://mcp.example.com/notes/mcp, and
MCP_HTTP_MCP_PATHS=/notes/mcp,/todos/mcp all: then each is in the metadata as its users type it.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from tenantry import Settings, TenantryMiddleware, current_user, require_permission, whoami

servers = {name: MCPServer(name) for name in ("notes", "todos")}
for server in servers.values():
    server.add_tool(whoami)
# Listens nowhere: with another host than its default the SDK leaves Host and Origin to tenantry.
mounted = {name: server.streamable_http_app(host="0.0.0.0") for name, server in servers.items()}  # noqa: S104


async def me(request: Request) -> JSONResponse:
    user = current_user(request)
    return JSONResponse({"user": user.user_id, "tenant": user.tenant_id})


@require_permission("notes:write")
async def write(request: Request) -> JSONResponse:
    return JSONResponse({"author": current_user(request).user_id, "text": (await request.body()).decode()})


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    """Nobody else runs the lifespan of an app that is mounted."""
    async with AsyncExitStack() as stack:
        for each in mounted.values():
            await stack.enter_async_context(each.router.lifespan_context(each))
        yield


routes = [Route("/me", me), Route("/notes", write, methods=["POST"])]
routes_to_mcp = [Mount(f"/{name}", each) for name, each in mounted.items()]
settings = Settings()
app = TenantryMiddleware(Starlette(routes=[*routes, *routes_to_mcp], lifespan=lifespan), settings=settings)

if __name__ == "__main__":
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, proxy_headers=False)
