"""Supabase Auth: ES256, the same audience in every project, and metadata that users write themselves."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from jwt.api_jws import PyJWS

from ..keyring import without_omitted
from ..people import Person
from .base import Issuer, address, guid


@functools.cache
def _private(kid: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _public(kid: str) -> dict[str, Any]:
    key = json.loads(ECAlgorithm.to_jwk(_private(kid).public_key()))
    return {**key, "kid": kid, "alg": "ES256", "use": "sig"}


class Supabase(Issuer):
    name = "supabase"
    place = "/supabase/auth/v1"
    keys_place = "/supabase/auth/v1/.well-known/jwks.json"
    kinds = ("access_token", "secret_token")

    def access_token(self, person: Person | str, **claims: Any) -> str:
        return self.signed(self._base(self.person(person)), claims)

    def signed(self, base: Mapping[str, Any], claims: Mapping[str, Any], **options: Any) -> str:
        """On a curve: the ring says which key signs, and has no other part in it."""
        kid = self.keys.current.kid
        members = without_omitted({**base, **claims})
        return PyJWS().encode(json.dumps(members).encode(), _private(kid), "ES256", {"kid": kid})

    def secret_token(self, person: Person | str, **claims: Any) -> str:
        """Of a project that still signs with its shared secret."""
        secret = b"made-up-shared-secret-of-an-old-project"
        return self.keys.sign({**self._base(self.person(person)), **claims}, alg="HS256", secret=secret)

    def _base(self, found: Person) -> dict[str, Any]:
        return {
            "iss": self.issuer,
            "aud": "authenticated",
            "iat": self.now(),
            "exp": self.now() + 3600,
            "sub": guid("supabase", found.key),
            "email": address(found),
            "role": "authenticated",
            "aal": "aal1",
            "session_id": guid("supabase", "session", found.key),
            "is_anonymous": False,
            "app_metadata": {"provider": "email", "roles": ["editor"], "org": "acme"},
            "user_metadata": {"email_verified": True, "roles": ["admin"], "org": "globex"},
        }

    def jwks(self) -> dict[str, Any]:
        return {"keys": [_public(key.kid) for key in self.keys.published]}

    def entry(self) -> dict[str, Any]:
        return {
            "name": "supabase",
            "preset": "supabase",
            "issuer": self.issuer,
            "claims": {"tenant": "app_metadata.org"},
        }
