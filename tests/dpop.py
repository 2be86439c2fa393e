"""A client that holds a key: it proves it with every request, rightly or in any wrong way that a test asks for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from tenantry.devidp.keyring import OMIT, without_omitted

_NUMBERS = itertools.count()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@cache
def private_key(algorithm: str, number: int = 0) -> Any:
    """The same one for the same number: an RSA key takes a tenth of a second."""
    if algorithm[:2] in ("RS", "PS"):
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if algorithm in ("EdDSA", "Ed25519"):
        return ed25519.Ed25519PrivateKey.generate()
    curve = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[algorithm]
    return ec.generate_private_key(curve)


class Holder:
    """Holds one key. ``now`` says what its clock shows, in seconds since the epoch."""

    def __init__(self, now: Any, *, algorithm: str = "ES256", number: int = 0, url: str = "") -> None:
        self.algorithm, self.url, self._now = algorithm, url, now
        self.nonce: str | None = None
        self.key = private_key(algorithm, number)
        self._jose = get_default_algorithms()["EdDSA" if algorithm == "Ed25519" else algorithm]

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key."""
        return self._exported(self.key.public_key())

    @property
    def private_jwk(self) -> dict[str, Any]:
        return self._exported(self.key)

    @property
    def thumbprint(self) -> str:
        """RFC 7638, written down anew: what is tested has its own."""
        members = {"EC": "crv kty x y", "OKP": "crv kty x", "RSA": "e kty n"}[self.jwk["kty"]].split()
        canonical = "{" + ",".join(f'"{name}":"{self.jwk[name]}"' for name in members) + "}"
        return b64url(hashlib.sha256(canonical.encode()).digest())

    def proof(self, token: str, *, header: dict[str, Any] | None = None, method: str = "POST", **claims: Any) -> str:
        """A proof for a request with ``token``; ``header`` and ``claims`` replace, add or (with ``OMIT``) remove."""
        usual: dict[str, Any] = {
            "jti": f"proof-{next(_NUMBERS)}",
            "htm": method,
            "htu": self.url,
            "iat": int(self._now()),
            "ath": b64url(hashlib.sha256(token.encode()).digest()),
            "nonce": OMIT if self.nonce is None else self.nonce,
        }
        head = {"alg": self.algorithm, "typ": "dpop+jwt", "jwk": self.jwk, **(header or {})}
        return self.signed(json.dumps(without_omitted(head)), json.dumps(without_omitted(usual | claims)))

    def for_token_request(self, url: str) -> str:
        """A proof for the token endpoint, which knows of no token yet (RFC 9449 section 5)."""
        return self.proof("", ath=OMIT, htu=url)

    def signed(self, header: str, payload: str) -> str:
        """Any two texts, signed with this key."""
        text = f"{b64url(header.encode())}.{b64url(payload.encode())}"
        return f"{text}.{b64url(self._jose.sign(text.encode(), self.key))}"

    def headers(self, token: str, proof: str | None = None, **claims: Any) -> list[tuple[str, str]]:
        """What a request of this client carries."""
        return [("authorization", f"DPoP {token}"), ("dpop", self.proof(token, **claims) if proof is None else proof)]

    def _exported(self, key: Any) -> dict[str, Any]:
        text = json.loads(type(self._jose).to_jwk(key))
        text.pop("key_ops", None)
        return text


def hmac_proof(holder: Holder, token: str, secret: bytes) -> str:
    """An honest proof but for its signature: HMAC under something that everybody has."""
    signed, _, _ = holder.proof(token, header={"alg": "HS256"}).rpartition(".")
    return f"{signed}.{b64url(hmac.digest(secret, signed.encode(), 'sha256'))}"
