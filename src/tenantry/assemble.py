"""Settings -> Gate: the only wiring. Read it to see what talks to what."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .adapters.clock import SystemClock
from .adapters.health import Health
from .adapters.http import HttpFetch
from .adapters.memory import MemoryQuotaStore, OpenDirectory, StaticKeyStore
from .adapters.observers import LogObserver
from .adapters.transport import Transport
from .core.matching import Routes
from .core.policy import Policy
from .core.tenancy import tenant_rules
from .errors import ConfigurationError
from .gate import Gate
from .model import ApiKeyRecord
from .observations import InsecureSetting
from .ports import ApiKeyStore, Clock, Fetch, Observer, TenantDirectory
from .providers.api_key import ApiKeyProvider
from .providers.auth0 import Auth0Provider, Auth0Settings
from .providers.base import Provider
from .providers.github import PUBLIC_API, GitHubProvider, GitHubSettings
from .providers.google import GoogleProvider, GoogleSettings
from .quotas import Quotas
from .settings import Settings
from .settings_rules import is_loopback_url
from .static_keys import plain_digests, read_api_keys
from .verdicts import VerdictCache

if TYPE_CHECKING:
    from .adapters.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Outside:
    """What the gate needs of the world; tests hand in their own."""

    clock: Clock
    fetch: Fetch
    observe: Observer

    @classmethod
    def real(cls, settings: Settings) -> Outside:
        return cls(SystemClock(), HttpFetch(allow_loopback_http=settings.development), LogObserver())


@dataclass(frozen=True, slots=True)
class Assembly:
    """Everything made from one ``Settings``; ``start`` and ``aclose`` are for its lifetime."""

    gate: Gate
    transport: Transport
    health: Health
    outside: Outside
    database: Database | None

    @property
    def resources(self) -> Mapping[ContextVar[Any], Any]:
        """What tools find in context variables during a request."""
        if self.database is None:
            return {}
        from .adapters.postgres.current import current_database

        return {current_database: self.database}

    def start(self) -> None:
        """Make the HTTP client and begin fetching keys; a provider that is down does not keep the server down."""
        if isinstance(self.outside.fetch, HttpFetch):
            self.outside.fetch.open()
        self.gate.start()

    async def aclose(self) -> None:
        await self.gate.aclose()
        await self.health.aclose()
        if isinstance(self.outside.fetch, HttpFetch):
            await self.outside.fetch.aclose()
        if self.database is not None:
            await self.database.close()


def assemble(settings: Settings, outside: Outside | None = None) -> Assembly:
    """The gate and what is around it, as ``settings`` describe them. Raises ``ConfigurationError``."""
    outside = outside or Outside.real(settings)
    keys = read_api_keys(settings)
    database = _database(settings)
    providers = _providers(settings, _key_store(keys, database), outside)
    verdicts = VerdictCache(
        outside.clock, _version(settings), ttl=settings.token_cache_ttl, size=settings.token_cache_size
    )
    gate = Gate(
        providers,
        routes=_routes(providers, keys),
        directory=_directory(settings, database),
        policy=_policy(settings),
        quotas=Quotas(
            MemoryQuotaStore(outside.clock), tenant=settings.rate_limit_tenant, user=settings.rate_limit_user
        ),
        verdicts=verdicts,
        observe=outside.observe,
    )
    if database is not None:
        database.on_change.append(verdicts.forget_admissions)
    for warning in _insecure(settings):
        outside.observe(warning)
    checks = {} if database is None else {"database": database.registry.epoch}
    health = Health(checks, outside.clock, outside.observe)
    return Assembly(gate, _transport(settings, providers), health, outside, database)


def _providers(settings: Settings, key_store: ApiKeyStore | None, outside: Outside) -> list[Provider]:
    parts = (outside.fetch, outside.clock, outside.observe)
    providers: list[Provider] = []
    if settings.google_client_id:
        providers.append(GoogleProvider(_google(settings), *parts))
    if settings.auth0_issuer:
        providers.append(Auth0Provider(_auth0(settings, settings.auth0_issuer), *parts))
    if settings.github_enabled:
        providers.append(GitHubProvider(_github(settings), *parts))
    if key_store is not None:
        providers.append(ApiKeyProvider(key_store, outside.clock))
    return providers


def _key_store(keys: list[ApiKeyRecord], database: Database | None) -> ApiKeyStore | None:
    """The keys of the configuration, then those of the database, which may come at any time."""
    if database is None:
        return StaticKeyStore(keys) if keys else None
    from .adapters.postgres.key_store import DatabaseKeyStore, FirstKeyStore

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


def _routes(providers: list[Provider], keys: list[ApiKeyRecord]) -> Routes:
    """Who answers for what; two providers for one issuer would make the answer a matter of order."""
    issuers: dict[str, str] = {}
    for provider in providers:
        for issuer in provider.issuers:
            if issuers.setdefault(issuer, provider.name) != provider.name:
                raise ConfigurationError(f"Two providers are configured for the issuer {issuer!r}.")
    return Routes(frozenset(provider.name for provider in providers), issuers, plain_digests(keys))


def _database(settings: Settings) -> Database | None:
    """The tenant database; its driver is imported only where one is configured."""
    if settings.database_connection_string is None:
        return None
    from .adapters.postgres.configured import database_from

    return database_from(settings)


def _directory(settings: Settings, database: Database | None) -> TenantDirectory:
    """Without a database nothing is made for a tenant, so every derived one is served."""
    rules = tenant_rules(
        settings.tenant_mapping or {},
        settings.personal_domains,
        settings.allowed_domains or (),
        settings.public_mail_domains or (),
    )
    if database is None:
        return OpenDirectory(rules)
    from .adapters.postgres.directory import RegistryDirectory

    return RegistryDirectory(database, rules, settings.provisioning)


def _policy(settings: Settings) -> Policy:
    roles = settings.role_permissions or {}
    return Policy(
        default=frozenset(settings.default_permissions or ()),
        by_role={role: frozenset(permissions) for role, permissions in roles.items()},
    )


def _transport(settings: Settings, providers: list[Provider]) -> Transport:
    parts = urlsplit(settings.resource)
    own_origin = f"{parts.scheme}://{parts.netloc}".lower()
    hosts = {name.lower() for name in settings.allowed_hosts or ()}
    if settings.public_url is not None or settings.development:
        default_port = {"https": ":443", "http": ":80"}[parts.scheme]
        hosts |= {parts.netloc.lower(), parts.netloc.lower() + ("" if parts.port else default_port)}
    origins = {own_origin, *(settings.allowed_origins or ()), *(settings.cors_origins or ())}
    return Transport(
        resource=settings.resource if settings.oauth else None,
        authorization_servers=[server for provider in providers for server in provider.authorization_servers],
        scopes=settings.default_permissions or (),
        hosts=frozenset(hosts) or None,
        origins=frozenset(origin.lower() for origin in origins),
        exempt_paths=frozenset(settings.exempt_paths or ()),
        loopback=settings.development,
        development=settings.development,
    )


def _version(settings: Settings) -> bytes:
    """Changes with everything that a cached proof depends on, secrets included as digests."""
    secrets = [settings.github_client_secret, settings.api_key]
    text = settings.model_dump_json() + "".join(s.get_secret_value() if s else "-" for s in secrets)
    return hashlib.sha256(text.encode()).digest()


def _insecure(settings: Settings) -> list[InsecureSetting]:
    found = []
    if settings.github_enabled and settings.github_binding == "none":
        found.append(InsecureSetting("MCP_HTTP_GITHUB_BINDING=none", "GitHub tokens of any app sign in here"))
    if settings.personal_domains == "shared":
        found.append(
            InsecureSetting("MCP_HTTP_PERSONAL_DOMAINS=shared", "everybody at a public mail domain shares one tenant")
        )
    if "*" in (*(settings.cors_origins or ()), *(settings.allowed_origins or ())):
        found.append(InsecureSetting("MCP_HTTP_ALLOWED_ORIGINS=*", "any website may call with a token it has"))
    for name in ("auth0_tenant_from_email", "github_tenant_from_email"):
        if getattr(settings, name):
            meaning = "whoever could once read mail at a domain is in its tenant"
            found.append(InsecureSetting(f"MCP_HTTP_{name.upper()}=true", meaning))
    if settings.development:
        found.append(InsecureSetting("MCP_HTTP_ENVIRONMENT=development", "for loopback use only"))
    return found
