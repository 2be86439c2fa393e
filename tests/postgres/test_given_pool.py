"""A pool that the application made is as good a wall as ours, and stays the application's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from tests.postgres.pgbouncer import PgBouncer
from tests.postgres.registry import role_of
from tests.postgres.storm import HOSTILE, POOL, ROWS, STAYS, Outcome, Storm

from tenantry.errors import ConfigurationError, Unavailable
from tenantry.postgres import Database

pytestmark = pytest.mark.anyio

SCOPES = 1000


async def nothing(connection: Any) -> None:
    """What an application gives asyncpg to have its reset off."""


@pytest.fixture
async def make_pool() -> AsyncIterator[Callable[..., Any]]:
    made: list[Any] = []

    async def make(dsn: str, **options: Any) -> Any:
        # A storm expects the limit of a statement that our own pool sets.
        settings = {"command_timeout": 30, "min_size": 0, "max_size": POOL, **options}
        made.append(await asyncpg.create_pool(dsn, **settings))
        return made[-1]

    yield make
    for pool in made:
        pool.terminate()


def over(pool: Any, dsns: Any, **options: Any) -> Database:
    return Database.over(pool, admin_dsn=dsns.admin, create_tenants=True, migrations=[ROWS], **options)


async def storm(database: Database, dsns: Any, *, tracked: bool = False) -> Outcome:
    """``tracked``: a pooler is between that keeps prepared statements."""
    deeds = [deed for deed in HOSTILE if not (tracked and deed == STAYS)]
    return await Storm(database, dsns.superuser, tenants=20, seed=3, hostile=deeds).blow(SCOPES, workers=12)


def expect_calm(outcome: Outcome) -> None:
    """An application's pool sets no limit of a statement, so none is what there should be."""
    leaked = [line for line in outcome.leaked if not line.endswith("{'timeout': '0'}")]
    assert (outcome.wrong, leaked, outcome.hung, outcome.connections) == ([], [], [], [])
    assert outcome.scopes == SCOPES


@pytest.mark.parametrize("options", [{}, {"reset": nothing}, {"max_queries": 7}], ids=["reset", "no_reset", "renewed"])
async def test_nothing_leaks_over_an_applications_pool_whatever_it_does_on_release(
    dsns: Any, make_pool: Callable[..., Any], options: dict[str, Any]
) -> None:
    async with over(await make_pool(dsns.app, **options), dsns) as database:
        expect_calm(await storm(database, dsns))


async def test_nothing_leaks_over_an_applications_pool_through_a_pooler(
    dsns: Any, bouncer: PgBouncer, make_pool: Callable[..., Any]
) -> None:
    pool = await make_pool(bouncer.dsn(dsns.app), statement_cache_size=0)
    async with over(pool, dsns) as database:
        expect_calm(await storm(database, dsns, tracked=bouncer.keeps_prepared_statements))


async def test_closing_the_database_leaves_the_pool_open(
    dsns: Any, make_pool: Callable[..., Any], tenant_ids: Any
) -> None:
    pool, tenant = await make_pool(dsns.app), next(tenant_ids)
    database = over(pool, dsns)
    assert await database.tenant(tenant).fetch("select id from rows") == []
    await database.close()
    assert await pool.fetchval("select session_user::text") == "tenantry_app"
    with pytest.raises(Unavailable):
        await database.tenant(tenant).fetch("select id from rows")


async def test_every_connection_goes_back_to_the_pool(
    dsns: Any, make_pool: Callable[..., Any], tenant_ids: Any
) -> None:
    pool, tenant = await make_pool(dsns.app, max_size=2), next(tenant_ids)
    async with over(pool, dsns) as database:
        await database.ensure_tenant(tenant)
        for statement in ("select 1", "select 1/0", "commit", "prepare leak as select 1"):
            for _ in range(3):
                try:
                    await database.tenant(tenant).execute(statement)
                except (asyncpg.DivisionByZeroError, RuntimeError):
                    continue
        assert pool.get_idle_size() == pool.get_size()


async def test_no_connection_free_in_the_pool_is_unavailable(
    dsns: Any, make_pool: Callable[..., Any], tenant_ids: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, tenant = await make_pool(dsns.app, max_size=1), next(tenant_ids)
    async with over(pool, dsns) as database:
        await database.ensure_tenant(tenant)
        monkeypatch.setattr(database.clusters["main"]._ready.pool, "_patience", 0.02)
        async with pool.acquire():
            with pytest.raises(Unavailable):
                await database.tenant(tenant).fetchval("select 1")
        assert await database.tenant(tenant).fetchval("select 1") == 1


async def test_a_pool_that_its_owner_closed_is_unavailable(
    dsns: Any, make_pool: Callable[..., Any], tenant_ids: Any
) -> None:
    pool, tenant = await make_pool(dsns.app), next(tenant_ids)
    async with over(pool, dsns) as database:
        await database.ensure_tenant(tenant)
        await pool.close()
        with pytest.raises(Unavailable):
            await database.tenant(tenant).fetchval("select 1")


@pytest.mark.parametrize("who", ["superuser", "admin"])
async def test_a_pool_whose_login_has_rights_of_its_own_is_refused(
    dsns: Any, make_pool: Callable[..., Any], tenant_ids: Any, who: str
) -> None:
    """The admin's is the one that makes the tenants, too: with a connection string alone that is no matter, because
    then we make logins for requests. A pool has the one it has."""
    async with over(await make_pool(getattr(dsns, who)), dsns) as database:
        with pytest.raises(ConfigurationError, match="has rights of its own"):
            await database.tenant(next(tenant_ids)).fetchval("select 1")


async def test_all_tenants_of_an_applications_pool_are_served_by_its_login(
    dsns: Any, make_pool: Callable[..., Any], tenant_ids: Any, root: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenantry.adapters.postgres.registry.BUCKET_SIZE", 1)
    tenants = [next(tenant_ids) for _ in range(3)]
    async with over(await make_pool(dsns.app), dsns) as database:
        for tenant in tenants:
            seen = await database.tenant(tenant).fetchrow("select session_user::text, current_user::text")
            assert tuple(seen) == ("tenantry_app", await role_of(root, tenant))
    assert await root.fetchval("select array_agg(distinct bucket) from tenantry.tenants") == [0]


async def test_a_tenant_of_another_login_is_one_sentence(
    dsns: Any, open_database: Any, make_pool: Callable[..., Any], tenant_ids: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenantry.adapters.postgres.registry.BUCKET_SIZE", 1)
    tenants = [next(tenant_ids) for _ in range(2)]
    async with open_database(migrations=[ROWS]) as ours:
        for tenant in tenants:
            await ours.ensure_tenant(tenant)
    async with over(await make_pool(dsns.app), dsns) as database:
        assert await database.tenant(tenants[0]).fetchval("select 1") == 1
        with pytest.raises(ConfigurationError, match="belongs to login number 1"):
            await database.tenant(tenants[1]).fetchval("select 1")
