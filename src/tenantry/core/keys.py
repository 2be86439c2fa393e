"""JSON Web Key sets (RFC 7517, RFC 7518 section 6), the choice of the one key that may have signed a token, and
whether it did.

A key that cannot be used for a signature here (encryption keys, unknown types, weak or malformed ones, symmetric
ones) is left out; a set that is ambiguous (two keys of one type under one id, symmetric mixed with asymmetric) is
refused as a whole. Choosing is pure; fetching and freshness are a layer on it (``providers/remote_keys.py``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import Algorithm, OKPAlgorithm, get_default_algorithms

from ..errors import TokenInvalid
from . import base64url
from .jws import UnverifiedToken

# The mathematics is PyJWT's; RFC 9864 gives EdDSA's two curves names of their own.
ALGORITHMS: Mapping[str, Algorithm] = {
    **{name: algorithm for name, algorithm in get_default_algorithms().items() if name != "none"},
    "Ed25519": OKPAlgorithm(),
    "Ed448": OKPAlgorithm(),
}

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES: Mapping[str, tuple[ec.EllipticCurve, str, int]] = {
    "P-256": (ec.SECP256R1(), "ES256", 32),
    "P-384": (ec.SECP384R1(), "ES384", 48),
    "P-521": (ec.SECP521R1(), "ES512", 66),
}
_HMAC_MINIMUM_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}  # RFC 7518 section 3.2

_RSA_BITS = range(2048, 8193)  # RFC 7518 section 3.3; above it one verification is a denial of service
# Moduli of CVE-2017-15361 (ROCA) lie in the subgroup that 65537 generates modulo each of these primes.
_ROCA_PRIMES = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_ROCA_RESIDUES = {prime: frozenset(pow(65537, k, prime) for k in range(prime)) for prime in _ROCA_PRIMES}


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One usable key: ``algorithms`` are those its type, curve and own ``alg`` allow; ``issuer`` is whose tokens alone
    it signs, where the set says so (Microsoft Entra ID)."""

    kid: str | None
    kty: str
    algorithms: frozenset[str]
    material: Any = field(repr=False)
    issuer: str | None = None


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one issuer; ``ignored`` counts the others."""

    keys: tuple[VerificationKey, ...]
    ignored: int = 0

    def choose(self, kid: str | None, algorithm: str) -> VerificationKey | None:
        """The one key for a token, or None: by id where the token names one, else only if there is no choice."""
        fitting = [key for key in self.keys if algorithm in key.algorithms and (kid is None or key.kid == kid)]
        return fitting[0] if len(fitting) == 1 else None

    def has(self, kid: str | None) -> bool:
        """Whether a key of that id is here at all (for another algorithm, then)."""
        return any(key.kid == kid for key in self.keys)


def parse_key_set(document: Mapping[str, Any], *, symmetric: bool = False) -> KeySet:
    """Read ``{"keys": [...]}``. Raises ``ValueError`` when it is malformed, ambiguous or has no usable key.

    ``symmetric=True`` reads a set of our own secrets and nothing else; a remote set never holds one.
    """
    entries = document.get("keys")
    if type(entries) is not list or not all(type(entry) is dict for entry in entries):
        raise ValueError("not a JSON Web Key Set")
    types = {str(entry.get("kty")) for entry in entries}
    if symmetric and types != {"oct"}:
        raise ValueError("symmetric and other keys in one set")
    names = [(str(entry.get("kty")), str(entry.get("kid"))) for entry in entries if _is_for_verifying(entry)]
    if len(set(names)) != len(names):
        raise ValueError("two keys with one id")
    keys = tuple(key for entry in entries if (key := _read(entry, symmetric=symmetric)) is not None)
    if not keys:
        raise ValueError("no usable key in the set")
    return KeySet(keys, ignored=len(entries) - len(keys))


def _read(jwk: Mapping[str, Any], *, symmetric: bool) -> VerificationKey | None:
    """The key for verifying signatures that ``jwk`` is, or None when it is not one."""
    if not _is_for_verifying(jwk):
        return None
    kid, kty, alg, issuer = (jwk.get(name) for name in ("kid", "kty", "alg", "issuer"))
    if not all(value is None or type(value) is str for value in (kid, kty, alg, issuer)):
        return None
    if (kty == "oct") is not symmetric:
        return None
    try:
        material, algorithms = _READERS[str(kty)](jwk)
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm):
        return None
    if alg is not None:
        algorithms &= {alg}
    return VerificationKey(kid, str(kty), algorithms, material, issuer) if algorithms else None


def _is_for_verifying(jwk: Mapping[str, Any]) -> bool:
    operations = jwk.get("key_ops")
    if operations is not None and not (type(operations) is list and "verify" in operations):
        return False
    return jwk.get("use") in (None, "sig")


def _read_rsa(jwk: Mapping[str, Any]) -> tuple[Any, frozenset[str]]:
    modulus, exponent = _integer(jwk["n"]), _integer(jwk["e"])
    if modulus.bit_length() not in _RSA_BITS or exponent < 3 or exponent % 2 == 0 or _is_roca(modulus):
        raise ValueError("weak RSA key")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key(), _RSA


def _read_ec(jwk: Mapping[str, Any]) -> tuple[Any, frozenset[str]]:
    curve, algorithm, size = _CURVES[jwk["crv"]]
    x, y = _octets(jwk["x"]), _octets(jwk["y"])
    if len(x) != size or len(y) != size:  # RFC 7518 section 6.2.1.2
        raise ValueError("coordinate of the wrong length")
    point = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    return point.public_key(), frozenset({algorithm})


def _read_okp(jwk: Mapping[str, Any]) -> tuple[Any, frozenset[str]]:
    if jwk["crv"] == "Ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(_octets(jwk["x"])), frozenset({"EdDSA", "Ed25519"})
    if jwk["crv"] == "Ed448":
        return ed448.Ed448PublicKey.from_public_bytes(_octets(jwk["x"])), frozenset({"EdDSA", "Ed448"})
    raise ValueError("unknown curve")


def _read_oct(jwk: Mapping[str, Any]) -> tuple[Any, frozenset[str]]:
    secret = _octets(jwk["k"])
    return secret, frozenset(name for name, least in _HMAC_MINIMUM_BYTES.items() if len(secret) >= least)


_READERS = {"RSA": _read_rsa, "EC": _read_ec, "OKP": _read_okp, "oct": _read_oct}


def _octets(text: Any) -> bytes:
    if type(text) is not str:
        raise ValueError("not base64url text")
    return base64url.decode(text.encode("ascii"))


def _integer(text: Any) -> int:
    return int.from_bytes(_octets(text), "big")


def _is_roca(modulus: int) -> bool:
    return all(modulus % prime in residues for prime, residues in _ROCA_RESIDUES.items())


def verify_signature(token: UnverifiedToken, key: VerificationKey, algorithms: Collection[str]) -> None:
    """Raise ``TokenInvalid`` unless ``key`` made the signature with one of ``algorithms``, which the issuer's
    configuration fixes and the key must allow (RFC 8725 section 3.1)."""
    if token.algorithm not in algorithms or token.algorithm not in key.algorithms:
        raise TokenInvalid("algorithm_refused")
    if not ALGORITHMS[token.algorithm].verify(token.signing_input, key.material, token.signature):
        raise TokenInvalid("signature_invalid")
