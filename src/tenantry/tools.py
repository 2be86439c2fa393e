"""Ready-made tools: ``server.add_tool(whoami)``."""

from __future__ import annotations

from dataclasses import dataclass

from .context import current_user


@dataclass(frozen=True)
class Caller:
    """Who the server thinks you are. ``expires_at`` is in seconds since the epoch, None when your credential has no
    end; ``permissions`` and ``roles`` are sorted."""

    user_id: str
    provider: str
    tenant_id: str
    email: str | None
    permissions: list[str]
    roles: list[str]
    expires_at: float | None


async def whoami() -> Caller:
    """Who you are to this server, for which tenant, and what you may do."""
    user = current_user()
    return Caller(
        user_id=user.user_id,
        provider=user.provider,
        tenant_id=user.tenant_id,
        email=user.email,
        permissions=sorted(user.permissions),
        roles=sorted(user.roles),
        expires_at=user.expires_at,
    )
