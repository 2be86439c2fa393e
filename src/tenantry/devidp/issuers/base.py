"""What the issuers of this folder share: a place below the base URL, keys, a discovery document, honest claims.

Every claim of a token can be replaced, added or (with ``OMIT``) left out: the traps are made that way.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from starlette.responses import JSONResponse, Response

from ..calls import Call
from ..clock import Clock
from ..endpoints import Endpoint
from ..faults import Fault
from ..keyring import KeyRing, SigningKey, without_omitted
from ..people import People, Person

AUDIENCE = "https://mcp.example/mcp"
CLIENT = "devidp-client"
_NAMESPACE = uuid.UUID("6f6e4f0a-3f1b-4f6e-9d53-8a4c8d9b1c11")


def guid(*names: str) -> str:
    """The same made-up GUID for the same names."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(names)))


class Issuer:
    """One issuer. ``document`` is merged into its discovery document (``OMIT`` removes a member)."""

    name: ClassVar[str]
    place: ClassVar[str]  # the path of its issuer
    keys_place: ClassVar[str]  # the path of its key set
    kinds: ClassVar[tuple[str, ...]] = ("access_token",)

    def __init__(self, *, clock: Clock, people: People, base_url: Callable[[], str]) -> None:
        self.keys = KeyRing(f"issuers/{self.name}")
        self.audience = AUDIENCE
        self.client_id = CLIENT
        self.document: dict[str, Any] = {}
        self._clock = clock
        self._people = people
        self._base_url = base_url

    @property
    def issuer(self) -> str:
        return self._base_url() + self.place

    @property
    def keys_url(self) -> str:
        return self._base_url() + self.keys_place

    def entry(self) -> dict[str, Any]:
        """The entry of MCP_HTTP_OIDC_PROVIDERS that makes a server in development trust this issuer."""
        raise NotImplementedError

    # Minting

    def now(self) -> int:
        return int(self._clock.now())

    def person(self, person: Person | str) -> Person:
        return self._people.find(person)

    def signed(
        self,
        base: Mapping[str, Any],
        claims: Mapping[str, Any],
        *,
        expires_in: float = 3600,
        header: Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
        alg: str = "RS256",
    ) -> str:
        """A token with the usual times; ``claims`` have the last word."""
        times = {"iat": self.now(), "exp": self.now() + int(expires_in)}
        return self.keys.sign({"iss": self.issuer, **times, **base, **claims}, header=header, key=key, alg=alg)

    # Answering

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint("jwks", (self.keys_place,), self._jwks),
            Endpoint("discovery", (f"{self.place}/.well-known/openid-configuration",), self._discovery),
        ]

    def limited(self, fault: Fault) -> Response:
        """429 in the words of no product in particular."""
        headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
        return JSONResponse({"error": "too_many_requests"}, fault.status or 429, headers)

    def jwks(self) -> dict[str, Any]:
        return self.keys.jwks()

    def _jwks(self, call: Call) -> Response:
        return JSONResponse(self.jwks(), headers={"cache-control": "public, max-age=3600"})

    def _discovery(self, call: Call) -> Response:
        honest = {
            "issuer": self.issuer,
            "jwks_uri": self.keys_url,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return JSONResponse(without_omitted({**honest, **self.document}))


def address(person: Person) -> str:
    """An address of a person at any of his accounts."""
    for account in (person.google, person.auth0):
        if account is not None:
            return account.email
    return f"{person.key}@people.example"


def company(person: Person) -> str:
    """The domain of that address: which company's identity provider would know him."""
    return address(person).partition("@")[2]
