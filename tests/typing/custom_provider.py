"""A provider of one's own, under strict type checking: what ``tenantry.provider`` promises to other packages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tenantry.provider import (
    ConfigurationError,
    HttpRequest,
    HttpResponse,
    Presented,
    Provider,
    SignedTokens,
    TokenInvalid,
    Tools,
    VerifiedClaims,
)


class Badges(Provider):
    prefixes = ("badge_",)

    def __init__(self, url: str, tools: Tools) -> None:
        self._url, self._tools = url, tools

    async def verify(self, presented: Presented) -> VerifiedClaims:
        request = HttpRequest("POST", self._url, body=presented.text.encode())
        response: HttpResponse = await self._tools.client.ask("badges", request)
        if response.status == 404:
            raise TokenInvalid("token_rejected")
        badge: dict[str, Any] = self._tools.client.object("badges", response)
        until = self._tools.clock.now() + 60
        return VerifiedClaims(self._tools.name, "access_token", str(badge["number"]), badge, until)


class Ours(Provider):
    def __init__(self, issuer: str, keys_url: str, tools: Tools) -> None:
        self.issuers = (issuer,)
        self._tokens: SignedTokens = tools.signed_tokens(issuers=[issuer], audiences=["notes"], keys_url=keys_url)

    async def verify(self, presented: Presented) -> VerifiedClaims:
        verified = await self._tokens.verify(presented)
        return replace(verified, claims={**verified.claims, "org_id": "acme"})

    def start(self) -> None:
        self._tokens.start()

    async def aclose(self) -> None:
        await self._tokens.aclose()


def make(settings: Mapping[str, Any], tools: Tools) -> Provider:
    if "keys" in settings:
        return Ours(settings["issuer"], settings["keys"], tools)
    if "url" not in settings:
        raise ConfigurationError("needs url, where badges are checked")
    return Badges(settings["url"], tools)
