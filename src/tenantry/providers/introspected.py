"""A server that is asked about each token (RFC 7662): the provider of an entry of MCP_HTTP_INTROSPECTION_PROVIDERS.

An answer is believed for MCP_HTTP_TOKEN_CACHE_TTL, and not past the token's own end: so long a token that was revoked
goes on. Not longer, however few questions the server grants: the guard of a budget (``budget.py``) is not for these.
RFC 9701, an answer that is signed, is not asked for; sent as a token, such an answer is refused by its type
(``core/jws.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from ..core.introspection import IntrospectionRules, check_answer, check_unverified, is_active, subject_in
from ..core.matching import Presented
from ..core.policy import roles_of, scopes_of
from ..errors import TokenInvalid, Unavailable
from ..model import Claims, Identity, VerifiedClaims
from ..ports import Clock, Fetch, HttpRequest, HttpResponse, Observer
from .base import ProviderClient, user_id
from .client_auth import ClientAuth, ClientSettings
from .introspection_endpoint import IntrospectionEndpoint
from .issuer import ClaimNames, claim_at, client_of, text_at

LARGEST = 64 * 1024  # bytes of an answer
_TYPES = frozenset({"jwt", "at+jwt", None})


@dataclass(frozen=True, slots=True, kw_only=True)
class IntrospectionSettings:
    """One server. ``endpoint`` None to find it by discovery from ``issuer``; ``prefixes`` of the tokens that it is
    asked about, ``others`` when it is asked about every opaque token of no known form, ``signed`` when about JWTs that
    name ``issuer``. The rest is as in ``IssuerSettings``."""

    name: str
    client: ClientSettings
    audiences: frozenset[str] | None = None
    clients: frozenset[str] | None = None
    endpoint: str | None = None
    issuer: str | None = None
    prefixes: tuple[str, ...] = ()
    others: bool = False
    signed: bool = False
    claims: ClaimNames = field(default_factory=ClaimNames)
    organization: str | None = None
    tenants: frozenset[str] | None = None
    authorization_servers: tuple[str, ...] = ()
    bound: bool = False
    leeway: float = 30.0


class IntrospectionProvider:
    """The provider called ``settings.name``; its users are ``<name>:<subject>``, clients that call for themselves
    ``<name>:client%3A<client id>``."""

    cacheable = True

    def __init__(self, settings: IntrospectionSettings, fetch: Fetch, clock: Clock, observe: Observer) -> None:
        self.settings = settings
        self.name = settings.name
        self.issuers = (settings.issuer,) if settings.signed and settings.issuer else ()
        self.prefixes = settings.prefixes
        self.others = settings.others
        self.authorization_servers = settings.authorization_servers
        self._rules = IntrospectionRules(
            settings.audiences, settings.clients, settings.issuer, bound=settings.bound, leeway=settings.leeway
        )
        self._auth = ClientAuth(settings.client, clock)
        self._clock = clock
        self._client = ProviderClient(self.name, fetch, clock, observe)
        self._endpoint = IntrospectionEndpoint(settings.endpoint, settings.issuer, self._client, clock)
        self._finding: asyncio.Task[None] | None = None

    async def verify(self, presented: Presented) -> VerifiedClaims:
        own_end = self._refuse_early(presented)
        answer = await self._ask(presented.text)
        if answer is None:
            raise TokenInvalid("token_rejected")
        expires_at = check_answer(answer, self._rules, self._clock.now())
        if presented.claims is not None and presented.claims.get("cnf", answer.get("cnf")) != answer.get("cnf"):
            raise TokenInvalid("sender_constrained")  # a JWT says that it is bound, and its server does not
        self._check_organization(answer)
        subject = subject_in(answer, claim_at(answer, self.settings.claims.subject))
        ends = [end for end in (own_end, expires_at) if end is not None]
        return VerifiedClaims(self.name, "access_token", subject, Claims.of(answer), min(ends, default=None))

    def identify(self, verified: VerifiedClaims) -> Identity:
        claims, names = verified.claims, self.settings.claims
        email = text_at(claims, names.email)
        return Identity(
            user_id=user_id(self.name, verified.subject),
            provider=self.name,
            subject=verified.subject,
            email=email,
            email_verified=email is not None and claim_at(claims, names.email_verified) is True,
            name=text_at(claims, names.name) or text_at(claims, ("username",)),
            picture=text_at(claims, ("picture",)),
            client_id=client_of(claims),
            permissions=scopes_of(claim_at(claims, names.permissions)),
            roles=roles_of(claim_at(claims, names.roles)),
            organization=self._organization_of(claims),
        )

    def start(self) -> None:
        if not self._endpoint.pinned and self._finding is None:
            self._finding = asyncio.get_running_loop().create_task(self._find())

    async def aclose(self) -> None:
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)

    async def _find(self) -> None:
        try:
            await self._endpoint.url()
        except Unavailable:  # observed where it happened; the first caller asks again
            return

    def _refuse_early(self, presented: Presented) -> float | None:
        """When a JWT says that it ends. What it says may refuse it, which spares the server a question, or shorten
        what the server says; no more."""
        if presented.token is None or presented.claims is None:
            return None
        if presented.token.type not in _TYPES:
            raise TokenInvalid("token_type_refused")
        return check_unverified(presented.claims, self.settings.leeway, self._clock.now())

    async def _ask(self, token: str) -> dict[str, Any] | None:
        """What the server says of ``token``; None when it says that it is not active."""
        shown = self._auth.show()
        form = {"token": token, "token_type_hint": "access_token", **shown.form}
        headers = {
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
            "user-agent": "tenantry",
            **shown.headers,
        }
        request = HttpRequest("POST", await self._endpoint.url(), headers, urlencode(form).encode(), LARGEST)
        response = await self._client.ask("introspection", request)
        if response.status != 200:
            self._unanswered(response)
        answer = self._client.object("introspection", response)
        try:
            return answer if is_active(answer) else None
        except ValueError:
            self._client.unusable("introspection", "body")

    def _unanswered(self, response: HttpResponse) -> None:
        """Section 2.3: whatever is not 200 says nothing about the token. Raises ``Unavailable``."""
        limited = "retry-after" in response.headers
        if response.status == 401 or (response.status == 403 and not limited):
            entry = f"MCP_HTTP_INTROSPECTION_PROVIDERS, entry {self.name!r}"
            self._client.misconfigured(f"{entry}: the server refuses our client ({response.status}).")
        if response.status in (404, 405, 410) or 300 <= response.status < 400:
            self._endpoint.forget()
        self._client.unavailable("introspection", response)

    def _organization_of(self, claims: Mapping[str, Any]) -> str | None:
        path = self.settings.claims.tenant
        return self.settings.organization if path is None else text_at(claims, path)

    def _check_organization(self, answer: Mapping[str, Any]) -> None:
        """One that cannot be read is refused rather than ignored: its people must not land somewhere else."""
        organization, path = self._organization_of(answer), self.settings.claims.tenant
        if organization is None and path is not None and claim_at(answer, path) is not None:
            raise TokenInvalid("claims_malformed")
        if self.settings.tenants is not None and organization not in self.settings.tenants:
            raise TokenInvalid("organization_missing")
