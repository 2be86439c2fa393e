"""The tenant database that the settings describe."""

from __future__ import annotations

from pydantic import SecretStr

from ...settings import Settings
from .database import Database
from .migrations import Migrations


def database_from(settings: Settings) -> Database | None:
    """A ``Database`` that connects at first use, or None without MCP_HTTP_DATABASE_CONNECTION_STRING."""
    dsn = _text(settings.database_connection_string)
    if dsn is None:
        return None
    folder = settings.tenant_migrations
    return Database.open(
        dsn,
        admin_dsn=_text(settings.direct_database_url),
        pool_size=settings.db_pool_size,
        create_tenants=settings.provisioning != "manual",
        migrations=() if folder is None else Migrations.read(folder),
        migrate_on_use=settings.development,
        opaque_schema_names=settings.schema_names == "opaque",
        databases={
            dsn_id: (entry.url.get_secret_value(), _text(entry.direct_url))
            for dsn_id, entry in (settings.databases or {}).items()
        },
    )


def _text(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
