"""What the token endpoint makes of a ``DPoP`` header (RFC 9449 section 5), in a reading of its own: a fake that shared
the server's would share its mistakes."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import jwt

from .calls import Call
from .oauth import OAuthError

ALGORITHMS: Final = ("ES256", "ES384", "ES512", "EdDSA", "PS256", "RS256")
_WINDOW: Final = 300.0  # seconds
_MEMBERS: Final = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}


def key_of_proof(call: Call, url: str, now: float) -> str | None:
    """The thumbprint of the key that the caller has proved to hold, None without a proof. Raises ``OAuthError``
    (invalid_dpop_proof) for one that is no good."""
    proof = call.headers.get("dpop")
    if proof is None:
        return None
    try:
        header = jwt.get_unverified_header(proof)
        claims = _verified(proof, header)
        good = header["typ"] == "dpop+jwt" and claims["htm"] == call.method and claims["htu"] == url
        good = good and abs(claims["iat"] - now) <= _WINDOW and "d" not in header["jwk"]
        key = thumbprint(header["jwk"]) if good else None
    except (jwt.PyJWTError, KeyError, TypeError, ValueError):
        key = None
    if key is None:
        raise OAuthError("invalid_dpop_proof", "the DPoP proof is not one of this request")
    return key


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """RFC 7638, with SHA-256."""
    members = {name: jwk[name] for name in _MEMBERS[jwk["kty"]]}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":"), sort_keys=True).encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _verified(proof: str, header: Mapping[str, Any]) -> dict[str, Any]:
    if header["alg"] not in ALGORITHMS:
        raise ValueError("an algorithm that proves nothing")
    options: Any = {"require": ["jti", "htm", "htu", "iat"], "verify_iat": False}  # by the clock of this provider
    return jwt.decode(proof, jwt.PyJWK(dict(header["jwk"]), header["alg"]), [header["alg"]], options)
