"""A whole gate over fakes, asked one token at a time, and the tokens of two issuers that it trusts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from tenantry.assemble import Outside, assemble
from tenantry.core import base64url
from tenantry.core.apikeys import compose_key
from tenantry.devidp import OMIT
from tenantry.errors import Refusal
from tenantry.model import Credential, MCPUserContext
from tenantry.observations import InternalError
from tenantry.ports import HttpResponse
from tenantry.request import Request
from tenantry.settings import Settings
from tenantry.testing import NOW, FakeFetch, FrozenClock, Recorder, TokenMint

GOOGLE_KEYS = "https://www.googleapis.com/oauth2/v3/certs"
GOOGLE_ISSUER = "https://accounts.google.com"
CLIENT_ID = "our-client.apps.googleusercontent.com"
AUTH0_ISSUER = "https://acme.eu.auth0.com/"
AUTH0_KEYS = f"{AUTH0_ISSUER}.well-known/jwks.json"
AUDIENCE = "https://mcp.example.com/mcp"
API_KEY = compose_key("live", b"key id 8", bytes(range(100, 132)))
ADMITTED = "admitted"

GOOGLE, AUTH0, STRANGER = TokenMint("attacks-google"), TokenMint("attacks-auth0"), TokenMint("attacks-stranger")
GOOGLE_CLAIMS: dict[str, Any] = {
    "iss": GOOGLE_ISSUER,
    "aud": CLIENT_ID,
    "azp": CLIENT_ID,
    "sub": "108256423011456677889",
    "email": "ann@acme.com",
    "email_verified": True,
    "hd": "acme.com",
    "name": "Ann",
    "iat": int(NOW) - 60,
    "exp": int(NOW) + 3000,
}
AUTH0_CLAIMS: dict[str, Any] = {
    "iss": AUTH0_ISSUER,
    "aud": [AUDIENCE, f"{AUTH0_ISSUER}userinfo"],
    "azp": "some-spa",
    "sub": "auth0|656565656565656565656565",
    "scope": "openid notes:read",
    "permissions": ["notes:read"],
    "org_id": "org_abc",
    "iat": int(NOW) - 60,
    "exp": int(NOW) + 3000,
}


def google(*, header: dict[str, Any] | None = None, alg: str = "RS256", **claims: Any) -> str:
    """A token that Google's key signed over these claims."""
    return GOOGLE.sign(GOOGLE_CLAIMS | claims, header=header, alg=alg)


def auth0(*, header: dict[str, Any] | None = None, alg: str = "RS256", **claims: Any) -> str:
    """A token that our Auth0 tenant's key signed over these claims."""
    return AUTH0.sign(AUTH0_CLAIMS | claims, header=header, alg=alg)


def raw(payload: bytes | None = None, header: bytes | None = None) -> str:
    """A token that Google's key signed over any bytes at all."""
    usual = json.dumps({"alg": "RS256", "kid": GOOGLE.keys.current.kid, "typ": "JWT"}).encode()
    return GOOGLE.raw(usual if header is None else header, payload_of() if payload is None else payload)


def payload_of(**claims: Any) -> bytes:
    members = {name: value for name, value in (GOOGLE_CLAIMS | claims).items() if value is not OMIT}
    return json.dumps(members).encode()


def with_member(member: str) -> bytes:
    """Google's claims as JSON text with one more member in front, in any spelling, also one that is there already."""
    return b"{" + member.encode("utf-8", "surrogatepass") + b"," + payload_of()[1:]


def encoded(value: Any) -> str:
    return base64url.encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode()


class Entrance:
    """A gate with Google, Auth0, GitHub and one API key; ``settings`` change it. What is fetched is counted."""

    def __init__(self, **settings: Any) -> None:
        self.clock, self.seen = FrozenClock(), Recorder()
        self.fetch = FakeFetch(
            {url: HttpResponse(200, {}, json.dumps(mint.jwks()).encode()) for url, mint in KEY_SETS.items()}
        )
        values = {
            "public_url": "https://mcp.example.com/mcp",
            "google_client_id": CLIENT_ID,
            "auth0_domain": "acme.eu.auth0.com",
            "auth0_audience": AUDIENCE,
            "github_enabled": True,
            "github_client_id": "Iv1.0123456789abcdef",
            "github_client_secret": "0123456789abcdef0123456789abcdef01234567",
            "api_key": API_KEY,
            "rate_limit_tenant": "off",
            "rate_limit_anonymous": "off",  # attacks come by the hundred
        }
        self.gate = assemble(Settings(**(values | settings)), Outside(self.clock, self.fetch, self.seen)).gate
        self._runner = asyncio.Runner()

    def admit(self, token: str | bytes, header: bytes = b"authorization") -> MCPUserContext:
        """The caller of a request with this token; raises what the gate raises."""
        secret = token.encode("latin-1") if isinstance(token, str) else token
        value = b"Bearer " + secret if header == b"authorization" else secret
        return self._runner.run(self.gate.admit(Request({header: value}))).user

    def verdict(self, token: str | bytes, header: bytes = b"authorization") -> str:
        """``ADMITTED`` or the reason of the refusal. Fails when anything but a refusal comes out, or when a mistake of
        ours had to be caught on the way."""
        return self._reason(lambda: self.admit(token, header))

    def judge(self, token: bytes, hint: str | None) -> str:
        """The same for a bare token with a provider hint."""
        return self._reason(lambda: self._runner.run(self.gate.validate(Credential(token), hint)))

    def ask(self, headers: dict[bytes, bytes], query: bytes) -> str:
        """The same for a whole request."""
        return self._reason(lambda: self._runner.run(self.gate.admit(Request(headers, query))))

    def _reason(self, judge: Callable[[], object]) -> str:
        try:
            judge()
            reason = ADMITTED
        except Refusal as refusal:
            reason = refusal.reason
        assert self.seen.of(InternalError) == []
        self.seen.seen.clear()
        return reason

    @property
    def asked(self) -> set[str]:
        """Every address that was asked so far."""
        return {request.url for request in self.fetch.requests}

    def close(self) -> None:
        self._runner.run(self.gate.aclose())
        self._runner.close()


KEY_SETS = {GOOGLE_KEYS: GOOGLE, AUTH0_KEYS: AUTH0}
