"""What the registry says of a tenant, seen by the superuser."""

from __future__ import annotations

import asyncpg


async def role_of(root: asyncpg.Connection, tenant: str) -> str:
    return await root.fetchval("select role_name from tenantry.tenants where tenant_id = $1", tenant)


async def deployment_of(root: asyncpg.Connection) -> str:
    """The beginning of every role's name."""
    return "tenantry_" + (await root.fetchval("select id from tenantry.deployment"))[:12]


async def lose_role(root: asyncpg.Connection, tenant: str) -> None:
    """As if the cluster had been restored without its roles."""
    role = await role_of(root, tenant)
    await root.execute(f'drop owned by "{role}"; drop role "{role}"')
