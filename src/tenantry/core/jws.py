"""A JWS in compact serialization (RFC 7515 section 3.1), read so that it has one spelling and one meaning.

Everything but the mathematics happens here, before any key is looked at: three segments of canonical base64url,
a header that is strict JSON within bounds, no extension that would change what the signature covers (``crit``,
``b64``, ``zip``), no type that serves another end (RFC 8725 section 3.11). ``jku``, ``x5u``, ``jwk`` and ``x5c``
are never looked at. What is refused raises ``TokenInvalid``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..errors import TokenInvalid
from . import base64url
from .strict_json import parse_object

MAX_TOKEN_BYTES = 16 * 1024
MAX_HEADER_BYTES = 2 * 1024
MAX_KID_CHARACTERS = 256

# Signed by the same keys for other ends: never an access token (RFC 8725 section 3.11, RFC 9449, 8417, 9701, ...).
_OTHER_ENDS = frozenset(
    """dpop+jwt oauth-id-jag+jwt logout+jwt secevent+jwt token-introspection+jwt oauth-authz-req+jwt
    client-authentication+jwt kb+jwt dc+sd-jwt vc+jwt vc+sd-jwt vc+ld+jwt statuslist+jwt entity-statement+jwt""".split()
)
_CHANGES_THE_MEANING = ("crit", "b64", "zip")


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A well-formed JWS. Nothing in it may be believed: ``claims`` may refuse early, never accept."""

    algorithm: str
    kid: str | None
    type: str | None
    payload: bytes = field(repr=False)
    signing_input: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse_jws(token: bytes) -> UnverifiedToken:
    """Read a compact JWS. The payload stays bytes (``parse_claims`` reads it). Raises ``TokenInvalid``."""
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenInvalid("token_too_large")
    try:
        head, body, tail = token.split(b".")
        payload, signature = base64url.decode(body), base64url.decode(tail)
    except ValueError:
        raise TokenInvalid("token_malformed") from None
    if not signature or len(head) > MAX_HEADER_BYTES * 4 // 3:
        raise TokenInvalid("token_malformed")
    algorithm, kid, kind = _read_header(head)
    return UnverifiedToken(algorithm, kid, kind, payload, token[: len(head) + 1 + len(body)], signature)


@lru_cache(maxsize=256)
def _read_header(segment: bytes) -> tuple[str, str | None, str | None]:
    """(alg, kid, normalized typ). Remembered: all tokens that one key signs begin with the same header, which says
    nothing of their holders."""
    try:
        header = parse_object(base64url.decode(segment))
    except ValueError:
        raise TokenInvalid("token_malformed") from None
    return _check_header(header)


def _check_header(header: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """``TokenInvalid`` for a header that may not be."""
    algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if type(algorithm) is not str:
        raise TokenInvalid("token_malformed")
    if "enc" in header:
        raise TokenInvalid("token_encrypted")
    if any(name in header for name in _CHANGES_THE_MEANING):
        raise TokenInvalid("token_header_refused")
    if "kid" in header and (type(kid) is not str or len(kid) > MAX_KID_CHARACTERS):
        raise TokenInvalid("token_header_refused")
    if "typ" in header:
        if type(kind) is not str:
            raise TokenInvalid("token_header_refused")
        kind = kind.lower().removeprefix("application/")  # RFC 7515 section 4.1.9
        if kind in _OTHER_ENDS:
            raise TokenInvalid("token_type_refused")
    return algorithm, kid, kind


def parse_claims(token: UnverifiedToken) -> dict[str, Any]:
    """The payload as strict JSON: one object, unverified. Raises ``TokenInvalid``."""
    try:
        return parse_object(token.payload)
    except ValueError:
        raise TokenInvalid("token_malformed") from None
