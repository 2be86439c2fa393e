"""Amazon Cognito: one user pool.

Faithful: access tokens have no ``aud``, ID tokens have no ``client_id``, each kind has a key of its own.
"""

from __future__ import annotations

from typing import Any, Final

from ..people import Person
from .base import Issuer, address, guid

POOL: Final = "eu-west-1_Dev0Pool1"


class Cognito(Issuer):
    name = "cognito"
    place = f"/cognito/{POOL}"
    keys_place = f"/cognito/{POOL}/.well-known/jwks.json"
    kinds = ("access_token", "id_token")

    def access_token(self, person: Person | str, **claims: Any) -> str:
        found = self.person(person)
        base = {
            "sub": guid("cognito", found.key),
            "token_use": "access",
            "client_id": self.client_id,
            "scope": "openid notes/read",
            "username": found.key,
            "cognito:groups": ["editor"],
            "origin_jti": guid("cognito", "origin", found.key),
            "jti": guid("cognito", "jti", found.key),
            "version": 2,
            "auth_time": self.now(),
        }
        return self.signed(base, claims)

    def id_token(self, person: Person | str, **claims: Any) -> str:
        found = self.person(person)
        base = {
            "sub": guid("cognito", found.key),
            "token_use": "id",
            "aud": self.client_id,
            "email": address(found),
            "email_verified": True,
            "cognito:username": found.key,
            "cognito:groups": ["editor"],
            "auth_time": self.now(),
        }
        return self.signed(base, claims, key=self.keys.published[1])

    def entry(self) -> dict[str, Any]:
        return {
            "name": "cognito",
            "preset": "cognito",
            "issuer": self.issuer,
            "clients": [self.client_id],
            "organization": "acme",
        }
