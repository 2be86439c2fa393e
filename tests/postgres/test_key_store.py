"""The key store of the database under what a contract cannot show: a change in the middle of a look-up, a flood of
invented keys, a database that does not answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from tests.postgres.servers import rewritten

from tenantry.adapters.postgres import key_store
from tenantry.adapters.postgres.administration.keys import NewKey, create_key, revoke_key
from tenantry.adapters.postgres.key_store import DatabaseKeyStore
from tenantry.core import apikeys
from tenantry.errors import Unavailable
from tenantry.model import ApiKeyRecord
from tenantry.postgres import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def create(database: Database) -> Callable:
    async def make() -> NewKey:
        return await create_key(database, actor="test", name="ci")

    return make


@pytest.fixture
async def replica(open_database: Callable) -> AsyncIterator[Database]:
    """Another process than the one that keys are made in."""
    async with open_database() as opened:
        yield opened


def invented(number: int) -> str:
    return apikeys.compose_key("live", number.to_bytes(8, "big"), bytes(32))


async def find(store: DatabaseKeyStore, key: str) -> ApiKeyRecord | None:
    return await store.find(apikeys.key_id_of(key), apikeys.digest(key.encode()))


@contextlib.asynccontextmanager
async def locked(root: asyncpg.Connection) -> AsyncIterator[None]:
    """Nobody can read a key meanwhile; and the test does not wait for one for ever."""
    async with asyncio.timeout(30), root.transaction():
        await root.execute("lock table tenantry.api_keys in access exclusive mode")
        yield


class Wire:
    """Between a client and the server: what the server answers to a message with ``word`` in it waits for
    ``release``. ``held`` is set once there is such an answer, so the server has done what it was asked."""

    def __init__(self, dsn: str, word: str) -> None:
        self._address, self._word = dsn.split("@")[1].split("/")[0], word.encode()
        self.held, self.release = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def through(self, dsn: str) -> str:
        return rewritten(dsn, address=f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._address.split(":")
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        said = asyncio.Event()
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._out(reader, server_writer, said), self._back(server_reader, writer, said))
        writer.close()
        server_writer.close()

    async def _out(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if self._word in data:
                said.set()
            writer.write(data)
        writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if said.is_set():
                self.held.set()
                await self.release.wait()
            writer.write(data)
        writer.close()


async def test_a_key_that_is_revoked_while_it_is_looked_up_is_not_remembered_as_good(
    create: Callable, database: Database, open_database: Callable, dsns: Any
) -> None:
    """The row is read, the key is revoked and that is heard of, and only then does the row arrive."""
    made = await create()
    async with Wire(dsns.admin, made.entry.key_id) as wire, open_database(admin_dsn=wire.through(dsns.admin)) as slow:
        store, changed = DatabaseKeyStore(slow), asyncio.Event()
        await slow.confirm()
        slow.on_change.append(changed.set)
        looking = asyncio.create_task(find(store, made.key))
        await wire.held.wait()
        await revoke_key(database, made.entry.key_id, actor="test")
        await changed.wait()
        wire.release.set()
        for found in (await looking, await find(store, made.key)):
            assert found is not None
            assert found.revoked


async def test_a_known_key_and_a_known_miss_cost_no_query(
    create: Callable, replica: Database, root: asyncpg.Connection
) -> None:
    made, store = await create(), DatabaseKeyStore(replica)
    assert await find(store, made.key) is not None
    assert await find(store, invented(1)) is None
    async with locked(root):
        assert await find(store, made.key) is not None
        assert await find(store, invented(1)) is None


async def test_a_flood_of_invented_keys_pushes_out_no_good_one(
    create: Callable, replica: Database, root: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_store, "UNKNOWN", 50)
    made, store = await create(), DatabaseKeyStore(replica)
    assert await find(store, made.key) is not None
    flood = await asyncio.gather(*(find(store, invented(number)) for number in range(500)))
    assert flood == [None] * 500
    async with locked(root):
        assert await find(store, made.key) is not None


async def test_a_flood_of_invented_keys_takes_one_connection_of_those_that_others_need(
    create: Callable, replica: Database, root: asyncpg.Connection
) -> None:
    made, store = await create(), DatabaseKeyStore(replica)
    await replica.confirm()
    async with locked(root):
        flood = [asyncio.create_task(find(store, invented(number))) for number in range(100)]
        late = asyncio.create_task(find(store, made.key))
        waiting = "select count(*) from pg_locks where not granted and relation = 'tenantry.api_keys'::regclass"
        while not await root.fetchval(waiting):
            pass
        assert await replica.registry.epoch() >= 1
        assert await root.fetchval(waiting) == 1
    assert await asyncio.gather(*flood) == [None] * 100
    assert (await late).digest == apikeys.digest(made.key.encode())


async def test_what_was_unknown_is_found_once_the_registry_has_changed(
    create: Callable, replica: Database, root: asyncpg.Connection
) -> None:
    """As when a backup brings a key back."""
    key, store, changed = invented(7), DatabaseKeyStore(replica), asyncio.Event()
    await replica.confirm()
    replica.on_change.append(changed.set)
    assert await find(store, key) is None
    await root.execute(
        "insert into tenantry.api_keys (key_id, digest, name, permissions) values ($1, $2, 'back', '{}')",
        apikeys.key_id_of(key),
        apikeys.digest(key.encode()),
    )
    assert await find(store, key) is None
    await create()
    await changed.wait()
    assert await find(store, key) is not None


async def test_past_what_can_be_remembered_every_key_is_still_found(
    create: Callable, replica: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_store, "REMEMBERED", 2)
    made, store = [await create() for _ in range(5)], DatabaseKeyStore(replica)
    for _ in range(2):
        for each in made:
            assert (await find(store, each.key)).key_id == each.entry.key_id


async def test_a_database_that_does_not_answer_is_unavailable_for_all_who_wait_and_recovers(
    create: Callable, replica: Database, root: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_store, "REGISTRY_SECONDS", 0.1)
    made, store = await create(), DatabaseKeyStore(replica)
    await replica.confirm()
    async with locked(root):
        answers = await asyncio.gather(*(find(store, made.key) for _ in range(3)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [Unavailable] * 3
    monkeypatch.undo()
    assert await find(store, made.key) is not None


async def test_who_gives_up_waiting_harms_nobody(create: Callable, replica: Database, root: asyncpg.Connection) -> None:
    made, store = await create(), DatabaseKeyStore(replica)
    await replica.confirm()
    async with locked(root):
        first = asyncio.create_task(find(store, made.key))
        second = asyncio.create_task(find(store, made.key))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert (await second).key_id == made.entry.key_id


async def test_after_the_database_is_closed_a_look_up_is_unavailable(create: Callable, open_database: Callable) -> None:
    made, closed = await create(), open_database()
    store = DatabaseKeyStore(closed)
    assert await find(store, made.key) is not None
    await closed.close()
    with pytest.raises(Unavailable):
        await find(store, invented(1))
