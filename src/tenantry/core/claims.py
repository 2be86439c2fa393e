"""What the claims of a JWT must say before anybody believes them (RFC 7519 section 4, RFC 8725, RFC 9068).

Stating an expectation makes the claim obligatory; an empty expectation is a configuration error, never "anything
goes". All checks may run on unverified claims, to refuse early: they never accept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError, TokenInvalid
from .confirmation import thumbprint_of

MAX_SUBJECT_CHARACTERS = 255  # OIDC Core section 2
_LATEST = 10**12  # seconds: anything later is not a date


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What one issuer's tokens must say. ``types`` are normalized ``typ`` values, None for an absent one;
    ``audiences`` None only where the provider proves by a check of its own that a token is for us;
    ``authorized_parties`` None when ``azp`` is not asked for; ``leeway`` in seconds, for exp, nbf and iat alike;
    ``bound`` lets tokens pass that are bound to a key, whose proof is asked for with every request."""

    issuers: frozenset[str]
    audiences: frozenset[str] | None
    algorithms: frozenset[str]
    types: frozenset[str | None] = frozenset({"jwt", "at+jwt", None})
    authorized_parties: frozenset[str] | None = None
    leeway: float = 30.0
    bound: bool = False

    def __post_init__(self) -> None:
        for name in ("issuers", "audiences", "algorithms", "types"):
            expected = getattr(self, name)
            if expected is not None and not expected:
                raise ConfigurationError(f"A provider without {name} would accept anything: name at least one.")


def check_claims(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> None:
    """Raise ``TokenInvalid`` unless every rule holds at ``now`` (seconds since the epoch)."""
    for _, check in CLAIM_CHECKS:
        check(claims, rules, now)


def _check_issuer(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> None:
    issuer = claims.get("iss")
    if type(issuer) is not str or issuer not in rules.issuers:
        raise TokenInvalid("issuer_mismatch")


def _check_audience(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> None:
    """Membership, exact; a list must be of strings only (RFC 7519 section 4.1.3)."""
    if rules.audiences is None:
        return
    audience = claims.get("aud")
    if type(audience) is str:
        audience = [audience]
    if type(audience) is not list or not all(type(entry) is str for entry in audience):
        raise TokenInvalid("audience_mismatch")
    if rules.audiences.isdisjoint(audience):
        raise TokenInvalid("audience_mismatch")


def _check_subject(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> None:
    check_subject(claims.get("sub"))


def check_subject(subject: Any) -> str:
    """``subject`` when it can name somebody for good: printable, 1 to 255 characters."""
    if type(subject) is not str or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS or not subject.isprintable():
        raise TokenInvalid("subject_invalid")
    return subject


def _check_party(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> None:
    if rules.authorized_parties is not None and "azp" in claims:
        party = claims["azp"]
        if type(party) is not str or party not in rules.authorized_parties:
            raise TokenInvalid("client_mismatch")


def _check_unbound(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> None:
    if thumbprint_of(claims) is not None and not rules.bound:  # RFC 7800: bound to a key that nobody asks for here
        raise TokenInvalid("sender_constrained")


def _check_expiry(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> None:
    expires = numeric_date(claims, "exp")
    if expires is None or numeric_date(claims, "iat") is None:
        raise TokenInvalid("claims_malformed")
    if now >= expires + rules.leeway:
        raise TokenInvalid("token_expired")


def _check_start(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> None:
    for name in ("nbf", "iat"):
        start = numeric_date(claims, name)
        if start is not None and start > now + rules.leeway:
            raise TokenInvalid("token_not_yet_valid")


def numeric_date(claims: Mapping[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 section 2), None when absent; a string or boolean is neither."""
    if name not in claims:
        return None
    value: Any = claims[name]
    if type(value) not in (int, float) or not 0 <= value <= _LATEST:  # a bool is an int, and no date
        raise TokenInvalid("claims_malformed")
    return float(value)


# In this order, cheapest and most telling first; by the names under which ``tenantry token explain`` reports them.
CLAIM_CHECKS: tuple[tuple[str, Callable[[Mapping[str, Any], ClaimRules, float], None]], ...] = (
    ("issuer", _check_issuer),
    ("audience", _check_audience),
    ("subject", _check_subject),
    ("authorized party", _check_party),
    ("proof of possession", _check_unbound),
    ("expiry", _check_expiry),
    ("not before", _check_start),
)
