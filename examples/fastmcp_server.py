"""A FastMCP server behind tenantry.

    pip install tenantry 'fastmcp>=4,<5'
    export MCP_HTTP_ENVIRONMENT=development MCP_HTTP_API_KEY=only-for-this-machine
    python examples/fastmcp_server.py

FastMCP's own ``auth`` stays unset: who calls is settled before FastMCP sees the request. ``get_access_token()`` of
FastMCP names the caller as well.
"""

import uvicorn
from fastmcp import Context, FastMCP

from tenantry import Settings, TenantryMiddleware, current_user, require_permission, whoami

mcp: FastMCP[None] = FastMCP("example")
mcp.tool(whoami)


@mcp.tool
async def hello(ctx: Context) -> str:
    """A greeting that knows its caller."""
    user = current_user(ctx)
    return f"Hello {user.name or user.user_id} of {user.tenant_id}."


@mcp.tool
@require_permission("notes:write")
def write(text: str) -> str:
    """Only for who may write; it runs in a thread and still knows its caller."""
    return f"{current_user().user_id} wrote {text}"


settings = Settings()
inner = mcp.http_app()
app = TenantryMiddleware(inner, settings=settings)

if __name__ == "__main__":
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, proxy_headers=False)
