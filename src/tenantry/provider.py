"""What a provider in another package is made of: docs/providers/custom.md.

    [project.entry-points."tenantry.providers"]
    badge = "acme_badges:make"

    def make(settings: Mapping[str, Any], tools: Tools) -> Provider: ...

Nothing but the credentials that were routed to it reaches such a provider, and nothing but ``VerifiedClaims`` or a
refusal is believed of it: who that is and whose data he sees is decided by tenantry (``providers/custom.py``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from .core.matching import Presented
from .errors import ConfigurationError, Forbidden, TokenInvalid, Unavailable
from .model import TokenKind, VerifiedClaims
from .ports import Clock, Fetch, HttpRequest, HttpResponse, Observer
from .providers.base import ProviderClient
from .providers.issuer import IssuerProvider, IssuerSettings

__all__ = [
    "Client",
    "ConfigurationError",
    "Forbidden",
    "HttpRequest",
    "HttpResponse",
    "Presented",
    "Provider",
    "SignedTokens",
    "TokenInvalid",
    "Tools",
    "Unavailable",
    "VerifiedClaims",
]


class Provider:
    """One identity source; derive from it. What it is asked for must be stated: ``issuers``, the exact ``iss`` of JWTs,
    or ``prefixes``, the beginnings of other credentials ("badge_": small letters and digits up to the first ``_``).

    ``authorization_servers`` are the issuer URLs where MCP clients may sign in for it.
    """

    issuers: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    authorization_servers: tuple[str, ...] = ()

    async def verify(self, presented: Presented) -> VerifiedClaims:
        """Authentic, for this server and not expired; or raise ``TokenInvalid`` when it is definitively not,
        ``Unavailable`` when that cannot be known, ``Forbidden`` for somebody who may not come in at all.

        ``presented.text`` is the credential; ``token`` and ``claims`` are read from a JWT and prove nothing yet.
        """
        raise NotImplementedError

    def start(self) -> None:
        """Begin in the background what the first caller would wait for."""

    async def aclose(self) -> None:
        """The server stops, or its settings have changed."""


class Client(Protocol):
    """Asks a provider over HTTP: one pool, a deadline of 5 seconds, no redirects, https only (http to this machine in
    development). ``endpoint`` is a short name of yours for the log."""

    async def ask(self, endpoint: str, request: HttpRequest) -> HttpResponse:
        """The answer, whatever its status; raises ``Unavailable`` when there is none."""
        ...

    def object(self, endpoint: str, response: HttpResponse) -> dict[str, Any]:
        """The JSON object of a 200, read strictly; raises ``Unavailable`` for anything else."""
        ...

    def unavailable(self, endpoint: str, response: HttpResponse) -> NoReturn:
        """Raise for a status that says nothing about the credential (429, 5xx)."""
        ...

    def misconfigured(self, hint: str) -> NoReturn:
        """Raise because the provider refuses this server; the operator reads ``hint``."""
        ...


class SignedTokens(Protocol):
    """JWTs of an issuer, with every check that the built-in providers make."""

    async def verify(self, presented: Presented) -> VerifiedClaims: ...
    def start(self) -> None: ...
    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What a provider is given. ``name`` is that of its entry point; ``clock.now()`` is in seconds since the epoch;
    ``leeway`` is MCP_HTTP_CLOCK_SKEW in seconds."""

    name: str
    client: Client
    clock: Clock
    leeway: float
    _fetch: Fetch = field(repr=False)
    _observe: Observer = field(repr=False)

    @classmethod
    def of(cls, name: str, leeway: float, fetch: Fetch, clock: Clock, observe: Observer) -> Tools:
        return cls(name, ProviderClient(name, fetch, clock, observe), clock, leeway, fetch, observe)

    def signed_tokens(
        self,
        *,
        issuers: Collection[str],
        audiences: Collection[str],
        keys_url: str,
        algorithms: Collection[str] = ("RS256",),
        kind: TokenKind = "access_token",
    ) -> SignedTokens:
        """The JWTs of ``issuers`` for one of ``audiences``, signed with the keys at ``keys_url`` (a JWK set)."""
        settings = IssuerSettings(
            name=self.name,
            issuers=tuple(issuers),
            audiences=frozenset(audiences),
            keys_url=keys_url,
            algorithms=frozenset(algorithms),
            accept=frozenset({kind}),
            leeway=self.leeway,
        )
        return IssuerProvider(settings, self._fetch, self.clock, self._observe)
