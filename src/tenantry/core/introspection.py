"""What an authorization server said of a token (RFC 7662 section 2.2), read strictly.

``active`` proves that somebody may use the token somewhere: that it is for us is what ``aud`` or ``client_id`` must
say. Times at which a token begins are the server's business, whose clock has just been asked (section 4); its end is
ours as well, because an answer is believed for longer than a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError, TokenInvalid
from .claims import check_subject, numeric_date
from .confirmation import thumbprint_of

CLIENT_CLAIMS = ("client_id", "azp", "appid", "cid")
_OF_CLIENTS = "client:"
# RFC 6749 section 7.1, RFC 9449 section 5, and what some servers write in their place (RFC 8693 section 3).
_ACCESS = frozenset({"bearer", "dpop", "access_token", "urn:ietf:params:oauth:token-type:access_token"})
# Keycloak tells kinds apart by ``typ``, Hydra and Cognito by ``token_use``.
_OTHER_KINDS = frozenset(
    "refresh refresh_token offline id id_token logout serialized-id authorization_code device_code".split()
)


@dataclass(frozen=True, slots=True)
class IntrospectionRules:
    """What an answer must say. ``audiences`` and ``clients`` may not both be None; ``issuer`` is compared where the
    answer has one; ``bound`` lets tokens pass that are bound to a key, whose proof is asked for with every request;
    ``leeway`` in seconds."""

    audiences: frozenset[str] | None
    clients: frozenset[str] | None
    issuer: str | None = None
    bound: bool = False
    leeway: float = 30.0

    def __post_init__(self) -> None:
        given = [expected for expected in (self.audiences, self.clients) if expected is not None]
        if not given or not all(given):
            raise ConfigurationError(
                "Introspection without audiences and clients would accept every token of its server: name at least one."
            )


def is_active(answer: Mapping[str, Any]) -> bool:
    """Section 2.2: a boolean, and always there. Raises ``ValueError`` for an answer that is none."""
    active = answer.get("active")
    if type(active) is not bool:
        raise ValueError("active is not a boolean")
    return active


def check_answer(answer: Mapping[str, Any], rules: IntrospectionRules, now: float) -> float | None:
    """When the token ends, in seconds since the epoch, None where the server does not say. Raises ``TokenInvalid``
    unless the token is an access token, for us, and not ended."""
    if rules.issuer is not None and answer.get("iss", rules.issuer) != rules.issuer:
        raise TokenInvalid("issuer_mismatch")
    # A refresh token has a client as well, and is nobody's audience: some servers say nothing else of it.
    _check_kind(answer, stated=rules.audiences is None)
    _check_audience(answer, rules.audiences)
    _check_client(answer, rules.clients)
    _check_binding(answer, bound=rules.bound)
    return _end(answer, rules.leeway, now)


def subject_in(answer: Mapping[str, Any], subject: Any) -> str:
    """``subject`` where it is one, else ``client:<client_id>``: a client that calls for nobody but itself."""
    if subject is None:
        client = answer.get("client_id")
        if client is None:
            raise TokenInvalid("subject_invalid")
        return check_subject(_OF_CLIENTS + check_subject(client))
    if check_subject(subject).startswith(_OF_CLIENTS):
        raise TokenInvalid("subject_invalid")  # a person would be taken for a client
    return str(subject)


def check_unverified(claims: Mapping[str, Any], leeway: float, now: float) -> float | None:
    """When a signed token says that it ends. Raises ``TokenInvalid`` where its own words are enough to refuse it."""
    _check_kind(claims)
    return _end(claims, leeway, now)


def _end(claims: Mapping[str, Any], leeway: float, now: float) -> float | None:
    expires = numeric_date(claims, "exp")
    if expires is not None and now >= expires + leeway:
        raise TokenInvalid("token_expired")
    return expires


def _check_kind(answer: Mapping[str, Any], *, stated: bool = False) -> None:
    """No kind but an access token. ``stated``: and the answer must say so."""
    kind = answer.get("token_type")
    if kind is not None and (type(kind) is not str or kind.lower() not in _ACCESS):
        raise TokenInvalid("token_kind_refused")
    others = {said.lower() for name in ("typ", "token_use") if type(said := answer.get(name)) is str}
    if not _OTHER_KINDS.isdisjoint(others) or (stated and kind is None and _ACCESS.isdisjoint(others)):
        raise TokenInvalid("token_kind_refused")


def _check_binding(answer: Mapping[str, Any], *, bound: bool) -> None:
    """RFC 9449 section 6.2. A token that is said to be bound, to a key that is not named, could be anybody's."""
    thumbprint = thumbprint_of(answer)
    kind = answer.get("token_type")
    if (thumbprint is not None and not bound) or (thumbprint is None and type(kind) is str and kind.lower() == "dpop"):
        raise TokenInvalid("sender_constrained")


def _check_audience(answer: Mapping[str, Any], audiences: frozenset[str] | None) -> None:
    """Membership, exact; a list must be of strings only (RFC 7519 section 4.1.3)."""
    if audiences is None:
        return
    said = answer.get("aud")
    named = [said] if type(said) is str else said
    if type(named) is not list or not all(type(one) is str for one in named) or audiences.isdisjoint(named):
        raise TokenInvalid("audience_mismatch")


def _check_client(answer: Mapping[str, Any], clients: frozenset[str] | None) -> None:
    """Every client that is named must be one of ours, and one must be named."""
    if clients is None:
        return
    named = [answer[name] for name in CLIENT_CLAIMS if name in answer]
    if not named or not all(type(client) is str and client in clients for client in named):
        raise TokenInvalid("client_mismatch")
