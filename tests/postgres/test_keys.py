"""API keys in the database, from the operator's act to the answer that a caller gets from each replica."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from tenantry import ConfigurationError, Settings, current_user
from tenantry.adapters.asgi import GateMiddleware
from tenantry.adapters.postgres import watch
from tenantry.adapters.postgres.administration.keys import (
    KeyEntry,
    NewKey,
    create_key,
    list_keys,
    revoke_key,
    rotate_key,
)
from tenantry.assemble import Outside, assemble
from tenantry.core import apikeys
from tenantry.postgres import Database
from tenantry.testing import FakeFetch, FrozenClock, Recorder, serve_on_loopback

pytestmark = pytest.mark.anyio

WRONG, EXPIRED, SUSPENDED = (401, "api_key_invalid"), (401, "api_key_expired"), (403, "tenant_suspended")
INJECTIONS = ["' or 1=1 --", "x'; drop table tenantry.api_keys; --", "%", "\x00", "{}", "a" * 10_000, "", "mcpk_live_1"]


def in_hours(hours: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=hours)


LATER = in_hours(1000)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with who the caller is."""
    user = current_user(scope)
    body = {"user": user.user_id, "tenant": user.tenant_id, "permissions": sorted(user.permissions)}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


class Replica:
    """One served process's worth, with a clock that stands still."""

    def __init__(self, settings: Settings) -> None:
        self.clock, self.seen = FrozenClock(time.time()), Recorder()
        self._made = assemble(settings, Outside(self.clock, FakeFetch(), self.seen))
        assert self._made.database is not None
        self.database: Database = self._made.database

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Replica]:
        made = self._made
        guarded = GateMiddleware(app, made.front)
        async with serve_on_loopback(guarded, lifespan="off") as url, httpx.AsyncClient(trust_env=False) as client:
            self._url, self._client = url, client
            yield self
        await made.aclose()

    async def ask(self, key: str, header: str = "X-API-Key") -> tuple[int, Any]:
        """(200, who the caller is) or (status, reason)."""
        value = key if header == "X-API-Key" else f"Bearer {key}"
        answer = await self._client.post(self._url, headers={header: value})
        said = answer.json()
        return answer.status_code, said if answer.status_code == 200 else said["reason"]

    async def status(self, key: str) -> int:
        return (await self.ask(key))[0]

    async def until(self, key: str, expected: tuple[int, Any]) -> None:
        """Ask until it is so: a change is heard of a moment after it was made."""
        async with asyncio.timeout(20):
            while await self.ask(key) != expected:
                pass


@pytest.fixture
async def replica(dsns: Any) -> AsyncIterator[Callable]:
    """Start a replica with these further settings."""
    async with contextlib.AsyncExitStack() as running:

        async def start(**changes: Any) -> Replica:
            values = {
                "environment": "development",
                "database_connection_string": dsns.app,
                "direct_database_url": dsns.admin,
                "rate_limit_tenant": "off",
            }
            return await running.enter_async_context(Replica(Settings(**{**values, **changes})).serving())

        yield start


@pytest.fixture
def create(database: Database) -> Callable:
    """Make a key, from elsewhere than the replicas: ``create(tenant_id=...)``."""

    async def make(**what: Any) -> NewKey:
        return await create_key(database, actor="test", **{"name": "ci", **what})

    return make


def with_another_secret(key: str) -> str:
    """The same id, well formed."""
    body = key[:-7] + ("A" if key[-7] != "A" else "B")
    return body + apikeys.crc62(body)


def crossed(key: str, other: str) -> str:
    """The id of one key with the secret of the other, well formed."""
    body = key.rsplit("_", 1)[0] + "_" + other.rsplit("_", 1)[1][:-6]
    return body + apikeys.crc62(body)


# --- What a caller sees ------------------------------------------------------------------------------------------


async def test_a_created_key_works_at_once_on_every_replica(
    replica: Callable, create: Callable, tenant_ids: Iterator[str]
) -> None:
    replicas, tenant = [await replica(), await replica()], next(tenant_ids)
    made = await create(tenant_id=tenant, permissions=["notes:write", "notes:read", "notes:read"])
    caller = {
        "user": f"apikey:{made.entry.key_id}",
        "tenant": tenant,
        "permissions": ["notes:read", "notes:write"],
    }
    for each in replicas:
        for header in ("X-API-Key", "Authorization"):
            assert await each.ask(made.key, header) == (200, caller)


async def test_a_key_without_a_tenant_has_one_of_its_own(replica: Callable, create: Callable) -> None:
    here, one, other = await replica(), await create(), await create()
    tenants = {(await here.ask(made.key))[1]["tenant"] for made in (one, other)}
    assert len(tenants) == 2
    assert all(tenant.startswith("u___") for tenant in tenants)


async def test_a_wrong_secret_with_a_right_id_is_refused_like_an_unknown_key(
    replica: Callable, create: Callable
) -> None:
    here, made, other = await replica(), await create(), await create()
    unknown = apikeys.compose_key("live", b"no such!", bytes(32))
    wrong = [with_another_secret(made.key), crossed(made.key, other.key)]
    assert {apikeys.key_id_of(key) for key in wrong} == {made.entry.key_id}
    for _ in range(2):
        for key in (*wrong, unknown):
            assert await here.ask(key) == WRONG
        assert await here.status(made.key) == 200


async def test_a_revoked_key_stops_on_every_replica(replica: Callable, create: Callable, database: Database) -> None:
    replicas, made, kept = [await replica(), await replica()], await create(), await create()
    for each in replicas:
        assert await each.status(made.key) == await each.status(kept.key) == 200
    await revoke_key(database, made.entry.key_id, actor="test")
    for each in replicas:
        await each.until(made.key, WRONG)
        assert [await each.status(key) for key in (made.key, made.key, kept.key)] == [401, 401, 200]


async def test_a_key_works_from_its_beginning_to_its_end(replica: Callable, create: Callable) -> None:
    here = await replica()
    made = await create(not_before=in_hours(1), expires_at=in_hours(2))
    assert await here.ask(made.key) == WRONG
    here.clock.advance(3660)
    assert await here.status(made.key) == 200
    here.clock.advance(3600)
    assert await here.ask(made.key) == EXPIRED


async def test_both_keys_work_while_they_are_rotated_and_then_only_the_new_one(
    replica: Callable, create: Callable, database: Database, tenant_ids: Iterator[str]
) -> None:
    here, old = await replica(), await create(tenant_id=next(tenant_ids), permissions=["notes:read"])
    assert await here.status(old.key) == 200
    new = await rotate_key(database, old.entry.key_id, actor="test", overlap=600)
    before, after = (await here.ask(old.key))[1], (await here.ask(new.key))[1]
    assert (before["tenant"], before["permissions"]) == (after["tenant"], after["permissions"])
    assert before["user"] != after["user"]
    here.clock.advance(601)
    await here.until(old.key, EXPIRED)
    assert await here.status(new.key) == 200


async def test_a_rotation_without_overlap_stops_the_old_key_on_every_replica(
    replica: Callable, create: Callable, database: Database
) -> None:
    replicas, old = [await replica(), await replica()], await create()
    for each in replicas:
        assert await each.status(old.key) == 200
    new = await rotate_key(database, old.entry.key_id, actor="test", overlap=0)
    for each in replicas:
        await each.until(old.key, WRONG)
        assert await each.status(new.key) == 200


async def test_a_key_of_a_suspended_tenant_is_refused_until_it_is_resumed(
    replica: Callable, create: Callable, database: Database, tenant_ids: Iterator[str]
) -> None:
    here, tenant = await replica(), next(tenant_ids)
    await database.ensure_tenant(tenant)
    made = await create(tenant_id=tenant)
    caller = await here.ask(made.key)
    assert caller[0] == 200
    await database.registry.set_state(tenant, "suspended", actor="test")
    await here.until(made.key, SUSPENDED)
    await database.registry.set_state(tenant, "active", actor="test")
    await here.until(made.key, caller)


async def test_keys_of_the_settings_and_of_the_database_work_beside_each_other(
    replica: Callable, create: Callable
) -> None:
    plain, ours = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE", apikeys.compose_key("live", b"settings", bytes(32))
    here, made = await replica(api_keys={plain: {"name": "plain"}, ours: {"name": "ours"}}), await create()
    for header in ("X-API-Key", "Authorization"):
        assert [(await here.ask(key, header))[0] for key in (plain, ours, made.key)] == [200, 200, 200]


async def test_what_cannot_be_confirmed_is_503_and_never_401_or_200(
    replica: Callable, create: Callable, dsns: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, made = await replica(), await create()
    caller = await here.ask(made.key)
    assert caller[0] == 200
    name = dsns.app.rpartition("/")[2].partition("?")[0]
    outside = await asyncpg.connect(server.dsn)
    away = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1"
    try:
        await outside.execute(away, name)
        await outside.execute(f"alter database {name} rename to {name}_away")
        monkeypatch.setattr(watch, "GOOD_FOR_SECONDS", 0.0)  # the 25 s have passed
        unknown = apikeys.compose_key("live", b"no such!", bytes(32))
        for key in (made.key, with_another_secret(made.key), unknown):
            assert await here.ask(key) == (503, "database_unavailable")
        assert await here.ask(made.key[:-1]) == WRONG  # mistyped, which nobody need be asked about
        await outside.execute(f"alter database {name}_away rename to {name}")
        monkeypatch.undo()
        await here.until(made.key, caller)
    finally:
        await outside.close()


async def test_text_in_a_key_or_an_id_is_never_code(
    replica: Callable, create: Callable, database: Database, root: asyncpg.Connection
) -> None:
    here, made = await replica(), await create()
    for text in INJECTIONS:
        spelled = f"mcpk_live_{text}_{'0' * 43}"
        for key in (text, spelled, spelled + apikeys.crc62(spelled)):
            with contextlib.suppress(httpx.LocalProtocolError, UnicodeEncodeError):  # what no HTTP client sends
                assert await here.status(key) in (400, 401)
        for change in (revoke_key, rotate_key):
            with pytest.raises(ConfigurationError, match="not the id of a key"):
                await change(database, text, actor="test")
        assert await list_keys(database, text.replace("\x00", "")) == []
    assert await here.status(made.key) == 200
    assert await root.fetchval("select count(*) from tenantry.api_keys") == 1


def test_keys_of_the_settings_alone_need_no_database_driver() -> None:
    code = (
        "import sys; from tenantry import Settings; from tenantry.assemble import assemble;"
        "assemble(Settings(environment='development', api_key='k')); sys.exit('asyncpg' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# --- When a key was last used ------------------------------------------------------------------------------------


async def test_when_a_key_was_last_used_is_written_for_who_showed_the_whole_key(
    replica: Callable, create: Callable, database: Database
) -> None:
    here, used, guessed = await replica(), await create(name="used"), await create(name="guessed")
    await here.ask(used.key)
    await here.ask(with_another_secret(guessed.key))
    await here.database.marks.write()
    last = {entry.name: entry.last_used_at for entry in await list_keys(database)}
    assert last["guessed"] is None
    assert last["used"] is not None
    assert last["used"] >= used.entry.created_at


# --- Who may read them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "select key_id, digest from tenantry.api_keys",
        "select count(*) from tenantry.api_keys",
        "update tenantry.api_keys set revoked_at = null",
        "insert into tenantry.api_keys (key_id, digest, name, permissions) values ('a', '', 'x', '{}')",
        "delete from tenantry.api_keys",
        "select line from tenantry.audit",
    ],
)
async def test_in_a_tenant_nobody_sees_or_makes_a_key_not_even_its_own(
    create: Callable, database: Database, dsns: Any, tenant_ids: Iterator[str], statement: str
) -> None:
    tenant = next(tenant_ids)
    await create(tenant_id=tenant)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await database.tenant(tenant).execute(statement)
    requests = await asyncpg.connect(dsns.app)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await requests.execute(statement)
    await requests.close()


async def test_keys_are_listed_for_the_tenant_that_was_named_and_without_digests(
    create: Callable, database: Database, tenant_ids: Iterator[str]
) -> None:
    one, other = next(tenant_ids), next(tenant_ids)
    first, second = await create(tenant_id=one), await create(tenant_id=other)
    own = await create()
    assert await list_keys(database) == [first.entry, second.entry, own.entry]
    assert await list_keys(database, one) == [first.entry]
    assert await list_keys(database, "nobody") == []
    digest = apikeys.digest(first.key.encode())
    assert repr(digest) not in repr(await list_keys(database))


async def test_a_new_key_is_shown_by_asking_for_it_and_not_by_accident(create: Callable) -> None:
    made = await create()
    assert made.key not in repr(made)
    assert made.key.rsplit("_", 1)[1] not in str(made)


async def test_the_database_and_its_audit_have_no_key(
    create: Callable, database: Database, root: asyncpg.Connection
) -> None:
    made = await create(owner="ann@example.com")
    new = await rotate_key(database, made.entry.key_id, actor="test")
    rows = await root.fetch("select * from tenantry.api_keys")
    audit = await root.fetch("select * from tenantry.audit order by seq")
    for each in (made, new):
        secret = each.key.rsplit("_", 1)[1]
        assert secret not in f"{rows} {audit}"
        assert apikeys.digest(each.key.encode()).hex() not in str(audit)


async def test_every_act_is_in_the_audit_with_its_actor(
    create: Callable, database: Database, root: asyncpg.Connection
) -> None:
    made = await create(permissions=["notes:read"])
    new = await rotate_key(database, made.entry.key_id, actor="cli:ann", overlap=60)
    await revoke_key(database, new.entry.key_id, actor="cli:bob")
    rows = [json.loads(row["line"]) for row in await root.fetch("select line from tenantry.audit order by seq")]
    old_id, new_id = made.entry.key_id, new.entry.key_id
    assert [(row["actor"], row["event"], row["subject"]) for row in rows] == [
        ("test", "key.created", old_id),
        ("cli:ann", "key.rotated", old_id),
        ("cli:ann", "key.created", new_id),
        ("cli:bob", "key.revoked", new_id),
    ]
    assert json.loads(rows[0]["detail"])["permissions"] == ["notes:read"]
    assert json.loads(rows[1]["detail"])["replaced_by"] == new_id


# --- What an operator may not do ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ({"name": ""}, "name of a key"),
        ({"name": "  "}, "name of a key"),
        ({"name": "a" * 129}, "name of a key"),
        ({"name": "a\x1b[2J"}, "name of a key"),
        ({"owner": "a\nb"}, "owner of a key"),
        ({"permissions": ["a b"]}, "no permission"),
        ({"permissions": [""]}, "no permission"),
        ({"tenant_id": "No Such"}, "cannot be the id of a tenant"),
        ({"tenant_id": "example.com"}, "example_com"),
        ({"tenant_id": ""}, "cannot be the id of a tenant"),
        ({"environment": "LIVE"}, "environment"),
        ({"expires_at": datetime(2099, 1, 1)}, "zone"),  # noqa: DTZ001 - that is the mistake
        ({"not_before": datetime(2099, 1, 1)}, "zone"),  # noqa: DTZ001
        ({"expires_at": in_hours(-1)}, "expire before"),
        ({"not_before": LATER, "expires_at": LATER}, "expire before"),
        ({"expires_at": datetime.max.replace(tzinfo=UTC)}, "century"),
        ({"not_before": datetime.min.replace(tzinfo=UTC)}, "century"),
    ],
)
async def test_a_key_that_no_server_would_take_is_not_made(
    create: Callable, database: Database, what: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        await create(**what)
    assert await list_keys(database) == []


async def test_no_key_is_made_for_a_suspended_or_vanishing_tenant(
    create: Callable, database: Database, tenant_ids: Iterator[str]
) -> None:
    tenant = next(tenant_ids)
    await database.ensure_tenant(tenant)
    for state in ("suspended", "dropping"):
        await database.registry.set_state(tenant, state, actor="test")
        with pytest.raises(ConfigurationError, match=tenant):
            await create(tenant_id=tenant)
    await database.registry.set_state(tenant, "active", actor="test")
    assert (await create(tenant_id=tenant)).entry.tenant_id == tenant


async def test_a_rotated_key_passes_on_what_it_was_for_and_as_long_a_life(create: Callable, database: Database) -> None:
    life = timedelta(days=90)
    old = (await create(owner="ann", permissions=["a", "b"], expires_at=datetime.now(UTC) + life)).entry
    new = await rotate_key(database, old.key_id, actor="test")
    assert (new.entry.name, new.entry.owner, new.entry.permissions) == ("ci", "ann", ("a", "b"))
    assert new.entry.expires_at - new.entry.created_at == old.expires_at - old.created_at
    assert await list_keys(database) == [new.replaces, new.entry]
    assert new.replaces.replaced_by == new.entry.key_id
    assert new.replaces.expires_at < old.expires_at


async def test_an_overlap_never_lengthens_a_life(create: Callable, database: Database) -> None:
    old = (await create(expires_at=in_hours(1))).entry
    new = await rotate_key(database, old.key_id, actor="test", overlap=86_400)
    assert new.replaces.expires_at == old.expires_at


@pytest.mark.parametrize("overlap", [-1, float("nan"), float("inf"), 10**30])
async def test_an_overlap_that_is_none_is_refused(create: Callable, database: Database, overlap: float) -> None:
    made = await create()
    with pytest.raises(ConfigurationError, match="overlap"):
        await rotate_key(database, made.entry.key_id, actor="test", overlap=overlap)
    assert await list_keys(database) == [made.entry]


async def test_what_no_longer_works_is_not_rotated(
    create: Callable, database: Database, root: asyncpg.Connection
) -> None:
    replaced, revoked, expired = await create(), await create(), await create()
    await rotate_key(database, replaced.entry.key_id, actor="test")
    await revoke_key(database, revoked.entry.key_id, actor="test")
    await root.execute(
        "update tenantry.api_keys set expires_at = now() - interval '1s' where key_id = $1", expired.entry.key_id
    )
    for made, word in ((replaced, "replaced"), (revoked, "revoked"), (expired, "expired")):
        with pytest.raises(ConfigurationError, match=word):
            await rotate_key(database, made.entry.key_id, actor="test")
    assert len(await list_keys(database)) == 4


async def test_of_two_rotations_at_once_one_is_done(create: Callable, database: Database) -> None:
    made = await create()
    done = await asyncio.gather(
        *(rotate_key(database, made.entry.key_id, actor="test") for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in done) == ["ConfigurationError", "NewKey"]
    assert len(await list_keys(database)) == 2


async def test_a_second_revocation_changes_nothing(
    create: Callable, database: Database, root: asyncpg.Connection
) -> None:
    made = await create()
    first = await revoke_key(database, made.entry.key_id, actor="test")
    assert await revoke_key(database, made.entry.key_id, actor="test") == first
    assert await root.fetchval("select count(*) from tenantry.audit where event = 'key.revoked'") == 1


async def test_an_unknown_id_is_named_and_nothing_else_is(database: Database) -> None:
    for change in (revoke_key, rotate_key):
        with pytest.raises(ConfigurationError, match="no key 00000000000"):
            await change(database, "00000000000", actor="test")
    key = apikeys.compose_key("live", bytes(8), bytes(32))
    with pytest.raises(ConfigurationError) as caught:
        await revoke_key(database, key, actor="test")
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "active"),
        ({"not_before": LATER}, "early"),
        ({"expires_at": in_hours(-1)}, "expired"),
        ({"replaced_by": "x", "expires_at": LATER}, "replaced"),
        ({"replaced_by": "x", "expires_at": in_hours(-1)}, "expired"),
        ({"revoked_at": in_hours(-1), "expires_at": in_hours(-1)}, "revoked"),
    ],
)
def test_a_key_is_in_one_state(changes: dict[str, Any], state: str) -> None:
    assert KeyEntry("id", "ci", in_hours(-2), **changes).state(datetime.now(UTC)) == state
