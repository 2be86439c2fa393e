"""tenantry behind the MCP SDK's own auth, of 1.x and 2.x, for those who prefer it to ``TenantryMiddleware``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .host_auth import HostAuth

if TYPE_CHECKING:
    from mcp.server.auth.provider import AccessToken
    from mcp.server.auth.settings import AuthSettings


class TenantryTokenVerifier(HostAuth):
    """The SDK's ``TokenVerifier``, by ``settings`` or the environment (``MCP_HTTP_*``).

        verifier = TenantryTokenVerifier()
        server = MCPServer("notes", auth=verifier.auth_settings(), token_verifier=verifier)  # 1.x: FastMCP(...)

    ``current_user``, ``require_permission`` and ``whoami`` work in tools as they do behind the middleware, and a
    session belongs to the caller who began it. What the SDK has no words for:

    * 503 and 429: an outage, a spent quota or a store that is down is raised, and Starlette makes a bare 500 of it,
      without ``Retry-After``. (None would be a 401, after which clients delete good tokens.)
    * 403: a caller who may not use this server gets the same 401 as one whose token is bad. A permission that a tool
      misses is a tool error under status 200.
    * ``X-API-Key``: an API key is a Bearer token here. The first of two ``Authorization`` headers is taken.
    * Why: the answer is always "Authentication required"; the reason is in the log and the audit.
    * One authorization server, and metadata at one place: RFC 9728's path, not the root. An issuer without a path gets
      a slash at its end in it.
    * What needs the request or its answer: rules on the body, filtered lists, anonymous methods, quotas of addresses,
      checks of Host, Origin and https, security headers, health checks, metrics, the end of a stream with its token,
      a reload, and the audit of each call.

    ``aclose``, or ``async with``, closes what was made; a ``validator`` of the caller's own stays his to close. A
    server that ends with its process need not. Not in the SDK's lifespan of 1.x: that is one of a session.
    """

    async def verify_token(self, token: str) -> AccessToken | None:
        """The caller as an ``AccessToken`` (``access_token.py``) without the token, None for a 401.

        ``resource`` is ``MCP_HTTP_PUBLIC_URL``: that the token is for this server has been judged by the rules of its
        provider. Raises the ``Refusal`` where nobody could judge, or may not now.
        """
        found: AccessToken | None = await self.judge(token)
        return found

    def auth_settings(self, issuer: str | None = None) -> AuthSettings:
        """The SDK's settings for this verifier. ``issuer`` is the authorization server to name, of several; the first
        by default. With API keys alone nothing is published: clients leave a configured key aside where OAuth is.

        Raises ``ConfigurationError`` for an issuer whose tokens are not accepted.
        """
        from mcp.server.auth.settings import AuthSettings

        servers, resource = self.authorization_servers, self.settings.resource
        if issuer is not None and issuer not in servers:
            raise ConfigurationError(
                f"auth_settings: {issuer!r} is none of the issuers {', '.join(servers) or '(none)'}."
            )
        published = resource if servers else None
        values = {"issuer_url": issuer or next(iter(servers), resource), "resource_server_url": published}
        return AuthSettings.model_validate({**values, "validate_token_resource": published is not None})
