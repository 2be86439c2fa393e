"""Apps whose start is measured, with nothing beside them: what they import is part of it."""

from __future__ import annotations

from typing import Any


def tool_server() -> Any:
    """An MCP server with one tool."""
    from mcp.server.mcpserver import MCPServer

    mcp = MCPServer("bench")

    @mcp.tool()
    def add(a: int, b: int) -> int:
        return a + b

    return mcp.streamable_http_app(host="0.0.0.0")


def bare() -> Any:
    """The least ASGI app."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

    return app
