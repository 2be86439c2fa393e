"""The audit in PostgreSQL: a tenant's own events in its schema, the rest with the operator, and all of it provable."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from asyncpg.transaction import Transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.adapters.audit.trails import KEY, about, call, caller, running, settings, until
from tests.postgres.commands import Commands
from tests.postgres.conftest import NOTES
from tests.postgres.registry import role_of
from tests.postgres.servers import rewritten

from tenantry.adapters.audit.chain import Seal
from tenantry.adapters.postgres.administration import checks, lifecycle
from tenantry.adapters.postgres.administration.script import script
from tenantry.adapters.postgres.audit_reading import DatabaseTrail
from tenantry.adapters.postgres.migrations import Migrations
from tenantry.adapters.postgres.statements import split
from tenantry.errors import ConfigurationError, Unavailable
from tenantry.model import Claims
from tenantry.observations import Admitted, Called, Refused
from tenantry.postgres import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
def audited(dsns: Any) -> Callable:
    """``async with audited(database) as audit:`` a process that writes to PostgreSQL."""

    def process(database: Database, **values: Any) -> Any:
        chosen = {"audit_sinks": ("postgres",), "database_connection_string": dsns.app} | values
        return running(settings(**chosen), database=database)

    return process


@pytest.fixture
async def tenant(database: Database, tenant_ids: Any) -> str:
    name = next(tenant_ids)
    await database.ensure_tenant(name)
    return name


async def of_tenant(root: asyncpg.Connection, tenant: str) -> list[dict[str, Any]]:
    rows = await root.fetch(f"select line from tenant_{tenant}.tenantry_audit order by writer, seq")
    return [json.loads(row["line"]) for row in rows]


async def of_operator(root: asyncpg.Connection) -> list[dict[str, Any]]:
    return [json.loads(row["line"]) for row in await root.fetch("select line from tenantry.audit order by writer, seq")]


async def findings(database: Database, key: str | None = None) -> list[str]:
    trail = DatabaseTrail(database, Seal(None if key is None else key.encode()))
    return [str(finding) for finding in (await trail.verify())[1]]


# --- Where events go --------------------------------------------------------------------------------------------------


async def test_a_tenants_events_are_in_its_schema_and_the_rest_with_the_operator(
    database: Database, audited: Callable, root: asyncpg.Connection, tenant: str
) -> None:
    person = caller(tenant=tenant)
    async with audited(database) as audit:
        audit.observe(Admitted(person, about()))
        audit.observe(call(1, person))
        audit.observe(Refused(401, "token_expired", None, None, about(), "google"))
        audit.observe(call(2, caller(2, tenant="never_made_com")))
    assert [row["event"] for row in await of_tenant(root, tenant)] == ["admitted", "called"]
    found = {(row["event"], row.get("tenant")) for row in await of_operator(root)}
    assert found == {("called", "never_made_com"), ("refused", None), ("tenant.created", tenant)}
    assert await findings(database) == []


async def test_rows_are_found_by_what_they_say(
    database: Database, audited: Callable, root: asyncpg.Connection, tenant: str
) -> None:
    async with audited(database, audit_users="plain") as audit:
        audit.observe(call(1, caller(tenant=tenant)))
    (row,) = await root.fetch(f"select at, event, user_id, line from tenant_{tenant}.tenantry_audit")
    said = json.loads(row["line"])
    assert (row["event"], row["user_id"]) == (said["event"], said["user"]) == ("called", "google:1")
    assert row["at"].isoformat() == said["at"].replace("Z", "+00:00")


async def test_a_tenant_reads_its_own_trail_and_writes_none(
    database: Database, audited: Callable, tenant: str, tenant_ids: Any
) -> None:
    other = next(tenant_ids)
    await database.ensure_tenant(other)
    async with audited(database) as audit:
        audit.observe(call(1, caller(tenant=tenant)))
        audit.observe(call(2, caller(tenant=other)))
    mine = database.tenant(tenant)
    assert await mine.fetchval("select line::jsonb ->> 'request_id' from tenantry_audit") == "request-1"
    for statement in (
        "insert into tenantry_audit (writer, seq, at, event, line) values ('a', 1, now(), 'called', '')",
        "update tenantry_audit set line = ''",
        "delete from tenantry_audit",
        "truncate tenantry_audit",
        "drop table tenantry_audit",
        f"select line from tenant_{other}.tenantry_audit",
        "select line from tenantry.audit",
        "select hash from tenantry.audit_heads",
        "select key from tenantry.audit_keys",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await mine.execute(statement)


async def test_sql_of_a_model_reads_the_trail_of_its_tenant_alone(
    database: Database, audited: Callable, tenant: str, tenant_ids: Any
) -> None:
    other = next(tenant_ids)
    await database.ensure_tenant(other)
    async with audited(database) as audit:
        audit.observe(call(1, caller(tenant=tenant)))
        audit.observe(call(2, caller(tenant=other)))
    async with database.untrusted_connection(tenant, readonly=False) as connection:
        assert await connection.fetchval("select count(*) from tenantry_audit") == 1
    for statement in ("delete from tenantry_audit", f"select line from tenant_{other}.tenantry_audit"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with database.untrusted_connection(tenant, readonly=False) as connection:
                await connection.fetch(statement)


async def test_no_credential_reaches_the_database(
    database: Database, audited: Callable, root: asyncpg.Connection, tenant: str
) -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLW9mLW5vYm9keQ"
    person = caller(tenant=tenant, claims=Claims.of({"secret": token}), name=token, picture=token)
    async with audited(database, audit_users="plain", audit_email="plain") as audit:
        audit.observe(Admitted(person, about()))
        audit.observe(Refused(401, "token_rejected", None, token, about(), "google", person))
    text = str([await of_tenant(root, tenant), await of_operator(root)])
    assert not any(token[start : start + 16] in text for start in range(len(token) - 16))


async def test_what_a_caller_chose_can_be_read_as_json_by_the_database(
    database: Database, audited: Callable, tenant: str
) -> None:
    evil = "\0\ud800\x1b[2J\"\\'"
    async with audited(database) as audit:
        audit.observe(Called(caller(tenant=tenant), about(method=evil, name=evil), 200, 0.1))
    assert await database.tenant(tenant).fetchval("select line::jsonb ->> 'name' from tenantry_audit")


# --- Several writers, and failures ------------------------------------------------------------------------------------


async def test_replicas_write_side_by_side_and_agree_on_a_persons_name(
    open_database: Callable, audited: Callable, root: asyncpg.Connection, database: Database, tenant: str
) -> None:
    async def replica(number: int) -> None:
        async with open_database() as mine, audited(mine) as audit:
            for each in range(100):
                audit.observe(call(number * 100 + each, caller(each % 5, tenant=tenant)))
                if each % 30 == 0:
                    await audit.flush()

    await asyncio.gather(*(replica(number) for number in range(3)))
    rows = await of_tenant(root, tenant)
    assert len({row["request_id"] for row in rows}) == len(rows) == 300
    assert (len({row["user"] for row in rows}), len({row["writer"] for row in rows})) == (5, 3)
    assert await findings(database) == []


async def test_a_lost_connection_loses_no_row_and_doubles_none(
    database: Database, audited: Callable, root: asyncpg.Connection, tenant: str
) -> None:
    async with audited(database) as audit:
        for number in range(200):
            audit.observe(call(number, caller(number % 3, tenant=tenant)))
            if number % 40 == 20:
                await root.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where datname = current_database() and pid <> pg_backend_pid()"
                )
                await asyncio.sleep(0)
        await audit.flush()
    rows = await of_tenant(root, tenant)
    assert len({row["request_id"] for row in rows}) == len(rows) == 200
    assert await findings(database) == []


class LosesAnswers:
    """A database whose connection breaks just after a commit, so that nobody knows whether it was one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost = 0
        commit = Transaction._Transaction__commit

        async def lossy(transaction: Any) -> None:
            wrote = "tenantry_audit" in self._last
            await commit(transaction)
            if wrote and not self.lost:
                self.lost += 1
                raise asyncpg.ConnectionDoesNotExistError("lost")

        execute = asyncpg.Connection.execute
        self._last = ""

        async def noting(connection: Any, query: str, *args: Any, **more: Any) -> Any:
            self._last = query if "tenantry_audit" in query else self._last
            return await execute(connection, query, *args, **more)

        monkeypatch.setattr(Transaction, "_Transaction__commit", lossy)
        monkeypatch.setattr(asyncpg.Connection, "execute", noting)


async def test_a_commit_that_nobody_answered_is_not_done_twice(
    database: Database,
    audited: Callable,
    root: asyncpg.Connection,
    tenant: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with audited(database) as audit:
        audit.observe(call(1, caller(tenant=tenant)))
        await audit.flush()
        losing = LosesAnswers(monkeypatch)
        audit.observe(call(2, caller(tenant=tenant)))
        await audit.flush()
        audit.observe(call(3, caller(tenant=tenant)))
    assert losing.lost == 1
    assert [row["request_id"] for row in await of_tenant(root, tenant)] == ["request-1", "request-2", "request-3"]
    assert await findings(database) == []


async def test_closed_refuses_while_the_database_does_not_take_rows(
    database: Database, audited: Callable, root: asyncpg.Connection, tenant: str
) -> None:
    async with audited(database, audit_users="plain", audit_email="off") as audit:
        await root.execute("alter table tenantry.audit_heads rename to elsewhere")
        audit.observe(call(1, caller(tenant=tenant)))
        await until(lambda: _refuses(audit))
        await root.execute("alter table tenantry.elsewhere rename to audit_heads")
        await until(lambda: not _refuses(audit))
    assert [row["request_id"] for row in await of_tenant(root, tenant)] == ["request-1"]
    assert {"outage.began", "outage.ended"} < {row["event"] for row in await of_operator(root)}


def _refuses(audit: Any) -> bool:
    try:
        audit.check()
    except Unavailable:
        return True
    return False


# --- What operators do ------------------------------------------------------------------------------------------------


async def test_acts_are_one_chain_however_many_are_done_at_once(
    database: Database, root: asyncpg.Connection, tenant_ids: Any
) -> None:
    await asyncio.gather(
        *(lifecycle.create(database, next(tenant_ids), source=None, dsn_id="main", actor="test") for _ in range(6))
    )
    rows = await of_operator(root)
    assert [row["seq"] for row in rows] == list(range(1, 7))
    assert {(row["writer"], row["event"], row["actor"]) for row in rows} == {("acts", "tenant.created", "test")}
    assert await findings(database) == []


async def test_an_act_that_is_taken_back_leaves_no_row(
    database: Database, root: asyncpg.Connection, tenant: str
) -> None:
    before = await of_operator(root)
    with pytest.raises(ConfigurationError):
        await lifecycle.suspend(database, "nobody_com", actor="test")
    assert await of_operator(root) == before
    assert await lifecycle.suspend(database, tenant, actor="test")
    assert len(await of_operator(root)) == len(before) + 1
    assert await findings(database) == []


async def test_acts_are_sealed_with_the_key_where_there_is_one(
    open_database: Callable, root: asyncpg.Connection, tenant_ids: Any
) -> None:
    async with open_database(audit_key=KEY.encode()) as database:
        await database.ensure_tenant(next(tenant_ids))
        assert await findings(database, KEY) == []
        assert any("another key" in finding for finding in await findings(database))
    (row,) = await of_operator(root)
    assert row["writer"] == f"acts-{row['key']}"


async def test_what_a_printed_script_did_is_taken_into_the_chain_by_the_next_act(
    open_database: Callable, root: asyncpg.Connection, tenant_ids: Any
) -> None:
    first, tenant, other = next(tenant_ids), next(tenant_ids), next(tenant_ids)
    async with open_database() as database:
        await database.ensure_tenant(first)
        text = (await script(database, [tenant])).text
        for statement in split("".join(line for line in text.splitlines(True) if not line.startswith("\\"))):
            await root.execute(statement)
        assert (await DatabaseTrail(database, Seal(None)).verify())[2]
        await database.ensure_tenant(other)
        assert [(row["actor"], row["subject"]) for row in await of_operator(root)] == [
            ("server", first),
            ("administrator's script", tenant),
            ("server", other),
        ]
        assert await DatabaseTrail(database, Seal(None)).verify() == (3, [], [])


# --- The life of a tenant ---------------------------------------------------------------------------------------------


@pytest.fixture
def commands(dsns: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Commands:
    folder = tmp_path / "migrations"
    folder.mkdir()
    made = Commands(dsns, folder, monkeypatch, capsys)
    made.migrations(NOTES)
    made.set("AUDIT_SINKS", "postgres")
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
async def trailed(database: Database, audited: Callable, tenant: str) -> str:
    """A tenant with a trail."""
    async with audited(database) as audit:
        for number in range(5):
            audit.observe(call(number, caller(number, tenant=tenant)))
    return tenant


async def test_a_check_finds_the_trail_sound_and_takes_back_any_right_but_reading(
    commands: Commands, root: asyncpg.Connection, trailed: str
) -> None:
    assert (await commands.done("check")).out == ""
    await commands.done("check", "--repair")
    role, table = await role_of(root, trailed), f"tenant_{trailed}.tenantry_audit"
    assert not await root.fetchval(f"select has_table_privilege('{role}', '{table}', 'insert, update, delete')")
    await root.execute(f"grant insert on {table} to {role}")
    assert "has rights on" in (await commands("tenants", "check")).out
    await commands.done("check", "--repair")
    assert not await root.fetchval(f"select has_table_privilege('{role}', '{table}', 'insert')")
    assert await root.fetchval(f"select has_table_privilege('{role}', '{table}', 'select')")
    await root.execute(f"revoke select on {table} from {role}")
    assert "lacks SELECT" in (await commands("tenants", "check")).out
    await commands.done("check", "--repair")


async def test_a_migration_leaves_the_trail_as_it_is_and_may_not_name_it(
    commands: Commands, root: asyncpg.Connection, trailed: str
) -> None:
    commands.migrations(NOTES, "create table more (id bigint)")
    assert (await commands("migrate")).code == 0
    role, table = await role_of(root, trailed), f"tenant_{trailed}.tenantry_audit"
    assert not await root.fetchval(f"select has_table_privilege('{role}', '{table}', 'insert, update, delete')")
    for statement in (
        "create table tenantry_audit (id bigint)",
        'alter table "tenantry_audit" add column x int',
        "insert into Tenantry_Audit (writer) values ('a')",
        "create view v as select line from tenantry_audit",
    ):
        with pytest.raises(ConfigurationError, match="tenantry_audit"):
            Migrations.of([statement])


async def test_a_dropped_tenants_trail_is_in_its_export_and_comes_back_with_it(
    commands: Commands, database: Database, audited: Callable, root: asyncpg.Connection, trailed: str
) -> None:
    before = await of_tenant(root, trailed)
    await commands.done("drop", trailed, "--confirm", trailed, "--to", "kept.zip")
    assert await root.fetchval("select count(*) from tenantry.audit_heads where place = $1", trailed) == 0
    assert (await commands("audit", "verify")).code == 0
    await commands.done("import", "kept.zip", "--as", f"{trailed}_again")
    assert await of_tenant(root, f"{trailed}_again") == before
    assert (await commands("audit", "verify")).code == 0
    async with audited(database) as audit:
        audit.observe(call(9, caller(tenant=f"{trailed}_again")))
    assert (await commands("audit", "verify")).code == 0
    assert (await commands.done("check")).out == ""
    await root.execute(f"delete from tenant_{trailed}_again.tenantry_audit where seq = 5")
    assert (await commands("audit", "verify")).code == 1


async def test_a_tenant_that_was_dropped_while_a_process_writes_for_it_begins_anew(
    commands: Commands, database: Database, audited: Callable, root: asyncpg.Connection, tenant: str
) -> None:
    async with audited(database) as audit:
        audit.observe(call(1, caller(tenant=tenant)))
        await audit.flush()
        await commands.done("drop", tenant, "--confirm", tenant, "--no-export")
        audit.observe(call(2, caller(tenant=tenant)))
        await audit.flush()
        await commands.done("create", tenant)
        audit.observe(call(3, caller(tenant=tenant)))
        await audit.flush()
    assert [(row["seq"], row["request_id"]) for row in await of_tenant(root, tenant)] == [(1, "request-3")]
    assert "request-2" in {row.get("request_id") for row in await of_operator(root)}
    assert (await commands("audit", "verify")).code == 0


async def test_a_moved_tenants_trail_goes_along_and_goes_on(
    commands: Commands, open_database: Callable, audited: Callable, make_database: Callable, trailed: str
) -> None:
    second = await make_database()
    commands.set("DATABASES", json.dumps({"second": {"url": second.app, "direct_url": second.admin}}))
    async with open_database(databases={"second": (second.app, second.admin)}) as database, audited(database) as audit:
        audit.observe(call(10, caller(tenant=trailed)))
        await audit.flush()
        await commands.done("move", trailed, "--to", "second")
        assert (await commands("audit", "verify")).code == 0
        audit.observe(call(11, caller(tenant=trailed)))
        await audit.flush()
    there = await asyncpg.connect(second.superuser)
    assert "request-11" in {row["request_id"] for row in await of_tenant(there, trailed)}
    assert (await commands("audit", "verify")).code == 0
    await commands.done("move", trailed, "--purge")
    assert (await commands("audit", "verify")).code == 0
    await there.execute(f"delete from tenant_{trailed}.tenantry_audit where seq = 1")
    await there.close()
    assert (await commands("audit", "verify")).code == 1


async def test_a_further_database_that_is_down_does_not_keep_the_others_waiting(
    open_database: Callable, audited: Callable, make_database: Callable, root: asyncpg.Connection, tenant_ids: Any
) -> None:
    here, there, second = next(tenant_ids), next(tenant_ids), await make_database()
    async with open_database(databases={"second": (second.app, second.admin)}) as database:
        await database.ensure_tenant(here)
        await lifecycle.create(database, there, source=None, dsn_id="second", actor="test")
        name = second.admin.rpartition("/")[2].partition("?")[0]
        outside = await asyncpg.connect(rewritten(second.superuser, database="postgres"))
        await outside.execute(f"alter database {name} allow_connections false")
        await outside.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        async with audited(database) as audit:
            audit.observe(call(1, caller(tenant=here)))
            audit.observe(call(2, caller(tenant=there)))
        await outside.execute(f"alter database {name} allow_connections true")
        await outside.close()
        assert [row["request_id"] for row in await of_tenant(root, here)] == ["request-1"]
        assert "request-2" in {row.get("request_id") for row in await of_operator(root)}
        assert await findings(database) == []


# --- Whatever is done to it -------------------------------------------------------------------------------------------

CHANGES = st.sampled_from(
    [
        "delete from {table} where (writer, seq) = {row}",
        "update {table} set line = replace(line, '\"status\":200', '\"status\":500') where (writer, seq) = {row}",
        "update {table} set event = 'refused' where (writer, seq) = {row}",
        "update {table} set user_id = 'google:~aaaaaaaaaaaaaaaaaaaaaaaaaa' where (writer, seq) = {row}",
        "update {table} set at = at + interval '1 second' where (writer, seq) = {row}",
        "update {table} set seq = seq + 1000 where (writer, seq) = {row}",
        "delete from {table} where (writer, seq) >= {row}",
        "delete from {table} where writer = ({row}).writer and seq >= ({row}).seq",
        """update {table} set line = (select line from {table} where (writer, seq) <> {row} limit 1)
            where (writer, seq) = {row}""",
        """insert into {table} select writer, seq + 1000, at, event, tenant_id, user_id, line from {table}
            where (writer, seq) = {row}""",
        "delete from {table}",
        "drop table {table}",
        "delete from tenantry.audit_heads where place = '{tenant}'",
        "update tenantry.audit_heads set seq = seq - 1 where place = '{tenant}'",
    ]
)


async def test_any_change_of_a_tenants_trail_is_found(
    open_database: Callable, audited: Callable, root: asyncpg.Connection, tenant: str
) -> None:
    async with open_database(audit_key=KEY.encode()) as database:
        for _ in range(2):
            async with audited(database, audit_hmac_key=KEY) as audit:
                for number in range(4):
                    audit.observe(call(number, caller(number, tenant=tenant)))
        table = f"tenant_{tenant}.tenantry_audit"
        rows = [tuple(row) for row in await root.fetch(f"select writer, seq from {table}")]
        before = len(await findings(database, KEY))
        loop = asyncio.get_running_loop()

        @hypothesis_settings(max_examples=40, suppress_health_check=list(HealthCheck))
        @given(change=CHANGES, place=st.integers(0, len(rows) - 1))
        def changed(change: str, place: int) -> None:
            asyncio.run_coroutine_threadsafe(once(change, rows[place]), loop).result(60)

        async def once(change: str, row: tuple[str, int]) -> None:
            name = f"('{row[0]}', {row[1]})"
            text = change.replace(f"({'{row}'}).writer", f"'{row[0]}'").replace(f"({'{row}'}).seq", str(row[1]))
            await root.execute(f"create table public.kept as select * from {table}")
            await root.execute("create table public.heads as select * from tenantry.audit_heads")
            await root.execute(text.format(table=table, row=name, tenant=tenant))
            assert len(await findings(database, KEY)) > before, text
            if "drop" in text:
                await root.execute(f"create table {table} as select * from public.kept limit 0")
                owner = await root.fetchval(
                    "select nspowner::regrole::text from pg_namespace where nspname = $1", f"tenant_{tenant}"
                )
                await root.execute(f"alter table {table} owner to {owner}")
            await root.execute(f"delete from {table}; insert into {table} select * from public.kept")
            await root.execute("delete from tenantry.audit_heads")
            await root.execute("insert into tenantry.audit_heads select * from public.heads")
            await root.execute("drop table public.kept, public.heads")
            assert len(await findings(database, KEY)) == before

        await asyncio.to_thread(changed)


# --- People -----------------------------------------------------------------------------------------------------------


async def test_a_person_who_was_erased_is_unknown_and_the_chain_still_holds(
    commands: Commands, database: Database, audited: Callable, root: asyncpg.Connection, tenant: str
) -> None:
    async def seen() -> str:
        async with audited(database) as audit:
            audit.observe(call(1, caller(1, tenant=tenant)))
            audit.observe(call(2, caller(2, tenant=tenant)))
        return json.loads(
            await root.fetchval(f"""select line from tenant_{tenant}.tenantry_audit
            where line::jsonb ->> 'request_id' = 'request-1' order by at desc limit 1""")
        )["user"]

    first = await seen()
    assert '"google:1"' in (await commands("audit", "search", "--user", "google:1", "--json")).out
    erased = await commands("audit", "erase", "--user", "google:1")
    assert erased.code == 0
    assert (await commands("audit", "search", "--user", "google:1", "--json")).out == ""
    assert '"google:2"' in (await commands("audit", "search", "--tenant", tenant, "--json")).out
    assert await root.fetchval("select count(*) from tenantry.audit_keys where user_id = 'google:1'") == 0
    assert (await commands("audit", "verify")).code == 0
    assert await seen() != first
    found = (await commands("audit", "search", "--user", "google:1", "--json")).out.splitlines()
    assert len(found) == 1
    assert (await commands("audit", "erase", "--user", "google:99")).code == 1
    assert "google:1" not in str([row for row in await of_operator(root) if row["event"] == "user.erased"])


async def test_search_and_tail_find_rows_wherever_they_are(
    commands: Commands, database: Database, audited: Callable, tenant: str
) -> None:
    async with audited(database) as audit:
        audit.observe(Admitted(caller(1, tenant=tenant), about()))
        audit.observe(call(1, caller(1, tenant=tenant)))
        audit.observe(Refused(401, "token_expired", None, None, about(), "google"))
    said = await commands("audit", "tail", "--json")
    found = [json.loads(line) for line in said.out.splitlines()]
    assert {row["event"] for row in found} == {"tenant.created", "admitted", "called", "refused"}
    assert [row["at"] for row in found] == sorted(row["at"] for row in found)
    assert {row.get("user") for row in found} == {"google:1", None}
    only = await commands("audit", "search", "--tenant", tenant, "--event", "called", "--json")
    assert [json.loads(line)["event"] for line in only.out.splitlines()] == ["called"]
    assert (await commands("audit", "search", "--since", "2099-01-01T00:00:00Z")).out == ""
    ocsf = await commands("audit", "search", "--event", "called", "--format", "ocsf")
    assert json.loads(ocsf.out)["class_uid"] == 6003


async def test_checks_say_nothing_of_the_audit(database: Database, trailed: str) -> None:
    assert (await checks.check(database, None, actor="test")).findings == []
