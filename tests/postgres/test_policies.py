"""Rows of each user inside one tenant."""

# ruff: noqa: PT012 - a scope is a block, so what it raises comes out of a block

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tenantry.adapters.postgres.migrations import Migrations
from tenantry.model import MCPUserContext
from tenantry.postgres import Database, user_policy

pytestmark = pytest.mark.anyio

DIARY = "create table diary (id bigint generated always as identity, user_id text not null, line text not null)"
ADDED = "insert into diary (user_id, line) values ($1, $2) returning id"
READ = "select string_agg(line, ',' order by line) from diary"


@pytest.fixture
async def database(open_database) -> AsyncIterator[Database]:
    async with open_database(migrations=[DIARY, user_policy("diary", permission="diary:admin")]) as opened:
        yield opened


def user(tenant: str, name: str, *permissions: str) -> MCPUserContext:
    return MCPUserContext(f"google:{name}", "google", name, tenant, permissions=frozenset(permissions))


@pytest.fixture
async def two(database, tenant_ids):
    tenant = next(tenant_ids)
    users = user(tenant, "ann"), user(tenant, "bob")
    for one in users:
        await database.tenant(one).execute(ADDED, one.user_id, f"of {one.subject}")
    return users


def test_the_text_is_a_migration():
    migrations = Migrations.of([DIARY, user_policy("diary"), user_policy("other", "owner", permission="a:b")])
    assert migrations.newest == 3


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "public.a", "A", "a" * 64, "a;drop table b"])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ValueError):
        user_policy(name)
    with pytest.raises(ValueError):
        user_policy("diary", name)


@pytest.mark.parametrize("permission", ["", "a b", "a\n"])
def test_a_permission_that_could_never_match_is_refused(permission):
    with pytest.raises(ValueError):
        user_policy("diary", permission=permission)


async def test_a_user_reads_and_changes_his_own_rows_alone(database, two):
    ann, bob = two
    assert await database.tenant(ann).fetchval(READ) == "of ann"
    assert await database.tenant(bob).fetchval(READ) == "of bob"
    assert await database.tenant(ann).execute("update diary set line = 'changed'") == "UPDATE 1"
    assert await database.tenant(ann).execute("delete from diary where line = 'of bob'") == "DELETE 0"
    assert await database.tenant(bob).fetchval(READ) == "of bob"


async def test_a_row_for_somebody_else_is_refused(database, two):
    ann, bob = two
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.tenant(ann).execute(ADDED, bob.user_id, "forged")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.tenant(ann).execute("update diary set user_id = $1", bob.user_id)


async def test_without_a_user_there_are_no_rows(database, two):
    nobody = two[0].tenant_id
    assert await database.tenant(nobody).fetchval(READ) is None
    for name in ("", "google:ann"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.tenant(nobody).execute(ADDED, name, "x")


async def test_the_permission_shows_all_rows_and_changes_none(database, two):
    chief = user(two[0].tenant_id, "eve", "diary:admin", "zoo:read")
    assert await database.tenant(chief).fetchval(READ) == "of ann,of bob"
    assert await database.tenant(chief).execute("delete from diary") == "DELETE 0"
    almost = user(two[0].tenant_id, "eve", "diary:administrator", "xdiary:admin")
    assert await database.tenant(almost).fetchval(READ) is None


async def test_the_owner_is_exempt(database, root, two):
    owner = (await database.registry.deployment()).owner
    await root.execute(f"set role {owner}")
    assert await root.fetchval(f"select count(*) from tenant_{two[0].tenant_id}.diary") == 2


@pytest.mark.parametrize("readonly", [True, False])
async def test_untrusted_sql_sees_no_rows_while_anybody_may_use_set_config(database, two, readonly):
    ann, bob = two
    async with database.untrusted_connection(ann, readonly=readonly) as connection:
        forged = "select set_config('tenantry.user_id', $1, false)"
        assert await connection.fetchval(READ) is None
        await connection.fetch(forged, bob.user_id)
        assert await connection.fetchval(READ) is None
        at_once = f"with forged as materialized ({forged}) select line from diary, forged"
        assert await connection.fetch(at_once, bob.user_id) == []


async def test_untrusted_sql_sees_the_users_own_rows_where_nobody_may(database, root, two):
    await root.execute("revoke execute on function pg_catalog.set_config(text, text, boolean) from public")
    ann, bob = two
    async with database.untrusted_connection(ann, readonly=False) as connection:
        assert await connection.fetchval(READ) == "of ann"
        assert await connection.execute(ADDED, ann.user_id, "and more") == 1
    for forged in (
        f"select set_config('tenantry.user_id', '{bob.user_id}', true), line from diary",
        f"update pg_settings set setting = '{bob.user_id}' where name = 'tenantry.user_id' returning setting",
        f"set tenantry.user_id = '{bob.user_id}'",
        f"set local tenantry.user_id = '{bob.user_id}'; select line from diary",
        "insert into diary (user_id, line) values ('google:bob', 'forged') returning id",
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            async with database.untrusted_connection(ann, readonly=False) as connection:
                await connection.fetch(forged)
            assert "of bob" not in str(refused.value)
    assert await database.tenant(bob).fetchval(READ) == "of bob"
    async with database.untrusted_connection(ann.tenant_id) as connection:
        assert await connection.fetchval(READ) is None
