"""The development identity provider: Google, Auth0 and GitHub as one loopback ASGI application.

    idp = DevIdp()
    async with idp.serve() as base_url:
        token = idp.google.id_token("ann")
        environment = idp.settings()          # MCP_HTTP_*: a tenantry server that trusts this one

It vouches for anybody who asks, so it is a weapon outside development: it refuses to start where
MCP_HTTP_ENVIRONMENT says anything else, and to answer on an address that is not loopback.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from tenantry.errors import ConfigurationError

from . import auth0 as auth0_module
from . import github as github_module
from . import google as google_module
from .auth0 import Auth0
from .calls import Call, Calls
from .catalog import Catalog
from .clock import Clock, WallClock
from .control import Control
from .endpoints import Answering, Endpoint, route, routes
from .faults import REDIRECTED, Fault, Faults
from .github import GitHub
from .google import Google
from .introspection import Introspection
from .issuers import Issuer, Issuers
from .loopback import BASE_URL, Receive, Scope, Send, serve_on_loopback
from .people import People

GOOGLE_CLIENT_SECRET: Final = "GOCSPX-devidp-made-up-secret"
_DISCOVERY: Final = "/.well-known/openid-configuration"
_METADATA: Final = "/.well-known/oauth-authorization-server"
_GOOGLE_HOST: Final = "accounts.google.com"


class DevIdp:
    """One identity provider with three faces: ``google``, ``auth0``, ``github``; ``issuers`` are further ones, each
    below a path of its own, and
    ``introspection`` answers about tokens that say nothing themselves.

    ``people`` are known to all of them; ``calls`` are what arrived; ``faults`` is the switch; ``app`` is the
    ASGI application; ``base_url`` is set when it is served. ``sign_in`` is the short name of the person whom
    /authorize signs in without showing its page (``auth0.authorization`` has more switches).
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        google_client_id: str = google_module.CLIENT_ID,
        google_client_secret: str = GOOGLE_CLIENT_SECRET,
        auth0_audience: str = auth0_module.AUDIENCE,
        auth0_client_id: str = auth0_module.CLIENT_ID,
        github_client_id: str = github_module.CLIENT_ID,
        github_client_secret: str = github_module.CLIENT_SECRET,
        base_url: str | None = None,
        sign_in: str | None = None,
    ) -> None:
        clock = clock or WallClock()
        self.people = People()
        self.google = Google(clock=clock, people=self.people, client_id=google_client_id)
        self.auth0 = Auth0(
            clock=clock,
            people=self.people,
            audience=auth0_audience,
            client_id=auth0_client_id,
            base_url=lambda: self.base_url,
        )
        self.auth0.authorization.sign_in = sign_in
        self.github = GitHub(
            clock=clock, people=self.people, client_id=github_client_id, client_secret=github_client_secret
        )
        self.issuers = Issuers(clock=clock, people=self.people, base_url=lambda: self.base_url)
        self.introspection = Introspection(clock=clock, people=self.people, base_url=lambda: self.base_url)
        catalog = _catalog(self)
        self.calls = Calls(catalog)
        self.faults = Faults(catalog)
        self._google_client_secret = google_client_secret
        self._github_client_secret = github_client_secret
        self._base_url = base_url
        self.app = _LoopbackOnly(self)

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:<port>``, without a trailing slash. ``RuntimeError`` before it is served."""
        if self._base_url is None:
            raise RuntimeError("the development identity provider has no address before it is served")
        return self._base_url

    def served_at(self, base_url: str) -> None:
        """Remember the address; ``serve_on_loopback`` tells it."""
        self._base_url = base_url

    @contextlib.asynccontextmanager
    async def serve(self, *, port: int = 0) -> AsyncIterator[str]:
        """Serve on 127.0.0.1 for the length of the block; ``port`` 0 takes a free one."""
        async with serve_on_loopback(self.app, port=port) as base_url:
            yield base_url

    def settings(self, server: str | None = None) -> dict[str, str]:
        """The environment that makes a tenantry server in development trust this provider.

        ``server`` is the URL that clients are given ("http://127.0.0.1:8000/mcp"). Who signs in asks for a token for
        it (RFC 8707), so that it is the audience, and the server must know it: MCP_HTTP_PUBLIC_URL.
        """
        public = {} if server is None else {"MCP_HTTP_PUBLIC_URL": server}
        return {
            "MCP_HTTP_ENVIRONMENT": "development",
            "MCP_HTTP_GOOGLE_CLIENT_ID": self.google.client_id,
            "MCP_HTTP_GOOGLE_CLIENT_SECRET": self._google_client_secret,
            "MCP_HTTP_GOOGLE_BASE_URL": self.base_url,
            "MCP_HTTP_AUTH0_DOMAIN": self.base_url,
            "MCP_HTTP_AUTH0_AUDIENCE": server or self.auth0.audience,
            "MCP_HTTP_GITHUB_ENABLED": "true",
            "MCP_HTTP_GITHUB_CLIENT_ID": self.github.client_id,
            "MCP_HTTP_GITHUB_CLIENT_SECRET": self._github_client_secret,
            "MCP_HTTP_GITHUB_API_URL": self.base_url,
            **public,
        }


class _LoopbackOnly:
    """The guard around the routes: the environment is asked at start, the address with every request."""

    def __init__(self, idp: DevIdp) -> None:
        self._idp = idp
        self._router = Router(_routes(idp))
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A server or a mount without lifespan starts with its first request.
        if scope["type"] == "lifespan" or not self._started:
            self._start(scope)
        if scope["type"] != "lifespan" and not _is_loopback(scope.get("server")):
            await PlainTextResponse("served on loopback only", 403)(scope, receive, send)
            return
        await self._router(scope, receive, send)

    def _start(self, scope: Scope) -> None:
        refuse_outside_development()
        base_url = scope.get("extensions", {}).get(BASE_URL)
        if base_url is not None:
            self._idp.served_at(base_url)
        self._started = True


def refuse_outside_development() -> None:
    """``ConfigurationError`` where MCP_HTTP_ENVIRONMENT is set to anything but ``development``."""
    environment = os.environ.get("MCP_HTTP_ENVIRONMENT", "development")
    if environment != "development":
        raise ConfigurationError(
            f"MCP_HTTP_ENVIRONMENT is {environment!r}: the development identity provider vouches for anybody "
            "and starts only where it is 'development' or not set."
        )


def _is_loopback(server: Sequence[Any] | None) -> bool:
    if server is None:
        return False
    try:
        return ipaddress.ip_address(server[0]).is_loopback
    except ValueError:
        return False


def _catalog(idp: DevIdp) -> Catalog:
    others: dict[str, Any] = {**idp.issuers, idp.introspection.name: idp.introspection, idp.github.name: idp.github}
    oidc = {
        provider.name: ["discovery", *(endpoint.name for endpoint in provider.endpoints())]
        for provider in (idp.google, idp.auth0)
    }
    named = {name: [endpoint.name for endpoint in other.endpoints()] for name, other in others.items()}
    return Catalog({**oidc, **named, "devidp": ["redirected"]})


def _routes(idp: DevIdp) -> list[Route]:
    providers: tuple[Google | Auth0 | GitHub | Issuer | Introspection, ...] = (
        idp.google,
        idp.auth0,
        idp.github,
        *idp.issuers.values(),
        idp.introspection,
    )
    served = [
        route
        for provider in providers
        for route in routes(provider.name, provider.endpoints(), provider.limited, idp.calls, idp.faults)
    ]
    return [*_discovery(idp), *served, _redirected(idp), *Control(idp).routes()]


def _discovery(idp: DevIdp) -> list[Route]:
    """One path, two owners: Google's by its Host or below /google, else Auth0's."""

    def served(provider: Google | Auth0) -> tuple[Endpoint, Answering]:
        paths = (_DISCOVERY, _METADATA)
        endpoint = Endpoint("discovery", paths, lambda call: provider.discovery(idp.base_url), browsers=True)
        return endpoint, Answering(provider.name, endpoint, provider.limited, idp.calls, idp.faults)

    (endpoint, google), (_, auth0) = served(idp.google), served(idp.auth0)
    return [
        route(_DISCOVERY, endpoint, _ByHost({_GOOGLE_HOST: google}, auth0)),
        route(_METADATA, endpoint, auth0),
        route(f"/google{_DISCOVERY}", endpoint, google),
    ]


class _ByHost:
    """Another application for some Hosts."""

    def __init__(self, hosts: Mapping[str, Answering], otherwise: Answering) -> None:
        self._hosts = hosts
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host", "").partition(":")[0].lower()
        await self._hosts.get(host, self._otherwise)(scope, receive, send)


def _redirected(idp: DevIdp) -> Route:
    """Where the redirect fault leads: nobody should arrive, and who does is on record."""

    def arrived(call: Call) -> Response:
        return PlainTextResponse("a redirect was followed")

    def limited(fault: Fault) -> Response:
        return PlainTextResponse("too many requests", 429)

    endpoint = Endpoint("redirected", (REDIRECTED,), arrived)
    answering = Answering("devidp", endpoint, limited, idp.calls, idp.faults)
    return Route(REDIRECTED, answering, methods=["GET", "POST"])
