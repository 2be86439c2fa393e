"""A server on the official MCP SDK 1.x behind tenantry, with sessions.

    pip install tenantry 'mcp>=1.30,<2'
    export MCP_HTTP_ENVIRONMENT=development MCP_HTTP_API_KEY=only-for-this-machine
    python examples/mcp1_server.py

A session belongs to the user who began it: anybody else gets 404. A tool sees the caller of the request at hand, also
after a new token within the session.
"""

from typing import Any

import uvicorn
from mcp.server.fastmcp import Context, FastMCP  # type: ignore[attr-defined]  # 2.x has no such names
from mcp.server.transport_security import TransportSecuritySettings

from tenantry import Settings, TenantryMiddleware, current_user, require_permission, whoami

# tenantry checks Host and Origin; the SDK's own check would serve the names of this machine only.
unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
mcp = FastMCP("example", transport_security=unchecked)


async def hello(ctx: Context[Any, Any, Any]) -> str:
    """A greeting that knows its caller."""
    user = current_user(ctx)
    return f"Hello {user.name or user.user_id} of {user.tenant_id}."


@require_permission("notes:write")
def write(text: str) -> str:
    """Only for who may write."""
    return f"{current_user().user_id} wrote {text}"


for tool in (hello, write, whoami):
    mcp.add_tool(tool)

settings = Settings()
inner = mcp.streamable_http_app()
app = TenantryMiddleware(inner, settings=settings)

if __name__ == "__main__":
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, proxy_headers=False)
