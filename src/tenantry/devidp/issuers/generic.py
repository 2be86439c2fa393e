"""An issuer of no product in particular: RFC 9068 access tokens, OpenID Connect ID tokens, keys found by discovery."""

from __future__ import annotations

import secrets
from typing import Any

from ..people import Person
from .base import Issuer, address, company, guid


class Generic(Issuer):
    name = "generic"
    place = "/generic"
    keys_place = "/generic/keys"
    kinds = ("access_token", "id_token")

    def access_token(self, person: Person | str, *, scope: str = "openid notes:read", **claims: Any) -> str:
        """RFC 9068 section 2.2: typ at+jwt, client_id, jti."""
        found = self.person(person)
        base = {
            "aud": self.audience,
            "sub": guid(self.name, found.key),
            "client_id": self.client_id,
            "jti": secrets.token_urlsafe(12),
            "scope": scope,
            "org": {"id": company(found)},
            "roles": ["editor"],
            "email": address(found),
            "email_verified": True,
            "name": found.name,
        }
        return self.signed(base, claims, header={"typ": claims.pop("typ_", "at+jwt")})

    def id_token(self, person: Person | str, **claims: Any) -> str:
        """For the client: its audience is the client, and it answers a nonce."""
        found = self.person(person)
        base = {"aud": self.client_id, "sub": guid(self.name, found.key), "nonce": "n-0S6_WzA2Mj", "name": found.name}
        return self.signed(base, claims)

    def entry(self) -> dict[str, Any]:
        return {
            "name": "generic",
            "issuer": self.issuer,
            "audience": self.audience,
            "claims": {"tenant": "org.id"},
        }
