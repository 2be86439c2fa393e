"""The tenant database that the settings describe."""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigurationError
from ...model import Tenant
from ...settings import Settings
from .pool import Database


def database_from(settings: Settings) -> Database | None:
    """A ``Database`` that connects at first use, or None without MCP_HTTP_DATABASE_CONNECTION_STRING."""
    if settings.database_connection_string is None:
        return None
    direct = settings.direct_database_url
    return Database.open(
        settings.database_connection_string.get_secret_value(),
        admin_dsn=direct.get_secret_value() if direct else None,
        pool_size=settings.db_pool_size,
        create_tenants=settings.provisioning != "manual",
        migrations=_scripts(settings.tenant_migrations),
    )


def _scripts(folder: Path | None) -> list[str]:
    """The SQL scripts of a folder, in the order of their names."""
    if folder is None:
        return []
    files = sorted(folder.glob("*.sql"))
    if not files:
        raise ConfigurationError(f"MCP_HTTP_TENANT_MIGRATIONS names {str(folder)!r}, which holds no .sql file.")
    return [file.read_text(encoding="utf-8") for file in files]


class ManualDirectory:
    """Only tenants that have been made in the database. Known ones are remembered by the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def admit(self, tenant: Tenant) -> None:
        await self._database.ensure_tenant(tenant.tenant_id)
