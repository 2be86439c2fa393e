"""WorkOS: session tokens of AuthKit without an audience, and Connect's with one, from the AuthKit domain."""

from __future__ import annotations

from typing import Any

from ..people import Person
from .base import Issuer, company, guid


class WorkOS(Issuer):
    name = "workos"
    place = "/workos"
    keys_place = "/workos/oauth2/jwks"
    kinds = ("access_token", "session_token", "machine_token")

    def __init__(self, **around: Any) -> None:
        super().__init__(**around)
        self.client_id = "client_01DEVIDP"

    @property
    def session_issuer(self) -> str:
        return f"{self.issuer}/user_management/{self.client_id}"

    def org_id(self, person: Person | str) -> str:
        return f"org_{guid('workos', company(self.person(person))).replace('-', '')[:20].upper()}"

    def access_token(self, person: Person | str, **claims: Any) -> str:
        """Of Connect: what an MCP client gets that asked for our resource."""
        found = self.person(person)
        base = {
            "aud": self.audience,
            "sub": f"user_{guid('workos', found.key)[:8]}",
            "client_id": "client_01MCPCLIENT",
            "org_id": self.org_id(found),
            "scope": "openid notes:read",
            "jti": guid("workos", "jti", found.key),
        }
        return self.signed(base, claims)

    def session_token(self, person: Person | str, **claims: Any) -> str:
        found = self.person(person)
        base = {
            "iss": self.session_issuer,
            "sub": f"user_{guid('workos', found.key)[:8]}",
            "sid": f"session_{guid('workos', 'sid', found.key)[:8]}",
            "org_id": self.org_id(found),
            "role": "member",
            "roles": ["member"],
            "permissions": ["notes:read"],
            "entitlements": [],
            "jti": guid("workos", "jti", found.key),
        }
        return self.signed(base, claims, expires_in=300)

    def machine_token(self, client: str = "client_01MACHINE", **claims: Any) -> str:
        """Client credentials: ``sub`` is the client."""
        org = "org_01MACHINES"
        return self.signed({"aud": self.audience, "sub": client, "client_id": client, "org_id": org}, claims)

    def entry(self) -> dict[str, Any]:
        return {"name": "workos", "preset": "workos", "issuer": self.issuer, "audience": self.audience}

    def session_entry(self) -> dict[str, Any]:
        return {
            "name": "authkit",
            "preset": "workos",
            "tokens": "session",
            "client_id": self.client_id,
            "issuer": self.session_issuer,
            "jwks_uri": self.keys_url,
        }
