"""How this server shows an authorization server who it is.

Sources: RFC 6749 section 2.3.1 (client_secret_basic, client_secret_post), RFC 7523 sections 2.2 and 3
(private_key_jwt). The names are those of OpenID Connect Core section 9.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote_plus

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ..ports import Clock

Method = Literal["client_secret_basic", "client_secret_post", "private_key_jwt"]
SigningKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
ASSERTION_LIFETIME = 60  # seconds: it is used at once, and only once
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_OF_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Who we are there. ``secret`` for the first two methods, ``private_key`` (PEM) for the third; ``audience`` is whom
    an assertion is for: the server's issuer, or the URL that is asked."""

    client_id: str
    method: Method = "client_secret_basic"
    secret: str = field(default="", repr=False)
    private_key: bytes = field(default=b"", repr=False)
    key_id: str | None = None
    audience: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What goes into a request: its headers, and members of its form."""

    headers: dict[str, str] = field(default_factory=dict, repr=False)
    form: dict[str, str] = field(default_factory=dict, repr=False)


class ClientAuth:
    """Shows ``settings`` with each request. Raises ``ValueError`` for a private key that cannot be used."""

    def __init__(self, settings: ClientSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._key = signing_key(settings.private_key) if settings.method == "private_key_jwt" else None

    def show(self) -> Shown:
        """Anew for each request: an assertion is good for one."""
        settings = self._settings
        if self._key is not None:
            form = {"client_id": settings.client_id, "client_assertion_type": _ASSERTION_TYPE}
            return Shown(form=form | {"client_assertion": self._assertion(*self._key)})
        if settings.method == "client_secret_post":
            return Shown(form={"client_id": settings.client_id, "client_secret": settings.secret})
        # Both halves are form-urlencoded first: an id may hold a colon, a secret anything.
        pair = f"{quote_plus(settings.client_id)}:{quote_plus(settings.secret)}"
        return Shown(headers={"authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"})

    def _assertion(self, key: SigningKey, algorithm: str) -> str:
        settings, now = self._settings, int(self._clock.now())
        claims = {
            "iss": settings.client_id,
            "sub": settings.client_id,
            "aud": settings.audience,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + ASSERTION_LIFETIME,
        }
        headers = {} if settings.key_id is None else {"kid": settings.key_id}
        return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def signing_key(pem: bytes) -> tuple[SigningKey, str]:
    """A private key and the algorithm that it signs with. Raises ``ValueError`` in words that quote nothing of it."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ValueError("is encrypted: give the key without a passphrase") from None
    except Exception:  # of many types, and their words may quote the file
        raise ValueError("is not a private key in PEM") from None
    if isinstance(key, RSAPrivateKey) and key.key_size >= _RSA_BITS:
        return key, "RS256"
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _OF_CURVES:
        return key, _OF_CURVES[key.curve.name]
    if isinstance(key, Ed25519PrivateKey):
        return key, "EdDSA"
    raise ValueError(f"is none of RSA ({_RSA_BITS} bits or more), EC (P-256, P-384, P-521) and Ed25519")
