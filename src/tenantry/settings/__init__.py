"""Settings: the environment (``MCP_HTTP_*``), files in a directory of secrets, or a TOML file; frozen, checked whole
before anything starts.

What is missing, malformed, unknown or unsafe raises ``ConfigurationError`` with the variable, what is wrong with
it and the mend; no message ever quotes a secret. An empty value is an error, never "anything goes".
"""

from __future__ import annotations

import os
import re
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from ..core.quota import Quota, parse_quota
from ..custom_providers import check_custom
from ..errors import ConfigurationError
from .introspection import IntrospectionProviders
from .introspection_rules import check_introspection
from .oidc_entries import OidcProviders
from .oidc_rules import check_oidc
from .rules import check
from .secrets_dir import read_secrets, secret_files
from .variables import EMPTY, both, refuse_unknown, variables_of
from .variables import PREFIX as PREFIX


def _split(value: Any) -> Any:
    """A comma list; an empty entry is a mistake."""
    if isinstance(value, str):
        value = [entry.strip() for entry in value.split(",")]
    if not value or not all(value):
        raise ValueError("has an empty entry: give values separated by commas, or unset it")
    return tuple(value)


def _quota(value: Any) -> Any:
    if isinstance(value, Quota) or value is None:
        return value
    return None if value == "off" else parse_quota(value)


def _moment(value: Any) -> Any:
    """Seconds since the epoch, or ISO 8601 with its offset."""
    if not isinstance(value, str):
        return value
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("has no time zone: write 2027-01-31T00:00:00Z")
    return moment.timestamp()


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Moment = Annotated[float | None, BeforeValidator(_moment)]
QuotaText = Annotated[Quota | None, NoDecode, BeforeValidator(_quota)]


class ApiKeyEntry(BaseModel):
    """The record of one key in ``MCP_HTTP_API_KEYS``. ``expires_at``: seconds since the epoch or ISO 8601."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=128)
    id: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$")
    tenant_id: str | None = None
    permissions: tuple[str, ...] = ()
    expires_at: Moment = None
    not_before: Moment = None


class DatabaseEntry(BaseModel):
    """One further database in ``MCP_HTTP_DATABASES``: as DATABASE_CONNECTION_STRING and DIRECT_DATABASE_URL."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: SecretStr
    direct_url: SecretStr | None = None


class Settings(BaseSettings):
    """Everything an operator can say. ``Settings()`` reads the environment; keyword arguments override it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        case_sensitive=False,
    )

    environment: Literal["production", "development"] = "production"
    public_url: str | None = None
    config_file: str | None = None
    secrets_dir: Path | None = None

    google_client_id: CommaList | None = Field(None, validation_alias=both("GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_ID"))
    google_client_secret: SecretStr | None = Field(
        None, validation_alias=both("GOOGLE_CLIENT_SECRET", "GOOGLE_CLIENT_SECRET")
    )
    google_service_accounts: CommaList | None = None
    google_base_url: str | None = None

    auth0_domain: str | None = Field(None, validation_alias=both("AUTH0_DOMAIN", "AUTH0_DOMAIN"))
    auth0_audience: CommaList | None = Field(None, validation_alias=both("AUTH0_AUDIENCE", "AUTH0_AUDIENCE"))
    auth0_permissions_from: Literal["intersection", "permissions", "scope"] = "intersection"
    auth0_email_claim: str = "email"
    auth0_email_verified_claim: str | None = None
    auth0_roles_claim: str = "roles"
    auth0_organizations: CommaList | None = None
    auth0_tenant_from_email: bool = False
    auth0_dpop: Literal["off", "accept", "require"] = "off"

    github_enabled: bool = False
    github_client_id: str | None = None
    github_client_secret: SecretStr | None = None
    github_binding: Literal["app", "none"] = "app"
    github_tenant_from_email: bool = False
    github_checksum: bool = True
    github_api_url: str = "https://api.github.com"

    oidc_providers: OidcProviders | None = None
    introspection_providers: IntrospectionProviders | None = Field(None, repr=False)
    custom_providers: dict[str, dict[str, Any]] | None = Field(None, min_length=1, repr=False)

    dpop_window: float = Field(60, ge=5, le=300)
    dpop_nonce: Literal["off", "required"] = "off"
    dpop_nonce_key: SecretStr | None = None

    api_key: SecretStr | None = None
    api_keys: dict[str, ApiKeyEntry] | None = Field(None, repr=False)

    database_connection_string: SecretStr | None = Field(
        None, validation_alias=both("DATABASE_CONNECTION_STRING", "DATABASE_URL")
    )
    direct_database_url: SecretStr | None = Field(
        None, validation_alias=both("DIRECT_DATABASE_URL", "DIRECT_DATABASE_URL")
    )
    databases: dict[str, DatabaseEntry] | None = Field(None, repr=False)
    db_pool_size: int = Field(10, ge=1, le=200)
    schema_names: Literal["readable", "opaque"] = "readable"
    tenant_migrations: Path | None = None

    tenant_mapping: dict[str, str] | None = None
    personal_domains: Literal["isolate", "shared", "deny"] = "isolate"
    allowed_domains: CommaList | None = None
    public_mail_domains: CommaList | None = None
    tenant_provisioning: Literal["auto", "mapped", "manual"] | None = None

    default_permissions: CommaList | None = None
    role_permissions: dict[str, tuple[str, ...]] | None = None
    tool_permissions: dict[str, str | tuple[str, ...]] | None = None
    policy_file: Path | None = None
    anonymous_methods: CommaList | None = None
    mcp_paths: CommaList | None = None
    max_body: int = Field(4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024)

    token_cache_ttl: float = Field(300, ge=1, le=3600)
    token_cache_size: int = Field(10_000, ge=1, le=10_000_000)
    clock_skew: float = Field(30, ge=0, le=300)
    outage_grace: float = Field(0, ge=0, le=900)
    rate_limit_tenant: QuotaText = Quota(600, 60)
    rate_limit_user: QuotaText = None
    rate_limit_api_key: QuotaText = None
    rate_limit_anonymous: QuotaText = Quota(60, 60)
    rate_limit_store: Literal["memory", "postgres", "redis"] = "memory"
    rate_limit_on_error: Literal["closed", "open"] = "closed"
    redis_url: SecretStr | None = Field(None, validation_alias=both("REDIS_URL", "REDIS_URL"))

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65535, validation_alias=both("PORT", "PORT"))
    shutdown_grace: float = Field(4, ge=2, le=3600)
    tls_cert_path: Path | None = None
    tls_key_path: Path | None = None
    cors_origins: CommaList | None = None
    allowed_hosts: CommaList | None = None
    allowed_origins: CommaList | None = None
    exempt_paths: CommaList | None = None
    trusted_proxies: CommaList | None = None
    client_address_header: str = "x-forwarded-for"
    require_https: bool | None = None
    hsts_max_age: int = Field(63_072_000, ge=0, le=315_360_000)
    hsts_preload: bool = True
    security_headers: CommaList = ("csp", "nosniff", "frame", "referrer", "coop")

    audit_sinks: CommaList | None = None
    audit_on_error: Literal["closed", "open"] = "closed"
    audit_email: Literal["hmac", "plain", "off"] = "hmac"
    audit_users: Literal["pseudonym", "plain"] = "pseudonym"
    audit_hmac_key: SecretStr | None = None
    metrics: str = "off"
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_empty(cls, value: Any) -> Any:
        """Wherever it comes from: an empty value is an error, never "anything goes"."""
        if isinstance(value, str) and not value.strip():
            raise ValueError(EMPTY)
        return value

    def __init__(self, **values: Any) -> None:
        refuse_unknown({**os.environ, **_secrets()}, type(self).model_fields)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigurationError(_sentences(error)) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            place = re.search(r"\(at [^()]*\)$", str(error))  # the rest may quote the file
            raise ConfigurationError(
                f"{PREFIX}CONFIG_FILE names {os.environ[PREFIX + 'CONFIG_FILE']!r}, which is not TOML"
                f"{f' {place[0]}' if place else ''}."
            ) from None
        except SettingsError as error:
            raise ConfigurationError(f"{_variable_in(str(error))} is not valid JSON.") from None
        if self.secrets_dir is not None and PREFIX + "SECRETS_DIR" not in os.environ:
            raise ConfigurationError(f"{PREFIX}SECRETS_DIR is read from the environment alone: set it there.")
        check(self)
        check_oidc(self)
        check_introspection(self)
        check_custom(self)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment with the files of ``MCP_HTTP_SECRETS_DIR``, which never say the same
        variable, then the file that ``MCP_HTTP_CONFIG_FILE`` names."""
        variables = _Variables(settings_cls)
        path = os.environ.get(PREFIX + "CONFIG_FILE")
        if path is None:
            return init_settings, variables
        return init_settings, variables, TomlConfigSettingsSource(settings_cls, _readable(path))

    @property
    def development(self) -> bool:
        return self.environment == "development"

    @property
    def provisioning(self) -> Literal["auto", "mapped", "manual"]:
        """How tenants come to be, where there is a database."""
        return self.tenant_provisioning or ("auto" if self.development else "mapped")

    @property
    def oauth(self) -> bool:
        """Whether any provider is on whose tokens a client gets by signing in."""
        ours = self.google_client_id or self.auth0_domain or self.github_enabled
        return bool(ours or self.oidc_providers or self.introspection_providers or self.custom_providers)

    @property
    def auth0_issuer(self) -> str | None:
        """The issuer, with its slash; the scheme is https except for a loopback address in development."""
        if self.auth0_domain is None:
            return None
        domain = self.auth0_domain.rstrip("/")
        return f"{domain if '://' in domain else f'https://{domain}'}/"

    @property
    def resource(self) -> str:
        """The resource identifier (RFC 8707): the public URL, or in development the address served at."""
        return self.public_url or f"http://{self.host}:{self.port}/mcp"


class _Variables(EnvSettingsSource):
    """The environment and the directory of secrets as one, so that our own name of a setting wins over another
    program's wherever each of them stands."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.env_vars = {**self.env_vars, **{name.lower(): value for name, value in _secrets().items()}}


def setting_files() -> list[Path]:
    """The files that the settings are read from, for whoever watches them. Raises ``ConfigurationError`` while the
    directory of secrets cannot be read."""
    config, directory = (os.environ.get(PREFIX + name) for name in ("CONFIG_FILE", "SECRETS_DIR"))
    files = [] if config is None else [Path(config)]
    if directory is not None:
        files += [path for _, path in secret_files(Path(directory), variables_of(Settings.model_fields))]
    return files


def _secrets() -> dict[str, str]:
    directory = os.environ.get(PREFIX + "SECRETS_DIR", "")
    return read_secrets(Path(directory), variables_of(Settings.model_fields), os.environ) if directory.strip() else {}


def _readable(path: str) -> Path:
    if not Path(path).is_file():
        raise ConfigurationError(f"{PREFIX}CONFIG_FILE names {path!r}, which is not a file.")
    return Path(path)


def _sentences(error: ValidationError) -> str:
    """One line for each mistake: the variable and what is wrong, without the value (it may be a secret)."""
    return "\n".join(_sentence(detail) for detail in error.errors(include_input=False, include_url=False))


def _sentence(detail: Any) -> str:
    variable, *inner = (str(part) for part in detail["loc"])
    name = variable if variable.isupper() else PREFIX + variable.upper()
    if name.endswith("API_KEYS"):
        inner = inner[1:]  # the first is the key itself
    place = name + "".join(f"[{part}]" for part in inner)
    if detail["type"] == "extra_forbidden":
        return f"{place} is not a setting."
    if detail["type"] == "dict_type":  # also text that is not JSON
        return f"{place} is not a JSON object."
    return f"{place}: {detail['msg'].removeprefix('Value error, ')}."


def _variable_in(message: str) -> str:
    for name in Settings.model_fields:
        if f'"{name}"' in message:
            return PREFIX + name.upper()
    return PREFIX + "CONFIG_FILE"
