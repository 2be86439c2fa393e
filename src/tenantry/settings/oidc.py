"""One entry of MCP_HTTP_OIDC_PROVIDERS: what every entry may say, and what one of no preset says.

Unknown members, empty lists and values of another type are refused; no message quotes a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ..providers.issuer import ClaimNames, ClaimPath, IssuerProvider, IssuerSettings

# Names of providers that are always there, and of what their users are called.
BUILT_IN = frozenset({"google", "auth0", "github", "apikey"})
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_ALGORITHMS = frozenset(
    "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519 Ed448".split()  # nothing symmetric, no "none"
)


_USUAL = ClaimNames()


def _one_or_more(value: Any) -> Any:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(entry, str) for entry in values):
        raise ValueError("is not a text or a list of texts")
    if not values or not all(entry.strip() == entry and entry for entry in values):
        raise ValueError("is empty, has an empty entry, or one with blanks around it")
    return tuple(dict.fromkeys(values))


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("is not of the form [a-z][a-z0-9-]{0,31}")
    if value in BUILT_IN:
        raise ValueError("is the name of a provider that is built in")
    return value


def _algorithms(values: tuple[str, ...]) -> tuple[str, ...]:
    if not _ALGORITHMS.issuperset(values):
        raise ValueError(f"holds another algorithm than {', '.join(sorted(_ALGORITHMS))}")
    return values


def _path(value: Any) -> Any:
    """``a.b`` is b inside a; a URI is one name, dots and all; a list is the path as it stands."""
    if isinstance(value, str):
        return _one_or_more(value if "://" in value else value.split("."))
    if isinstance(value, list) and len(set(map(str, value))) != len(value):
        raise ValueError("names one member twice")
    return _one_or_more(value)


def _plain(value: str) -> str:
    if not value.strip() or value != value.strip() or not value.isprintable():
        raise ValueError("is empty or has blanks around it")
    return value


OneOrMore = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
Text = Annotated[str, AfterValidator(_plain)]
Name = Annotated[str, AfterValidator(_name)]
PathText = Annotated[ClaimPath | None, BeforeValidator(_path)]
Algorithms = Annotated[OneOrMore, AfterValidator(_algorithms)]
Accept = Annotated[tuple[Literal["access_token", "id_token"], ...], BeforeValidator(_one_or_more)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ClaimsEntry(_Strict):
    """Where a token says what, each as a dotted path; what is not said stays as the provider has it."""

    permissions: PathText = None
    roles: PathText = None
    email: PathText = None
    email_verified: PathText = None
    name: PathText = None

    def over(self, names: ClaimNames) -> ClaimNames:
        said = {name: path for name in type(self).model_fields if (path := getattr(self, name)) is not None}
        return replace(names, **said)


class TenantClaimsEntry(ClaimsEntry):
    tenant: PathText = None


class AllClaimsEntry(TenantClaimsEntry):
    subject: PathText = None


class OidcEntry(_Strict):
    """What every entry may say. A preset adds what its product needs, and knows the rest."""

    provider: ClassVar[type[IssuerProvider]] = IssuerProvider
    # Its issuer is no authorization server that gives MCP clients tokens for this server.
    sign_in: ClassVar[bool] = True
    # Its tokens have a claim for organisations that is known here.
    knows_tenants: ClassVar[bool] = False

    name: Name
    preset: str | None = None
    jwks_uri: Text | None = None
    jwks_uri_fallback: Text | None = None
    clients: OneOrMore | None = None
    organization: Text | None = Field(None, max_length=255)
    tenants: OneOrMore | None = None
    tenant_from_email: bool = False
    claims: ClaimsEntry = ClaimsEntry()
    advertise: bool | None = None
    dpop: Literal["accept", "require"] | None = None

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        """What the provider is made from."""
        raise NotImplementedError

    def urls(self) -> Iterator[tuple[str, str]]:
        """(member, URL) of every URL that the operator wrote."""
        for member in ("issuer", "jwks_uri", "jwks_uri_fallback", "authority", "sts"):
            value = getattr(self, member, None)
            if value is not None:
                yield member, value
        for value in getattr(self, "issuers", None) or ():
            yield "issuers", value

    def common(self, issuers: tuple[str, ...], leeway: float, names: ClaimNames = _USUAL) -> dict[str, Any]:
        """The members of ``IssuerSettings`` that are made alike for every entry."""
        claims = self.claims.over(names)
        return {
            "name": self.name,
            "issuers": issuers,
            "keys_fallback_url": self.jwks_uri_fallback,
            "clients": None if self.clients is None else frozenset(self.clients),
            "claims": claims if self.organization is None else replace(claims, tenant=None),
            "organization": self.organization,
            "tenants": None if self.tenants is None else frozenset(self.tenants),
            "tenant_from_email": self.tenant_from_email,
            "authorization_servers": issuers[:1] if self._advertised() else (),
            "bound": self.dpop is not None,
            "leeway": leeway,
        }

    def _advertised(self) -> bool:
        return self.sign_in if self.advertise is None else self.advertise

    @model_validator(mode="after")
    def _one_evidence_of_a_tenant(self) -> OidcEntry:
        claimed = getattr(self.claims, "tenant", None) is not None
        if self.organization is not None and (claimed or self.tenants is not None):
            raise ValueError("organization is one for everybody: remove it, or tenants and claims.tenant")
        if self.tenants is not None and not claimed and not self.knows_tenants:
            raise ValueError("tenants needs claims.tenant, the claim that they are values of")
        return self


class GenericEntry(OidcEntry):
    """An issuer of no preset."""

    issuer: Text | None = None
    issuers: OneOrMore | None = None
    audience: OneOrMore
    discovery: bool | None = None
    algorithms: Algorithms = ("RS256",)
    accept: Accept = ("access_token",)
    claims: AllClaimsEntry = AllClaimsEntry()

    @model_validator(mode="after")
    def _complete(self) -> GenericEntry:
        if (self.issuer is None) == (self.issuers is None):
            raise ValueError("give issuer, or issuers where one issuer has several spellings")
        if self.discovery and self.jwks_uri is not None:
            raise ValueError("jwks_uri is there, so discovery is not asked: remove one of them")
        if self.jwks_uri is None and (self.discovery is False or self.issuers is not None):
            raise ValueError("jwks_uri is missing: nothing else says where the keys are")
        return self

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        issuers = self.issuers or (self.issuer or "",)
        return IssuerSettings(
            **self.common(issuers, leeway),
            audiences=frozenset(self.audience),
            keys_url=self.jwks_uri,
            algorithms=frozenset(self.algorithms),
            accept=frozenset(self.accept),
        )
