"""Which tenants are made, from the settings to the rows: a request through the middleware to the tenant's schema."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tenantry import ConfigurationError, Settings, TenantryMiddleware, current_user
from tenantry.assemble import assemble
from tenantry.postgres import Database, get_tenant_database
from tenantry.testing import DevIdp, serve_on_loopback

pytestmark = pytest.mark.anyio

TABLES = {
    "0001_notes.sql": "create table notes (id bigint generated always as identity primary key, title text not null)",
    "0002_author.sql": "alter table notes add author text; create index on notes (author);",
    "README": "not a script",
}


async def notes(scope: Any, receive: Any, send: Any) -> None:
    """Writes one note and answers with all of the tenant's."""
    user = current_user(scope)
    db = await get_tenant_database(user.tenant_id)
    await db.execute("insert into notes (title, author) values ($1, $2)", "hello", user.user_id)
    rows = await db.fetch("select author, current_schema() as schema from notes order by id")
    body = json.dumps([[row["author"], row["schema"]] for row in rows]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def idp() -> AsyncIterator[DevIdp]:
    made = DevIdp()
    async with made.serve():
        yield made


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def server_of(idp: DevIdp, dsns: Any, tables: Path) -> Callable[..., Any]:
    """A served app with the tenant database on; ``ask(token)`` is (status, body)."""

    @contextlib.asynccontextmanager
    async def serving(**changes: Any) -> AsyncIterator[Any]:
        values = {name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings().items()}
        if changes.get("environment") == "production":  # there the identity provider's loopback address is refused
            values = {}
        database = {"database_connection_string": dsns.app, "direct_database_url": dsns.admin}
        app = TenantryMiddleware(
            notes, settings=Settings(**{**values, **database, "tenant_migrations": tables, **changes})
        )
        async with serve_on_loopback(app, lifespan="off") as url, httpx.AsyncClient(trust_env=False) as client:

            async def ask(token: str) -> tuple[int, Any]:
                answer = await client.post(url, headers={"Authorization": f"Bearer {token}"})
                return answer.status_code, answer.json()

            yield ask
        await app.aclose()

    return serving


def domain_of(tenant_id: str) -> str:
    return tenant_id.replace("_", ".")


async def test_auto_makes_any_admitted_tenant_at_its_first_use(
    server_of: Any, idp: DevIdp, tenant_ids: Iterator[str]
) -> None:
    one, other = next(tenant_ids), next(tenant_ids)
    async with server_of() as ask:
        ann = idp.google.id_token("ann", hd=domain_of(one))
        carol = idp.google.id_token("carol", hd=domain_of(other))
        assert (await ask(ann))[0] == 200
        status, seen = await ask(carol)
        assert (status, seen) == (200, [[f"google:{idp.people['carol'].at_google().sub}", f"tenant_{other}"]])
        status, seen = await ask(ann)
        assert [schema for _, schema in seen] == [f"tenant_{one}"] * 2


async def test_mapped_makes_what_the_operator_named_and_refuses_every_stranger_before_the_database(
    server_of: Any, idp: DevIdp, tenant_ids: Iterator[str], root: asyncpg.Connection
) -> None:
    named, key_tenant, stranger = next(tenant_ids), next(tenant_ids), next(tenant_ids)
    changes = {
        "tenant_provisioning": "mapped",
        "tenant_mapping": {"acme.example": named},
        "api_keys": {"k" * 8: {"name": "ci", "tenant_id": key_tenant}},
    }
    async with server_of(**changes) as ask:
        assert (await ask(idp.google.id_token("ann")))[0] == 200
        assert (await ask("k" * 8))[0] == 200
        for token in (idp.google.id_token("carol"), idp.google.id_token("ann", hd=domain_of(stranger))):
            status, body = await ask(token)
            assert (status, body["error"], body["reason"]) == (403, "access_denied", "tenant_unknown")
    made = await root.fetch("select tenant_id from tenantry.tenants")
    assert {row["tenant_id"] for row in made} == {named, key_tenant}


async def test_manual_serves_what_exists_and_makes_nothing_even_for_a_named_tenant(
    server_of: Any, idp: DevIdp, tenant_ids: Iterator[str], database: Any, root: asyncpg.Connection
) -> None:
    known, named = next(tenant_ids), next(tenant_ids)
    await database.ensure_tenant(known)
    async with server_of(tenant_provisioning="manual", tenant_mapping={"acme.example": named}) as ask:
        assert (await ask(idp.google.id_token("ann", hd=domain_of(known))))[0] == 200
        status, body = await ask(idp.google.id_token("bob"))
        assert (status, body["reason"]) == (403, "tenant_unknown")
    made = await root.fetch("select tenant_id from tenantry.tenants")
    assert {row["tenant_id"] for row in made} == {known}


async def test_a_new_release_s_tables_reach_a_tenant_at_its_first_use_in_development(
    server_of: Any, idp: DevIdp, tenant_ids: Iterator[str], tables: Path, root: asyncpg.Connection
) -> None:
    tenant = next(tenant_ids)
    token = idp.google.id_token("ann", hd=domain_of(tenant))
    for version in (2, 3):
        async with server_of() as ask:
            assert (await ask(token))[0] == 200
        assert await root.fetchval("select version from tenantry.tenants where tenant_id = $1", tenant) == version
        (tables / "0003_done.sql").write_text("alter table notes add column done boolean")


async def test_in_production_a_tenant_without_a_new_release_s_tables_gets_503_until_it_has_them(
    server_of: Any, tenant_ids: Iterator[str], tables: Path, root: asyncpg.Connection
) -> None:
    tenant, key = next(tenant_ids), "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE"
    production = {"environment": "production", "api_keys": {key: {"name": "ci", "tenant_id": tenant}}}
    async with server_of(**production) as ask:
        assert (await ask(key))[0] == 200
    (tables / "0003_done.post.sql").write_text("alter table notes add column done boolean")
    async with server_of(**production) as ask:
        assert (await ask(key))[0] == 200
    (tables / "0004_more.sql").write_text("alter table notes add column more boolean")
    async with server_of(**production) as ask:
        status, body = await ask(key)
        assert (status, body["error"]) == (503, "temporarily_unavailable")
        assert body["error_description"] == "The data of this account is being brought up to date"
    assert await root.fetchval("select version from tenantry.tenants where tenant_id = $1", tenant) == 2


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        ("suspended", (403, "tenant_suspended")),
        ("moving", (503, "tenant_moving")),
        ("dropping", (403, "tenant_unknown")),
    ],
)
@pytest.mark.parametrize("provisioning", ["auto", "mapped", "manual"])
async def test_a_tenant_that_may_not_be_entered_is_refused_before_the_application(
    server_of: Any,
    idp: DevIdp,
    tenant_ids: Iterator[str],
    database: Any,
    root: asyncpg.Connection,
    provisioning: str,
    state: str,
    answer: tuple[int, str],
) -> None:
    tenant = next(tenant_ids)
    await database.ensure_tenant(tenant)
    await root.execute("update tenantry.tenants set state = $2 where tenant_id = $1", tenant, state)
    async with server_of(tenant_provisioning=provisioning) as ask:
        status, body = await ask(idp.google.id_token("ann", hd=domain_of(tenant)))
    assert (status, body["reason"]) == answer


async def test_an_allowed_domain_counts_as_named(server_of: Any, idp: DevIdp, tenant_ids: Iterator[str]) -> None:
    allowed, other = next(tenant_ids), next(tenant_ids)
    async with server_of(tenant_provisioning="mapped", allowed_domains=domain_of(allowed)) as ask:
        assert (await ask(idp.google.id_token("ann", hd=domain_of(allowed))))[0] == 200
        status, body = await ask(idp.google.id_token("ann", hd=domain_of(other)))
        assert (status, body["reason"]) == (403, "domain_not_allowed")


async def test_a_database_that_is_down_is_503_for_who_needs_it(server_of: Any, idp: DevIdp) -> None:
    nowhere = "postgresql://nobody:x@127.0.0.1:1/none"
    changes = {"database_connection_string": nowhere, "direct_database_url": nowhere}
    async with server_of(**changes, tenant_provisioning="manual") as ask:
        status, body = await ask(idp.google.id_token("ann"))
        assert (status, body["reason"]) == (503, "database_unavailable")


async def test_a_database_that_is_not_ours_is_503_and_one_sentence_in_the_log(
    server_of: Any, idp: DevIdp, dsns: Any, tenant_ids: Iterator[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with Database.open(dsns.superuser, create_tenants=True) as somebody_else:
        await somebody_else.ensure_tenant(next(tenant_ids))
    async with server_of(tenant_provisioning="manual") as ask:
        status, body = await ask(idp.google.id_token("ann"))
    assert (status, body["reason"]) == (503, "server_misconfigured")
    assert "made by another login" in caplog.text


def test_a_folder_without_scripts_is_refused_at_start(tmp_path: Path, dsns: Any) -> None:
    settings = Settings(
        environment="development", api_key="x", database_connection_string=dsns.app, tenant_migrations=tmp_path
    )
    with pytest.raises(ConfigurationError, match=r"MCP_HTTP_TENANT_MIGRATIONS .* holds no \.sql file"):
        assemble(settings)
