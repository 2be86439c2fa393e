"""The MCP SDK's AccessToken over a caller, with the caller in it and without the token."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cache
from typing import Any

from ..model import MCPUserContext


def access_token(user: MCPUserContext, resource: str | None = None) -> Any:
    """An ``AccessToken`` of the SDK (of FastMCP where that is loaded) whose ``tenantry`` is ``user``.

    The SDK binds a session to (client_id, iss, subject), so all three are always filled in. ``resource`` is what the
    token was judged to be for (RFC 8707). ``token`` is a stand-in: nobody behind the gate has a use for the real one
    that would not be token pass-through.
    """
    made = _carrying(_base())(
        token=_stand_in(user),
        client_id=user.client_id or user.user_id,
        scopes=sorted(user.permissions),
        expires_at=None if user.expires_at is None else int(user.expires_at),
        resource=resource,
        subject=user.user_id,
        claims={"iss": f"tenantry:{user.provider}", **user.claims},
    )
    made._tenantry = user
    return made


def _stand_in(user: MCPUserContext) -> str:
    """Another one for whoever is or may be something else: FastMCP keeps cached answers apart by it
    (``ResponseCachingMiddleware``). It opens nothing, and no credential has its form."""
    seen = [
        user.user_id,
        user.tenant_id,
        user.client_id,
        user.expires_at,
        sorted(user.permissions),
        sorted(user.roles),
        dict(user.claims),
    ]
    text = json.dumps(seen, sort_keys=True, default=str)
    return f"tenantry:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _base() -> Any:
    if "fastmcp" in sys.modules:
        from fastmcp.server.auth import AccessToken as FastMCPAccessToken

        return FastMCPAccessToken
    from mcp.server.auth.provider import AccessToken

    return AccessToken


@cache
def _carrying(base: Any) -> Any:
    class TenantryAccessToken(base):  # type: ignore[misc]  # known at run time only
        """Keeps the caller through to the tool. He is no field: nothing that writes a token out writes him."""

        _tenantry: MCPUserContext | None = None

        @property
        def tenantry(self) -> MCPUserContext | None:
            return self._tenantry

    return TenantryAccessToken
