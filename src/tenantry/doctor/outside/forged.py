"""Tokens that no server may accept. Each is made anew, belongs to nobody and holds nothing."""

from __future__ import annotations

import base64
import json
import secrets
import time
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

_HOUR = 3600


@lru_cache(maxsize=1)
def _key() -> rsa.RSAPrivateKey:
    """A key of our own, as good as the provider's: only the provider does not publish it."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def claims(issuer: str, audience: str, *, expires_in: float = _HOUR) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": issuer,
        "aud": audience,
        "sub": "tenantry-doctor",
        "iat": now - 2 * _HOUR,
        "exp": now + int(expires_in),
        "jti": secrets.token_hex(8),
    }


def forged(members: dict[str, Any], key_id: str | None) -> str:
    """A well-formed JWT under RS256 that claims to be signed with the provider's key, and is signed with ours."""
    header = {"alg": "RS256", "typ": "at+jwt"} | ({} if key_id is None else {"kid": key_id})
    signed = f"{_segment(header)}.{_segment(members)}"
    algorithm = RSAAlgorithm(RSAAlgorithm.SHA256)
    return f"{signed}.{_base64url(algorithm.sign(signed.encode(), _key()))}"


def unsigned(members: dict[str, Any]) -> str:
    """alg none (RFC 8725 section 3.2)."""
    return f"{_segment({'alg': 'none', 'typ': 'at+jwt'})}.{_segment(members)}."


def random_token() -> str:
    """Opaque, of no known provider's form."""
    return f"doctor-{secrets.token_urlsafe(24)}"


def tampered(token: str) -> str:
    """``token`` with one sign in its last quarter changed; the last one of base64 may mean nothing."""
    place = len(token) - max(2, len(token) // 8)
    return f"{token[:place]}{'A' if token[place] != 'A' else 'B'}{token[place + 1 :]}"


def _segment(members: dict[str, Any]) -> str:
    return _base64url(json.dumps(members).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
