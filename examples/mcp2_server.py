"""A server on the official MCP SDK 2.x behind tenantry: three lines mount it, one names the caller in a tool.

    pip install 'tenantry[mcp]'
    export MCP_HTTP_ENVIRONMENT=development MCP_HTTP_API_KEY=only-for-this-machine
    python examples/mcp2_server.py

    curl -s http://127.0.0.1:8000/mcp -H 'X-API-Key: only-for-this-machine' \
      -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' \
      -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"hello","arguments":{}}}'

In production ``tenantry serve --app mcp2_server:inner`` does the same, with TLS and signals.
"""

from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from tenantry import Settings, TenantryMiddleware, current_user, require_permission, whoami

mcp = MCPServer("example")
mcp.add_tool(whoami)


@mcp.tool()
async def hello(ctx: Context[Any, Any]) -> str:
    """A greeting that knows its caller."""
    user = current_user(ctx)
    return f"Hello {user.name or user.user_id} of {user.tenant_id}."


@mcp.tool()
@require_permission("notes:write")
def write(text: str) -> str:
    """Only for who may write; it runs in a thread and still knows its caller."""
    return f"{current_user().user_id} wrote {text}"


settings = Settings()
# tenantry checks Host and Origin; the SDK's own check would serve the names of this machine only.
unchecked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
inner = mcp.streamable_http_app(stateless_http=True, json_response=True, transport_security=unchecked)
app = TenantryMiddleware(inner, settings=settings)

if __name__ == "__main__":
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, proxy_headers=False)
