"""Microsoft Entra ID: v1 and v2 tokens of several directories, under keys that say whose tokens they sign.

Faithful where real bugs hide: the issuer of a v1 token is another host's and ends in a slash, ID tokens have the same
audience as v2 access tokens, everybody can set ``email``, personal accounts have a directory (and a key) of their own.
"""

from __future__ import annotations

import secrets
from typing import Any, Final, Literal

from ..endpoints import Endpoint
from ..keyring import OMIT, SigningKey
from ..people import Person
from .base import Issuer, address, company, guid

PERSONAL: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
GRAPH: Final = "00000003-0000-0000-c000-000000000000"
Version = Literal["1.0", "2.0"]


class Entra(Issuer):
    name = "entra"
    place = "/entra"
    keys_place = "/entra/{tid}/discovery/v2.0/keys"
    kinds = ("access_token", "app_token", "id_token", "graph_token")

    def __init__(self, **around: Any) -> None:
        super().__init__(**around)
        self.audience = guid("entra", "our api")
        self.client_id = guid("entra", "a client")
        self.personal_key = SigningKey("issuers/entra/personal", 0)

    @property
    def authority(self) -> str:
        return self.issuer

    def tid(self, person: Person | str) -> str:
        """The directory of a person's company; that of personal accounts for people at gmail.com."""
        domain = company(self.person(person))
        return PERSONAL if domain == "gmail.com" else guid("entra", domain)

    def oid(self, person: Person | str) -> str:
        return guid("entra", "oid", self.person(person).key)

    def access_token(
        self,
        person: Person | str,
        *,
        version: Version = "2.0",
        scp: Any = "notes.read",
        key: SigningKey | None = None,
        **claims: Any,
    ) -> str:
        """A token that a user delegated. ``version`` is what the API's manifest says, whatever the client asked."""
        found = self.person(person)
        client = {"azp": self.client_id, "azpacr": "0"} if version == "2.0" else {"appid": self.client_id}
        names = {"name": found.name, "preferred_username": address(found)} if version == "2.0" else {}
        base = {**self._base(self.tid(found), self.oid(found), version), **client, **names, "scp": scp}
        return self._signed(base, claims, key or (self.personal_key if base["tid"] == PERSONAL else None))

    def app_token(self, tid: str, *, roles: Any = ("Notes.Read.All",), **claims: Any) -> str:
        """An application as itself: roles and no scp. With ``roles=OMIT`` it was granted nothing."""
        base = self._base(tid, guid("entra", "an app"), "2.0")
        granted = roles if roles is OMIT else list(roles)
        return self._signed({**base, "azp": self.client_id, "idtyp": "app", "roles": granted}, claims)

    def id_token(self, person: Person | str, **claims: Any) -> str:
        """For the client that is our own app registration: the audience is the same GUID."""
        found = self.person(person)
        base = self._base(self.tid(found), self.oid(found), "2.0")
        return self._signed({**base, "nonce": "n-0S6_WzA2Mj", "roles": ["Notes.Admin"]}, claims)

    def graph_token(self, person: Person | str, **claims: Any) -> str:
        """For Microsoft Graph: nobody else can verify its signature (the header's nonce is hashed before signing)."""
        return self.access_token(person, **{"aud": GRAPH, "scp": "User.Read", **claims})

    def _base(self, tid: str, oid: str, version: Version) -> dict[str, Any]:
        v2 = version == "2.0"
        return {
            "aud": self.audience if v2 else f"api://{self.audience}",
            "iss": f"{self.authority}/{tid}/v2.0" if v2 else f"{self.authority}/sts/{tid}/",
            "nbf": self.now(),
            "oid": oid,
            "sub": secrets.token_urlsafe(32),
            "tid": tid,
            "uti": secrets.token_urlsafe(16),
            "ver": version,
        }

    def _signed(self, base: dict[str, Any], claims: dict[str, Any], key: SigningKey | None = None) -> str:
        return self.signed(base, claims, expires_in=4100, key=key)

    def endpoints(self) -> list[Endpoint]:
        return [Endpoint("jwks", (self.keys_place,), self._jwks)]

    def jwks(self) -> dict[str, Any]:
        """The set for all directories: a gap for the directory, except where a key is for one alone."""
        templated = [{**key, "issuer": f"{self.authority}/{{tenantid}}/v2.0"} for key in self.keys.jwks()["keys"]]
        return {"keys": [*templated, {**self.personal_key.jwk(), "issuer": f"{self.authority}/{PERSONAL}/v2.0"}]}

    def entry(self) -> dict[str, Any]:
        tenants = sorted({self.tid(person) for person in ("ann", "erin")})
        return {
            "name": "entra",
            "preset": "entra",
            "authority": self.authority,
            "audience": [self.audience, f"api://{self.audience}"],
            "tenants": tenants,
        }
