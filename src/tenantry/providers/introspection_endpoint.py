"""Where a server is asked about tokens: as configured, else by the word of its discovery document.

Sources: RFC 8414 sections 2 and 3, OpenID Connect Discovery 1.0 section 4.

The document counts only when it names exactly the issuer that was configured, and an endpoint on that issuer's own
host: tokens and our own secret are sent there.
"""

from __future__ import annotations

import asyncio
from typing import NoReturn

from ..errors import Unavailable
from ..ports import Clock, HttpRequest, HttpResponse
from .base import RETRY_AFTER, ProviderClient
from .discovery import BELIEVED, discovery_url, metadata_url, same_place

_AGAIN = 300.0  # seconds that an old document serves on when a new one cannot be had
_RETRY_MISTAKE = 60.0


class IntrospectionEndpoint:
    """The URL; ``pinned`` wins over what the document of ``issuer`` says. A document is believed for a day, and
    until it led nowhere (``forget``)."""

    def __init__(self, pinned: str | None, issuer: str | None, client: ProviderClient, clock: Clock) -> None:
        self._pinned = pinned
        self._issuer = issuer or ""
        self._client = client
        self._clock = clock
        self._found: str | None = None
        self._good_until = float("-inf")
        self._told = False
        self._one_at_a_time = asyncio.Lock()

    @property
    def pinned(self) -> bool:
        return self._pinned is not None

    async def url(self) -> str:
        """Raises ``Unavailable`` while no document can be had."""
        if self._pinned is not None:
            return self._pinned
        if self._found is not None and self._clock.monotonic() < self._good_until:
            return self._found
        async with self._one_at_a_time:
            if self._found is None or self._clock.monotonic() >= self._good_until:
                self._found = await self._renewed(self._found)
            return self._found

    def forget(self) -> None:
        """The document is asked for anew before the next question."""
        self._good_until = float("-inf")

    async def _renewed(self, known: str | None) -> str:
        try:
            found = await self._discovered()
        except Unavailable:
            if known is None:
                raise
            self._good_until = self._clock.monotonic() + _AGAIN
            return known
        self._good_until = self._clock.monotonic() + BELIEVED
        return found

    async def _discovered(self) -> str:
        response = await self._ask(discovery_url(self._issuer))
        if response.status == 404:  # an OAuth server that is no OpenID provider
            response = await self._ask(metadata_url(self._issuer))
        if response.status != 200:
            self._client.unavailable("discovery", response)
        document = self._client.object("discovery", response)
        if document.get("issuer") != self._issuer:
            self._refuse("names another issuer: configure the issuer character for character as the document says it")
        url = document.get("introspection_endpoint")
        if type(url) is not str or not url.isprintable() or not same_place(url, self._issuer):
            self._refuse("names no introspection_endpoint on its own host: configure introspection_endpoint")
        self._told = False
        return url

    async def _ask(self, url: str) -> HttpResponse:
        return await self._client.ask("discovery", HttpRequest("GET", url, {"accept": "application/json"}), ours=False)

    def _refuse(self, problem: str) -> NoReturn:
        hint = f"The discovery document of {self._issuer} {problem}."
        if not self._told:  # once, however often it is tried
            self._told = True
            self._client.suspect(hint)
        wait = max(_RETRY_MISTAKE, RETRY_AFTER)
        raise Unavailable("provider_misconfigured", detail=hint, retry_after=wait)
