"""Exactly one credential out of a request's raw headers (RFC 6750 section 2; MCP authorization: header only)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from ..errors import CredentialMissing, RequestInvalid, TokenInvalid
from ..model import Credential
from .jws import MAX_TOKEN_BYTES

# A second one of these would let two readers of the request see two requests.
ONCE_ONLY = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"dpop",
        b"host",
        b"origin",
        b"content-type",
        b"content-encoding",
        b"content-length",
        b"mcp-protocol-version",
        b"mcp-method",
        b"mcp-name",
        b"mcp-session-id",
    }
)
_IN_QUERY = frozenset({"access_token", "api_key", "x-api-key", "x_api_key"})
_TOKEN68 = re.compile(rb"[A-Za-z0-9\-._~+/]+=*")  # RFC 9110 section 11.2
_VISIBLE = re.compile(rb"[\x21-\x7e]+")
_PLACEHOLDER = re.compile(rb"\$\{|^\$[A-Z_]+$|^<.*>$|^\{\{")


def single_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers that decide something, each at most once. Raises ``RequestInvalid`` for a second one."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in ONCE_ONLY:
            if name in found:
                raise RequestInvalid("header_duplicate")
            found[name] = value
    return found


def read_credential(headers: dict[bytes, bytes], query: bytes = b"") -> Credential:
    """The one credential of a request.

    Raises ``CredentialMissing`` for none, ``RequestInvalid`` for two, for one in the query or for a malformed
    Authorization header, ``TokenInvalid`` for another scheme than Bearer and DPoP. The token itself is not looked at
    yet, nor whether its provider is one for DPoP.
    """
    if query:
        _refuse_query(query)
    authorization, key = headers.get(b"authorization"), headers.get(b"x-api-key")
    if authorization is not None:
        if key is not None:
            raise RequestInvalid("credential_duplicate")
        if authorization[:7] == b"Bearer ":
            return Credential(authorization[7:])
        return _other_spelling(authorization)
    if key is None:
        raise CredentialMissing("credential_missing")
    return Credential(key, "x-api-key")


def _refuse_query(query: bytes) -> None:
    names = {name.lower() for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)}
    if names & _IN_QUERY:
        raise RequestInvalid("token_in_query")


def _other_spelling(authorization: bytes) -> Credential:
    """The scheme is case-insensitive (RFC 9110 section 11.1); everything but Bearer and DPoP is refused."""
    scheme, blank, secret = authorization.partition(b" ")
    if scheme.lower() in (b"bearer", b"dpop"):
        if not blank:
            raise RequestInvalid("authorization_malformed")
        return Credential(secret, "bearer" if len(scheme) == len("bearer") else "dpop")
    raise TokenInvalid("scheme_unsupported") if scheme else RequestInvalid("authorization_malformed")


def check_form(credential: Credential) -> str:
    """The secret as text, when its form allows it to be a credential at all: size, characters, no placeholder."""
    secret = credential.secret
    if len(secret) > MAX_TOKEN_BYTES:
        raise TokenInvalid("token_too_large")
    if any(mark in secret for mark in (b"$", b"<", b"{")) and _PLACEHOLDER.search(secret):
        raise TokenInvalid("placeholder_sent")
    form = _VISIBLE if credential.source == "x-api-key" else _TOKEN68
    if not form.fullmatch(secret):
        raise RequestInvalid("authorization_malformed")
    return secret.decode("ascii")
