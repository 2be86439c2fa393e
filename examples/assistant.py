"""A personal assistant's memory: projects, todos and documents, for each tenant in a PostgreSQL schema of its own.

export MCP_HTTP_ENVIRONMENT=development MCP_HTTP_TENANT_MIGRATIONS=examples/assistant_migrations
export MCP_HTTP_DATABASE_CONNECTION_STRING=postgresql://... MCP_HTTP_DIRECT_DATABASE_URL=postgresql://...
export MCP_HTTP_API_KEYS='{"only-for-this-machine": {"name": "me", "permissions": ["memory:write"]}}'
python examples/assistant.py
"""

import uvicorn
from mcp.server.mcpserver import MCPServer

from tenantry import Settings, TenantryMiddleware, current_user
from tenantry.postgres import get_tenant_database


async def rows(sql: str, *values: str | int) -> list[dict[str, object]]:
    database = await get_tenant_database(current_user())  # sees the schema of its caller and no other
    return [dict(row) for row in await database.fetch(sql, *values)]


async def add_project(name: str) -> list[dict[str, object]]:
    """Begin a project; its id is what todos are added to."""
    return await rows("insert into projects (name) values ($1) returning id, name", name)


async def add_todo(project: int, title: str) -> list[dict[str, object]]:
    """Remember something to do in the project with this id."""
    return await rows("insert into todos (project, title) values ($1, $2) returning id, title", project, title)


async def finish_todo(todo: int) -> list[dict[str, object]]:
    """Tick off the todo with this id."""
    return await rows("update todos set done = true where id = $1 returning id, title", todo)


async def list_todos() -> list[dict[str, object]]:
    """All projects with their todos; done says which are finished."""
    return await rows(
        "select * from (select id project, name from projects) p left join todos using (project) order by 1"
    )


async def save_document(title: str, body: str) -> list[dict[str, object]]:
    """Keep a text."""
    return await rows("insert into documents (title, body) values ($1, $2) returning id, title", title, body)


async def find_documents(words: str) -> list[dict[str, object]]:
    """The texts that hold all of these words."""
    return await rows("select title, body from documents where words @@ plainto_tsquery('simple', $1)", words)


mcp = MCPServer("assistant", instructions="What is said here is remembered in the next conversation.")
for tool in (add_project, add_todo, finish_todo, list_todos, save_document, find_documents):
    mcp.add_tool(tool)
settings = Settings(tool_permissions={"list_*": "memory:read", "find_*": "memory:read", "*": "memory:write"})
app = TenantryMiddleware(mcp.streamable_http_app(host="0.0.0.0"), settings=settings)  # noqa: S104 - listens nowhere
if __name__ == "__main__":
    uvicorn.run(app, host=settings.host, port=settings.port, access_log=False, proxy_headers=False)
