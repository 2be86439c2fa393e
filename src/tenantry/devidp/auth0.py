"""Auth0, as a token validator meets it.

Where real bugs hide, it is faithful: the issuer ends in a slash, the two access-token profiles differ, an
audience may be a list, a token without an audience is an opaque JWE, the 401 of /userinfo is text and its
limit is low. https://auth0.com/docs/secure/tokens/access-tokens
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from starlette.responses import JSONResponse, PlainTextResponse, Response

from .authorization import AuthorizationServer
from .calls import Call
from .clock import Clock
from .endpoints import Endpoint
from .faults import Fault
from .keyring import KeyRing, Omit, b64url
from .people import Auth0Account, People, Person

AUDIENCE: Final = "https://mcp.example/mcp"
CLIENT_ID: Final = "DevIdpClient0123456789AbCdEfGhIj"
CLIENT_SECRET: Final = "devidp-made-up-client-secret"
_DAY: Final = 86_400  # Auth0's default lifetime of an API access token

Profile = Literal["auth0", "rfc9068"]


@dataclass(slots=True)
class _Grant:
    """Who a token opens /userinfo for, and until when."""

    person: Person
    expires_at: float


@dataclass(slots=True)
class _Bucket:
    """A token bucket: what is ``left``, as of the time ``at``."""

    left: float
    at: float


class Auth0:
    """The provider, and the mint of its tokens.

    ``userinfo_burst`` and ``userinfo_per_minute`` are the free plan's limit of /userinfo, per user.
    """

    name: Final = "auth0"

    def __init__(
        self, *, clock: Clock, people: People, audience: str, client_id: str, base_url: Callable[[], str]
    ) -> None:
        self.audience = audience
        self.client_id = client_id
        self.client_secret = CLIENT_SECRET
        self.keys = KeyRing("auth0", published=3, certificates=True)
        self.userinfo_burst = 10.0
        self.userinfo_per_minute = 5.0
        self._clock = clock
        self._people = people
        self._base_url = base_url
        self._grants: dict[str, _Grant] = {}
        self._buckets: dict[str, _Bucket] = {}
        self.authorization = AuthorizationServer(self, clock=clock, people=people)

    @property
    def issuer(self) -> str:
        """The base URL with the trailing slash that Auth0's issuers have."""
        return self._base_url() + "/"

    # Minting

    def access_token(
        self,
        person: Person | str,
        *,
        audience: str | Sequence[str] | None = None,
        profile: Profile = "auth0",
        scope: str = "openid profile email read:notes",
        permissions: Iterable[str] | None = None,
        org_id: str | Omit | None = None,
        namespace_email: str | None = None,
        client_id: str | None = None,
        expires_in: float = _DAY,
        **claims: Any,
    ) -> str:
        """A signed access token.

        ``audience``: our API unless said otherwise; with ``openid`` in ``scope`` the /userinfo endpoint joins
        it, which makes the claim a list. ``permissions`` appear when given (RBAC with permissions in the
        token; the directory has a suggestion in ``person.auth0.permissions``). ``org_id`` overrides the
        person's own organisation. ``namespace_email`` ("https://mcp.example/") is what a tenant's Action
        would prefix to ``email`` and ``email_verified``, which are absent otherwise. ``claims`` replace, add
        or (with ``OMIT``) remove any claim.
        """
        found = self._people.find(person)
        account = found.at_auth0()
        token = self._signed(
            profile,
            client_id or self.client_id,
            {
                "iss": self.issuer,
                "sub": account.sub,
                "aud": self._audience(audience, scope),
                **self._lifetime(expires_in),
                "scope": scope,
                **_organization(account, org_id),
                **({} if permissions is None else {"permissions": list(permissions)}),
                **_namespaced(account, namespace_email),
            },
            claims,
        )
        if "openid" in scope.split():
            self._grants[token] = _Grant(found, self._clock.now() + expires_in)
        return token

    def machine_token(
        self,
        client_id: str,
        *,
        audience: str | Sequence[str] | None = None,
        profile: Profile = "auth0",
        scope: str = "read:notes",
        expires_in: float = _DAY,
        **claims: Any,
    ) -> str:
        """A client-credentials token: ``sub`` is "<client_id>@clients" and ``gty`` says so."""
        subject = {"iss": self.issuer, "sub": f"{client_id}@clients", "aud": audience or self.audience}
        kind = {"scope": scope, "gty": "client-credentials"}
        return self._signed(profile, client_id, {**subject, **self._lifetime(expires_in), **kind}, claims)

    def id_token(
        self,
        person: Person | str,
        *,
        client_id: str | None = None,
        nonce: str | None = None,
        expires_in: float = 36_000,
        **claims: Any,
    ) -> str:
        """What tells a *client* who signed in (OpenID Connect Core section 2); no credential for a server."""
        found = self._people.find(person)
        base = {"iss": self.issuer, "aud": client_id or self.client_id, **self._lifetime(expires_in)}
        given = {} if nonce is None else {"nonce": nonce}
        return self.keys.sign({**self._profile(found, found.at_auth0()), **base, **given, **claims})

    def permissions(self, person: Person) -> tuple[str, ...] | None:
        """What RBAC writes into a token that is asked for by signing in; None where it is off."""
        return person.at_auth0().permissions if self.authorization.rbac else None

    def forget(self, token: str) -> None:
        """Close /userinfo to an access token; whoever validates its signature sees no difference."""
        self._grants.pop(token, None)

    def opaque_token(self, person: Person | str | None = None, *, expires_in: float = _DAY) -> str:
        """What a client gets that asked for no audience: five parts, the second empty (a JWE with ``alg:
        dir``). It opens /userinfo for ``person``, and nothing proves whom it was made for."""
        header = json.dumps({"alg": "dir", "enc": "A256GCM", "iss": self.issuer}, separators=(",", ":"))
        random = [b64url(secrets.token_bytes(size)) for size in (12, 180, 16)]
        token = ".".join([b64url(header.encode()), "", *random])
        if person is not None:
            found = self._people.find(person)
            found.at_auth0()
            self._grants[token] = _Grant(found, self._clock.now() + expires_in)
        return token

    def hs256_token(self, person: Person | str = "ann", **claims: Any) -> str:
        """Algorithm confusion (RFC 8725 section 2.1): an honest payload, signed with HMAC under the PEM of
        the public key that everybody can fetch."""
        account = self._people.find(person).at_auth0()
        honest = {"iss": self.issuer, "sub": account.sub, "aud": self.audience, "azp": self.client_id}
        return self.keys.sign({**honest, **self._lifetime(_DAY), **claims}, alg="HS256")

    def _signed(self, profile: Profile, client_id: str, base: dict[str, Any], claims: dict[str, Any]) -> str:
        if profile == "rfc9068":
            own = {"client_id": client_id, "jti": secrets.token_urlsafe(16)}
            return self.keys.sign({**base, **own, **claims}, header={"typ": "at+jwt"})
        return self.keys.sign({**base, "azp": client_id, **claims})

    def _audience(self, audience: str | Sequence[str] | None, scope: str) -> str | list[str]:
        if audience is not None and not isinstance(audience, str):
            return list(audience)
        if "openid" not in scope.split():
            return audience or self.audience
        return [audience or self.audience, f"{self.issuer}userinfo"]

    def _lifetime(self, expires_in: float) -> dict[str, int]:
        now = int(self._clock.now())
        return {"iat": now, "exp": now + int(expires_in)}

    # Answering

    def endpoints(self) -> list[Endpoint]:
        """What is served."""
        return [
            Endpoint("jwks", ("/.well-known/jwks.json",), self._jwks, browsers=True),
            Endpoint("userinfo", ("/userinfo",), self._userinfo, ("GET", "POST"), browsers=True),
            *self.authorization.endpoints(),
        ]

    def discovery(self, base_url: str) -> Response:
        """The discovery document of the issuer with the slash (OpenID Connect Discovery section 3, RFC 8414)."""
        return JSONResponse(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{base_url}/.well-known/jwks.json",
                "userinfo_endpoint": f"{base_url}/userinfo",
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["HS256", "RS256", "PS256"],
                **self.authorization.metadata(base_url),
            }
        )

    def limited(self, fault: Fault) -> Response:
        """429 with the X-RateLimit headers, in Auth0's words."""
        return self._too_many(fault.retry_after, fault.status or 429)

    def _jwks(self, call: Call) -> Response:
        headers = {"cache-control": "public, max-age=15, stale-while-revalidate=15, stale-if-error=86400"}
        return JSONResponse(self.keys.jwks(), headers=headers)

    def _userinfo(self, call: Call) -> Response:
        grant = self._grants.get(call.token or "")
        if grant is None or grant.expires_at <= self._clock.now():
            return PlainTextResponse("Unauthorized", 401, {"www-authenticate": 'Bearer error="invalid_token"'})
        account = grant.person.at_auth0()
        if not self._spend(account.sub):
            return self._too_many(None, 429)
        return JSONResponse(self._profile(grant.person, account))

    def _spend(self, sub: str) -> bool:
        now = self._clock.now()
        bucket = self._buckets.setdefault(sub, _Bucket(self.userinfo_burst, now))
        refill = (now - bucket.at) * self.userinfo_per_minute / 60
        bucket.left, bucket.at = min(self.userinfo_burst, bucket.left + refill), now
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True

    def _too_many(self, retry_after: int | None, code: int) -> Response:
        wait = 60 if retry_after is None else retry_after
        headers = {
            "x-ratelimit-limit": str(int(self.userinfo_burst)),
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": str(int(self._clock.now()) + wait),
        }
        if retry_after is not None:
            headers["retry-after"] = str(retry_after)
        body = {"error": "too_many_requests", "error_description": "Global limit has been reached"}
        return JSONResponse(body, code, headers)

    def _profile(self, person: Person, account: Auth0Account) -> dict[str, Any]:
        return {
            "sub": account.sub,
            "nickname": person.key,
            "name": person.name,
            "picture": person.picture,
            "updated_at": "2026-11-01T00:00:00.000Z",
            "email": account.email,
            "email_verified": account.email_verified,
        }


def _organization(account: Auth0Account, org_id: str | Omit | None) -> dict[str, Any]:
    if org_id is not None and org_id != account.org_id:
        return {"org_id": org_id}
    if account.org_id is None:
        return {}
    return {"org_id": account.org_id, **({"org_name": account.org_name} if account.org_name else {})}


def _namespaced(account: Auth0Account, namespace: str | None) -> dict[str, Any]:
    if namespace is None:
        return {}
    return {f"{namespace}email": account.email, f"{namespace}email_verified": account.email_verified}
