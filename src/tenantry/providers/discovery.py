"""Where an issuer publishes its keys, by its own word: the discovery document.

Sources: OpenID Connect Discovery 1.0 section 4, RFC 8414 section 3.

The document counts only when it names exactly the issuer that was configured, and keys on that issuer's own host: no
document, and nothing in a token, can send us anywhere else. An issuer whose keys are on another host has them
configured (``jwks_uri``), and is then never asked for a document.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import NoReturn
from urllib.parse import urlsplit

from ..core.strict_json import parse_object
from ..observations import Misconfigured
from ..ports import Clock, Fetch, FetchFailed, HttpRequest, HttpResponse, Observer

DEADLINE = 5.0  # seconds for the document and the keys together
BELIEVED = 86_400.0  # seconds that a document is believed for
OPENID, OAUTH = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"


def discovery_url(issuer: str) -> str:
    """Section 4.1 of OpenID Connect Discovery: one slash at the end of the issuer does not count."""
    return issuer.removesuffix("/") + OPENID


def metadata_url(issuer: str) -> str:
    """RFC 8414 section 3: the well-known part comes before the path."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}{OAUTH}{parts.path.rstrip('/')}"


class DiscoveredKeys:
    """A ``Fetch`` that answers the request for ``url``, an issuer's discovery document, with the keys that it names.

    The document is fetched when it is first needed, when it is a day old, and after its keys could not be had. Every
    other request passes through as it is.
    """

    def __init__(self, provider: str, issuer: str, fetch: Fetch, clock: Clock, observe: Observer) -> None:
        self.url = discovery_url(issuer)
        self._provider = provider
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._observe = observe
        self._keys_url: str | None = None
        self._found_at = 0.0
        self._told = False

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.url != self.url:
            return await self._fetch(request)
        try:
            async with asyncio.timeout(DEADLINE):
                return await self._keys(request)
        except TimeoutError:
            raise FetchFailed("timeout") from None

    async def _keys(self, request: HttpRequest) -> HttpResponse:
        now = self._clock.monotonic()
        url, self._keys_url = self._keys_url, None
        if url is None or now >= self._found_at + BELIEVED:
            response = await self._document(request)
            if response.status != 200:
                return response
            url, self._found_at = self._believed(response), now
        response = await self._fetch(replace(request, url=url))
        if response.status == 200:
            self._keys_url = url
        return response

    async def _document(self, request: HttpRequest) -> HttpResponse:
        response = await self._fetch(request)
        if response.status == 404:  # an OAuth server that is no OpenID provider (RFC 8414 section 3)
            response = await self._fetch(replace(request, url=metadata_url(self._issuer)))
        return response

    def _believed(self, response: HttpResponse) -> str:
        """The URL of the keys. Raises ``FetchFailed`` for a document that is none, or of somebody else."""
        try:
            document = parse_object(response.body)
        except ValueError:
            raise FetchFailed("discovery") from None
        if document.get("issuer") != self._issuer:
            self._refuse("names another issuer: configure the issuer character for character as the document says it")
        url = document.get("jwks_uri")
        if type(url) is not str or not url.isprintable() or not same_place(url, self._issuer):
            self._refuse("names keys on another host: configure jwks_uri if they are really there")
        self._told = False
        return url

    def _refuse(self, problem: str) -> NoReturn:
        if not self._told:  # once, however often it is tried
            self._told = True
            self._observe(Misconfigured(self._provider, f"The discovery document of {self._issuer} {problem}."))
        raise FetchFailed("discovery")


def same_place(url: str, issuer: str) -> bool:
    """Same scheme, host and port. The issuer's scheme is https, or http to this machine in development."""
    try:
        there, here = urlsplit(url), urlsplit(issuer)
    except ValueError:
        return False
    return (there.scheme, there.netloc.lower()) == (here.scheme, here.netloc.lower())
