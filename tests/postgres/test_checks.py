"""Every part of the wall around a tenant, broken once: ``check`` finds it, and mends what it may."""

from __future__ import annotations

import json

import asyncpg
import pytest
from tests.postgres.commands import Commands
from tests.postgres.conftest import NOTES

from tenantry.adapters.postgres.administration.findings import PROBLEMS

pytestmark = pytest.mark.anyio

DEFINER = (
    "create function answer() returns int language sql security definer set search_path from current as 'select 42'"
)


@pytest.fixture
def tenant(tenant_ids):
    return next(tenant_ids)


@pytest.fixture
def commands(dsns, tmp_path, monkeypatch, capsys):
    made = Commands(dsns, tmp_path, monkeypatch, capsys)
    made.migrations(NOTES, DEFINER, "create view titles as select title from notes")
    return made


@pytest.fixture
async def parts(commands, root, tenant):
    """A tenant and its neighbour, with the names for SQL of what the first is made of."""
    await commands.done("create", tenant)
    await commands.done("create", f"{tenant}_org")
    row = await root.fetchrow("select schema_name, role_name from tenantry.tenants where tenant_id = $1", tenant)
    other = await root.fetchrow(
        "select schema_name, role_name from tenantry.tenants where tenant_id = $1", f"{tenant}_org"
    )
    owner = await root.fetchval("select nspowner::regrole::text from pg_namespace where nspname = $1", row[0])
    rest = owner.replace("__owner", "__rest")
    return {"schema": row[0], "role": row[1], "owner": owner, "rest": rest, "other": other[0], "other_role": other[1]}


async def test_a_sound_deployment_has_no_findings(commands, parts):
    said = await commands.done("check")
    assert (said.out, said.err) == ("", "2 tenants checked: 0 findings repaired, 0 left.\n")


# What breaks it -> what is found
MENDED = {
    "alter role {role} login": "role_attributes",
    "alter role {role} inherit": "role_attributes",
    "alter role {role} inherit login": "role_attributes",
    "grant {other_role} to {role}": "role_member",
    "revoke {role} from tenantry_app": "login_cannot",
    "revoke usage on schema {schema} from {role}": "schema_closed",
    "grant create on schema {schema} to {role}": "schema_open",
    "grant usage on schema {schema} to public": "schema_open",
    "grant usage on schema {schema} to {other_role}": "schema_open",
    "revoke update on {schema}.notes from {role}": "thing_closed",
    "revoke usage on sequence {schema}.notes_id_seq from {role}": "thing_closed",
    "revoke execute on function {schema}.answer() from {role}": "thing_closed",
    "grant truncate on {schema}.notes to {role}": "thing_open",
    "grant select on {schema}.notes to public": "thing_open",
    "grant select (title) on {schema}.notes to {other_role}": "thing_open",
    "grant select on {schema}.titles to {other_role}": "thing_open",
    "grant select on sequence {schema}.notes_id_seq to public": "thing_open",
    "grant execute on function {schema}.answer() to public": "thing_open",
    "alter function {schema}.answer() reset search_path": "definer_open",
    "alter function {schema}.answer() set search_path = {other}, pg_temp": "definer_open",
    "grant usage on schema tenantry to public": "control_open",
    "grant usage on schema tenantry to {role}": "control_open",
}


@pytest.mark.parametrize("damage", MENDED)
async def test_what_may_be_mended_is_found_and_mended(commands, dsns, root, parts, damage):
    if damage.startswith(("grant {other_role} to", "revoke {role} from")):
        admin = await asyncpg.connect(dsns.admin)  # since PostgreSQL 16 a membership is taken back by who gave it
        await admin.execute(damage.format(**parts))
        await admin.close()
    else:
        await root.execute(damage.format(**parts))
    said = await commands("tenants", "check", "--json")
    assert said.code == 1
    assert MENDED[damage] in {finding["problem"] for finding in said.json["findings"]}
    mended = (await commands.done("check", "--repair", "--json")).json["findings"]
    assert {finding["repaired"] for finding in mended} == {True}
    assert (await commands.done("check")).out == ""


LEFT = {
    "alter table {schema}.notes owner to postgres": "thing_owner",
    "alter schema {schema} owner to postgres": "schema_owner",
    "alter table {schema}.notes owner to {role}": "role_owns",
    "create view {other}.spy as select title from {schema}.notes": "dependent",
    "create table {other}.spy (id bigint references {schema}.notes)": "dependent",
    "create schema spy create view spy.notes as select title from {schema}.notes": "dependent",
    "drop schema {schema} cascade": "schema_missing",
    "comment on role {role} is 'mine'": "role_foreign",
    "grant connect on database postgres to tenantry_app; create table public.t (); grant select on public.t"
    " to tenantry_app": "login_rights",
    "alter role {owner} login": "owner_powerful",
    "alter default privileges for role {owner} grant select on tables to {other_role}": "owner_defaults",
    "create table public.t (); grant select on public.t to {rest}": "service_rights",
    "create schema lost authorization {owner}": "schema_unknown",
    "delete from tenantry.tenants where schema_name = '{schema}'": "role_unknown",
    "update tenantry.tenants set role_name = 'x' where schema_name = '{schema}'": "names",
    "update tenantry.tenants set dsn_id = 'gone' where schema_name = '{schema}'": "database_unknown",
    "update tenantry.tenants set state = 'moving' where schema_name = '{schema}'": "unfinished",
    "update tenantry.tenants set version = 9 where schema_name = '{schema}'": "version",
    "update tenantry.tenants set version = 1 where schema_name = '{schema}'": "behind",
    "update tenantry.migrations set checksum = 'x' where number = 1": "migrations",
}


@pytest.mark.parametrize("damage", LEFT)
async def test_what_may_not_be_mended_is_said_and_left(commands, root, parts, damage):
    await root.execute(damage.format(**parts))
    said = await commands("tenants", "check", "--repair", "--json")
    left = {finding["problem"]: finding for finding in said.json["findings"] if not finding["repaired"]}
    assert said.code == 1
    assert LEFT[damage] in left
    assert left[LEFT[damage]]["mend"]


async def test_a_membership_that_somebody_else_gave_is_found(commands, root, parts):
    await root.execute("create role intruder")
    try:
        await root.execute("grant {role} to intruder".format(**parts))
        said = await commands("tenants", "check")
        assert "intruder may become its role" in said.out
    finally:
        await root.execute("drop role intruder")


async def test_a_power_that_only_a_superuser_may_take_back_is_left_where_that_is_so(commands, root, parts):
    await root.execute("grant {owner} to tenantry_app".format(**parts))
    await root.execute("alter role {role} bypassrls".format(**parts))
    said = await commands("tenants", "check", "--repair", "--json")
    found = {finding["problem"]: finding["repaired"] for finding in said.json["findings"]}
    assert {"owner_open", "role_attributes"} <= found.keys()
    assert said.code == 1
    assert not found["role_attributes"]


async def test_a_login_that_inherits_its_tenants_rights_is_found_and_mended(commands, root, parts):
    if root.get_server_version() < (16, 0):
        pytest.skip("before PostgreSQL 16 the login decides, and one with INHERIT is refused at the start")
    await root.execute("grant {role} to tenantry_app with inherit true".format(**parts))
    assert "all the time" in (await commands("tenants", "check")).out


async def test_a_role_that_may_log_in_for_untrusted_sql_is_sound(commands, root, parts):
    group = parts["owner"].replace("__owner", "__untrusted")
    await root.execute(f"alter role {parts['role']} login inherit connection limit 1")
    await root.execute(f"grant {group} to {parts['role']}")
    assert (await commands.done("check")).out == ""


async def test_a_missing_role_is_made_again_and_serves(commands, open_database, root, parts, tenant):
    await root.execute("drop owned by {role}".format(**parts))
    await root.execute("drop role {role}".format(**parts))
    assert "is missing" in (await commands("tenants", "check", tenant)).out
    assert "repaired" in (await commands.done("check", tenant, "--repair")).out
    async with open_database(migrations=[], create_tenants=False) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []


async def test_a_repair_is_written_down(commands, root, parts, tenant):
    await root.execute("alter role {role} login".format(**parts))
    await commands.done("check", "--repair")
    row = json.loads(await root.fetchval("select line from tenantry.audit order by seq desc limit 1"))
    assert (row["subject"], json.loads(row["detail"])["problem"]) == (tenant, "role_attributes")


async def test_a_chosen_tenant_is_looked_at_alone(commands, root, parts, tenant):
    await root.execute("alter role {role} login".format(**parts))
    assert (await commands.done("check", f"{tenant}_org")).err.startswith("1 tenants checked")
    assert (await commands("tenants", "check", tenant)).code == 1
    assert "There is no tenant" in await commands.refused("check", "nobody_com")


async def test_one_line_a_finding_with_its_mend(commands, root, parts, tenant):
    await root.execute("alter role {role} login inherit".format(**parts))
    said = await commands("tenants", "check")
    (line,) = said.out.splitlines()
    assert line == (
        f'tenant {tenant}: its role "{parts["role"]}" must not be as it is: '
        f'ALTER ROLE "{parts["role"]}" NOLOGIN NOINHERIT'
    )


def test_every_problem_that_can_be_found_has_been_broken_here():
    elsewhere = {
        "role_missing",  # tests of their own above
        "role_open",
        "owner_open",
        "login_inherits",
        "version_differs",  # of a further database: test_transfer.py
        "not_here",
        "login_attributes",  # the next use refuses such a login before check can look
        "login_database",
        "login_member",
        "login_open",
        "database_open",  # closed again by whoever connects first
    }
    assert set(PROBLEMS) == set(MENDED.values()) | set(LEFT.values()) | elsewhere
