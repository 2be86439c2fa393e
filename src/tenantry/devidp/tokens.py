"""``/oauth/token`` (OAuth 2.1 section 3.2) and ``/oauth/revoke`` (RFC 7009)."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from starlette.responses import Response

from .calls import Call
from .clients import Client, Clients
from .clock import Clock
from .grants import Code, Family, Grant, Grants
from .keyring import b64url
from .oauth import OAuthError, Parameters, resources_of, scopes_within, stored_nowhere
from .possession import key_of_proof

if TYPE_CHECKING:
    from .auth0 import Auth0

_VERIFIER: Final = re.compile(r"[A-Za-z0-9\-._~]{43,128}")  # RFC 7636 section 4.1
_UNKNOWN: Final = "the client is not known, or its secret is not right"
_Answer = Callable[[Client, Parameters], Mapping[str, Any]]
# The last is the thumbprint of the key that tokens are bound to (RFC 9449 section 5), if to any.
_Issue = Callable[[Client, Parameters, str | None], Mapping[str, Any]]


class Tokens:
    """Both endpoints. ``lifetime`` is that of access tokens, in seconds; Auth0's default is a day."""

    def __init__(self, auth0: Auth0, clients: Clients, grants: Grants, clock: Clock) -> None:
        self.lifetime = 86_400.0
        self._auth0 = auth0
        self._clients = clients
        self._grants = grants
        self._clock = clock
        self._by_grant: dict[str, _Issue] = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh,
            "client_credentials": self._by_credentials,
        }

    async def token(self, call: Call) -> Response:
        return await self._answer(call, partial(self._token, call))

    async def revoke(self, call: Call) -> Response:
        """200 for a token that is revoked or that nobody knows (RFC 7009 section 2.2)."""
        return await self._answer(call, self._revoke)

    async def _answer(self, call: Call, answer: _Answer) -> Response:
        try:
            form = _form(call)
            return stored_nowhere(answer(await self._authenticated(call, form), form))
        except OAuthError as wrong:
            basic = wrong.status == 401 and call.authorization is not None
            return wrong.answer({"www-authenticate": 'Basic realm="devidp"'} if basic else None)

    async def _authenticated(self, call: Call, form: Parameters) -> Client:
        """RFC 6749 section 2.3: a confidential client proves its secret, in the one way it registered."""
        method, client_id, secret = _credentials(call, form)
        client = await self._clients.find(client_id)
        if method not in client.methods or not hmac.compare_digest((client.secret or "").encode(), secret.encode()):
            raise OAuthError("invalid_client", _UNKNOWN, 401)
        return client

    def _token(self, call: Call, client: Client, form: Parameters) -> Mapping[str, Any]:
        grant = form.required("grant_type")
        if grant not in self._by_grant:
            raise OAuthError("unsupported_grant_type", f"grant_type is one of {', '.join(self._by_grant)}")
        if grant not in client.grants:
            raise OAuthError("unauthorized_client", f"this client registered without {grant}")
        key = key_of_proof(call, f"{self._auth0.issuer}oauth/token", self._clock.now())
        return self._by_grant[grant](client, form, key)

    def _by_code(self, client: Client, form: Parameters, key: str | None) -> Mapping[str, Any]:
        code = self._grants.spend_code(form.required("code"), client.id)
        _check_proofs(code, form)
        if client.secret is None:
            code.family.key = key  # and so are the refresh tokens of who has nothing else to show for them
        body = self._issued(code.grant, code.family, _narrowed(code.grant, form), code.grant.scope, key)
        if "openid" in code.grant.scope.split():
            body["id_token"] = self._auth0.id_token(code.grant.person, client_id=client.id, nonce=code.nonce)
        return self._with_refresh(body, client, code.grant, code.family)

    def _by_refresh(self, client: Client, form: Parameters, key: str | None) -> Mapping[str, Any]:
        value = form.required("refresh_token")
        grant, family = self._grants.refreshed(value, client.id)
        if family.key is not None and family.key != key:
            raise OAuthError("invalid_grant", "the refresh token is bound to a key whose proof did not come along")
        scope, resources = scopes_within(form.one("scope"), grant.scope), _narrowed(grant, form)
        self._grants.spend_refresh(value)
        return self._with_refresh(self._issued(grant, family, resources, scope, key), client, grant, family)

    def _by_credentials(self, client: Client, form: Parameters, key: str | None) -> Mapping[str, Any]:
        """RFC 6749 section 4.4: for a client that has a secret, and for nobody."""
        if client.secret is None:
            raise OAuthError("unauthorized_client", "client_credentials needs a client with a secret")
        scope = form.one("scope") or ""
        token = self._auth0.machine_token(
            client.id, audience=_audience(resources_of(form)), scope=scope, expires_in=self.lifetime, **_bound(key)
        )
        return self._body(token, scope, key)

    def _issued(
        self, grant: Grant, family: Family, resources: tuple[str, ...], scope: str, key: str | None
    ) -> dict[str, Any]:
        token = self._auth0.access_token(
            grant.person,
            audience=_audience(resources),
            scope=scope,
            client_id=grant.client_id,
            permissions=self._auth0.permissions(grant.person),
            expires_in=self.lifetime,
            **_bound(key),
        )
        self._grants.issued(token, grant, family)
        return self._body(token, scope, key)

    def _with_refresh(self, body: dict[str, Any], client: Client, grant: Grant, family: Family) -> Mapping[str, Any]:
        """As Auth0 does, only where ``offline_access`` was asked for; each one is good once (RFC 9700 section 4.14)."""
        if "refresh_token" in client.grants and "offline_access" in grant.scope.split():
            body["refresh_token"] = self._grants.new_refresh(grant, family)
        return body

    def _body(self, token: str, scope: str, key: str | None) -> dict[str, Any]:
        kind = "Bearer" if key is None else "DPoP"
        return {"access_token": token, "token_type": kind, "expires_in": int(self.lifetime), "scope": scope}

    def _revoke(self, client: Client, form: Parameters) -> Mapping[str, Any]:
        self._grants.revoke(form.required("token"), client.id)
        return {}


def _bound(key: str | None) -> dict[str, Any]:
    return {} if key is None else {"cnf": {"jkt": key}}


def _form(call: Call) -> Parameters:
    if not call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise OAuthError("invalid_request", "send application/x-www-form-urlencoded")
    return Parameters(call.body.decode("latin-1"))


def _credentials(call: Call, form: Parameters) -> tuple[str, str, str]:
    """Method, client_id and secret ("" for none); a client uses one method only (RFC 6749 section 2.3)."""
    client_id, secret = form.one("client_id"), form.one("client_secret")
    if call.authorization is None:
        if client_id is None:
            raise OAuthError("invalid_client", "client_id is missing", 401)
        return ("none", client_id, "") if secret is None else ("client_secret_post", client_id, secret)
    basic = call.basic()
    if basic is None:
        raise OAuthError("invalid_client", _UNKNOWN, 401)
    name, password = (unquote_plus(part) for part in basic)  # RFC 6749 section 2.3.1
    if secret is not None or client_id not in (None, name):
        raise OAuthError("invalid_request", "the client authenticates in two ways at once")
    return "client_secret_basic", name, password


def _check_proofs(code: Code, form: Parameters) -> None:
    """Whoever brings the code is who asked for it (RFC 7636 section 4.6)."""
    verifier = form.one("code_verifier") or ""
    challenge = b64url(hashlib.sha256(verifier.encode()).digest())
    if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(challenge, code.challenge):
        raise OAuthError("invalid_grant", "the code_verifier does not fit the code_challenge")
    if form.one("redirect_uri") not in (None, code.redirect_uri):
        raise OAuthError("invalid_grant", "the redirect_uri is not the one of the authorization request")


def _narrowed(grant: Grant, form: Parameters) -> tuple[str, ...]:
    """RFC 8707 section 2.2: a token request may ask for less than was granted, never for something else."""
    asked = resources_of(form)
    if not set(asked) <= set(grant.resources):
        raise OAuthError("invalid_target", "the resource is not one that was granted")
    return asked or grant.resources


def _audience(resources: tuple[str, ...]) -> str | list[str] | None:
    return list(resources) if len(resources) > 1 else next(iter(resources), None)
