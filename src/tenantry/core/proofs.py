"""Proofs of possession: what a ``DPoP`` header must say before a token that is bound to a key is believed.

Source: RFC 9449 (sections 4.2, 4.3 and 7.1), RFC 7638 for the thumbprint, RFC 7800 for ``cnf``.

A proof is a JWS that brings its own key, so its signature alone says nothing: it counts because the key is the one
the token names, and because it was made for this request, this token and this moment. Whether it was seen before and
whether it carries our nonce is asked behind this (``possession.py``).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ..errors import ProofInvalid, TokenInvalid
from . import base64url
from .keys import ALGORITHMS, VerificationKey, parse_key_set
from .strict_json import parse_object

# In the order in which clients are told of them.
PROOF_ALGORITHMS = ("ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "RS256")
MAX_PROOF_BYTES = 8 * 1024
MAX_JTI_CHARACTERS = 256

_MAX_RSA_BITS = 4096  # the key is of the caller's choice, and its price is ours
_RSA_EXPONENT = 65537
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_THUMBPRINT_MEMBERS: Mapping[str, tuple[str, ...]] = {  # RFC 7638 section 3.2, RFC 8037 section 2
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_IN_PATHS = "/:@!$&'()*+,;=-._~"  # RFC 3986 section 3.3
_LATEST = 10**12  # seconds: anything later is not a date


@dataclass(frozen=True, slots=True)
class Asked:
    """What a proof must be for: the request's ``method``, its ``url`` as clients see it (see ``external_url``), the
    ``token`` that came with it and the thumbprint of the key that the token is bound to."""

    method: str
    url: str
    token: bytes = field(repr=False)
    thumbprint: str


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that holds: nobody but a holder of the key can have made it. ``id`` is its ``jti``; ``issued_at`` in
    seconds since the epoch; ``nonce`` is empty where it has none."""

    id: str
    issued_at: float
    nonce: str


def check_proof(header: bytes, asked: Asked, now: float, window: float) -> Proof:
    """Raise ``ProofInvalid`` unless the one ``DPoP`` header is a proof of what is ``asked``, made within ``window``
    seconds of ``now`` (seconds since the epoch); ``TokenInvalid`` when the token is bound to another key than the
    proof's. The dearest check comes last, for the right key alone."""
    if len(header) > MAX_PROOF_BYTES:
        raise ProofInvalid("proof_malformed")
    try:
        head, body, tail = header.split(b".")  # several headers, joined by commas, are no base64url
        signature, payload = base64url.decode(tail), parse_object(base64url.decode(body))
    except ValueError:
        raise ProofInvalid("proof_malformed") from None
    algorithm, key, thumbprint = _read_header(head)
    if not hmac.compare_digest(thumbprint, asked.thumbprint):
        raise TokenInvalid("proof_key_mismatch")  # the token is no good with this key (RFC 9449 section 7.1)
    proof = _read_claims(payload)
    _check_request(payload, asked)
    _check_moment(proof.issued_at, now, window)
    if not ALGORITHMS[algorithm].verify(header[: len(head) + 1 + len(body)], key.material, signature):
        raise ProofInvalid("proof_signature_invalid")
    return proof


@lru_cache(maxsize=1024)
def _read_header(segment: bytes) -> tuple[str, VerificationKey, str]:
    """(alg, key, its thumbprint). Remembered: all proofs of one client begin with the same header, and a public key is
    no secret. Nothing is believed because it is remembered."""
    try:
        header = parse_object(base64url.decode(segment))
    except ValueError:
        raise ProofInvalid("proof_malformed") from None
    algorithm, kind, jwk = header.get("alg"), header.get("typ"), header.get("jwk")
    if kind != "dpop+jwt" or type(jwk) is not dict or any(name in header for name in ("crit", "b64", "zip", "enc")):
        raise ProofInvalid("proof_malformed")
    if type(algorithm) is not str or algorithm not in PROOF_ALGORITHMS:
        raise ProofInvalid("proof_algorithm_refused")
    if not _PRIVATE.isdisjoint(jwk):  # whoever sends it has given the key away
        raise ProofInvalid("proof_key_refused")
    try:
        (key,) = parse_key_set({"keys": [jwk]}).keys
    except ValueError:
        raise ProofInvalid("proof_key_refused") from None
    if algorithm not in key.algorithms or (key.kty == "RSA" and _is_dear(key)):
        raise ProofInvalid("proof_key_refused")
    return algorithm, key, jwk_thumbprint(jwk)


def _is_dear(key: VerificationKey) -> bool:
    """One verification with a huge modulus or exponent would be a denial of service."""
    return bool(key.material.key_size > _MAX_RSA_BITS or key.material.public_numbers().e != _RSA_EXPONENT)


def jwk_thumbprint(jwk: Mapping[str, Any]) -> str:
    """The JWK thumbprint with SHA-256 (RFC 7638). Raises ``KeyError`` for a key of another type."""
    members = {name: jwk[name] for name in _THUMBPRINT_MEMBERS[jwk["kty"]]}
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    return base64url.encode(digest).decode("ascii")


def _read_claims(payload: Mapping[str, Any]) -> Proof:
    if any(type(payload.get(name)) is not str for name in ("jti", "htm", "htu", "ath")):
        raise ProofInvalid("proof_malformed")
    id, nonce = payload["jti"], payload.get("nonce", "")
    issued_at: Any = payload.get("iat")
    if not 0 < len(id) <= MAX_JTI_CHARACTERS or type(nonce) is not str:
        raise ProofInvalid("proof_malformed")
    if type(issued_at) not in (int, float) or not 0 <= issued_at <= _LATEST:  # a bool is an int, and no date
        raise ProofInvalid("proof_malformed")
    return Proof(id, float(issued_at), nonce)


def _check_request(payload: Mapping[str, Any], asked: Asked) -> None:
    if payload["htm"] != asked.method:
        raise ProofInvalid("proof_of_another_request")
    try:
        same = _normal(payload["htu"]) == _normal(asked.url)
    except ValueError:
        same = False
    if not same:
        raise ProofInvalid("proof_of_another_request")
    expected = base64url.encode(hashlib.sha256(asked.token).digest())
    if not hmac.compare_digest(expected, payload["ath"].encode()):
        raise ProofInvalid("proof_of_another_token")


def _check_moment(issued_at: float, now: float, window: float) -> None:
    if issued_at <= now - window:
        raise ProofInvalid("proof_stale")
    if issued_at > now + window:
        raise ProofInvalid("proof_not_yet_valid")


# --- URLs -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _normal(url: str) -> str:
    """The one spelling of an address (RFC 3986 section 6.2.2 and 6.2.3): scheme and host in small letters, the default
    port left out, escapes only where they must be, no slash at the end. ``ValueError`` for a query, a fragment, a user,
    and for an escaped slash or dot, which two readers of a path could understand differently."""
    parts = urlsplit(url)
    scheme, host, port = parts.scheme, parts.hostname, parts.port
    if scheme not in _DEFAULT_PORTS or not host or parts.username is not None or not url.isascii():
        raise ValueError("not an address of this server")
    if "?" in url or "#" in url or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("more than an address")
    if "%2f" in parts.path.lower() or "%2e" in parts.path.lower() or "%5c" in parts.path.lower():
        raise ValueError("an ambiguous path")
    place = f"[{host}]" if ":" in host else host
    if port is not None and port != _DEFAULT_PORTS[scheme]:
        place = f"{place}:{port}"
    return f"{scheme}://{place}{quote(unquote(parts.path, errors='strict'), safe=_IN_PATHS).removesuffix('/')}"


@dataclass(frozen=True, slots=True)
class ExternalUrls:
    """A request's URL as its client sees it: made of the address that the operator configured and the request's path,
    never of its Host header. ``known`` maps paths to the URLs of our endpoints, where a proxy cuts a prefix off."""

    origin: str
    known: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, resource: str, known: Mapping[str, str]) -> ExternalUrls:
        """``resource`` is the resource identifier; ``known`` further endpoints by their path (``metadata.resources``).
        A request whose path is the end of the resource's is one for the resource."""
        parts = urlsplit(resource)
        path = parts.path.rstrip("/")
        ends = {path[at:]: resource for at, sign in enumerate(path) if sign == "/"}
        return cls(f"{parts.scheme}://{parts.netloc}", {**ends, **known})

    def of_path(self, path: str) -> str:
        """``path`` is decoded, as ASGI has it."""
        return self.known.get(path.rstrip("/")) or self.origin + quote(path, safe=_IN_PATHS, errors="replace")
