"""A small MCP server, as anybody would write it: it knows its tools and nothing of tokens or tenants.

The caller is ``current_user(ctx)``; the tenant's data is ``get_tenant_database(user.tenant_id)``. Who may call which
tool is said in ``policy.toml``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from starlette.applications import Starlette

from tenantry import current_user, whoami
from tenantry.postgres import get_tenant_database

MIGRATIONS = Path(__file__).parent / "migrations"
POLICY = Path(__file__).parent / "policy.toml"
_MANY = 50


@dataclass
class Note:
    """One note; ``author`` is a user id."""

    author: str
    text: str


@dataclass
class Notebook:
    """The latest notes of the tenant, oldest first, and the PostgreSQL schema they were read from."""

    schema_name: str
    notes: list[Note]


@dataclass
class Forgotten:
    """How many notes there were."""

    count: int


async def add_note(text: str, ctx: Context[Any, Any]) -> Note:
    """Write a note that everybody in your tenant can read."""
    user = current_user(ctx)
    database = await get_tenant_database(user.tenant_id)
    await database.execute("insert into notes (author, text) values ($1, $2)", user.user_id, text)
    return Note(user.user_id, text)


async def list_notes(ctx: Context[Any, Any]) -> Notebook:
    """The notes of your tenant."""
    user = current_user(ctx)
    database = await get_tenant_database(user.tenant_id)
    async with database.transaction(readonly=True) as connection:
        schema = await connection.fetchval("select current_schema()")
        rows = await connection.fetch("select author, text from notes order by id desc limit $1", _MANY)
    return Notebook(schema, [Note(row["author"], row["text"]) for row in reversed(rows)])


async def forget_notes(ctx: Context[Any, Any]) -> Forgotten:
    """Delete all notes of your tenant."""
    user = current_user(ctx)
    database = await get_tenant_database(user.tenant_id)
    gone = await database.fetch("delete from notes returning id")
    return Forgotten(len(gone))


def notes_app() -> Starlette:
    """The server as an ASGI app with its endpoint at ``/mcp``; without sessions, and answering in plain JSON, so
    that a single curl is a whole tool call on every protocol revision."""
    server = MCPServer("tenantry-demo", log_level="WARNING")
    for tool in (whoami, list_notes, add_note, forget_notes):
        server.add_tool(tool)
    return server.streamable_http_app(stateless_http=True, json_response=True)
