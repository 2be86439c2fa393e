"""One entry of MCP_HTTP_INTROSPECTION_PROVIDERS, and reading the list of them.

Unknown members, empty lists and values of another type are refused; no message quotes a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from ..errors import ConfigurationError
from ..providers.client_auth import ClientSettings, Method, signing_key
from ..providers.introspected import IntrospectionSettings
from ..providers.issuer import ClaimNames
from .entry_lists import read_list
from .oidc import AllClaimsEntry, Name, OneOrMore, Text


class IntrospectionEntry(BaseModel):
    """A server that is asked about tokens. ``private_key`` is the path of a PEM file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Name
    introspection_endpoint: Text | None = None
    issuer: Text | None = None
    client_id: Text
    client_secret: SecretStr | None = None
    private_key: Path | None = None
    key_id: Text | None = None
    auth_method: Method | None = None
    audience: OneOrMore | None = None
    clients: OneOrMore | None = None
    prefixes: OneOrMore | None = None
    default: bool = False
    jwt: bool = False
    organization: Text | None = Field(None, max_length=255)
    tenants: OneOrMore | None = None
    claims: AllClaimsEntry = AllClaimsEntry()
    dpop: Literal["accept", "require"] | None = None
    advertise: bool | None = None

    def provider_settings(self, leeway: float) -> IntrospectionSettings:
        """What the provider is made from; the private key is read anew. Raises ``ConfigurationError``."""
        names = self.claims.over(ClaimNames())
        return IntrospectionSettings(
            name=self.name,
            client=self._client(),
            audiences=None if self.audience is None else frozenset(self.audience),
            clients=None if self.clients is None else frozenset(self.clients),
            endpoint=self.introspection_endpoint,
            issuer=self.issuer,
            prefixes=self.prefixes or (),
            others=self.default,
            signed=self.jwt,
            claims=names if self.organization is None else replace(names, tenant=None),
            organization=self.organization,
            tenants=None if self.tenants is None else frozenset(self.tenants),
            authorization_servers=(self.issuer,) if self.issuer is not None and self.advertise is not False else (),
            bound=self.dpop is not None,
            leeway=leeway,
        )

    def urls(self) -> Iterator[tuple[str, str]]:
        """(member, URL) of every URL that the operator wrote."""
        for member in ("introspection_endpoint", "issuer"):
            value = getattr(self, member)
            if value is not None:
                yield member, value

    def refuse(self, member: str, problem: str) -> ConfigurationError:
        return ConfigurationError(
            f"MCP_HTTP_INTROSPECTION_PROVIDERS: entry {self.name!r}, member {member!r}: {problem}."
        )

    def _client(self) -> ClientSettings:
        secret = "" if self.client_secret is None else self.client_secret.get_secret_value()
        return ClientSettings(
            client_id=self.client_id,
            method=self.auth_method or ("client_secret_basic" if self.private_key is None else "private_key_jwt"),
            secret=secret,
            private_key=b"" if self.private_key is None else self._key(self.private_key),
            key_id=self.key_id,
            audience=self.issuer or self.introspection_endpoint or "",
        )

    def _key(self, path: Path) -> bytes:
        try:
            pem = path.read_bytes()
            signing_key(pem)
        except OSError:
            raise self.refuse("private_key", f"{str(path)!r} cannot be read") from None
        except ValueError as problem:
            raise self.refuse("private_key", f"{str(path)!r} {problem}") from None
        return pem

    @model_validator(mode="after")
    def _bound(self) -> IntrospectionEntry:
        if self.audience is None and self.clients is None:
            raise ValueError('give audience, or clients: "active" alone proves nothing to this server')
        if self.introspection_endpoint is None and self.issuer is None:
            raise ValueError("give introspection_endpoint, or issuer to find it by discovery")
        return self

    @model_validator(mode="after")
    def _reached(self) -> IntrospectionEntry:
        if self.prefixes is None and not self.default and not self.jwt:
            raise ValueError("give prefixes, default or jwt: no token would ever be asked about")
        if self.jwt and self.issuer is None:
            raise ValueError("jwt needs issuer, whose tokens are asked about")
        return self

    @model_validator(mode="after")
    def _authenticated(self) -> IntrospectionEntry:
        signs = self.auth_method == "private_key_jwt" or (self.auth_method is None and self.private_key is not None)
        if (self.client_secret is None) == (self.private_key is None):
            raise ValueError("give client_secret or private_key, one of them")
        if signs != (self.private_key is not None):
            raise ValueError("auth_method does not go with what is given: private_key_jwt needs private_key alone")
        if self.key_id is not None and self.private_key is None:
            raise ValueError("key_id is the name of private_key, which is missing")
        if self.client_secret is not None and not self.client_secret.get_secret_value().strip():
            raise ValueError("client_secret is empty")
        return self

    @model_validator(mode="after")
    def _one_evidence_of_a_tenant(self) -> IntrospectionEntry:
        if self.organization is not None and (self.claims.tenant is not None or self.tenants is not None):
            raise ValueError("organization is one for everybody: remove it, or tenants and claims.tenant")
        if self.tenants is not None and self.claims.tenant is None:
            raise ValueError("tenants needs claims.tenant, the claim that they are values of")
        return self


def _read(value: Any) -> tuple[IntrospectionEntry, ...]:
    return read_list(value, IntrospectionEntry, lambda _: IntrospectionEntry)


IntrospectionProviders = Annotated[tuple[IntrospectionEntry, ...], BeforeValidator(_read)]
