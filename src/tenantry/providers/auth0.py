"""Auth0: JWT access tokens for our own API.

Sources: auth0.com/docs, "Validate Access Tokens", "Access Token Profiles", "Organizations".

The issuer has a trailing slash, and it is compared with it. An opaque or encrypted token means that the client
asked for no audience: it cannot be proved to be for us, and routing refuses it with that hint. ``org_id`` is the
tenant of choice. What an Action writes into the token (e-mail, verified flag) is only as good as the Action, so an
e-mail domain makes a tenant only where the operator says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..core.claims import ClaimRules
from ..core.jws import UnverifiedToken
from ..core.matching import Presented
from ..core.policy import permissions_of, roles_of, scopes_of
from ..core.tenancy import domain_of_email
from ..errors import TokenInvalid
from ..model import Identity, VerifiedClaims
from ..ports import Clock, Fetch, Observer
from .base import text_of, user_id
from .oidc import JwtVerifier
from .remote_keys import RemoteKeys

PermissionSource = Literal["intersection", "permissions", "scope"]
_ID_TOKEN_MARKS = ("nonce", "at_hash", "c_hash")


@dataclass(frozen=True, slots=True)
class Auth0Settings:
    """``issuer`` with its slash; ``audiences`` our API identifiers; ``permissions_from`` where both ``scope`` and
    ``permissions`` are in a token; ``organizations`` None to accept any or none, else one of them is obligatory;
    ``bound`` lets tokens pass that are bound to a key (``possession.py``)."""

    issuer: str
    audiences: frozenset[str]
    permissions_from: PermissionSource = "intersection"
    email_claim: str = "email"
    email_verified_claim: str = "email_verified"
    roles_claim: str = "roles"
    organizations: frozenset[str] | None = None
    tenant_from_email: bool = False
    bound: bool = False
    leeway: float = 30.0


class Auth0Provider:
    """The provider "auth0"."""

    name = "auth0"
    cacheable = True

    def __init__(self, settings: Auth0Settings, fetch: Fetch, clock: Clock, observe: Observer) -> None:
        rules = ClaimRules(
            issuers=frozenset({settings.issuer}),
            audiences=settings.audiences,
            algorithms=frozenset({"RS256", "PS256"}),
            leeway=settings.leeway,
            bound=settings.bound,
        )
        url = f"{settings.issuer}.well-known/jwks.json"
        self._settings = settings
        own = (("kind", self._check_kind), ("organization", self._check_organization))
        self.jwt = JwtVerifier(self.name, rules, RemoteKeys(self.name, url, fetch, clock, observe), clock, own)
        self.keys = self.jwt.keys
        self.issuers = (settings.issuer,)
        self.authorization_servers = (settings.issuer,)

    async def verify(self, presented: Presented) -> VerifiedClaims:
        return await self.jwt.verify(presented, "access_token")

    def identify(self, verified: VerifiedClaims) -> Identity:
        claims, settings = verified.claims, self._settings
        email = text_of(claims, settings.email_claim)
        email_verified = claims.get(settings.email_verified_claim) is True
        return Identity(
            user_id=user_id(self.name, verified.subject),
            provider=self.name,
            subject=verified.subject,
            email=email,
            email_verified=email_verified,
            name=text_of(claims, "name"),
            picture=text_of(claims, "picture"),
            client_id=text_of(claims, "azp") or text_of(claims, "client_id"),
            permissions=self._permissions(claims),
            roles=roles_of(claims.get(settings.roles_claim)),
            organization=text_of(claims, "org_id"),
            domain=_domain(email) if email and email_verified and settings.tenant_from_email else None,
        )

    def start(self) -> None:
        self.keys.start()

    async def aclose(self) -> None:
        await self.keys.aclose()

    def _check_kind(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if any(mark in claims for mark in _ID_TOKEN_MARKS):
            raise TokenInvalid("token_kind_refused")

    def _check_organization(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if "org_id" in claims and text_of(claims, "org_id") is None:
            raise TokenInvalid("claims_malformed")  # its people must not land somewhere else
        allowed = self._settings.organizations
        if allowed is not None and text_of(claims, "org_id") not in allowed:
            raise TokenInvalid("organization_missing")

    def _permissions(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """With both in a token, RBAC's ``permissions`` may exceed what the user consented to in ``scope`` and the
        other way round: only what both say is safe by default."""
        scope, permissions = scopes_of(claims.get("scope")), permissions_of(claims.get("permissions"))
        if self._settings.permissions_from == "scope":
            return scope
        if self._settings.permissions_from == "permissions":
            return permissions
        if "scope" in claims and "permissions" in claims:
            return scope & permissions
        return scope | permissions


def _domain(email: str) -> str | None:
    try:
        return domain_of_email(email)
    except ValueError:
        return None
