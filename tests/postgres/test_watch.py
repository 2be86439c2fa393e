"""What one process changes in the registry, the others hear of: at once, by asking, or they stop believing."""

# ruff: noqa: ASYNC110 - what another process does sets no event here

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic
from typing import Any

import asyncpg
import pytest
from tests.postgres.pgbouncer import PgBouncer
from tests.postgres.registry import deployment_of

from tenantry.adapters.postgres import watch
from tenantry.adapters.postgres.directory import RegistryDirectory
from tenantry.adapters.postgres.registry import announce
from tenantry.core.tenancy import TenantRules
from tenantry.errors import Forbidden, Refusal, Unavailable
from tenantry.model import Identity
from tenantry.postgres import Database

pytestmark = pytest.mark.anyio

LISTENING = "select pid from pg_stat_activity where datname = current_database() and query like 'LISTEN %'"
PROMISED = 1.0  # seconds


@pytest.fixture
def tenant(tenant_ids: Iterator[str]) -> str:
    return next(tenant_ids)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> Any:
    """What ``condition`` says, as soon as it says something."""
    async with asyncio.timeout(seconds):
        while not (said := await condition()):
            await asyncio.sleep(0.005)
    return said


async def listens(root: asyncpg.Connection, *, but: int | None = None) -> int:
    """Wait for a replica's connection for notifications."""

    async def found() -> int | None:
        return next((row["pid"] for row in await root.fetch(LISTENING) if row["pid"] != but), None)

    return await until(found)


def refused(database: Database, tenant: str, reason: str | None) -> Callable[[], Awaitable[bool]]:
    """Whether a scope is refused with this reason now; None: let in."""

    async def look() -> bool:
        try:
            await database.tenant(tenant).fetchval("select 1")
        except Refusal as refusal:
            return refusal.reason == reason
        return reason is None

    return look


def identity(domain: str) -> Identity:
    return Identity(user_id="google:1", provider="google", subject="1", domain=domain)


async def test_a_suspension_is_heard_by_another_replica_within_a_second(open_database, root, tenant):
    async with open_database() as here, open_database() as there:
        for database in (here, there):
            await database.ensure_tenant(tenant)
        await listens(root)
        await here.registry.set_state(tenant, "suspended", actor="test")
        await until(refused(there, tenant, "tenant_suspended"), PROMISED)
        await here.registry.set_state(tenant, "active", actor="test")
        await until(refused(there, tenant, None), PROMISED)


async def test_where_notifications_do_not_arrive_it_is_noticed_within_a_second_too(
    open_database, dsns, bouncer: PgBouncer, tenant, monkeypatch
):
    """The direct connections go through the pooler, in transaction mode: it lends its server connections."""
    monkeypatch.setattr(watch, "_ECHO_SECONDS", 0.05)
    async with open_database() as here, open_database(admin_dsn=bouncer.dsn(dsns.admin)) as there:
        for database in (here, there):
            await database.ensure_tenant(tenant)
        for state, reason in (("suspended", "tenant_suspended"), ("active", None)):
            await here.registry.set_state(tenant, state, actor="test")
            await until(refused(there, tenant, reason), PROMISED)


async def test_notifications_that_a_tenant_forges_change_nothing_and_cost_little(
    open_database, root, tenant, monkeypatch
):
    monkeypatch.setattr(watch, "APART_SECONDS", 0.05)
    async with open_database() as database:
        changes = []
        await database.ensure_tenant(tenant)
        database.on_change.append(lambda: changes.append(1))
        await listens(root)
        known = database.known(tenant)
        channel = await deployment_of(root)
        ask, asked = database.registry.epoch, []

        async def counting() -> int:
            asked.append(1)
            return await ask()

        database.registry.epoch = counting
        began = monotonic()
        for number in range(80):
            await database.tenant(tenant).execute(f"notify {channel}, '{number}'")
        await until(lambda: asyncio.sleep(0, asked))
        assert len(asked) <= (monotonic() - began) / 0.05 + 2
        assert changes == []
        assert database.known(tenant) is known is not None


async def test_a_lost_connection_for_notifications_is_opened_again(open_database, root, tenant, monkeypatch):
    monkeypatch.setattr(watch, "_RETRY_SECONDS", 0.01)
    async with open_database() as here, open_database() as there:
        for database in (here, there):
            await database.ensure_tenant(tenant)
        pids = [await listens(root), await listens(root, but=await listens(root))]
        for pid in pids:
            await root.fetchval("select pg_terminate_backend($1, 5000)", pid)

        async def both_again() -> bool:
            now = {row["pid"] for row in await root.fetch(LISTENING)}
            return len(now) == 2 and not now & set(pids)

        await until(both_again)
        await here.registry.set_state(tenant, "suspended", actor="test")
        await until(refused(there, tenant, "tenant_suspended"), PROMISED)


async def test_a_replica_that_cannot_ask_is_patient_between_two_tries(open_database, dsns, root, tenant, monkeypatch):
    """The registry cannot be read, and connecting works: no reason to connect in a loop."""
    monkeypatch.setattr(watch, "GOOD_FOR_SECONDS", 0.05)
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(watch, "_RETRY_SECONDS", 0.2)
    async with open_database() as database:
        await database.ensure_tenant(tenant)
        await listens(root)
        tries = []
        listen = database.clusters["main"].listen

        async def counting() -> Any:
            tries.append(monotonic())
            return await listen()

        database.clusters["main"].listen = counting
        await root.execute("alter table tenantry.deployment rename to away")
        await until(lambda: asyncio.sleep(0, len(tries) >= 4))
        await root.execute("alter table tenantry.away rename to deployment")
        assert tries[3] - tries[0] >= 0.6
        await until(refused(database, tenant, None))


async def test_what_cannot_be_confirmed_is_not_believed_and_comes_back_by_itself(
    open_database, root, tenant, monkeypatch
):
    monkeypatch.setattr(watch, "GOOD_FOR_SECONDS", 0.05)
    monkeypatch.setattr(watch, "_RETRY_SECONDS", 0.01)
    async with open_database() as database:
        directory = RegistryDirectory(database, TenantRules({}), "auto")
        domain = tenant.replace("_", ".")
        given = await directory.assign(identity(domain))
        await directory.admit(given)
        await database.ensure_tenant(tenant)
        await root.execute("alter role tenantry_admin connection limit 0")
        await root.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'tenantry_admin'")
        try:
            await until(lambda: asyncio.sleep(0, not database.confirmed))
            with pytest.raises(Unavailable):
                await database.tenant(tenant).fetchval("select 1")
            with pytest.raises(Unavailable):
                await directory.assign(identity(domain))
            with pytest.raises(Unavailable):
                await directory.admit(given)
        finally:
            await root.execute("alter role tenantry_admin connection limit -1")
        await until(refused(database, tenant, None))
        await directory.admit(await directory.assign(identity(domain)))


async def test_a_new_epoch_drops_what_was_known_of_places(open_database, root, tenant):
    async with open_database() as here, open_database() as there:
        for database in (here, there):
            await database.ensure_tenant(tenant)
        assert there.known(tenant) is not None
        await listens(root)
        await here.registry.set_state(tenant, "suspended", actor="test")
        await until(lambda: asyncio.sleep(0, there.known(tenant) is None), PROMISED)


async def test_every_listener_of_a_change_is_told_before_what_was_known_is_believed_again(database, tenant):
    await database.ensure_tenant(tenant)
    told = []

    async def slowly() -> None:
        await asyncio.sleep(0)
        assert database.known(tenant) is None
        told.append("slowly")

    database.on_change.extend([lambda: told.append("at once"), slowly])
    await database.registry.set_state(tenant, "suspended", actor="test")
    await until(lambda: asyncio.sleep(0, len(told) >= 2), PROMISED)
    assert told[:2] == ["at once", "slowly"]


async def test_a_change_that_one_listener_could_not_take_in_is_told_again(database, tenant, monkeypatch):
    monkeypatch.setattr(watch, "_RETRY_SECONDS", 0.01)
    await database.ensure_tenant(tenant)
    told = []

    def fails_once() -> None:
        told.append(1)
        if len(told) == 1:
            raise Unavailable("database_unavailable")

    database.on_change.append(fails_once)
    await database.registry.set_state(tenant, "suspended", actor="test")
    await until(lambda: asyncio.sleep(0, len(told) >= 2))


async def test_a_mapping_holds_on_every_replica(open_database, root, tenant_ids):
    tenant, mapped = next(tenant_ids), next(tenant_ids)
    domain = tenant.replace("_", ".")
    async with open_database() as here, open_database() as there:
        directory = RegistryDirectory(there, TenantRules({}), "auto")
        assert (await directory.assign(identity(domain))).tenant_id == tenant
        await listens(root)
        async with here.clusters["main"].administering() as connection, connection.transaction():
            await connection.execute("insert into tenantry.mappings values ($1, $2)", domain, mapped)
            await announce(connection, await here.registry.deployment(), "test", "map", domain)

        async def assigned() -> bool:
            return (await directory.assign(identity(domain))).tenant_id == mapped

        await until(assigned, PROMISED)


async def test_a_change_without_a_notification_is_found_by_asking(open_database, root, tenant, monkeypatch):
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.05)
    async with open_database() as database:
        await database.ensure_tenant(tenant)
        await listens(root)
        await root.execute("update tenantry.tenants set state = 'suspended'")
        await root.execute("update tenantry.deployment set epoch = epoch + 1")
        await until(refused(database, tenant, "tenant_suspended"))


async def test_a_suspended_tenant_is_refused_by_the_directory_on_another_replica(open_database, root, tenant):
    domain = tenant.replace("_", ".")
    async with open_database() as here, open_database() as there:
        directory = RegistryDirectory(there, TenantRules({}), "auto")
        await here.ensure_tenant(tenant)
        await directory.admit(await directory.assign(identity(domain)))
        await listens(root)
        await here.registry.set_state(tenant, "suspended", actor="test")

        async def out() -> bool:
            try:
                await directory.admit(await directory.assign(identity(domain)))
            except Forbidden as refusal:
                return refusal.reason == "tenant_suspended"
            except Unavailable:
                return False
            return False

        await until(out, PROMISED)
