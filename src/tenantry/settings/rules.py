"""What no single setting shows: which belong together, and what only development may do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..adapters.forwarded import LIST
from ..core.policy import is_permission
from ..core.tenancy import check_tenant_id
from ..errors import ConfigurationError
from ..observations import InsecureSetting

if TYPE_CHECKING:
    from . import Settings

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
# Headers that a proxy hands on as the client wrote them, or that hold more than an address.
_NO_ADDRESS = frozenset(
    "forwarded host via origin referer user-agent cookie authorization x-api-key x-forwarded-host x-forwarded-proto "
    "x-forwarded-port x-request-id".split()
)


def _refuse(name: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"MCP_HTTP_{name} {problem}")


def check(settings: Settings) -> None:
    """Raise ``ConfigurationError`` for the first rule that does not hold."""
    _check_providers(settings)
    _check_addresses(settings)
    _check_tenants(settings)
    _check_policy(settings)
    _check_quotas(settings)
    _check_dpop(settings)


def _check_providers(settings: Settings) -> None:
    # With a database, API keys may be in it (``tenantry keys create``).
    if not (settings.oauth or settings.api_key or settings.api_keys or settings.database_connection_string):
        raise ConfigurationError(
            "Nobody could sign in: set MCP_HTTP_GOOGLE_CLIENT_ID, MCP_HTTP_AUTH0_DOMAIN and "
            "MCP_HTTP_AUTH0_AUDIENCE, MCP_HTTP_GITHUB_ENABLED, MCP_HTTP_OIDC_PROVIDERS, MCP_HTTP_API_KEYS or "
            "MCP_HTTP_API_KEY."
        )
    if settings.auth0_domain and not settings.auth0_audience:
        raise _refuse("AUTH0_AUDIENCE", "is missing: MCP_HTTP_AUTH0_DOMAIN needs your API identifier beside it.")
    if settings.auth0_audience and not settings.auth0_domain:
        raise _refuse("AUTH0_DOMAIN", "is missing: MCP_HTTP_AUTH0_AUDIENCE needs your Auth0 domain beside it.")
    named = bool(settings.github_client_id or settings.github_client_secret)
    if named and not settings.github_enabled:
        raise _refuse("GITHUB_ENABLED", "is not true, yet a GitHub client is configured: set it, or remove the client.")
    complete = bool(settings.github_client_id and settings.github_client_secret)
    if settings.github_enabled and settings.github_binding == "app" and not complete:
        raise _refuse(
            "GITHUB_ENABLED",
            "is true without MCP_HTTP_GITHUB_CLIENT_ID and MCP_HTTP_GITHUB_CLIENT_SECRET: only with both can a token "
            "be proved to be of your own app. (MCP_HTTP_GITHUB_BINDING=none would accept tokens of any app.)",
        )


def _check_addresses(settings: Settings) -> None:
    if settings.development and settings.host not in LOOPBACK_HOSTS:
        raise _refuse("HOST", f"is {settings.host!r}: in development only a loopback address is served (127.0.0.1).")
    if not settings.development and settings.oauth and settings.public_url is None:
        raise _refuse("PUBLIC_URL", "is missing: give the URL your users type, like https://mcp.example.com/mcp.")
    if settings.public_url is not None:
        _check_url(settings, "PUBLIC_URL", settings.public_url)
    _check_exempt(settings)
    _check_mcp_paths(settings)
    base = settings.google_base_url
    if base is not None and not (settings.development and is_loopback_url(base)):
        raise _refuse("GOOGLE_BASE_URL", "may be set in development only, to http://127.0.0.1:<port>.")
    if settings.auth0_issuer is not None:
        _check_url(settings, "AUTH0_DOMAIN", settings.auth0_issuer, path="/")
    _check_url(settings, "GITHUB_API_URL", settings.github_api_url)
    _check_address_header(settings)
    _check_files(settings)


def _check_address_header(settings: Settings) -> None:
    name = settings.client_address_header
    if name == LIST:
        return
    if not re.fullmatch(r"[a-z0-9-]{1,64}", name) or name in _NO_ADDRESS:
        raise _refuse(
            "CLIENT_ADDRESS_HEADER",
            f"is {name!r}: name the header that holds the client's address alone, in small letters, like x-real-ip.",
        )
    if settings.trusted_proxies is None:
        raise _refuse(
            "CLIENT_ADDRESS_HEADER", "is believed from MCP_HTTP_TRUSTED_PROXIES alone: set them too, or unset it."
        )


def _check_exempt(settings: Settings) -> None:
    endpoint = urlsplit(settings.resource).path.rstrip("/")
    for path in settings.mcp_paths or ():
        if not path.startswith("/"):
            raise _refuse("MCP_PATHS", f"holds {path!r}: a path begins with a slash.")
    for path in settings.exempt_paths or ():
        if not path.startswith("/"):
            raise _refuse("EXEMPT_PATHS", f"holds {path!r}: a path begins with a slash.")
        if path.rstrip("/") == endpoint:
            raise _refuse("EXEMPT_PATHS", f"holds {path!r}, the protected resource itself: anybody could call it.")


def _check_mcp_paths(settings: Settings) -> None:
    """A path that no request can have means a policy that is never asked."""
    paths = [path.rstrip("/") for path in settings.mcp_paths or ()]
    exempt = {path.rstrip("/") for path in settings.exempt_paths or ()}
    for path in settings.mcp_paths or ():
        if any(mark in path for mark in ("//", "/.", "\\", ";", "%", " ", "?", "#", "*", "{")):
            raise _refuse("MCP_PATHS", f"holds {path!r}: give paths as they are, without patterns and escapes.")
        if path.rstrip("/") in exempt:
            raise _refuse("EXEMPT_PATHS", f"holds {path!r}, which is in MCP_HTTP_MCP_PATHS: anybody could call it.")
    endpoint = urlsplit(settings.public_url or "").path.rstrip("/")
    if paths and not any(endpoint.endswith(path) or path.endswith(endpoint) for path in paths):
        raise _refuse("MCP_PATHS", f"lacks {endpoint} of MCP_HTTP_PUBLIC_URL: no rule would be asked there.")


def _check_files(settings: Settings) -> None:
    if (settings.tls_cert_path is None) != (settings.tls_key_path is None):
        raise _refuse("TLS_CERT_PATH", "and MCP_HTTP_TLS_KEY_PATH belong together: set both or neither.")
    for name in ("tls_cert_path", "tls_key_path", "policy_file"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            raise _refuse(name.upper(), f"names {str(path)!r}, which is not a file.")
    if settings.tenant_migrations is not None and not settings.tenant_migrations.is_dir():
        raise _refuse("TENANT_MIGRATIONS", f"names {str(settings.tenant_migrations)!r}, which is not a folder.")


def _check_url(settings: Settings, name: str, url: str, path: str | None = None) -> None:
    parts = urlsplit(url)
    if not parts.hostname or parts.query or parts.fragment or parts.username or not url.isascii() or " " in url:
        raise _refuse(name, f"is {url!r}: not an address of the form https://host/path.")
    if path is not None and parts.path != path:
        raise _refuse(name, f"is {url!r}: give the host name alone, like acme.eu.auth0.com.")
    if parts.scheme != "https" and not (settings.development and is_loopback_url(url)):
        raise _refuse(name, f"is {url!r}: it must be https (http only to 127.0.0.1, in development).")


def is_loopback_url(url: str) -> bool:
    """Whether ``url`` is plain http to this machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS


def _check_tenants(settings: Settings) -> None:
    _check_databases(settings)
    names = {"auth0", *(entry.name for entry in settings.oidc_providers or ()), *(settings.custom_providers or ())}
    names |= {entry.name for entry in settings.introspection_providers or ()}
    for key in settings.tenant_mapping or {}:
        name, colon, organization = key.partition(":")
        if colon and (name not in names or not re.fullmatch(r"\S+", organization)):
            raise _refuse(
                "TENANT_MAPPING",
                f"has the key {key!r}: give a domain, or <provider>:<organization id> with auth0 or the name of an "
                "entry of MCP_HTTP_OIDC_PROVIDERS, MCP_HTTP_INTROSPECTION_PROVIDERS or MCP_HTTP_CUSTOM_PROVIDERS.",
            )
    for entry in (settings.api_keys or {}).values():
        try:
            if entry.tenant_id is not None:
                check_tenant_id(entry.tenant_id)
        except ValueError:
            raise _refuse("API_KEYS", f"gives the key {entry.name!r} an impossible tenant_id.") from None


def _check_databases(settings: Settings) -> None:
    if settings.database_connection_string is None:
        for name in ("direct_database_url", "databases"):
            if getattr(settings, name) is not None:
                raise _refuse("DATABASE_CONNECTION_STRING", f"is missing: MCP_HTTP_{name.upper()} is of no use alone.")
    for dsn_id, entry in (settings.databases or {}).items():
        if dsn_id == "main" or not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", dsn_id):
            raise _refuse(
                "DATABASES",
                f'names one {dsn_id!r}: use a-z, 0-9, _ and -; "main" is MCP_HTTP_DATABASE_CONNECTION_STRING.',
            )
        # An empty connection string means "whatever the environment says" to the driver.
        if any(url is not None and not url.get_secret_value().strip() for url in (entry.url, entry.direct_url)):
            raise _refuse("DATABASES", f"has an empty connection string for {dsn_id!r}.")


def _check_policy(settings: Settings) -> None:
    lists = {"DEFAULT_PERMISSIONS": settings.default_permissions or ()}
    lists |= {f"ROLE_PERMISSIONS[{role}]": names for role, names in (settings.role_permissions or {}).items()}
    lists |= {f"API_KEYS ({entry.name})": entry.permissions for entry in (settings.api_keys or {}).values()}
    for name, permissions in lists.items():
        if name.startswith("ROLE_") and not permissions:
            raise _refuse(name, "is empty: a role that grants nothing is a mistake.")
        for permission in permissions:
            if not is_permission(permission):
                raise _refuse(name, f"holds {permission!r}: a permission has no blanks, quotes or backslashes.")


def _check_dpop(settings: Settings) -> None:
    if settings.dpop_nonce_key is None:
        return
    if settings.dpop_nonce == "off":
        raise _refuse(
            "DPOP_NONCE", "is off, so MCP_HTTP_DPOP_NONCE_KEY is of no use: set it to required, or unset both."
        )
    if len(settings.dpop_nonce_key.get_secret_value()) < 32:
        raise _refuse("DPOP_NONCE_KEY", "is too short: use at least 32 random characters.")


def _check_quotas(settings: Settings) -> None:
    if settings.rate_limit_store == "redis" and settings.redis_url is None:
        raise _refuse("RATE_LIMIT_STORE", "is redis: set MCP_HTTP_REDIS_URL (or REDIS_URL), like redis://host:6379/0.")
    if settings.rate_limit_store == "postgres" and settings.database_connection_string is None:
        raise _refuse("RATE_LIMIT_STORE", "is postgres: set MCP_HTTP_DATABASE_CONNECTION_STRING (or DATABASE_URL).")


def insecure(settings: Settings) -> list[InsecureSetting]:
    """Every switch that weakens a check and is on."""
    found = []
    if settings.github_enabled and settings.github_binding == "none":
        found.append(InsecureSetting("MCP_HTTP_GITHUB_BINDING=none", "GitHub tokens of any app sign in here"))
    if settings.personal_domains == "shared":
        found.append(
            InsecureSetting("MCP_HTTP_PERSONAL_DOMAINS=shared", "everybody at a public mail domain shares one tenant")
        )
    if "*" in (*(settings.cors_origins or ()), *(settings.allowed_origins or ())):
        found.append(InsecureSetting("MCP_HTTP_ALLOWED_ORIGINS=*", "any website may call with a token it has"))
    if settings.require_https is False and not settings.development:
        found.append(InsecureSetting("MCP_HTTP_REQUIRE_HTTPS=false", "tokens may travel in the clear"))
    if settings.rate_limit_on_error == "open":
        meaning = "while the quota store is out of reach nothing is limited"
        found.append(InsecureSetting("MCP_HTTP_RATE_LIMIT_ON_ERROR=open", meaning))
    if settings.audit_sinks and settings.audit_on_error == "open":
        found.append(InsecureSetting("MCP_HTTP_AUDIT_ON_ERROR=open", "requests go on while nobody can write them down"))
    for name in ("auth0_tenant_from_email", "github_tenant_from_email"):
        if getattr(settings, name):
            meaning = "whoever could once read mail at a domain is in its tenant"
            found.append(InsecureSetting(f"MCP_HTTP_{name.upper()}=true", meaning))
    for entry in settings.oidc_providers or ():
        if entry.tenant_from_email:
            meaning = "whoever could once read mail at a domain is in its tenant"
            found.append(InsecureSetting(f"MCP_HTTP_OIDC_PROVIDERS ({entry.name}): tenant_from_email", meaning))
        if getattr(entry, "binding", None) == "client":
            meaning = "its tokens name the client that asked, not this server"
            found.append(InsecureSetting(f"MCP_HTTP_OIDC_PROVIDERS ({entry.name}): binding=client", meaning))
    if settings.development:
        found.append(InsecureSetting("MCP_HTTP_ENVIRONMENT=development", "for loopback use only"))
    return found
