"""Settings -> identity sources, and which credential goes to which."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..adapters.memory import StaticKeyStore
from ..core.matching import OpaqueTokens, Routes
from ..custom_providers import custom_providers
from ..errors import ConfigurationError
from ..model import ApiKeyRecord
from ..outside import Outside
from ..parts import Parts
from ..ports import ApiKeyStore
from ..providers.api_key import ApiKeyProvider
from ..providers.auth0 import Auth0Provider, Auth0Settings
from ..providers.base import Provider
from ..providers.github import PUBLIC_API, GitHubProvider, GitHubSettings
from ..providers.google import GoogleProvider, GoogleSettings
from ..providers.google_workload import GoogleWorkloadProvider, GoogleWorkloadSettings
from ..providers.introspected import IntrospectionProvider
from ..providers.issuer import IssuerProvider
from ..settings import Settings
from ..settings.rules import is_loopback_url
from ..static_keys import plain_digests

if TYPE_CHECKING:
    from ..adapters.postgres.database import Database


def providers_from(settings: Settings, keys: ApiKeyStore | None, outside: Outside, parts: Parts) -> list[Provider]:
    """Every identity source that is on. One whose settings have not changed keeps the keys it has fetched."""
    around = (outside.fetch, outside.clock, outside.observe)
    providers: list[Provider] = []
    issuers = _issuers(settings, outside, parts)
    if settings.google_client_id:
        google = _google(settings)
        accounts = next((made for made in issuers if isinstance(made, GoogleWorkloadProvider)), None)
        made_from = (google, accounts and accounts.settings)
        providers.append(parts.get("google", made_from, lambda: GoogleProvider(google, *around, accounts)))
    if settings.auth0_issuer:
        auth0 = _auth0(settings, settings.auth0_issuer)
        providers.append(parts.get("auth0", auth0, lambda: Auth0Provider(auth0, *around)))
    if settings.github_enabled:
        github = _github(settings)
        providers.append(parts.get("github", github, lambda: GitHubProvider(github, *around)))
    providers += issuers
    for asked in settings.introspection_providers or ():
        asking = asked.provider_settings(settings.clock_skew)
        make_asking = partial(IntrospectionProvider, asking, *around)
        providers.append(parts.get(f"introspection:{asked.name}", asking, make_asking))
    providers += custom_providers(settings, outside, parts)
    if keys is not None:
        providers.append(ApiKeyProvider(keys, outside.clock))
    return providers


def _issuers(settings: Settings, outside: Outside, parts: Parts) -> list[IssuerProvider]:
    made: list[IssuerProvider] = []
    for entry in settings.oidc_providers or ():
        issuer = entry.issuer_settings(settings.clock_skew)
        if isinstance(issuer, GoogleWorkloadSettings) and settings.google_client_id:
            issuer = replace(issuer, behind_sign_in=True)
        make = partial(entry.provider, issuer, outside.fetch, outside.clock, outside.observe)
        made.append(parts.get(f"oidc:{entry.name}", (entry.provider, issuer), make))
    return made


def key_store(keys: list[ApiKeyRecord], database: Database | None) -> ApiKeyStore | None:
    """The keys of the configuration, then those of the database, which may come at any time."""
    if database is None:
        return StaticKeyStore(keys) if keys else None
    from ..adapters.postgres.key_store import DatabaseKeyStore, FirstKeyStore

    stored = DatabaseKeyStore(database)
    return FirstKeyStore(StaticKeyStore(keys), stored) if keys else stored


def _google(settings: Settings) -> GoogleSettings:
    ours = frozenset(settings.google_client_id or ())
    accounts = frozenset(settings.google_service_accounts or ())
    base = settings.google_base_url
    if base is None:
        return GoogleSettings(ours, accounts, settings.clock_skew)
    paths = (f"{base.rstrip('/')}{path}" for path in ("/oauth2/v3/certs", "/tokeninfo", "/v1/userinfo"))
    return GoogleSettings(ours, accounts, settings.clock_skew, *paths)


def _auth0(settings: Settings, issuer: str) -> Auth0Settings:
    organizations = settings.auth0_organizations
    return Auth0Settings(
        issuer=issuer,
        audiences=frozenset(settings.auth0_audience or ()),
        permissions_from=settings.auth0_permissions_from,
        email_claim=settings.auth0_email_claim,
        email_verified_claim=settings.auth0_email_verified_claim or f"{settings.auth0_email_claim}_verified",
        roles_claim=settings.auth0_roles_claim,
        organizations=None if organizations is None else frozenset(organizations),
        tenant_from_email=settings.auth0_tenant_from_email,
        bound=settings.auth0_dpop != "off",
        leeway=settings.clock_skew,
    )


def _github(settings: Settings) -> GitHubSettings:
    secret, url = settings.github_client_secret, settings.github_api_url.rstrip("/")
    public = url == PUBLIC_API or is_loopback_url(url)
    return GitHubSettings(
        client_id=settings.github_client_id or "",
        client_secret=secret.get_secret_value() if secret else "",
        binding=settings.github_binding,
        tenant_from_email=settings.github_tenant_from_email,
        checksum=settings.github_checksum,
        api_url=url,
        host=None if public else urlsplit(url).netloc,
    )


def routes_between(providers: list[Provider], keys: list[ApiKeyRecord], dpop: frozenset[str]) -> Routes:
    """Who answers for what; two providers for one issuer or prefix would make the answer a matter of order. ``dpop``
    names those that take bound tokens."""
    names = frozenset(provider.name for provider in providers)
    if len(names) < len(providers):
        raise ConfigurationError(f"Two providers have one name, of {', '.join(sorted(names))}.")
    issuers: dict[str, str] = {}
    prefixes: dict[str, str] = {}
    for provider in providers:
        for issuer in provider.issuers:
            if issuers.setdefault(issuer, provider.name) != provider.name:
                raise ConfigurationError(f"Two providers are configured for the issuer {issuer!r}.")
        for prefix in getattr(provider, "prefixes", ()):
            if prefixes.setdefault(prefix, provider.name) != provider.name:
                raise ConfigurationError(f"Two providers are configured for the prefix {prefix!r}.")
    return Routes(names, issuers, plain_digests(keys), OpaqueTokens(prefixes, _of_others(providers)), dpop)


def _of_others(providers: list[Provider]) -> str | None:
    """Who is asked about opaque tokens that nothing says whose they are."""
    named = [provider.name for provider in providers if getattr(provider, "others", False)]
    if len(named) > 1:
        raise ConfigurationError(f"{' and '.join(named)} would both be asked about all other opaque tokens.")
    return named[0] if named else None
