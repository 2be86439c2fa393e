"""tenantry behind FastMCP's own auth, for those who prefer it to ``TenantryMiddleware``. Needs FastMCP 4."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

from fastmcp.server.auth import AccessToken, RemoteAuthProvider, TokenVerifier
from pydantic import AnyHttpUrl
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ..core.metadata import metadata_paths
from ..errors import ConfigurationError
from .host_auth import HostAuth
from .transport import Transport

if TYPE_CHECKING:
    from ..settings import Settings
    from ..validator import TokenValidator


class TenantryAuthProvider(RemoteAuthProvider):
    """FastMCP's ``auth``, by ``settings`` or the environment (``MCP_HTTP_*``).

        auth = TenantryAuthProvider()
        mcp = FastMCP("notes", auth=auth, lifespan=auth.lifespan)

    It publishes the metadata of ``MCP_HTTP_PUBLIC_URL`` with all authorization servers, at both places. FastMCP's path
    must be the end of that URL's. ``current_user``, ``require_permission`` and ``whoami`` work in tools as they do
    behind the middleware, and a session belongs to the caller who began it. What FastMCP has no words for:

    * 503 and 429: an outage, a spent quota or a store that is down is raised, and Starlette makes a bare 500 of it,
      without ``Retry-After``. (None would be a 401, after which clients delete good tokens.) Inside ``MultiAuth`` it
      is a 401 all the same, and ``MultiAuth`` shows a token to everybody in turn: do not put it there.
    * 403: a caller who may not use this server gets the same 401 as one whose token is bad. A permission that a tool
      misses is a tool error under status 200. ``require_scopes`` compares to the letter: to it, ``notes:write`` does
      not imply ``notes:read``.
    * ``X-API-Key``: an API key is a Bearer token here. The first of two ``Authorization`` headers is taken.
    * Why: the answer always tells the client to drop its tokens; the reason is in the log and the audit.
    * What needs the request or its answer: rules on the body, filtered lists, anonymous methods, quotas of addresses,
      checks of Host, Origin and https, security headers, health checks, metrics, the end of a stream with its token,
      a reload, and the audit of each call.

    ``lifespan``, ``aclose`` or ``async with`` closes what was made; a ``validator`` of the caller's own stays his to
    close. A background task of FastMCP's knows no caller: its copy of the token has none.
    """

    def __init__(self, settings: Settings | None = None, *, validator: TokenValidator | None = None) -> None:
        self._tenantry = made = HostAuth(settings, validator=validator)
        self._resource = made.settings.resource
        asked = list(made.settings.default_permissions or ())
        servers: list[Any] = list(made.authorization_servers)  # as they are: a parsed URL would end in a slash
        super().__init__(_Verifier(made), servers, self._resource, scopes_supported=asked, challenge_scopes=asked)
        published = self._resource if servers else None  # with API keys alone nothing is
        self._metadata = Transport(resource=published, authorization_servers=servers, scopes=asked)

    def get_routes(self, mcp_path: str | None = None) -> list[Route]:
        """The metadata, at the path that RFC 9728 inserts and at the root; both with and without a slash at the end.
        In a parent app add ``get_well_known_routes`` to the parent's routes: clients ask at the root of the host.

        Raises ``ConfigurationError`` when ``MCP_HTTP_PUBLIC_URL`` is not where FastMCP serves."""
        self.base_url = AnyHttpUrl(_base_of(self._resource, mcp_path or "/"))
        self.set_mcp_path(mcp_path)
        if not self._metadata.oauth:
            return []
        paths = [path + slash for path in metadata_paths(self._resource) for slash in ("", "/")]
        return [Route(path, self._tell, methods=["GET", "HEAD", "OPTIONS"]) for path in paths]

    async def _tell(self, request: Request) -> Response:
        found = self._metadata.well_known(request.scope["path"], request.method)
        if found is None:
            return Response(status_code=404)
        response = Response(found.body, found.status)
        response.raw_headers = [*found.headers, (b"content-length", str(len(found.body)).encode())]
        return response

    @asynccontextmanager
    async def lifespan(self, server: object) -> AsyncIterator[dict[str, Any]]:
        """For ``FastMCP(lifespan=...)``: starts, and closes at the end."""
        async with self:
            yield {}

    async def aclose(self) -> None:
        """Close what was made here. A second time does nothing."""
        await self._tenantry.aclose()

    async def __aenter__(self) -> Self:
        self._tenantry.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Verifier(TokenVerifier):
    """The verifier that FastMCP's provider is made around."""

    def __init__(self, judging: HostAuth) -> None:
        super().__init__()
        self._judging = judging

    async def verify_token(self, token: str) -> AccessToken | None:
        found: AccessToken | None = await self._judging.judge(token)
        return found


def _base_of(resource: str, mcp_path: str) -> str:
    """What FastMCP's path is appended to, so that the sum is ``resource``."""
    ending = mcp_path.rstrip("/")
    if not resource.rstrip("/").endswith(ending):
        raise ConfigurationError(
            f"MCP_HTTP_PUBLIC_URL is {resource!r}, and FastMCP serves MCP at {mcp_path!r}: let its path end with that."
        )
    return resource.rstrip("/").removesuffix(ending)
