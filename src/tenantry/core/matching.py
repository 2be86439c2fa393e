"""Route, never try: a credential belongs to exactly one provider, or to nobody.

Chosen by prefix, then token shape, then exact configured issuer; what is left goes to the one provider that was
configured for it, or to nobody. What the caller says (a hint, an unverified ``iss``) only chooses among configured
providers; it never creates a network destination.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigurationError, Refusal, TokenInvalid
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
_PREFIX = re.compile(r"[A-Za-z0-9\-._~+/]{3,64}")  # of what a Bearer token is spelled with (RFC 9110 section 11.2)
_SIGNED = re.compile(r"e[w-z0-9_-]")  # how every JWS and JWE begins: base64url of an opening brace


class OpaqueTokens:
    """Who is shown a token that says nothing of itself: ``prefixes`` -> provider name, and ``others`` for whatever has
    no known form. Raises ``ConfigurationError`` for prefixes that would make it a matter of order."""

    def __init__(self, prefixes: Mapping[str, str] | None = None, others: str | None = None) -> None:
        self._prefixes = dict(prefixes or {})
        self.others = others
        for prefix, provider in self._prefixes.items():
            _check_prefix(prefix, provider, self._prefixes)
        self._begins = re.compile("|".join(map(re.escape, self._prefixes)) or r"(?!)")

    def provider_of(self, text: str) -> str | None:
        """By prefix: no two are the beginning of one token, so there is at most one."""
        begins = self._begins.match(text)
        return None if begins is None else self._prefixes[begins[0]]


def _check_prefix(prefix: str, provider: str, prefixes: Mapping[str, str]) -> None:
    if not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(f"The prefix {prefix!r} of {provider!r} is not 3 to 64 characters of a token.")
    if _KNOWN.match(prefix) or any(known.startswith(prefix) for known in _PREFIXES):
        raise ConfigurationError(f"The prefix {prefix!r} of {provider!r} is that of somebody else's credentials.")
    if _SIGNED.match(prefix):
        raise ConfigurationError(
            f"The prefix {prefix!r} of {provider!r} is how signed tokens begin: those are told apart by their issuer."
        )
    for other, its in prefixes.items():
        if other != prefix and other.startswith(prefix):
            raise ConfigurationError(
                f"Of the prefixes {prefix!r} ({provider!r}) and {other!r} ({its!r}) one begins with the other."
            )


@dataclass(frozen=True, slots=True)
class Routes:
    """The configured providers by what their credentials look like.

    ``providers`` names; ``issuers`` exact issuer -> provider name; ``plain_keys`` SHA-256 digests of API keys
    that carry no prefix; ``opaque`` tokens of the remaining providers; ``dpop`` names those that are shown tokens which
    came under that scheme.
    """

    providers: frozenset[str]
    issuers: Mapping[str, str]
    plain_keys: frozenset[bytes] = frozenset()
    opaque: OpaqueTokens = field(default_factory=OpaqueTokens)
    dpop: frozenset[str] = frozenset()


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
    if credential.source == "dpop" and not routes.dpop:
        raise TokenInvalid("scheme_unsupported")
    presented = _match(credential, routes)
    if presented.provider not in routes.providers:
        raise TokenInvalid("provider_not_configured")
    if hint is not None and hint != presented.provider:
        raise TokenInvalid("provider_mismatch")
    if credential.source == "dpop" and presented.provider not in routes.dpop:
        raise TokenInvalid("scheme_unsupported")
    return presented


def _match(credential: Credential, routes: Routes) -> Presented:
    if credential.source == "x-api-key" or (routes.plain_keys and digest(credential.secret) in routes.plain_keys):
        return Presented(API_KEY, check_form(credential))
    text = check_form(credential)
    known = _KNOWN.match(text)
    if known is not None:
        return Presented(_by_prefix(known[0]), text)
    provider = routes.opaque.provider_of(text)
    return _by_shape(text, routes) if provider is None else Presented(provider, text)


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
    if routes.opaque.others is not None and dots != 4:
        return Presented(routes.opaque.others, text)
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
