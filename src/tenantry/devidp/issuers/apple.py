"""Sign in with Apple: ID tokens, whose booleans may be texts, and whose addresses may be Apple's relay."""

from __future__ import annotations

from typing import Any

from ..people import Person
from .base import Issuer, address, guid


class Apple(Issuer):
    name = "apple"
    place = "/apple"
    keys_place = "/apple/auth/keys"
    kinds = ("id_token", "notification")

    def __init__(self, **around: Any) -> None:
        super().__init__(**around)
        self.client_id = "example.notes.signin"

    def subject(self, person: Person | str) -> str:
        return f"000777.{guid('apple', self.person(person).key).replace('-', '')}.0815"

    def id_token(self, person: Person | str, *, relay: bool = False, **claims: Any) -> str:
        """``relay``: the person hid the address."""
        found = self.person(person)
        hidden = {"email": f"{found.key}7x2@privaterelay.appleid.com", "is_private_email": "true"}
        base = {
            "aud": self.client_id,
            "sub": self.subject(found),
            "nonce": "n-0S6_WzA2Mj",
            "nonce_supported": True,
            "email": address(found),
            "email_verified": "true",
            "auth_time": self.now(),
            **(hidden if relay else {}),
        }
        return self.signed(base, claims, expires_in=86_400)

    def notification(self, person: Person | str, **claims: Any) -> str:
        """What Apple's servers send to a developer's: the same issuer, keys and audience."""
        event = f'{{"type":"email-disabled","sub":"{self.subject(person)}"}}'
        return self.signed({"aud": self.client_id, "sub": self.subject(person), "events": event}, claims)

    def entry(self) -> dict[str, Any]:
        return {
            "name": "apple",
            "preset": "apple",
            "issuers": [self.issuer],
            "jwks_uri": self.keys_url,
            "audience": self.client_id,
        }
