"""ports.TenantDirectory: one tenant for each identity, by its evidence alone; served, or told nothing but no."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Literal

import pytest

from tenantry.adapters.postgres.directory import RegistryDirectory
from tenantry.core.tenancy import TenantRules
from tenantry.errors import Forbidden
from tenantry.model import Identity
from tenantry.ports import TenantDirectory
from tenantry.postgres import Database, EmbeddedPostgres
from tenantry.testing import OpenDirectory

pytestmark = pytest.mark.anyio

RULES = TenantRules({"mapped.example": "acme", "auth0:org_1": "org_one"})

# Who serves a tenant that nobody has made: one that the operator named, and a stranger's.
SERVES = {"open": (True, True), "auto": (True, True), "mapped": (True, False), "manual": (False, False)}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def server(anyio_backend: str) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres() as running:
        yield running


class Directories:
    """Makes a directory of a kind: the one in memory, or the registry's under a provisioning."""

    def __init__(self, server: EmbeddedPostgres, closing: AsyncExitStack) -> None:
        self._server, self._closing = server, closing

    async def make(self, kind: str, rules: TenantRules = RULES) -> TenantDirectory:
        if kind == "open":
            return OpenDirectory(rules)
        provisioning: Literal["auto", "mapped", "manual"] = kind  # type: ignore[assignment]
        return RegistryDirectory(await self.database(), rules, provisioning)

    async def database(self) -> Database:
        opened = Database.open(self._server.app_dsn, admin_dsn=self._server.admin_dsn, create_tenants=True)
        return await self._closing.enter_async_context(opened)


@pytest.fixture
async def directories(server: EmbeddedPostgres) -> AsyncIterator[Directories]:
    async with AsyncExitStack() as closing:
        yield Directories(server, closing)


@pytest.fixture(params=SERVES)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def directory(directories: Directories, kind: str) -> TenantDirectory:
    return await directories.make(kind)


def somebody(number: int = 1, **evidence: str) -> Identity:
    return Identity(f"google:{number}", "google", str(number), **evidence)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "identity",
    [
        somebody(),
        somebody(domain="plain.example"),
        somebody(domain="mapped.example"),
        somebody(domain="gmail.com"),
        somebody(organization="somebody"),
        somebody(tenant_id="of_a_key"),
        Identity("auth0:a", "auth0", "a", organization="org_1"),
    ],
)
async def test_the_evidence_alone_decides_the_tenant(directory: TenantDirectory, identity: Identity) -> None:
    tenant = await directory.assign(identity)
    assert tenant == RULES.assign(identity)
    assert await directory.assign(identity) == tenant


async def test_two_of_one_domain_share_a_tenant_and_two_of_two_never_do(directory: TenantDirectory) -> None:
    ann, bob = somebody(1, domain="a.example"), somebody(2, domain="a.example")
    assert await directory.assign(ann) == await directory.assign(bob)
    assert await directory.assign(ann) != await directory.assign(somebody(1, domain="b.example"))


async def test_evidence_that_the_rules_refuse_gives_no_tenant(directories: Directories, kind: str) -> None:
    strict = await directories.make(kind, TenantRules({}, personal="deny"))
    with pytest.raises(Forbidden) as caught:
        await strict.assign(somebody())
    assert caught.value.reason == "personal_account_denied"


async def answer(directory: TenantDirectory, identity: Identity) -> str:
    """How it is refused, or that it is not."""
    tenant = await directory.assign(identity)
    try:
        await directory.admit(tenant)
    except Forbidden as refusal:
        return f"{refusal.status} {refusal.reason} {refusal.challenge}"
    return "served"


NAMED = [somebody(domain="mapped.example"), Identity("auth0:a", "auth0", "a", organization="org_1")]
STRANGERS = [somebody(domain="plain.example"), somebody(organization="somebody"), somebody()]


@pytest.mark.parametrize("identity", [*NAMED, *STRANGERS])
async def test_a_tenant_that_nobody_has_made_is_served_as_the_operator_decided_and_each_time_alike(
    directory: TenantDirectory, kind: str, identity: Identity
) -> None:
    expected = "served" if SERVES[kind][identity in STRANGERS] else "403 tenant_unknown none"
    assert [await answer(directory, identity) for _ in range(3)] == [expected] * 3


async def test_what_the_holder_of_a_key_may_is_not_remembered_for_a_stranger_of_the_same_tenant(
    directory: TenantDirectory, kind: str
) -> None:
    named, derived = somebody(1, tenant_id="twice_example"), somebody(2, domain="twice.example")
    assert (await directory.assign(named)).tenant_id == (await directory.assign(derived)).tenant_id
    for identity in (named, derived, named, derived):
        assert (await answer(directory, identity) == "served") is SERVES[kind][identity is derived]


@pytest.mark.parametrize("evidence", [{"tenant_id": "made_example"}, {"domain": "made.example"}])
async def test_a_tenant_that_was_made_is_served_whoever_named_it(
    directories: Directories, directory: TenantDirectory, evidence: dict[str, str]
) -> None:
    await (await directories.database()).ensure_tenant("made_example")
    assert await answer(directory, somebody(**evidence)) == "served"
