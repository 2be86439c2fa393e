"""Firebase Authentication: ID tokens, whose keys are one set for every project."""

from __future__ import annotations

from typing import Any, Final

from ..people import Person
from .base import Issuer, address, guid

PROJECT: Final = "devidp-notes"


class Firebase(Issuer):
    name = "firebase"
    place = f"/firebase/{PROJECT}"
    keys_place = "/firebase/service_accounts/v1/jwk/securetoken"
    kinds = ("id_token",)

    def id_token(
        self, person: Person | str, *, project: str = PROJECT, provider: str = "google.com", **claims: Any
    ) -> str:
        """``project``: another project's token has its issuer and audience, and our keys' signature."""
        found = self.person(person)
        base = {
            "iss": f"{self._base_url()}/firebase/{project}",
            "aud": project,
            "sub": guid("firebase", found.key).replace("-", "")[:28],
            "user_id": guid("firebase", found.key).replace("-", "")[:28],
            "auth_time": self.now() - 5,
            "email": address(found),
            "email_verified": True,
            "name": found.name,
            "firebase": {"identities": {}, "sign_in_provider": provider},
        }
        return self.signed(base, claims)

    def entry(self) -> dict[str, Any]:
        return {
            "name": "firebase",
            "preset": "firebase",
            "project": PROJECT,
            "issuer": self.issuer,
            "jwks_uri": self.keys_url,
        }
