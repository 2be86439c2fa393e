"""ports.ApiKeyStore: found by what a key's holder alone can show, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import asyncpg
import pytest

from tenantry.adapters.postgres.key_store import DatabaseKeyStore, FirstKeyStore
from tenantry.core import apikeys
from tenantry.model import ApiKeyRecord
from tenantry.ports import ApiKeyStore
from tenantry.postgres import Database, EmbeddedPostgres
from tenantry.testing import StaticKeyStore

pytestmark = pytest.mark.anyio

ONE = apikeys.compose_key("live", b"\x01" * 8, b"\x02" * 32)
TWO = apikeys.compose_key("live", b"\x03" * 8, b"\x04" * 32)
NEVER = apikeys.compose_key("live", b"\x05" * 8, b"\x06" * 32)
PLAIN = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE"
ENTER = """
    insert into tenantry.api_keys
        (key_id, digest, name, tenant_id, permissions, not_before, expires_at, revoked_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
"""

Make = Callable[[Sequence[ApiKeyRecord]], Awaitable[ApiKeyStore]]


def a_record(key: str, **changes: object) -> ApiKeyRecord:
    digest = apikeys.digest(key.encode())
    key_id = apikeys.key_id_of(key) if key.startswith(apikeys.PREFIX) else apikeys.digest_id(digest)
    return ApiKeyRecord(key_id=key_id, digest=digest, name=key[-4:], **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def server(anyio_backend: str) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres() as running:
        yield running


class Stores:
    """Makes a store of a kind with some records in it: of the configuration, of the database, or half in each."""

    def __init__(self, kind: str, server: EmbeddedPostgres, closing: AsyncExitStack) -> None:
        self._kind, self._server, self._closing = kind, server, closing

    async def __call__(self, records: Sequence[ApiKeyRecord]) -> ApiKeyStore:
        if self._kind == "static":
            return StaticKeyStore(records)
        if self._kind == "database":
            return await self._stored(records)
        half = len(records) // 2
        return FirstKeyStore(StaticKeyStore(records[:half]), await self._stored(records[half:]))

    async def _stored(self, records: Sequence[ApiKeyRecord]) -> DatabaseKeyStore:
        database = Database.open(self._server.app_dsn, admin_dsn=self._server.admin_dsn, create_tenants=False)
        await self._closing.enter_async_context(database)
        await database.confirm()
        connection = await asyncpg.connect(self._server.admin_dsn)
        await connection.execute("delete from tenantry.api_keys")
        await connection.executemany(ENTER, [row_of(record) for record in records])
        await connection.close()
        return DatabaseKeyStore(database)


def row_of(record: ApiKeyRecord) -> tuple[object, ...]:
    begins, ends = (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC)
        for seconds in (record.not_before, record.expires_at)
    )
    revoked = datetime.now(UTC) if record.revoked else None
    permissions = sorted(record.permissions)
    return record.key_id, record.digest, record.name, record.tenant_id, permissions, begins, ends, revoked


@pytest.fixture(params=["static", "database", "both"])
async def make(request: pytest.FixtureRequest, server: EmbeddedPostgres) -> AsyncIterator[Make]:
    async with AsyncExitStack() as closing:
        yield Stores(request.param, server, closing)


async def find(store: ApiKeyStore, key: str) -> ApiKeyRecord | None:
    wanted = a_record(key)
    return await store.find(wanted.key_id, wanted.digest)


@pytest.mark.parametrize("key", [ONE, TWO, PLAIN])
async def test_a_key_finds_its_own_record(make: Make, key: str) -> None:
    store = await make([a_record(ONE), a_record(TWO), a_record(PLAIN)])
    for _ in range(2):
        assert await find(store, key) == a_record(key)


async def test_a_record_comes_back_whole(make: Make) -> None:
    record = a_record(
        ONE, tenant_id="acme", permissions=frozenset({"notes:*", "b"}), not_before=1_795_000_000.25, expires_at=2e9
    )
    assert await find(await make([record]), ONE) == record


async def test_an_unknown_key_finds_nothing(make: Make) -> None:
    store = await make([a_record(ONE)])
    for _ in range(2):
        assert await find(store, NEVER) is None
    assert await find(await make([]), ONE) is None


async def test_a_record_s_life_is_for_the_caller_to_judge(make: Make) -> None:
    record = a_record(ONE, revoked=True, expires_at=1.0)
    assert await find(await make([record]), ONE) == record


async def test_a_known_id_with_another_digest_never_gives_a_record_that_the_caller_would_take(make: Make) -> None:
    store = await make([a_record(ONE)])
    for _ in range(2):
        found = await store.find(a_record(ONE).key_id, a_record(NEVER).digest)
        assert found is None or found.digest != a_record(NEVER).digest
    assert await find(store, ONE) == a_record(ONE)


async def test_of_many_who_ask_at_once_each_is_given_his_own(make: Make) -> None:
    store = await make([a_record(ONE), a_record(TWO)])
    keys = [ONE, NEVER, TWO, PLAIN] * 25
    found = await asyncio.gather(*(find(store, key) for key in keys))
    assert found == [a_record(ONE), None, a_record(TWO), None] * 25


async def test_text_in_an_id_is_never_code(make: Make) -> None:
    """LiteLLM CVE-2026-42208: SQL in exactly this look-up."""
    store = await make([a_record(ONE)])
    for key_id in ("' or 1=1 --", "%", "\\", "\x00", "\ud800", "", "a" * 10_000, "d'; drop table api_keys; --"):
        assert await store.find(key_id, b"\0" * 32) is None
    assert await find(store, ONE) == a_record(ONE)
