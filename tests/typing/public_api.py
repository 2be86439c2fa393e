"""Read by pyright in strict mode and never run: the public names have the types the documents promise."""

from collections.abc import Mapping
from typing import assert_type

from starlette.applications import Starlette
from starlette.requests import Request

from tenantry import MCPUserContext, Settings, TenantryMiddleware, TokenValidator, current_user, require_permission
from tenantry.postgres import get_tenant_database, tenant_connection

app = TenantryMiddleware(Starlette())
configured = TenantryMiddleware(Starlette(), settings=Settings(environment="development", api_key=None))


@require_permission("notes:write")
async def add_note(title: str) -> int:
    return len(title)


async def use(request: Request) -> None:
    user = current_user(request)
    assert_type(user, MCPUserContext)
    assert_type(user.user_id, str)
    assert_type(user.tenant_id, str)
    assert_type(user.email, str | None)
    assert_type(user.permissions, frozenset[str])
    assert_type(user.expires_at, float | None)
    assert_type(user.has_permission("notes:read"), bool)
    claims: Mapping[str, object] = user.claims
    assert_type(await add_note("x" * len(claims)), int)
    require_permission(request, "notes:read")


async def validate() -> None:
    async with TokenValidator.from_settings(Settings()) as validator:
        assert_type(await validator.validate_token(token="t", provider_hint="google"), MCPUserContext)


async def query(user: MCPUserContext) -> None:
    database = await get_tenant_database(user.tenant_id)
    await database.fetch("select id, title from notes")
    async with tenant_connection(user, readonly=True) as connection:
        await connection.fetch("select id from notes where id = $1", 1)
