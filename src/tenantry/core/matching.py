"""Route, never try: a credential belongs to exactly one provider, or to nobody.

Chosen by key prefix, then token shape, then exact configured issuer. What the caller says (a hint, an unverified
``iss``) only chooses among configured providers; it never creates a network destination.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import Refusal, TokenInvalid
from ..model import Credential
from .apikeys import PREFIX, digest
from .credentials import check_form
from .jws import UnverifiedToken, parse_claims, parse_jws

API_KEY, GITHUB, GOOGLE = "api_key", "github", "google"

# Prefixes that say who made the secret. Before "two dots are a JWT": GitHub's new installation tokens hold one.
_PREFIXES: Mapping[str, str] = {
    PREFIX: API_KEY,
    "ya29.": GOOGLE,
    "gho_": GITHUB,
    "ghu_": GITHUB,
    "ghp_": GITHUB,
    "ghs_": GITHUB,
    "github_pat_": GITHUB,
}
# Refused without asking anybody: the right maker, but the wrong kind of secret ...
_WRONG_KIND = ("ghr_", "1//", "4/", "AIza")
# ... or somebody else's secret, which is nobody's business here.
_FOREIGN = ("sk_", "sk-", "rk_", "pk_", "xox", "AKIA", "ASIA", "glpat-", "npm_", "hf_", "pypi-", "SG.", "dop_v1_")
_KNOWN = re.compile("|".join(map(re.escape, (*_PREFIXES, *_WRONG_KIND, *_FOREIGN))))


@dataclass(frozen=True, slots=True)
class Routes:
    """The configured providers by what their credentials look like.

    ``providers`` names; ``issuers`` exact issuer -> provider name; ``plain_keys`` SHA-256 digests of API keys
    that carry no prefix.
    """

    providers: frozenset[str]
    issuers: Mapping[str, str]
    plain_keys: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Presented:
    """A credential on its way to the one ``provider`` it may be shown to. ``token`` and ``claims`` are set for a
    JWS, unverified."""

    provider: str
    text: str = field(repr=False)
    token: UnverifiedToken | None = None
    claims: Mapping[str, Any] | None = field(default=None, repr=False)


def match(credential: Credential, routes: Routes, hint: str | None = None) -> Presented:
    """The provider that may see this credential. Raises a ``Refusal`` when there is none, or not the hinted one."""
    presented = _match(credential, routes)
    if presented.provider not in routes.providers:
        raise TokenInvalid("provider_not_configured")
    if hint is not None and hint != presented.provider:
        raise TokenInvalid("provider_mismatch")
    return presented


def _match(credential: Credential, routes: Routes) -> Presented:
    if credential.source == "x-api-key" or (routes.plain_keys and digest(credential.secret) in routes.plain_keys):
        return Presented(API_KEY, check_form(credential))
    text = check_form(credential)
    known = _KNOWN.match(text)
    if known is not None:
        return Presented(_by_prefix(known[0]), text)
    return _by_shape(text, routes)


def _by_prefix(prefix: str) -> str:
    if prefix in _WRONG_KIND:
        raise TokenInvalid("token_kind_refused")
    if prefix in _FOREIGN:
        raise TokenInvalid("foreign_secret")
    return _PREFIXES[prefix]


def _by_shape(text: str, routes: Routes) -> Presented:
    dots = text.count(".")
    if dots == 2:
        token = parse_jws(text.encode())
        claims = parse_claims(token)
        return Presented(_by_issuer(claims.get("iss"), routes), text, token, claims)
    raise _unreadable(text, dots)


def _by_issuer(issuer: Any, routes: Routes) -> str:
    provider = routes.issuers.get(issuer) if type(issuer) is str else None
    if provider is None:
        raise TokenInvalid("issuer_unknown")
    return provider


def _unreadable(text: str, dots: int) -> Refusal:
    """Five parts are a JWE (RFC 7516); 32 characters without a dot are what Auth0 gave before. Neither can be
    proved to be for us."""
    if dots == 4 or (dots == 0 and len(text) == 32 and text.replace("-", "").replace("_", "").isalnum()):
        return TokenInvalid("token_encrypted")
    return TokenInvalid("provider_not_configured")


def looks_like_another_kind(key: str) -> bool:
    """Whether a plain API key would be taken for a token or for another service's secret."""
    return key.count(".") in (2, 4) or _KNOWN.match(key) is not None
