"""Google, as a token validator meets it: key set, tokeninfo and userinfo.

Where real bugs hide, it is faithful: two issuer spellings, all-string tokeninfo without ``iss`` and ``hd``, a
token of another client that works at userinfo, service accounts that mint ID tokens for any audience,
consumer accounts with a corporate address.
https://developers.google.com/identity/openid-connect/openid-connect
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from .calls import Call
from .clock import Clock
from .endpoints import Endpoint
from .faults import Fault
from .keyring import KeyRing, b64url
from .people import People, Person

ISSUER: Final = "https://accounts.google.com"
ISSUER_WITHOUT_SCHEME: Final = "accounts.google.com"
"""Both spellings are legal in ``iss``."""

CLIENT_ID: Final = "123456789012-devidp.apps.googleusercontent.com"
OTHER_CLIENT_ID: Final = "999999999999-coolapp.apps.googleusercontent.com"
"""Somebody else's app: where a confused deputy's tokens come from."""

EMAIL_SCOPE: Final = "https://www.googleapis.com/auth/userinfo.email"
PROFILE_SCOPE: Final = "https://www.googleapis.com/auth/userinfo.profile"
_LONG_FORM: Final = {"email": EMAIL_SCOPE, "profile": PROFILE_SCOPE}

# A service account: its numeric unique id, and the address that must never become a tenant.
ROBOT_ID: Final = "108000000000000000001"
ROBOT_EMAIL: Final = "robot@made-up-project.iam.gserviceaccount.com"


@dataclass(slots=True)
class _Grant:
    """What one access token stands for. ``person`` is None for the service account."""

    person: Person | None
    client_id: str
    scopes: tuple[str, ...]
    expires_at: float
    revoked: bool = False


class Google:
    """The provider, and the mint of its tokens. ``max_age`` and ``age`` (seconds) are what the key set's
    Cache-Control and Age say."""

    name: Final = "google"

    def __init__(self, *, clock: Clock, people: People, client_id: str) -> None:
        self.client_id = client_id
        self.keys = KeyRing("google", published=2)
        self.max_age = 22_000  # Google's values are in the thousands to tens of thousands
        self.age = 1_000
        self._clock = clock
        self._people = people
        self._grants: dict[str, _Grant] = {}

    # Minting

    def id_token(
        self,
        person: Person | str,
        *,
        client_id: str | None = None,
        azp: str | None = None,
        issuer: str = ISSUER,
        expires_in: float = 3600,
        **claims: Any,
    ) -> str:
        """A signed ID token. ``client_id`` is the audience, ``azp`` the client that asked (the same, unless a
        mobile client asked for its backend); ``claims`` replace, add or (with ``OMIT``) remove any claim."""
        found = self._people.find(person)
        account = found.at_google()
        audience = client_id or self.client_id
        return self.keys.sign(
            {
                "iss": issuer,
                "azp": azp or audience,
                "aud": audience,
                "sub": account.sub,
                **({"hd": account.hd} if account.hd else {}),
                "email": account.email,
                "email_verified": account.email_verified,
                "at_hash": _at_hash(found.key),
                **_profile(found),
                **self._lifetime(expires_in),
                **claims,
            }
        )

    def access_token(
        self,
        person: Person | str,
        *,
        client_id: str | None = None,
        scopes: Iterable[str] = ("openid", "email", "profile"),
        expires_in: float = 3600,
    ) -> str:
        """An opaque ``ya29.`` token of ``client_id`` (ours unless said otherwise)."""
        found = self._people.find(person)
        found.at_google()
        return self._grant(found, client_id or self.client_id, scopes, expires_in)

    def service_account_id_token(self, audience: str, *, expires_in: float = 3600, **claims: Any) -> str:
        """What any owner of a Google Cloud project mints (``generateIdToken``): Google's issuer and
        signature, any audience, ``azp`` = the service account's numeric id."""
        robot = {"iss": ISSUER, "azp": ROBOT_ID, "aud": audience, "sub": ROBOT_ID}
        address = {"email": ROBOT_EMAIL, "email_verified": True}
        return self.keys.sign({**robot, **address, **self._lifetime(expires_in), **claims})

    def service_account_access_token(self, *, expires_in: float = 3600) -> str:
        """A ``ya29.`` token whose tokeninfo names the service account as ``aud`` and ``azp``."""
        return self._grant(None, ROBOT_ID, ("openid", "email"), expires_in)

    def revoke(self, token: str) -> None:
        """Withdraw an access token: from now on tokeninfo says 400 and userinfo 401. ID tokens cannot be revoked."""
        if token not in self._grants:
            raise LookupError("not an access token of this provider (ID tokens cannot be revoked)")
        self._grants[token].revoked = True

    def _grant(self, person: Person | None, client_id: str, scopes: Iterable[str], expires_in: float) -> str:
        token = "ya29." + secrets.token_urlsafe(120)
        granted = tuple(_LONG_FORM.get(scope, scope) for scope in scopes)
        self._grants[token] = _Grant(person, client_id, granted, self._clock.now() + expires_in)
        return token

    def _lifetime(self, expires_in: float) -> dict[str, int]:
        now = int(self._clock.now())
        return {"iat": now, "exp": now + int(expires_in)}

    # Answering

    def endpoints(self) -> list[Endpoint]:
        """What is served, on the paths of the real hosts (accounts, oauth2, openidconnect, www.googleapis)."""
        return [
            Endpoint("certs", ("/oauth2/v3/certs",), self._certs),
            Endpoint("tokeninfo", ("/tokeninfo", "/oauth2/v3/tokeninfo"), self._tokeninfo, ("GET", "POST")),
            Endpoint("userinfo", ("/v1/userinfo", "/oauth2/v3/userinfo"), self._userinfo, ("GET", "POST")),
            Endpoint("userinfo_v2", ("/oauth2/v2/userinfo",), self._userinfo_v2),
            Endpoint("revoke", ("/revoke",), self._revoke, ("POST",)),
        ]

    def discovery(self, base_url: str) -> Response:
        """The discovery document: Google's issuer, endpoints here."""
        return JSONResponse(
            {
                "issuer": ISSUER,
                "jwks_uri": f"{base_url}/oauth2/v3/certs",
                "userinfo_endpoint": f"{base_url}/v1/userinfo",
                "revocation_endpoint": f"{base_url}/revoke",
                "response_types_supported": ["code", "id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "email", "profile"],
                "claims_supported": ["aud", "email", "email_verified", "exp", "iat", "iss", "name", "sub"],
            }
        )

    def limited(self, fault: Fault) -> Response:
        """429 in the words of Google's API front end."""
        code = fault.status or 429
        detail = {"code": code, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}
        headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
        return JSONResponse({"error": detail}, code, headers)

    def _certs(self, call: Call) -> Response:
        headers = {
            "cache-control": f"public, max-age={self.max_age}, must-revalidate, no-transform",
            "age": str(self.age),
        }
        return JSONResponse(self.keys.jwks(), headers=headers)

    def _tokeninfo(self, call: Call) -> Response:
        if call.token is None:
            return _invalid("either access_token, id_token, or token_handle required")
        grant = self._live(call.token)
        if grant is None:
            return _invalid("Invalid Value")
        return JSONResponse(_tokeninfo_of(grant, self._clock.now()))

    def _userinfo(self, call: Call) -> Response:
        grant = self._live(call.token)
        return _unauthorized() if grant is None else JSONResponse(_userinfo_of(grant))

    def _userinfo_v2(self, call: Call) -> Response:
        grant = self._live(call.token)
        if grant is None:
            return _unauthorized()
        renamed = {"sub": "id", "email_verified": "verified_email"}
        return JSONResponse({renamed.get(name, name): value for name, value in _userinfo_of(grant).items()})

    def _revoke(self, call: Call) -> Response:
        grant = self._live(call.form().get("token") or call.query.get("token"))
        if grant is None:
            return JSONResponse({"error": "invalid_token", "error_description": "Token expired or revoked"}, 400)
        grant.revoked = True
        return JSONResponse({})

    def _live(self, token: str | None) -> _Grant | None:
        grant = self._grants.get(token or "")
        return grant if grant and not grant.revoked and grant.expires_at > self._clock.now() else None


def _tokeninfo_of(grant: _Grant, now: float) -> dict[str, str]:
    """The v3 shape: every value is a string; no ``iss``, no ``hd``; each claim only with its scope."""
    sub, email, verified = _holder(grant)
    identified = {"sub": sub} if {"openid", PROFILE_SCOPE} & set(grant.scopes) else {}
    address = {"email": email, "email_verified": str(verified).lower()} if EMAIL_SCOPE in grant.scopes else {}
    return {
        "azp": grant.client_id,
        "aud": grant.client_id,
        **identified,
        "scope": " ".join(grant.scopes),
        "exp": str(int(grant.expires_at)),
        "expires_in": str(int(grant.expires_at - now)),
        **address,
        "access_type": "online",
    }


def _userinfo_of(grant: _Grant) -> dict[str, Any]:
    """The v3 shape: real booleans, ``hd`` with the address; whoever's client the token belongs to."""
    sub, email, verified = _holder(grant)
    claims: dict[str, Any] = {"sub": sub}
    if grant.person and PROFILE_SCOPE in grant.scopes:
        claims |= _profile(grant.person)
    if EMAIL_SCOPE in grant.scopes:
        claims |= {"email": email, "email_verified": verified}
        if grant.person and grant.person.google and grant.person.google.hd:
            claims["hd"] = grant.person.google.hd
    return claims


def _holder(grant: _Grant) -> tuple[str, str, bool]:
    if grant.person is None:
        return ROBOT_ID, ROBOT_EMAIL, True
    account = grant.person.at_google()
    return account.sub, account.email, account.email_verified


def _profile(person: Person) -> dict[str, str]:
    return {
        "name": person.name,
        "given_name": person.given_name,
        "family_name": person.family_name,
        "picture": person.picture,
    }


def _at_hash(seed: str) -> str:
    """The look of an ``at_hash`` (OIDC Core section 3.1.3.6); there is no access token beside it to hash."""
    return b64url(hashlib.sha256(seed.encode()).digest()[:16])


def _invalid(description: str) -> Response:
    return JSONResponse({"error": "invalid_token", "error_description": description}, 400)


def _unauthorized() -> Response:
    return JSONResponse(
        {"error": "invalid_request", "error_description": "Invalid Credentials"},
        401,
        {"www-authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'},
    )
