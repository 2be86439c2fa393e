"""Any issuer of signed tokens: the provider of an entry of MCP_HTTP_OIDC_PROVIDERS, and what those for one product
(``entra.py``, ``okta.py``, ...) are built on.

Sources: OpenID Connect Core 1.0 section 2, RFC 9068 section 2.2, RFC 8725.

Which issuer, which audience, which algorithms, which kind of token and which claims count is configuration; nothing of
it is taken from a token. The issuer is an authority on its own people and on nothing else: the tenant is what its own
tenant claim says, or the one organisation that the entry is for, never an e-mail domain unless the operator insists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from ..core.claims import ClaimRules, check_subject
from ..core.jws import UnverifiedToken
from ..core.keys import VerificationKey
from ..core.matching import Presented
from ..core.policy import roles_of, scopes_of
from ..core.tenancy import domain_of_email
from ..errors import TokenInvalid
from ..model import Identity, TokenKind, VerifiedClaims
from ..ports import Clock, Fetch, Observer
from .base import user_id
from .discovery import DiscoveredKeys
from .oidc import Check, JwtVerifier
from .remote_keys import RemoteKeys

ClaimPath = tuple[str, ...]
ACCESS: Final = "access_token"
ID: Final = "id_token"
_ID_MARKS = ("nonce", "at_hash", "c_hash", "s_hash")  # OpenID Connect Core sections 2 and 3.3.2.11
_ACCESS_MARKS = ("scope", "scp", "client_id")  # RFC 9068 section 2.2, and what others write for scope
# What some servers write into the payload's own typ (Keycloak) and token_use (Amazon Cognito).
_SAID: Mapping[str, TokenKind] = {"bearer": ACCESS, "dpop": ACCESS, "access": ACCESS, "id": ID}
_NEITHER = frozenset({"refresh", "offline", "logout", "serialized-id"})
_CLIENT_CLAIMS = ("azp", "client_id", "appid", "cid")


@dataclass(frozen=True, slots=True)
class ClaimNames:
    """Where a token says what: each a path into nested objects, ``tenant`` None where no claim is evidence of one."""

    subject: ClaimPath = ("sub",)
    tenant: ClaimPath | None = None
    permissions: ClaimPath = ("scope",)
    roles: ClaimPath = ("roles",)
    email: ClaimPath = ("email",)
    email_verified: ClaimPath = ("email_verified",)
    name: ClaimPath = ("name",)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerSettings:
    """One issuer. ``issuers`` are the spellings of its name; ``audiences`` None only where a product's own check proves
    that a token is for us; ``keys_url`` None to find it by discovery; ``clients`` None for any client of that audience;
    ``organization`` is everybody's here, ``tenants`` are the tenant claims that are let in; ``bound`` lets tokens
    pass that are bound to a key (``possession.py``); ``leeway`` in seconds."""

    name: str
    issuers: tuple[str, ...]
    audiences: frozenset[str] | None
    keys_url: str | None = None
    keys_fallback_url: str | None = None
    algorithms: frozenset[str] = frozenset({"RS256"})
    accept: frozenset[TokenKind] = frozenset({ACCESS})
    clients: frozenset[str] | None = None
    claims: ClaimNames = ClaimNames()
    organization: str | None = None
    tenants: frozenset[str] | None = None
    tenant_from_email: bool = False
    authorization_servers: tuple[str, ...] = ()
    bound: bool = False
    leeway: float = 30.0


class IssuerProvider:
    """The provider called ``settings.name``; its users are ``<name>:<subject>``.

    A product's provider overrides ``own_checks``, ``kind_of`` and what makes an identity: ``subject_of``,
    ``organization_of``, ``permissions_of``, ``roles_of``, ``email_verified_in``.
    """

    cacheable = True

    def __init__(self, settings: IssuerSettings, fetch: Fetch, clock: Clock, observe: Observer) -> None:
        self.settings = settings
        self.name = settings.name
        self.issuers = settings.issuers
        self.authorization_servers = settings.authorization_servers
        keys = remote_keys(settings, fetch, clock, observe)
        self.jwt = JwtVerifier(self.name, self.rules(), keys, clock, self.own_checks(), self.check_key)
        self.keys = keys

    def rules(self) -> ClaimRules:
        settings = self.settings
        types: frozenset[str | None] = frozenset({"jwt", None})
        return ClaimRules(
            issuers=frozenset(settings.issuers),
            audiences=settings.audiences,
            algorithms=settings.algorithms,
            types=types | {"at+jwt"} if ACCESS in settings.accept else types,
            leeway=settings.leeway,
            bound=settings.bound,
        )

    def own_checks(self) -> tuple[tuple[str, Check], ...]:
        """The checks before those that every JWT gets, by name."""
        checks: list[tuple[str, Check]] = [("kind", self._check_kind), ("user", self._check_user)]
        if self.settings.clients is not None:
            checks.append(("client", self._check_client))
        if self.settings.claims.tenant is not None:
            checks.append(("organization", self._check_organization))
        return tuple(checks)

    def check_key(self, token: UnverifiedToken, key: VerificationKey) -> None:
        """Raise ``TokenInvalid`` when ``key`` may not sign ``token``, though the issuer published it."""

    async def verify(self, presented: Presented) -> VerifiedClaims:
        if presented.token is None or presented.claims is None:
            raise TokenInvalid("token_malformed")
        return await self.jwt.verify(presented, self.kind_of(presented.token, presented.claims))

    def identify(self, verified: VerifiedClaims) -> Identity:
        claims, names = verified.claims, self.settings.claims
        subject = self.subject_of(claims)
        email = self.email_of(claims)
        verified_email = email if email and self.email_verified_in(claims) else None
        return Identity(
            user_id=self.user_id_of(subject),
            provider=self.name,
            subject=subject,
            email=email,
            email_verified=verified_email is not None,
            name=text_at(claims, names.name),
            picture=text_at(claims, ("picture",)),
            client_id=client_of(claims) or (text_at(claims, ("aud",)) if verified.kind == ID else None),
            permissions=self.permissions_of(claims),
            roles=self.roles_of(claims),
            organization=self.organization_of(claims),
            domain=_domain(verified_email) if verified_email and self.settings.tenant_from_email else None,
        )

    def start(self) -> None:
        self.keys.start()

    async def aclose(self) -> None:
        await self.keys.aclose()

    # What a token says of its holder. All of it is pure, and raises ``TokenInvalid`` for what cannot be read.

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        """Access token or ID token, of a kind that is accepted here; ``TokenInvalid`` for neither and for others."""
        said = {value.lower() for name in ("typ", "token_use") if type(value := claims.get(name)) is str}
        if not _NEITHER.isdisjoint(said):
            raise TokenInvalid("token_kind_refused")
        kinds = {_SAID[word] for word in said if word in _SAID}
        if token.type == "at+jwt":
            kinds.add(ACCESS)
        if any(mark in claims for mark in _ID_MARKS):
            kinds.add(ID)
        elif ACCESS not in self.settings.accept and any(mark in claims for mark in _ACCESS_MARKS):
            kinds.add(ACCESS)
        if not kinds:
            kinds = {ACCESS if ACCESS in self.settings.accept else ID}
        kind = kinds.pop()
        if kinds or kind not in self.settings.accept:
            raise TokenInvalid("token_kind_refused")
        return kind

    def subject_of(self, claims: Mapping[str, Any]) -> str:
        return check_subject(claim_at(claims, self.settings.claims.subject))

    def user_id_of(self, subject: str) -> str:
        return user_id(self.name, subject)

    def organization_of(self, claims: Mapping[str, Any]) -> str | None:
        path = self.settings.claims.tenant
        return self.settings.organization if path is None else text_at(claims, path, 255)

    def permissions_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        return scopes_of(claim_at(claims, self.settings.claims.permissions))

    def roles_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        return roles_of(claim_at(claims, self.settings.claims.roles))

    def email_of(self, claims: Mapping[str, Any]) -> str | None:
        return text_at(claims, self.settings.claims.email)

    def email_verified_in(self, claims: Mapping[str, Any]) -> bool:
        return claim_at(claims, self.settings.claims.email_verified) is True

    # Checks

    def _check_kind(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        self.kind_of(token, claims)

    def _check_user(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        self.subject_of(claims)

    def _check_client(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        """Every client that the token names must be ours, and it must name one."""
        named = [claims[name] for name in _CLIENT_CLAIMS if name in claims]
        allowed = self.settings.clients or frozenset()
        if not named or not all(type(client) is str and client in allowed for client in named):
            raise TokenInvalid("client_mismatch")

    def _check_organization(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        """One that cannot be read is refused rather than ignored: its people must not land somewhere else."""
        organization = self.organization_of(claims)
        path = self.settings.claims.tenant
        if organization is None and path is not None and claim_at(claims, path) is not None:
            raise TokenInvalid("claims_malformed")
        if self.settings.tenants is not None and organization not in self.settings.tenants:
            raise TokenInvalid("organization_missing")


def remote_keys(settings: IssuerSettings, fetch: Fetch, clock: Clock, observe: Observer) -> RemoteKeys:
    """The keys of an issuer: where the settings say, else where its discovery document says."""
    fallback = settings.keys_fallback_url
    if settings.keys_url is not None:
        return RemoteKeys(settings.name, settings.keys_url, fetch, clock, observe, fallback=fallback)
    found = DiscoveredKeys(settings.name, settings.issuers[0], fetch, clock, observe)
    return RemoteKeys(settings.name, found.url, found, clock, observe, fallback=fallback)


def claim_at(claims: Mapping[str, Any], path: ClaimPath) -> Any:
    """The value at ``path``, None where there is none; elements of lists have no name and are never reached."""
    value: Any = claims
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


def text_at(claims: Mapping[str, Any], path: ClaimPath, limit: int = 512) -> str | None:
    """The printable text at ``path``, None where there is none."""
    value = claim_at(claims, path)
    return value if type(value) is str and 0 < len(value) <= limit and value.isprintable() else None


def client_of(claims: Mapping[str, Any]) -> str | None:
    """The client that a token was issued to, under any of the names that servers give it."""
    return next((client for name in _CLIENT_CLAIMS if (client := text_at(claims, (name,)))), None)


def refuse_kind(detail: str) -> NoReturn:
    """Refuse a token of the wrong kind; ``detail`` tells the operator which it is, in our words."""
    raise TokenInvalid("token_kind_refused", detail=detail)


def _domain(email: str) -> str | None:
    try:
        return domain_of_email(email)
    except ValueError:
        return None
