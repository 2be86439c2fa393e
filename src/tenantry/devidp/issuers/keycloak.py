"""Keycloak: one realm.

Faithful: the key set has a key for encryption, ``aud`` is ``account`` or absent without a mapper, the payload's ``typ``
tells the kinds apart, which the same key signs.
"""

from __future__ import annotations

from typing import Any

from ..keyring import OMIT, SigningKey
from ..people import Person
from .base import Issuer, address, company, guid


class Keycloak(Issuer):
    name = "keycloak"
    place = "/keycloak/realms/acme"
    keys_place = "/keycloak/realms/acme/protocol/openid-connect/certs"
    kinds = ("access_token", "id_token", "refresh_token", "lightweight_token")

    def __init__(self, **around: Any) -> None:
        super().__init__(**around)
        self.encryption_key = SigningKey("issuers/keycloak/enc", 0)

    def access_token(self, person: Person | str, *, mapper: bool = True, **claims: Any) -> str:
        """``mapper`` false: nobody set up an Audience mapper for our server."""
        found = self.person(person)
        base = {
            "typ": "Bearer",
            "aud": [self.audience, "account"] if mapper else "account",
            "sub": guid("keycloak", found.key),
            "azp": self.client_id,
            "sid": guid("keycloak", "session", found.key),
            "realm_access": {"roles": ["offline_access", "editor"]},
            "resource_access": {"account": {"roles": ["manage-account"]}, "notes.api": {"roles": ["admin"]}},
            "scope": "openid notes:read",
            "email_verified": True,
            "preferred_username": found.key,
            "email": address(found),
            "name": found.name,
            "organization": company(found),
        }
        return self.signed(base, claims, expires_in=300)

    def id_token(self, person: Person | str, **claims: Any) -> str:
        return self.access_token(
            person, **{"typ": "ID", "aud": self.client_id, "nonce": "n-0S6_WzA2Mj", "scope": OMIT, **claims}
        )

    def refresh_token(self, person: Person | str, **claims: Any) -> str:
        """With RSA keys, as an older realm signs them; its audience is the realm's own URL."""
        return self.access_token(person, **{"typ": "Refresh", "aud": self.issuer, **claims})

    def lightweight_token(self, person: Person | str, **claims: Any) -> str:
        """What a client gets that is switched to lightweight access tokens, without the scope ``basic``."""
        left_out = ("sub", "realm_access", "resource_access", "email", "email_verified", "preferred_username", "name")
        return self.access_token(person, **{**dict.fromkeys(left_out, OMIT), **claims})

    def jwks(self) -> dict[str, Any]:
        encryption = {**self.encryption_key.jwk(), "use": "enc", "alg": "RSA-OAEP"}
        return {"keys": [encryption, *self.keys.jwks()["keys"]]}

    def entry(self) -> dict[str, Any]:
        return {
            "name": "keycloak",
            "preset": "keycloak",
            "issuer": self.issuer,
            "audience": self.audience,
            "role_clients": ["notes.api"],
            "claims": {"tenant": "organization"},
        }
