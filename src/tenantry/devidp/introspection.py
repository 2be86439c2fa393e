"""A server whose tokens say nothing themselves and that answers questions about them: RFC 7662.

Faithful: what is unknown, ended, revoked or not for the one who asks is ``{"active": false}`` and nothing more; the
client that asks shows who it is in one of three ways, and 401 is about it; a refresh token is active as well. Every
member of an answer can be replaced, added or (with ``OMIT``) left out: the traps are made that way.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote_plus

import jwt
from starlette.responses import JSONResponse, Response

from .calls import Call
from .clock import Clock
from .endpoints import Endpoint
from .faults import Fault
from .issuers.base import AUDIENCE, CLIENT, address, company, guid
from .keyring import KeyRing, without_omitted
from .people import People, Person

SERVER_ID: Final = "tenantry:dev"  # with what must be encoded in Basic
SERVER_SECRET: Final = "devidp introspection+secret/0123456789%"
PREFIX: Final = "dvo_"
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_INACTIVE: Final = {"active": False}


@dataclass(slots=True)
class _Grant:
    answer: dict[str, Any]
    ends: float
    revoked: bool = False


@dataclass(slots=True)
class _Clients:
    """Who may ask: secrets and public keys (PEM) by client id."""

    secrets: dict[str, str] = field(default_factory=dict)
    keys: dict[str, bytes] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


class Introspection:
    """The provider, and the mint of its tokens. ``document`` is merged into its discovery document; ``clients`` are who
    may ask, ``clients.keys`` those that sign."""

    name: Final = "introspection"
    place: Final = "/opaque"
    kinds: Final = ("access_token", "client_token", "refresh_token", "jwt")

    def __init__(self, *, clock: Clock, people: People, base_url: Callable[[], str]) -> None:
        self.audience = AUDIENCE
        self.client_id = CLIENT
        self.keys = KeyRing("introspection")
        self.document: dict[str, Any] = {}
        self.clients = _Clients({SERVER_ID: SERVER_SECRET})
        self._clock = clock
        self._people = people
        self._base_url = base_url
        self._grants: dict[str, _Grant] = {}

    @property
    def issuer(self) -> str:
        return self._base_url() + self.place

    @property
    def url(self) -> str:
        return f"{self.issuer}/introspect"

    def entry(self) -> dict[str, Any]:
        """The entry of MCP_HTTP_INTROSPECTION_PROVIDERS that makes a server in development trust this one."""
        return {
            "name": "opaque",
            "introspection_endpoint": self.url,
            "issuer": self.issuer,
            "client_id": SERVER_ID,
            "client_secret": SERVER_SECRET,
            "audience": self.audience,
            "prefixes": [PREFIX],
            "claims": {"tenant": "org"},
        }

    # Minting

    def access_token(
        self, person: Person | str, *, scope: str = "openid notes:read", prefix: str = PREFIX, **answer: Any
    ) -> str:
        """A token of a person; ``answer`` has the last word in what is said of it."""
        return self._grant(prefix + secrets.token_urlsafe(24), {**self._said_of(person, scope), **answer})

    def client_token(self, **answer: Any) -> str:
        """A token that a client got for itself (client_credentials): nobody's ``sub``."""
        said = {"client_id": self.client_id, "scope": "notes:read", "token_type": "Bearer"}
        return self._grant(PREFIX + secrets.token_urlsafe(24), {**self._usual(), **said, **answer})

    def refresh_token(self, person: Person | str, **answer: Any) -> str:
        return self.access_token(person, **{"token_type": "refresh_token", **answer})

    def jwt(self, person: Person | str, **claims: Any) -> str:
        """A signed token that leaves most to the answer (a lightweight one of Keycloak)."""
        said = self._said_of(person, "openid notes:read")
        told = {"iss": self.issuer, "iat": self._now(), "exp": self._now() + 3600, "jti": secrets.token_urlsafe(8)}
        return self._grant(self.keys.sign({**told, **claims}), said)

    def revoke(self, token: str) -> None:
        if token not in self._grants:
            raise LookupError("not a token of this provider")
        self._grants[token].revoked = True

    def _said_of(self, person: Person | str, scope: str) -> dict[str, Any]:
        found = self._people.find(person)
        return {
            **self._usual(),
            "sub": guid(self.name, found.key),
            "username": found.key,
            "client_id": self.client_id,
            "scope": scope,
            "token_type": "Bearer",
            "org": company(found),
            "email": address(found),
            "email_verified": True,
            "name": found.name,
        }

    def _usual(self) -> dict[str, Any]:
        now = self._now()
        return {"active": True, "iss": self.issuer, "aud": self.audience, "iat": now, "nbf": now, "exp": now + 3600}

    def _grant(self, token: str, answer: dict[str, Any]) -> str:
        self._grants[token] = _Grant(without_omitted(answer), self._clock.now() + 3600)
        return token

    def _now(self) -> int:
        return int(self._clock.now())

    # Answering

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("introspection", (f"{self.place}/introspect",), self._introspect, ("POST",)),
            Endpoint("discovery", (f"{self.place}/.well-known/openid-configuration",), self._discovery),
        ]

    def limited(self, fault: Fault) -> Response:
        """429 in the words of no product in particular."""
        headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
        return JSONResponse({"error": "too_many_requests"}, fault.status or 429, headers)

    def _introspect(self, call: Call) -> Response:
        form = call.form()
        if not (self._by_secret(call, form) or self._by_key(form)):
            challenge = {"www-authenticate": 'Basic realm="introspection"'}
            return JSONResponse({"error": "invalid_client"}, 401, challenge)
        if "token" not in form:
            return JSONResponse({"error": "invalid_request"}, 400)
        grant = self._grants.get(form["token"])
        if grant is None or grant.revoked or grant.ends <= self._clock.now():
            return JSONResponse(_INACTIVE)
        return JSONResponse(grant.answer, headers={"cache-control": "no-store"})

    def _by_secret(self, call: Call, form: dict[str, str]) -> bool:
        """RFC 6749 section 2.3.1: both halves of Basic are form-urlencoded; or both are in the form; never twice."""
        basic = call.basic()
        if basic is not None and "client_secret" in form:
            return False
        pair = tuple(map(unquote_plus, basic)) if basic else (form.get("client_id"), form.get("client_secret"))
        return pair[1] is not None and self.clients.secrets.get(str(pair[0])) == pair[1]

    def _by_key(self, form: dict[str, str]) -> bool:
        """RFC 7523 section 3: signed with the client's key, for us, for a short while, and once."""
        key = self.clients.keys.get(form.get("client_id", ""))
        if key is None or form.get("client_assertion_type") != _ASSERTION:
            return False
        options: Any = {"require": ["iss", "sub", "aud", "exp", "jti"], "verify_exp": False, "verify_iat": False}
        algorithms = ["RS256", "ES256", "ES384", "ES512", "EdDSA"]
        try:
            claims = jwt.decode(
                form.get("client_assertion", ""),
                key,
                algorithms=algorithms,
                audience=self.issuer,
                issuer=form["client_id"],
                options=options,
            )
        except jwt.PyJWTError:
            return False
        fresh = self._clock.now() < claims["exp"] <= self._clock.now() + 300 and claims["jti"] not in self.clients.used
        self.clients.used.add(claims["jti"])
        return fresh and claims["sub"] == claims["iss"]

    def _discovery(self, call: Call) -> Response:
        honest = {
            "issuer": self.issuer,
            "introspection_endpoint": self.url,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "response_types_supported": ["code"],
            "introspection_endpoint_auth_methods_supported": [
                "client_secret_basic",
                "client_secret_post",
                "private_key_jwt",
            ],
        }
        return JSONResponse(without_omitted({**honest, **self.document}))
