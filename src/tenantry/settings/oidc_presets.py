"""The entries of MCP_HTTP_OIDC_PROVIDERS for a product that is known: what it adds, and what it need not be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, model_validator

from ..providers import apple, clerk, cognito, entra, firebase, keycloak, okta, supabase, workos
from ..providers.issuer import ACCESS, ID, IssuerProvider, IssuerSettings
from .oidc import Accept, OidcEntry, OneOrMore, TenantClaimsEntry, Text


def _directories(values: tuple[str, ...]) -> tuple[str, ...]:
    lower = tuple(value.lower() for value in values)
    if not all(entra.GUID.fullmatch(value) for value in lower):
        raise ValueError("holds something else than directory ids (GUIDs): list each one; there is no 'any'")
    return lower


class EntraEntry(OidcEntry):
    """``tenants``: the ids of the directories that are let in. ``authority`` for national clouds."""

    provider: ClassVar[type[IssuerProvider]] = entra.EntraProvider
    knows_tenants: ClassVar[bool] = True

    preset: Literal["entra"]
    audience: OneOrMore
    tenants: Annotated[OneOrMore, AfterValidator(_directories)]
    authority: Text = entra.AUTHORITY
    sts: Text | None = None

    @model_validator(mode="after")
    def _directory_is_the_organization(self) -> EntraEntry:
        if self.organization is not None:
            raise ValueError("organization is tid here: name tenants in MCP_HTTP_TENANT_MAPPING")
        if self.sts is None and self.authority not in entra.STS and "login.microsoftonline." in self.authority:
            raise ValueError("sts is missing: where the issuers of v1 tokens begin in this cloud")
        return self

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        authority = self.authority.rstrip("/")
        sts = (self.sts or entra.STS.get(authority, f"{authority}/sts")).rstrip("/")
        issuers = tuple(issuer for tid in self.tenants for issuer in entra.entra_issuers(tid, authority, sts))
        place = self.tenants[0] if len(self.tenants) == 1 else "common"
        return entra.EntraSettings(
            **self.common(issuers, leeway, entra.CLAIMS),
            audiences=frozenset(self.audience),
            keys_url=self.jwks_uri or f"{authority}/{place}/discovery/v2.0/keys",
            authority=authority,
            sts=sts,
        )


class OktaEntry(OidcEntry):
    """``issuer``: a custom authorization server, ``https://<domain>/oauth2/<id>``."""

    provider: ClassVar[type[IssuerProvider]] = okta.OktaProvider

    preset: Literal["okta"]
    issuer: Text
    audience: OneOrMore
    claims: TenantClaimsEntry = TenantClaimsEntry()

    @model_validator(mode="after")
    def _custom_server(self) -> OktaEntry:
        if not okta.ISSUER.fullmatch(self.issuer):
            raise ValueError(
                "issuer is not a custom authorization server (https://<domain>/oauth2/<id>): tokens of the "
                "organisation's own server are for Okta's APIs and cannot be validated by others"
            )
        return self

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        return IssuerSettings(
            **self.common((self.issuer,), leeway, okta.CLAIMS),
            audiences=frozenset(self.audience),
            keys_url=self.jwks_uri or f"{self.issuer}/v1/keys",
        )


class KeycloakEntry(OidcEntry):
    """``issuer``: the realm's URL. ``binding`` "client" takes ``clients`` (azp) in place of an audience."""

    provider: ClassVar[type[IssuerProvider]] = keycloak.KeycloakProvider

    preset: Literal["keycloak"]
    issuer: Text
    audience: OneOrMore | None = None
    binding: Literal["resource", "client"] = "resource"
    role_clients: OneOrMore | None = None
    claims: TenantClaimsEntry = TenantClaimsEntry()

    @model_validator(mode="after")
    def _bound(self) -> KeycloakEntry:
        if not keycloak.ISSUER.fullmatch(self.issuer):
            raise ValueError("issuer is not a realm: https://<host>/realms/<realm>, without a slash at its end")
        if self.binding == "resource" and self.audience is None:
            raise ValueError("audience is missing: what the Audience mapper writes into tokens for this server")
        if self.binding == "client" and (self.clients is None or self.audience is not None):
            raise ValueError('binding "client" needs clients and no audience')
        return self

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        return keycloak.KeycloakSettings(
            **self.common((self.issuer,), leeway, keycloak.CLAIMS),
            audiences=None if self.audience is None else frozenset(self.audience),
            keys_url=self.jwks_uri or f"{self.issuer}/protocol/openid-connect/certs",
            role_clients=self.role_clients or (),
        )


class CognitoEntry(OidcEntry):
    """``issuer``: the pool's. ``clients``: our app clients. ``audience`` only for pools that bind to a resource."""

    provider: ClassVar[type[IssuerProvider]] = cognito.CognitoProvider

    preset: Literal["cognito"]
    issuer: Text
    clients: OneOrMore
    audience: OneOrMore | None = None
    accept: Accept = ("access_token",)
    claims: TenantClaimsEntry = TenantClaimsEntry()

    @model_validator(mode="after")
    def _pool(self) -> CognitoEntry:
        here = self.issuer.startswith("http://")  # refused elsewhere, outside development
        if not here and not cognito.ISSUER.fullmatch(self.issuer):
            raise ValueError("issuer is not a user pool: https://cognito-idp.<region>.amazonaws.com/<pool id>")
        return self

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        return cognito.CognitoSettings(
            **self.common((self.issuer,), leeway, cognito.CLAIMS),
            audiences=None,
            keys_url=self.jwks_uri or f"{self.issuer}/.well-known/jwks.json",
            accept=frozenset(self.accept),
            resources=None if self.audience is None else frozenset(self.audience),
        )


class AppleEntry(OidcEntry):
    """``audience``: our Services ids and bundle ids. ``issuers`` only to accept a second spelling."""

    provider: ClassVar[type[IssuerProvider]] = apple.AppleProvider
    sign_in: ClassVar[bool] = False

    preset: Literal["apple"]
    audience: OneOrMore
    issuers: OneOrMore = (apple.ISSUER,)

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        return IssuerSettings(
            **self.common(self.issuers, leeway),
            audiences=frozenset(self.audience),
            keys_url=self.jwks_uri or apple.KEYS_URL,
            accept=frozenset({ID}),
        )


class WorkOSEntry(OidcEntry):
    """``tokens`` "connect": ``issuer`` is the AuthKit domain, ``audience`` ours; "session": ``client_id`` is ours."""

    provider: ClassVar[type[IssuerProvider]] = workos.WorkOSProvider
    knows_tenants: ClassVar[bool] = True

    preset: Literal["workos"]
    tokens: Literal["connect", "session"] = "connect"
    issuer: Text | None = None
    audience: OneOrMore | None = None
    client_id: Text | None = None
    impersonation: bool = False

    @model_validator(mode="after")
    def _bound(self) -> WorkOSEntry:
        if self.tokens == "connect" and (self.issuer is None or self.audience is None or self.client_id is not None):
            raise ValueError('tokens "connect" needs issuer (the AuthKit domain) and audience, and no client_id')
        if self.tokens == "session" and (self.client_id is None or self.audience is not None):
            raise ValueError('tokens "session" needs client_id, and no audience: session tokens have none')
        return self

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        connect = self.tokens == "connect"
        issuer = self.issuer or f"{workos.API}/user_management/{self.client_id}"
        keys = f"{issuer.rstrip('/')}/oauth2/jwks" if connect else f"{workos.API}/sso/jwks/{self.client_id}"
        common = self.common((issuer,), leeway, workos.CONNECT if connect else workos.SESSION)
        if not connect:
            common["authorization_servers"] = ()
        return workos.WorkOSSettings(
            **common,
            audiences=None if self.audience is None else frozenset(self.audience),
            keys_url=self.jwks_uri or keys,
            tokens=self.tokens,
            client_id=self.client_id,
            impersonation=self.impersonation,
        )


class ClerkEntry(OidcEntry):
    """``issuer``: the instance's Frontend API. ``authorized_parties``: the origins of our sites."""

    provider: ClassVar[type[IssuerProvider]] = clerk.ClerkProvider
    knows_tenants: ClassVar[bool] = True
    sign_in: ClassVar[bool] = False

    preset: Literal["clerk"]
    issuer: Text
    authorized_parties: OneOrMore
    impersonation: bool = False

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        return clerk.ClerkSettings(
            **self.common((self.issuer,), leeway),
            audiences=None,
            keys_url=self.jwks_uri or f"{self.issuer.rstrip('/')}/.well-known/jwks.json",
            authorized_parties=frozenset(self.authorized_parties),
            impersonation=self.impersonation,
        )


class SupabaseEntry(OidcEntry):
    """``project``: the project's reference; ``issuer`` in its place for a custom domain."""

    provider: ClassVar[type[IssuerProvider]] = supabase.SupabaseProvider
    sign_in: ClassVar[bool] = False

    preset: Literal["supabase"]
    project: Text | None = None
    issuer: Text | None = None
    audience: OneOrMore = ("authenticated",)
    claims: TenantClaimsEntry = TenantClaimsEntry()

    @model_validator(mode="after")
    def _of_the_project(self) -> SupabaseEntry:
        if (self.project is None) == (self.issuer is None):
            raise ValueError("give project, or issuer for a custom domain")
        if self.project is not None and not supabase.PROJECT.fullmatch(self.project):
            raise ValueError("project is not a project reference")
        paths = (getattr(self.claims, name) or () for name in type(self.claims).model_fields)
        if any(path[:1] == ("user_metadata",) for path in paths):
            raise ValueError("claims reads user_metadata, which users write themselves: use app_metadata")
        return self

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        issuer = self.issuer or f"https://{self.project}.supabase.co/auth/v1"
        return IssuerSettings(
            **self.common((issuer,), leeway, supabase.CLAIMS),
            audiences=frozenset(self.audience),
            keys_url=self.jwks_uri or f"{issuer}/.well-known/jwks.json",
            algorithms=supabase.ALGORITHMS,
            accept=frozenset({ACCESS}),
        )


class FirebaseEntry(OidcEntry):
    """``project``: the Firebase project's id. ``issuer`` and ``jwks_uri`` only against a stand-in."""

    provider: ClassVar[type[IssuerProvider]] = firebase.FirebaseProvider
    knows_tenants: ClassVar[bool] = True
    sign_in: ClassVar[bool] = False

    preset: Literal["firebase"]
    project: Text
    issuer: Text | None = None

    @model_validator(mode="after")
    def _of_the_project(self) -> FirebaseEntry:
        if not firebase.PROJECT.fullmatch(self.project):
            raise ValueError("project is not a project id")
        if self.issuer is not None and not self.issuer.startswith("http://"):  # refused outside development
            raise ValueError("issuer follows from project: leave it out")
        return self

    def issuer_settings(self, leeway: float) -> IssuerSettings:
        issuer = self.issuer or f"{firebase.ISSUER}/{self.project}"
        return IssuerSettings(
            **self.common((issuer,), leeway, firebase.CLAIMS),
            audiences=frozenset({self.project}),
            keys_url=self.jwks_uri or firebase.KEYS_URL,
            accept=frozenset({ID}),
        )


PRESETS: Mapping[str, type[OidcEntry]] = {
    "entra": EntraEntry,
    "okta": OktaEntry,
    "keycloak": KeycloakEntry,
    "cognito": CognitoEntry,
    "apple": AppleEntry,
    "workos": WorkOSEntry,
    "clerk": ClerkEntry,
    "supabase": SupabaseEntry,
    "firebase": FirebaseEntry,
}
