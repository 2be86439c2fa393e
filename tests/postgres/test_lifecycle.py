"""The life of a tenant, from the command line to what its people get."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.postgres.commands import Commands
from tests.postgres.conftest import NOTES

from tenantry.adapters.postgres.directory import RegistryDirectory
from tenantry.core.tenancy import organization_tenant_id, tenant_rules
from tenantry.errors import Forbidden
from tenantry.model import Identity, Tenant

pytestmark = pytest.mark.anyio


@pytest.fixture
def tenant(tenant_ids):
    return next(tenant_ids)


@pytest.fixture
def commands(dsns, tmp_path, monkeypatch, capsys):
    made = Commands(dsns, tmp_path, monkeypatch, capsys)
    made.migrations(NOTES)
    return made


@pytest.fixture
def directory_of():
    """What decides over requests, as a server with provisioning "mapped" has it."""

    def make(database, mapping=None):
        return RegistryDirectory(database, tenant_rules(mapping or {}, "isolate", ()), "mapped")

    return make


def domain_of(tenant_id: str) -> str:
    return tenant_id.replace("_", ".")


def employee_of(domain: str) -> Identity:
    return Identity(user_id="google:1", provider="google", subject="1", domain=domain)


async def told(database) -> asyncio.Event:
    """Set as soon as this replica has heard of a change; it knows all that was before."""
    await database.confirm()
    heard = asyncio.Event()
    database.on_change.append(heard.set)
    return heard


# --- create and list --------------------------------------------------------------------------------------------------


async def test_create_makes_a_tenant_that_is_served(commands, open_database, tenant):
    said = await commands.done("create", tenant, "--json")
    assert said.json["made"] is True
    async with open_database(create_tenants=False) as database:
        assert await database.tenant(tenant).fetch("select title from notes") == []


async def test_a_domain_alone_names_its_tenant(commands, root, tenant):
    await commands.done("create", "--domain", domain_of(tenant).upper())
    row = await root.fetchrow("select tenant_id, source, state from tenantry.tenants")
    assert tuple(row) == (tenant, domain_of(tenant), "active")


async def test_an_organization_alone_names_its_tenant(commands, root):
    await commands.done("create", "--organization", "auth0:org_1")
    row = await root.fetchrow("select tenant_id, source from tenantry.tenants")
    assert tuple(row) == (organization_tenant_id("auth0", "org_1"), "auth0:org_1")


async def test_a_tenant_that_is_there_is_said_and_left_as_it_is(commands, root, tenant):
    await commands.done("create", tenant)
    before = await root.fetchval("select epoch from tenantry.deployment")
    said = await commands.done("create", tenant)
    assert "is there already (active)" in said.err
    assert await root.fetchval("select epoch from tenantry.deployment") == before


async def test_a_replica_that_refused_an_unknown_tenant_serves_it_once_it_is_made(
    commands, database, directory_of, tenant
):
    directory = directory_of(database)
    wanted = Tenant(tenant, "domain", named=False, evidence=domain_of(tenant))
    heard = await told(database)
    with pytest.raises(Forbidden, match="tenant_unknown"):
        await directory.admit(wanted)
    await commands.done("create", tenant)
    await heard.wait()
    await directory.admit(wanted)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("create",), "give its id, or --domain"),
        (("create", "No_Such"), "is not a tenant id"),
        (("create", "--domain", "exämple.com"), "is not a domain"),
        (("create", "--domain", "auth0:org_1"), "use --organization"),
        (("create", "--organization", "example.com"), "is not an organisation"),
        (("create", "acme_com", "--database", "elsewhere"), "There is no database 'elsewhere'"),
        (("suspend", "acme_com"), "There is no tenant 'acme_com'"),
        (("resume", "acme_com"), "There is no tenant 'acme_com'"),
        (("map", "acme.com", "No_Such"), "is not a tenant id"),
        (("map", "acme..com", "acme"), "is not a domain"),
        (("map", "Auth0:org 1", "acme"), "is not an organisation"),
        (("map", "acme.com", "u___" + "a" * 26), "one person's own"),
        (("map", "acme.com", "org___" + "a" * 26), "none can be given that name"),
    ],
)
async def test_what_cannot_be_is_refused_in_a_sentence(commands, words, sentence):
    assert sentence in await commands.refused(*words)


async def test_list_shows_what_the_registry_knows(commands, tenant_ids):
    one, other = sorted(next(tenant_ids) for _ in range(2))
    await commands.done("create", "--domain", domain_of(one))
    await commands.done("create", other)
    await commands.done("suspend", other)
    header, first, second = (line.split() for line in (await commands.done("list")).out.splitlines())
    assert header[:4] == ["TENANT", "SOURCE", "DATABASE", "LOGIN"]
    assert first[:6] == [one, domain_of(one), "main", "0", "1/1", "active"]
    assert (second[0], second[5]) == (other, "suspended")
    listed = (await commands.done("list", "--state", "suspended", "--json")).json["tenants"]
    assert [(entry["tenant_id"], entry["last_seen_at"]) for entry in listed] == [(other, None)]


async def test_no_tenants_is_no_error(commands):
    said = await commands.done("list")
    assert (said.out, said.err) == ("", "No tenants.\n")


# --- suspend and resume -----------------------------------------------------------------------------------------------


async def test_a_suspended_tenant_is_refused_on_every_replica_and_served_again_when_resumed(
    commands, open_database, directory_of, tenant
):
    await commands.done("create", tenant)
    async with open_database() as one, open_database() as other:
        doors = [directory_of(one), directory_of(other)]
        holder = Tenant(tenant, "key", named=True)
        for database, door in zip((one, other), doors, strict=True):
            await database.ensure_tenant(tenant)
            await door.admit(holder)
        heard = [await told(database) for database in (one, other)]
        await commands.done("suspend", tenant)
        for event, database, door in zip(heard, (one, other), doors, strict=True):
            await event.wait()
            event.clear()
            with pytest.raises(Forbidden, match="tenant_suspended"):
                await door.admit(holder)
            with pytest.raises(Forbidden, match="tenant_suspended"):
                await database.tenant(tenant).fetch("select title from notes")
        await commands.done("resume", tenant)
        for event, database, door in zip(heard, (one, other), doors, strict=True):
            await event.wait()
            await door.admit(holder)
            assert await database.tenant(tenant).fetch("select title from notes") == []


async def test_an_open_scope_of_a_suspended_tenant_finishes(commands, database, root, tenant):
    await database.ensure_tenant(tenant)
    heard = await told(database)
    async with database.tenant_connection(tenant) as connection:
        await commands.done("suspend", tenant)
        await heard.wait()
        await connection.execute("insert into notes (title) values ('in time')")
    assert await root.fetchval(f"select title from tenant_{tenant}.notes") == "in time"


async def test_suspending_twice_says_so_and_tells_nobody(commands, root, tenant):
    await commands.done("create", tenant)
    await commands.done("suspend", tenant)
    before = await root.fetchval("select epoch from tenantry.deployment")
    assert "was suspended already" in (await commands.done("suspend", tenant)).err
    assert await root.fetchval("select epoch from tenantry.deployment") == before


async def test_a_tenant_in_the_middle_of_something_is_not_suspended(commands, root, tenant):
    await commands.done("create", tenant)
    for state, sentence in (("moving", "is being moved"), ("dropping", "is being dropped")):
        await root.execute("update tenantry.tenants set state = $1", state)
        assert sentence in await commands.refused("suspend", tenant)


# --- map and unmap ----------------------------------------------------------------------------------------------------


async def test_a_mapping_reaches_running_replicas_and_goes_again(commands, database, directory_of, tenant):
    directory = directory_of(database)
    heard = await told(database)
    await commands.done("map", "acme.example", tenant)
    await heard.wait()
    assert (await directory.assign(employee_of("acme.example"))).tenant_id == tenant
    heard.clear()
    await commands.done("unmap", "acme.example")
    await heard.wait()
    assert (await directory.assign(employee_of("acme.example"))).tenant_id == "acme_example"


async def test_mapping_onto_a_domains_own_tenant_keeps_its_own_people(commands, database, directory_of, tenant):
    await commands.done("create", "--domain", domain_of(tenant))
    directory = directory_of(database)
    heard = await told(database)
    said = await commands.done("map", "acme.example", tenant, "--json")
    assert said.json["added"] == ["acme.example", domain_of(tenant)]
    await heard.wait()
    for domain in ("acme.example", domain_of(tenant)):
        assert (await directory.assign(employee_of(domain))).tenant_id == tenant


async def test_a_mapped_name_does_not_let_in_the_domain_that_it_looks_like(commands, database, directory_of, tenant):
    """Nobody has been of that domain, so its spelling gives no right to what an operator names now."""
    directory = directory_of(database)
    heard = await told(database)
    assert (await commands.done("map", "acme.example", tenant, "--json")).json["added"] == ["acme.example"]
    await heard.wait()
    with pytest.raises(Forbidden, match="tenant_conflict"):
        await directory.assign(employee_of(domain_of(tenant)))


async def test_two_masters_are_refused(commands, tenant_ids):
    one, other = next(tenant_ids), next(tenant_ids)
    await commands.done("map", "acme.example", one)
    assert f"is mapped to tenant '{one}'" in await commands.refused("map", "acme.example", other)
    assert "already" in (await commands.done("map", "acme.example", one)).err
    commands.set("TENANT_MAPPING", json.dumps({"beta.example": one}))
    assert "MCP_HTTP_TENANT_MAPPING gives" in await commands.refused("map", "beta.example", other)


async def test_what_was_done_and_by_whom_is_written_down(commands, root, tenant):
    await commands.done("create", tenant)
    await commands.done("suspend", tenant)
    await commands.done("resume", tenant)
    await commands.done("map", "acme.example", tenant)
    await commands.done("unmap", "acme.example")
    rows = [json.loads(row["line"]) for row in await root.fetch("select line from tenantry.audit order by seq")]
    assert [row["event"] for row in rows] == [
        "tenant.created",
        "tenant.suspended",
        "tenant.active",
        "source.mapped",  # of the domain by whose spelling its own people come
        "source.mapped",
        "source.unmapped",
    ]
    assert {row["actor"].partition(":")[0] for row in rows} == {"cli"}
