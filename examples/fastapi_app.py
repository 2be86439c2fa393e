"""An HTTP API on FastAPI and an MCP server in one app, behind one gate.

    pip install 'tenantry[mcp]' fastapi
    export MCP_HTTP_ENVIRONMENT=development MCP_HTTP_API_KEY=only-for-this-machine
    python examples/fastapi_app.py

    curl -s http://127.0.0.1:8000/me -H 'X-API-Key: only-for-this-machine'

The MCP endpoint is http://127.0.0.1:8000/assistant/mcp; in production MCP_HTTP_PUBLIC_URL ends with that path.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Request
from mcp.server.mcpserver import MCPServer

from tenantry import MCPUserContext, Settings, TenantryMiddleware, current_user, require_permission, whoami

mcp = MCPServer("example")
mcp.add_tool(whoami)
assistant = mcp.streamable_http_app(host="0.0.0.0")  # noqa: S104 - listens nowhere: tenantry checks Host and Origin


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Nobody else runs the lifespan of an app that is mounted."""
    async with assistant.router.lifespan_context(assistant):
        yield


def caller(request: Request) -> MCPUserContext:
    return current_user(request)


api = FastAPI(lifespan=lifespan)
api.mount("/assistant", assistant)
api.get("/me")(whoami)


@api.post("/notes", dependencies=[Depends(require_permission("notes:write"))])
def write(text: str, user: Annotated[MCPUserContext, Depends(caller)]) -> dict[str, str]:
    return {"tenant": user.tenant_id, "author": user.user_id, "text": text}


settings = Settings()
app = TenantryMiddleware(api, settings=settings)

if __name__ == "__main__":
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, proxy_headers=False)
