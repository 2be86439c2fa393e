"""Clerk: session tokens, version 2 and version 1, with Clerk's private header ``cat`` and no audience."""

from __future__ import annotations

from typing import Any, Final

from ..keyring import OMIT
from ..people import Person
from .base import Issuer, company, guid

SITE: Final = "https://app.example"


class Clerk(Issuer):
    name = "clerk"
    place = "/clerk"
    keys_place = "/clerk/.well-known/jwks.json"
    kinds = ("access_token", "old_token")

    def org_id(self, person: Person | str) -> str:
        return f"org_{guid('clerk', company(self.person(person)))[:8]}"

    def access_token(self, person: Person | str, **claims: Any) -> str:
        """A session token, version 2."""
        found = self.person(person)
        base = {
            "azp": SITE,
            "sub": f"user_{guid('clerk', found.key)[:8]}",
            "sid": f"sess_{guid('clerk', 'sid', found.key)[:8]}",
            "nbf": self.now() - 10,
            "fva": [7, -1],
            "sts": "active",
            "v": 2,
            "o": {"id": self.org_id(found), "slg": "acme", "rol": "admin"},
        }
        return self.signed(base, claims, expires_in=60, header={"cat": "cl_B7d4PD111AAA"})

    def old_token(self, person: Person | str, **claims: Any) -> str:
        """Version 1: the organisation's claims stand side by side."""
        old = {"v": OMIT, "o": OMIT, "sts": OMIT, "org_id": self.org_id(person), "org_role": "org:admin"}
        return self.access_token(person, **{**old, "org_permissions": ["org:notes:read"], **claims})

    def entry(self) -> dict[str, Any]:
        return {"name": "clerk", "preset": "clerk", "issuer": self.issuer, "authorized_parties": [SITE]}
