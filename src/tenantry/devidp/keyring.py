"""RSA key rings and compact JWS (RFC 7515 section 7.1), well-formed on purpose or malformed on purpose.

Three rules: keys are made when they are first needed, because one costs 50 to 100 ms; a ring of the same name
reuses the keys this process already made; rings of different names never share a key, so a token of one
provider cannot verify with the keys of another.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

_HASHES: Final[dict[str, Callable[[], hashes.HashAlgorithm]]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
# Part of every kid: a restarted process has new keys, and a verifier that remembers the old ones must be able
# to tell them apart.
_PROCESS: Final = secrets.token_bytes(16)


class Omit:
    """The type of ``OMIT``."""

    def __repr__(self) -> str:
        return "OMIT"


OMIT: Final = Omit()
"""A claim or header member given this value is left out: ``google.id_token("ann", exp=OMIT)``."""


def b64url(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def without_omitted(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that are not ``OMIT``, in their order."""
    return {name: value for name, value in members.items() if value is not OMIT}


@functools.cache
def _private_key(ring: str, index: int, bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


class SigningKey:
    """One RSA key pair with its ``kid``; the pair itself is generated when it is first used."""

    def __init__(self, ring: str, index: int, *, bits: int = 2048) -> None:
        self._place = (ring, index, bits)
        # 40 hexadecimal digits, as Google's.
        self.kid = _sha1(_PROCESS + f"{ring}/{index}/{bits}".encode()).hex()

    @property
    def private(self) -> rsa.RSAPrivateKey:
        return _private_key(*self._place)

    def public_pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM: what an algorithm-confusion attack uses as an HMAC secret."""
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def jwk(self) -> dict[str, Any]:
        """The public key in Google's flavour: kid, kty, alg, use, n, e (RFC 7517 section 4, RFC 7518 section 6.3)."""
        numbers = self.private.public_key().public_numbers()
        return {
            "kid": self.kid,
            "kty": "RSA",
            "alg": "RS256",
            "use": "sig",
            "n": b64url(_big_endian(numbers.n)),
            "e": b64url(_big_endian(numbers.e)),
        }

    def certificate(self) -> bytes:
        """A self-signed X.509 certificate of the key, DER."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "devidp.example")])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.private.public_key())
            .serial_number(int(self.kid[:16], 16) | 1)
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
            .sign(self.private, hashes.SHA256())
            .public_bytes(serialization.Encoding.DER)
        )


class KeyRing:
    """The keys of one issuer: one signs, several are published.

    ``published`` is the number of keys in the key set; ``certificates`` adds ``x5t`` and ``x5c`` as Auth0
    does. ``extras`` are JWKs published as they are, after the others: encryption keys, weak keys, nonsense.
    """

    def __init__(self, name: str, *, published: int = 2, certificates: bool = False) -> None:
        self.name = name
        self.extras: list[dict[str, Any]] = []
        self._certificates = certificates
        self._made = published
        self._published = [SigningKey(name, index) for index in range(published)]

    @property
    def current(self) -> SigningKey:
        """The key that signs."""
        return self._published[0]

    @property
    def published(self) -> tuple[SigningKey, ...]:
        """The keys of the key set, the current one first."""
        return tuple(self._published)

    def rotate(self, *, keep_previous: bool = True) -> SigningKey:
        """Sign with a key that nobody has seen yet, and return it.

        The key used so far stays published, in place of the oldest one, or vanishes at once with
        ``keep_previous=False`` (an emergency rotation).
        """
        fresh = SigningKey(self.name, self._made)
        self._made += 1
        self._published = [fresh, *(self._published[:-1] if keep_previous else self._published[1:])]
        return fresh

    def jwks(self) -> dict[str, Any]:
        """The key set: ``{"keys": [...]}`` (RFC 7517 section 5)."""
        return {"keys": [self._jwk(key) for key in self._published] + self.extras}

    def _jwk(self, key: SigningKey) -> dict[str, Any]:
        if not self._certificates:
            return key.jwk()
        der = key.certificate()
        return {
            **key.jwk(),
            "x5t": b64url(_sha1(der)),
            "x5c": [base64.b64encode(der).decode("ascii")],
        }

    def sign(
        self,
        claims: Mapping[str, Any],
        *,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        alg: str = "RS256",
        secret: bytes | None = None,
    ) -> str:
        """A compact JWS over ``claims``; ``header`` members replace or (with ``OMIT``) remove the usual three."""
        key = key or self.current
        usual = {"alg": alg, "kid": key.kid, "typ": "JWT"}
        return self.sign_raw(
            _json(without_omitted({**usual, **(header or {})})),
            _json(without_omitted(claims)),
            key=key,
            alg=alg,
            secret=secret,
        )

    def sign_raw(
        self,
        header: bytes,
        payload: bytes,
        *,
        key: SigningKey | None = None,
        alg: str = "RS256",
        secret: bytes | None = None,
    ) -> str:
        """A compact JWS over any two byte strings: duplicate names, a BOM, deep nesting, no JSON at all.

        ``alg`` is the algorithm really used, whatever the header says: RS*, PS*, HS* or ``none``. HS* is keyed with
        ``secret``, or with the PEM of the public key: the algorithm confusion of RFC 8725 section 2.1.
        """
        signed = f"{b64url(header)}.{b64url(payload)}"
        signature = _signature(alg, key or self.current, signed.encode("ascii"), secret)
        return f"{signed}.{b64url(signature)}"


def _signature(alg: str, key: SigningKey, signed: bytes, secret: bytes | None) -> bytes:
    if alg == "none":
        return b""
    family, bits = alg[:2], alg[2:]
    digest = _HASHES[bits]()
    if family == "HS":
        return hmac.digest(secret or key.public_pem(), signed, f"sha{bits}")
    if family == "PS":
        pss = padding.PSS(padding.MGF1(digest), salt_length=digest.digest_size)
        return key.private.sign(signed, pss, digest)
    if family == "RS":
        return key.private.sign(signed, padding.PKCS1v15(), digest)
    raise ValueError(f"cannot sign with {alg}: RS*, PS*, HS* and none are known")


def _json(members: Mapping[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode()


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _big_endian(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
