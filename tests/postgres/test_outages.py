"""The database is not there, goes away, hangs, is full, is read-only, is too old, lets nobody in: nobody waits for
ever, nobody gets a wrong answer, and everything works again by itself."""

# ruff: noqa: ASYNC110 - what the server does sets no event here

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from tests.postgres.servers import Server, Source, rewritten

from tenantry import ConfigurationError, Settings, TenantryMiddleware, current_user
from tenantry.adapters.postgres import (
    cluster,
    connections,
    control,
    database,
    key_store,
    marks,
    registry,
    scope,
    stuck,
    tenant_connection,
    watch,
)
from tenantry.errors import Refusal
from tenantry.postgres import Database, get_tenant_database
from tenantry.testing import serve_on_loopback

pytestmark = pytest.mark.anyio

PATIENCE = 0.3  # seconds, in the place of each of ours
DEADLINE = 10.0  # many times that
KEY = "k" * 32
RESULT = ["ok", "database_unavailable"]


class Relay:
    """Passes bytes between its own port and the server's; ``cut`` refuses everybody, ``swallow`` keeps what comes."""

    def __init__(self, dsn: str) -> None:
        self.to(dsn)
        self.port = 0
        self._open = True
        self._left: int | None = None  # messages until nothing passes any more
        self._lines: set[asyncio.Task[None]] = set()

    def to(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5432)

    def dsn(self, dsn: str) -> str:
        return rewritten(dsn, address=f"127.0.0.1:{self.port}")

    async def cut(self) -> None:
        self._open = False
        for line in list(self._lines):
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def swallow(self, *, after: int = 0) -> None:
        """From now on, or after some more messages from the server."""
        self._left = after

    def restore(self) -> None:
        """For new connections; what has been swallowed is lost."""
        for line in self._lines:
            line.set_name("swallowed")
        self._open, self._left = True, None

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.current_task()
        assert line is not None
        self._lines.add(line)
        there: asyncio.StreamWriter | None = None
        try:
            if self._open:
                from_there, there = await asyncio.open_connection(*self._target)
                await asyncio.wait(
                    [
                        asyncio.ensure_future(self._copy(reader, there, line, answers=False)),
                        asyncio.ensure_future(self._copy(from_there, writer, line, answers=True)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        except (OSError, asyncio.CancelledError):
            pass  # asyncio would write of either
        finally:
            self._lines.discard(line)
            for end in (writer, there):
                if end is not None:
                    end.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: asyncio.Task[None], *, answers: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self._left == 0 or line.get_name() == "swallowed":
                    line.set_name("swallowed")
                    continue
                if self._left and answers:
                    self._left -= 1
                writer.write(data)
                await writer.drain()


@pytest.fixture
async def relay(dsns: Any) -> AsyncIterator[Relay]:
    async with Relay(dsns.app) as running:
        yield running


@pytest.fixture
async def relayed(relay: Relay, dsns: Any, open_database: Any, impatient: None) -> AsyncIterator[Database]:
    async with open_database(dsn=relay.dsn(dsns.app), admin_dsn=relay.dsn(dsns.admin), command_timeout=0.3) as opened:
        yield opened


@pytest.fixture
def tenant(tenant_ids: Iterator[str]) -> str:
    return next(tenant_ids)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is waited for is given up soon."""
    for module, names in {
        cluster: ("_CONNECT_SECONDS", "_PATIENCE", "_CLOSE_SECONDS", "MAKING_SECONDS", "REGISTRY_SECONDS"),
        database: ("MAKING_SECONDS",),
        registry: ("REGISTRY_SECONDS",),
        marks: ("REGISTRY_SECONDS",),
        connections: ("_CLOSE_SECONDS",),
        scope: ("SILENCE_SECONDS", "_CLEAN_UP_SECONDS"),
        key_store: ("REGISTRY_SECONDS",),
        tenant_connection: ("SILENCE_SECONDS",),
        watch: ("GOOD_FOR_SECONDS", "POLL_SECONDS", "_RETRY_SECONDS", "_ECHO_SECONDS", "REGISTRY_SECONDS"),
    }.items():
        for name in names:
            monkeypatch.setattr(module, name, PATIENCE)
    monkeypatch.setattr(stuck, "_EVERY_SECONDS", 0.05)


async def outcome(work: Awaitable[Any]) -> str:
    """ "ok", the reason of a refusal, or what else it was; the test fails when it hangs."""
    async with asyncio.timeout(DEADLINE):
        try:
            await work
        except Refusal as refusal:
            return refusal.reason
    return "ok"


async def until_ok(work: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while await outcome(work()) != "ok":
            await asyncio.sleep(0.01)


# --- Through the middleware -----------------------------------------------------------------------------------------


async def count_notes(scope: Any, receive: Any, send: Any) -> None:
    try:
        db = await get_tenant_database(current_user(scope))
        await db.execute("insert into notes (title) values ('x')")
        status, said = 200, await db.fetchval("select count(*) from notes")
    except Refusal as refusal:
        status, said = refusal.status, refusal.reason
    body = json.dumps(said).encode()
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def served(
    dsn: str, admin_dsn: str, tenant: str, tables: Path, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    (tables / "001.sql").write_text("create table notes (id bigint generated always as identity, title text)")
    settings = Settings(
        environment="development",
        api_keys={KEY: {"name": "ci", "tenant_id": tenant}},
        database_connection_string=dsn,
        direct_database_url=admin_dsn,
        tenant_migrations=tables,
        **changes,
    )
    app = TenantryMiddleware(count_notes, settings=settings)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        serve_on_loopback(app, lifespan="off") as url,
        httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=DEADLINE) as client,
    ):
        yield client
    await app.aclose()


async def until_status(client: httpx.AsyncClient, path: str, status: int) -> httpx.Response:
    async with asyncio.timeout(DEADLINE):
        while (answer := await client.get(path)).status_code != status:
            await asyncio.sleep(0.02)
    return answer


async def test_a_database_that_is_down_at_the_start_is_said_and_used_when_it_comes(
    relay: Relay, dsns: Any, tenant: str, tmp_path: Path
) -> None:
    await relay.cut()
    async with served(relay.dsn(dsns.app), relay.dsn(dsns.admin), tenant, tmp_path) as client:
        ready, live, asked = [await client.get(path) for path in ("/readyz", "/livez", "/mcp")]
        assert (ready.status_code, ready.json()["database"]) == (503, "database_unavailable")
        assert live.status_code == 200
        assert (asked.status_code, asked.json()["reason"]) == (503, "database_unavailable")
        assert int(asked.headers["retry-after"]) > 0
        assert int(ready.headers["retry-after"]) > 0
        relay.restore()
        assert (await until_status(client, "/mcp", 200)).json() == 1
        await until_status(client, "/readyz", 200)


async def test_requests_while_the_database_hangs_are_503_in_time(
    relay: Relay, dsns: Any, tenant: str, tmp_path: Path, impatient: None
) -> None:
    async with served(relay.dsn(dsns.app), relay.dsn(dsns.admin), tenant, tmp_path) as client:
        assert (await client.get("/mcp")).status_code == 200
        relay.swallow()
        answers = await asyncio.gather(*(client.get("/mcp") for _ in range(12)))
        assert {answer.status_code for answer in answers} == {503}
        assert (await until_status(client, "/readyz", 503)).json()["database"] == "database_unavailable"
        relay.restore()
        await until_status(client, "/mcp", 200)
        await until_status(client, "/readyz", 200)


# --- Gone, and back -------------------------------------------------------------------------------------------------


async def test_a_database_that_goes_away_under_load_and_comes_back_is_used_again(
    relay: Relay, relayed: Database, tenant: str, impatient: None
) -> None:
    stop, ends = asyncio.Event(), []

    async def works() -> None:
        while not stop.is_set():
            ends.append(await outcome(relayed.tenant(tenant).fetchval("select count(*) from notes")))
            await asyncio.sleep(0)

    async def seen(end: str) -> None:
        ends.clear()
        async with asyncio.timeout(DEADLINE):
            while end not in ends:
                await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(works())
        for _ in range(3):
            await seen("ok")
            await relay.cut()
            await seen("database_unavailable")
            relay.restore()
        await seen("ok")
        stop.set()
    assert set(ends) <= set(RESULT)


async def test_what_was_not_committed_when_the_connection_went_is_no_success(
    relay: Relay, relayed: Database, tenant: str
) -> None:
    await relayed.ensure_tenant(tenant)

    async def scope_that_ends_alone() -> None:
        async with relayed.tenant_connection(tenant) as connection:
            await connection.execute("insert into notes (title) values ('gone')")
            await relay.cut()

    assert await outcome(scope_that_ends_alone()) == "database_unavailable"
    relay.restore()
    await until_ok(lambda: relayed.tenant(tenant).fetchval("select 1"))
    assert await relayed.tenant(tenant).fetchval("select count(*) from notes") == 0


async def test_a_server_that_is_killed_and_started_again_is_used_again(
    source: Source, tenant: str, impatient: None
) -> None:
    """A real one, over the same data, on another port."""
    home = Path(tempfile.mkdtemp(prefix="tenantry-outage-", dir="/var/tmp"))
    shutil.rmtree(home)
    start = source.start
    if getattr(start, "func", start).__name__ != "EmbeddedPostgres":
        pytest.skip("the server of TENANTRY_TEST_DSN is not ours to stop")
    try:
        async with contextlib.AsyncExitStack() as stack:
            running = await stack.enter_async_context(start(home))
            relay = await stack.enter_async_context(Relay(running.app_dsn))
            database = await stack.enter_async_context(
                Database.open(relay.dsn(running.app_dsn), admin_dsn=relay.dsn(running.admin_dsn), create_tenants=True)
            )
            assert await database.tenant(tenant).fetchval("select 1") == 1
            os.kill(running.pid, signal.SIGKILL)
            ends = await asyncio.gather(*(outcome(database.tenant(tenant).fetchval("select 1")) for _ in range(8)))
            assert set(ends) <= set(RESULT)
            await stack.enter_async_context(_again(running, start(home), relay))
            await until_ok(lambda: database.tenant(tenant).fetchval("select 1"))
    finally:
        shutil.rmtree(home, ignore_errors=True)


@asynccontextmanager
async def _again(killed: Any, started: Any, relay: Relay) -> AsyncIterator[None]:
    await killed.__aexit__(None, None, None)
    async with started as running:
        relay.to(running.app_dsn)
        yield


# --- A server that says nothing -------------------------------------------------------------------------------------


async def test_a_statement_that_is_never_answered_is_given_up(
    relay: Relay, relayed: Database, tenant: str, impatient: None
) -> None:
    await relayed.ensure_tenant(tenant)

    async def scope_that_hangs() -> None:
        async with relayed.tenant_connection(tenant) as connection:
            relay.swallow()
            await connection.fetchval("select 1")

    assert await outcome(scope_that_hangs()) == "database_unavailable"
    relay.restore()
    await until_ok(lambda: relayed.tenant(tenant).fetchval("select 1"))


@pytest.mark.parametrize("work", [None, ZeroDivisionError])
async def test_an_end_that_is_never_answered_is_given_up(
    relay: Relay, relayed: Database, tenant: str, impatient: None, work: type[Exception] | None
) -> None:
    """COMMIT; and the ROLLBACK after an exception, which the caller gets as it is."""
    await relayed.ensure_tenant(tenant)

    async def scope_that_hangs() -> None:
        async with relayed.tenant_connection(tenant) as connection:
            await connection.execute("insert into notes (title) values ('x')")
            relay.swallow()
            if work is not None:
                raise work

    if work is None:
        assert await outcome(scope_that_hangs()) == "database_unavailable"
    else:
        with pytest.raises(work):
            await outcome(scope_that_hangs())
    relay.restore()
    await until_ok(lambda: relayed.tenant(tenant).fetchval("select 1"))


async def test_entering_that_is_never_answered_is_given_up(
    relay: Relay, relayed: Database, tenant: str, impatient: None
) -> None:
    """More callers than connections: some have one that hangs, some wait for a place, some connect."""
    await asyncio.gather(*(relayed.tenant(tenant).fetchval("select 1") for _ in range(4)))
    relay.swallow()
    ends = await asyncio.gather(*(outcome(relayed.tenant(tenant).fetchval("select 1")) for _ in range(12)))
    assert set(ends) == {"database_unavailable"}
    relay.restore()
    await until_ok(lambda: relayed.tenant(tenant).fetchval("select 1"))


async def test_a_tenant_whose_making_is_never_answered_can_be_made_later(
    relay: Relay, relayed: Database, tenant: str, tenant_ids: Iterator[str], impatient: None
) -> None:
    """Neither the caller nor what works for him in the background waits for ever."""
    await relayed.ensure_tenant(tenant)
    other = next(tenant_ids)
    relay.swallow()
    ends = await asyncio.gather(*(outcome(relayed.ensure_tenant(other)) for _ in range(3)))
    assert set(ends) == {"database_unavailable"}
    relay.restore()
    await until_ok(lambda: relayed.ensure_tenant(other))


@pytest.mark.parametrize("messages", [2, 6, 11, 17])
async def test_a_server_that_falls_silent_in_the_middle_of_making_a_tenant_keeps_nobody(
    relay: Relay, relayed: Database, tenant: str, tenant_ids: Iterator[str], messages: int
) -> None:
    await relayed.ensure_tenant(tenant)
    other = next(tenant_ids)
    relay.swallow(after=messages)
    assert await outcome(relayed.ensure_tenant(other)) == "database_unavailable"
    relay.restore()
    await until_ok(lambda: relayed.ensure_tenant(other))
    assert await relayed.tenant(other).fetchval("select count(*) from notes") == 0


async def test_a_database_that_hangs_from_the_start_is_unavailable_and_used_when_it_answers(
    relay: Relay, relayed: Database, tenant: str, impatient: None
) -> None:
    relay.swallow()
    ends = await asyncio.gather(*(outcome(relayed.tenant(tenant).fetchval("select 1")) for _ in range(6)))
    assert set(ends) == {"database_unavailable"}
    relay.restore()
    await until_ok(lambda: relayed.tenant(tenant).fetchval("select 1"))


async def test_closing_does_not_wait_for_a_database_that_hangs(
    relay: Relay, dsns: Any, open_database: Any, tenant: str, impatient: None
) -> None:
    database = open_database(dsn=relay.dsn(dsns.app), admin_dsn=relay.dsn(dsns.admin))
    await database.ensure_tenant(tenant)
    await database.tenant(tenant).fetchval("select 1")
    database.marks.tenants.add(tenant)
    relay.swallow()
    async with asyncio.timeout(DEADLINE):
        await database.close()


# --- Full, read-only, old, closed -----------------------------------------------------------------------------------


async def test_a_full_disk_is_503_and_not_the_handlers_error(open_database: Any, tenant: str) -> None:
    full = "create function fill() returns void language plpgsql as $$begin raise sqlstate '53100'; end$$"
    async with open_database(migrations=[full]) as database:
        assert await outcome(database.tenant(tenant).execute("select fill()")) == "database_unavailable"
        assert await outcome(database.tenant(tenant).fetchval("select 1")) == "ok"


async def test_a_full_disk_while_a_tenant_is_made_is_503_and_leaves_nothing(
    open_database: Any, root: asyncpg.Connection, tenant: str, tenant_ids: Iterator[str]
) -> None:
    async with open_database() as database:
        await database.ensure_tenant(next(tenant_ids))
        await root.execute(
            "create function public.full_disk() returns event_trigger language plpgsql as "
            "$$begin if tg_tag = 'CREATE TABLE' then raise sqlstate '53100'; end if; end$$"
        )
        await root.execute("create event trigger full_disk on ddl_command_end execute function public.full_disk()")
        assert await outcome(database.ensure_tenant(tenant)) == "database_unavailable"
        assert await root.fetchval("select to_regnamespace($1) is null", f"tenant_{tenant}")
        await root.execute("drop event trigger full_disk")
        await database.ensure_tenant(tenant)


@asynccontextmanager
async def readonly(root: asyncpg.Connection) -> AsyncIterator[None]:
    """For connections that begin from now on; those that are open end."""
    name = await root.fetchval("select current_database()")
    for word in ("on", None):
        setting = f"set default_transaction_read_only = {word}" if word else "reset default_transaction_read_only"
        await root.execute(f"alter database {name} {setting}")
        await root.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
        if word:
            yield


async def test_a_database_that_became_readonly_still_serves_reads_and_says_503_to_writes(
    database: Database, root: asyncpg.Connection, tenant: str, tenant_ids: Iterator[str]
) -> None:
    db = database.tenant(tenant)
    await db.execute("insert into notes (title) values ('kept')")
    async with readonly(root):
        await until_ok(lambda: db.fetchval("select 1"))
        assert await db.fetchval("select title from notes") == "kept"
        assert await outcome(db.execute("insert into notes (title) values ('x')")) == "database_unavailable"
        assert await outcome(database.ensure_tenant(next(tenant_ids))) == "database_unavailable"
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with database.tenant_connection(tenant, readonly=True) as connection:
                await connection.execute("insert into notes (title) values ('x')")
        assert await db.fetchval("select title from notes") == "kept"
    await until_ok(lambda: db.execute("insert into notes (title) values ('after')"))


async def test_a_readonly_database_that_was_never_prepared_is_503(
    open_database: Any, root: asyncpg.Connection, tenant: str
) -> None:
    async with readonly(root), open_database() as database:
        assert await outcome(database.ensure_tenant(tenant)) == "database_unavailable"


async def test_a_server_that_is_too_old_is_one_sentence(
    open_database: Any, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "OLDEST_SERVER", 990000)
    async with open_database() as database:
        with pytest.raises(
            ConfigurationError, match=r"^The database server is PostgreSQL \d\d: 99 or newer is needed\.$"
        ):
            await database.ensure_tenant(tenant)


async def test_a_login_that_may_not_make_roles_is_told_the_exact_grants(
    open_database: Any, dsns: Any, server: Server, tenant: str, root: asyncpg.Connection, numbers: Iterator[int]
) -> None:
    login = f"plain_{next(numbers)}"
    await root.execute(f"create role {login} login noinherit password 'x'")
    try:
        async with open_database(admin_dsn=rewritten(dsns.admin, login=f"{login}:x")) as database:
            with pytest.raises(ConfigurationError) as problem:
                await database.ensure_tenant(tenant)
        for words in (f"ALTER ROLE {login} CREATEROLE", f"OWNER TO {login}", "tenantry migrate --script"):
            assert words in str(problem.value)
    finally:
        await root.execute(f"drop role {login}")


async def test_a_server_with_no_connection_left_is_503(
    open_database: Any, root: asyncpg.Connection, tenant: str
) -> None:
    async with open_database() as database:
        await database.ensure_tenant(tenant)
        await root.execute("alter role tenantry_app connection limit 1")
        try:
            async with database.tenant_connection(tenant) as first:
                assert await outcome(database.tenant(tenant).fetchval("select 1")) == "database_unavailable"
                assert await first.fetchval("select 1") == 1
        finally:
            await root.execute("alter role tenantry_app connection limit -1")
        assert await outcome(database.tenant(tenant).fetchval("select 1")) == "ok"
