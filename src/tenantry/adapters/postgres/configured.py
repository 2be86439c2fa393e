"""The tenant database that the settings describe."""

from __future__ import annotations

from pydantic import SecretStr

from ...settings import Settings
from .database import Database
from .migrations import Migrations

# What a database is made from; a change of anything else leaves its connections alone.
DATABASE_SETTINGS = {
    "database_connection_string",
    "direct_database_url",
    "databases",
    "db_pool_size",
    "schema_names",
    "tenant_migrations",
    "tenant_provisioning",
    "environment",
    "audit_hmac_key",
}


def database_from(settings: Settings) -> Database | None:
    """A ``Database`` that connects at first use, or None without MCP_HTTP_DATABASE_CONNECTION_STRING."""
    dsn = _text(settings.database_connection_string)
    if dsn is None:
        return None
    folder, audit_key = settings.tenant_migrations, _text(settings.audit_hmac_key)
    return Database.open(
        dsn,
        admin_dsn=_text(settings.direct_database_url),
        pool_size=settings.db_pool_size,
        create_tenants=settings.provisioning != "manual",
        migrations=() if folder is None else Migrations.read(folder),
        migrate_on_use=settings.development,
        audit_key=None if audit_key is None else audit_key.encode(),
        opaque_schema_names=settings.schema_names == "opaque",
        databases={
            dsn_id: (entry.url.get_secret_value(), _text(entry.direct_url))
            for dsn_id, entry in (settings.databases or {}).items()
        },
    )


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
