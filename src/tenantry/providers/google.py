"""Google: ID tokens by signature, access tokens by tokeninfo and userinfo.

Sources: developers.google.com/identity/openid-connect, .../sign-in/web/backend-auth, OAuth 2.0 token types.

* Anybody with a Google Cloud project can have Google sign an ID token for *any* audience (service accounts,
  ``generateIdToken``): ``aud`` alone does not say "signed in through our client". ``azp`` must be ours too, or the
  subject a service account that the operator listed.
* userinfo answers for a token minted for anybody's app: it is asked only after tokeninfo proved the audience, and
  only believed for the same ``sub``.
* Google is authoritative for an address only below gmail.com, or where ``hd`` says so: the organisation's primary
  domain. A consumer account with a company address proves nothing about the company.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.claims import ClaimRules, check_subject
from ..core.jws import UnverifiedToken
from ..core.matching import GOOGLE, Presented
from ..core.policy import scopes_of
from ..core.tenancy import canonical_domain, domain_of_email
from ..errors import ConfigurationError, TokenInvalid
from ..model import Claims, Identity, VerifiedClaims
from ..ports import Clock, Fetch, HttpRequest, HttpResponse, Observer
from .base import ProviderClient, text_of, user_id
from .google_workload import GoogleWorkloadProvider, acts_for_itself
from .oidc import JwtVerifier
from .remote_keys import RemoteKeys

ISSUERS = ("https://accounts.google.com", "accounts.google.com")
_CONSUMER_DOMAINS = frozenset({"gmail.com", "googlemail.com"})


@dataclass(frozen=True, slots=True)
class GoogleSettings:
    """``client_ids`` are all OAuth clients of our own project; ``service_accounts`` numeric unique ids (``sub``)
    that may call; the URLs change only against a development identity provider."""

    client_ids: frozenset[str]
    service_accounts: frozenset[str] = frozenset()
    leeway: float = 30.0
    keys_url: str = "https://www.googleapis.com/oauth2/v3/certs"
    tokeninfo_url: str = "https://oauth2.googleapis.com/tokeninfo"
    userinfo_url: str = "https://openidconnect.googleapis.com/v1/userinfo"

    def __post_init__(self) -> None:
        if not self.client_ids:
            raise ConfigurationError("MCP_HTTP_GOOGLE_CLIENT_ID is empty: Google tokens of any app would pass.")


class GoogleProvider:
    """The provider "google". A service account's own token goes to ``accounts``, where there are any, and nowhere
    else."""

    name = GOOGLE
    issuers = ISSUERS
    authorization_servers = ("https://accounts.google.com",)
    cacheable = True

    def __init__(
        self,
        settings: GoogleSettings,
        fetch: Fetch,
        clock: Clock,
        observe: Observer,
        accounts: GoogleWorkloadProvider | None = None,
    ) -> None:
        rules = ClaimRules(
            issuers=frozenset(ISSUERS),
            audiences=settings.client_ids,
            algorithms=frozenset({"RS256"}),
            types=frozenset({"jwt", None}),
            leeway=settings.leeway,
        )
        self._settings = settings
        self._clock = clock
        self._client = ProviderClient(self.name, fetch, clock, observe)
        keys = RemoteKeys(self.name, settings.keys_url, fetch, clock, observe)
        self.jwt = JwtVerifier(self.name, rules, keys, clock, (("client", self._check_party),))
        self.keys = keys
        self._accounts = accounts

    async def verify(self, presented: Presented) -> VerifiedClaims:
        if presented.token is None:
            return await self._verify_access_token(presented.text)
        if self._accounts is not None and acts_for_itself(presented.claims or {}):
            return await self._accounts.verify(presented)
        return await self.jwt.verify(presented, "id_token")

    def verifier_for(self, claims: Mapping[str, Any]) -> JwtVerifier:
        """Whose checks a token of these claims gets, for ``tenantry token explain``."""
        return self.jwt if self._accounts is None or not acts_for_itself(claims) else self._accounts.jwt

    def identify(self, verified: VerifiedClaims) -> Identity:
        claims = verified.claims
        email_verified = claims.get("email_verified") is True
        email = text_of(claims, "email")
        return Identity(
            user_id=user_id(self.name, verified.subject),
            provider=self.name,
            subject=verified.subject,
            email=email,
            email_verified=email_verified,
            name=text_of(claims, "name"),
            picture=text_of(claims, "picture"),
            client_id=text_of(claims, "azp") or text_of(claims, "aud"),
            permissions=scopes_of(claims.get("scope")),
            domain=_domain(claims, email if email_verified else None),
        )

    def start(self) -> None:
        self.keys.start()

    async def aclose(self) -> None:
        await self.keys.aclose()

    def _check_party(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        """Our own clients, or a service account that the operator listed (pinned by its id: addresses are
        re-created)."""
        if text_of(claims, "sub") in self._settings.service_accounts:
            return
        if (text_of(claims, "email") or "").lower().endswith(".gserviceaccount.com"):
            raise TokenInvalid("service_account_refused")
        if "azp" in claims and text_of(claims, "azp") not in self._settings.client_ids:
            raise TokenInvalid("client_mismatch")

    async def _verify_access_token(self, token: str) -> VerifiedClaims:
        # In the header rather than the query, which logs and proxies write down.
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        info = await self._ask("tokeninfo", HttpRequest("GET", self._settings.tokeninfo_url, headers))
        if "aud" not in info:
            self._client.unusable("tokeninfo", "body")
        subject, expires_at = self._check_tokeninfo(info)
        person = await self._ask("userinfo", HttpRequest("GET", self._settings.userinfo_url, headers))
        if person.get("sub") != subject:
            raise TokenInvalid("subject_invalid")
        claims: dict[str, Any] = {
            "iss": ISSUERS[0],
            **{name: info[name] for name in ("aud", "azp", "scope", "email") if name in info},
            **{name: person[name] for name in ("hd", "name", "picture") if name in person},
            "sub": subject,
            "exp": expires_at,
            "email_verified": info.get("email_verified") == "true",  # tokeninfo's values are all strings
        }
        return VerifiedClaims(self.name, "access_token", subject, Claims.of(claims), float(expires_at))

    async def _ask(self, endpoint: str, request: HttpRequest) -> dict[str, Any]:
        response = await self._client.ask(endpoint, request)
        if response.status in (400, 401):
            raise TokenInvalid("token_rejected")
        return self._object(endpoint, response)

    def _object(self, endpoint: str, response: HttpResponse) -> dict[str, Any]:
        if response.status != 200:
            self._client.unavailable(endpoint, response)
        return self._client.object(endpoint, response)

    def _check_tokeninfo(self, info: Mapping[str, Any]) -> tuple[str, int]:
        """(sub, exp) of an access token that was issued to us, or ``TokenInvalid``."""
        if text_of(info, "aud") not in self._settings.client_ids:
            raise TokenInvalid("audience_mismatch")
        if "azp" in info and text_of(info, "azp") not in self._settings.client_ids:
            raise TokenInvalid("client_mismatch")
        expires = info.get("exp")
        if type(expires) is not str or not expires.isdecimal() or len(expires) > 12:
            raise TokenInvalid("claims_malformed")
        if int(expires) <= self._clock.now():
            raise TokenInvalid("token_expired")
        return check_subject(info.get("sub")), int(expires)


def _domain(claims: Mapping[str, Any], verified_email: str | None) -> str | None:
    """The domain that Google vouches for: the organisation's (``hd``), or gmail.com's own. An organisation that
    cannot be read raises ``TokenInvalid``: its people must not land somewhere else."""
    if claims.get("hd") is not None:
        try:
            return canonical_domain(claims["hd"])
        except (ValueError, AttributeError):
            raise TokenInvalid("claims_malformed") from None
    try:
        domain = domain_of_email(verified_email) if verified_email else None
    except ValueError:
        return None
    return domain if domain in _CONSUMER_DOMAINS else None
