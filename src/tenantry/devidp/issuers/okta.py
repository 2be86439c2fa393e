"""Okta: a custom authorization server, and the organisation's own whose tokens are nobody's to validate.

Faithful: ``scp`` is an array, ``sub`` is the login, ``uid`` the person, a service has no ``uid``.
"""

from __future__ import annotations

import secrets
from typing import Any

from ..people import Person
from .base import Issuer, address, guid


class Okta(Issuer):
    name = "okta"
    place = "/okta/oauth2/default"
    keys_place = "/okta/oauth2/default/v1/keys"
    kinds = ("access_token", "service_token", "id_token", "organization_token")

    def uid(self, person: Person | str) -> str:
        return f"00u{guid('okta', self.person(person).key).replace('-', '')[:17]}"

    def access_token(self, person: Person | str, *, scp: Any = ("openid", "notes:read"), **claims: Any) -> str:
        found = self.person(person)
        base = {
            "ver": 1,
            "jti": f"AT.{secrets.token_urlsafe(24)}",
            "aud": self.audience,
            "cid": self.client_id,
            "uid": self.uid(found),
            "scp": list(scp) if isinstance(scp, tuple) else scp,
            "auth_time": self.now(),
            "sub": address(found),
        }
        return self.signed(base, claims)

    def service_token(self, client: str = "0oaService1", **claims: Any) -> str:
        """Client credentials: ``sub`` is the client."""
        base = {"ver": 1, "jti": f"AT.{secrets.token_urlsafe(24)}", "aud": self.audience, "cid": client, "sub": client}
        return self.signed({**base, "scp": ["notes:read"]}, claims)

    def id_token(self, person: Person | str, **claims: Any) -> str:
        base = {"ver": 1, "jti": f"ID.{secrets.token_urlsafe(24)}", "aud": self.client_id, "sub": self.uid(person)}
        return self.signed({**base, "auth_time": self.now()}, claims)

    def organization_token(self, person: Person | str, **claims: Any) -> str:
        """Of the organisation's own authorization server."""
        domain = self._base_url() + "/okta"
        return self.access_token(person, **{"iss": domain, "aud": domain, **claims})

    def entry(self) -> dict[str, Any]:
        return {
            "name": "okta",
            "preset": "okta",
            "issuer": self.issuer,
            "audience": self.audience,
            "organization": "acme",
        }
