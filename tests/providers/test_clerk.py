"""Clerk: session tokens without an audience, bound by the origin that asked for them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import Door, World

from tenantry.core.tenancy import organization_tenant_id
from tenantry.devidp import OMIT
from tenantry.devidp.issuers.clerk import SITE, Clerk

pytestmark = pytest.mark.anyio
ENTRY = {"name": "clerk", "preset": "clerk", "issuer": "https://clerk.example.com", "authorized_parties": [SITE]}


@pytest.fixture
def clerk(world: World) -> Clerk:
    return world.idp.issuers.clerk


@pytest.fixture
def door(world: World) -> Door:
    return a_door(world, "clerk")


async def test_both_versions_of_a_session_token_name_the_same_user_and_organisation(door: Door, clerk: Clerk) -> None:
    new, old = await door.admit(clerk.access_token("ann")), await door.admit(clerk.old_token("ann"))
    assert new.user_id == old.user_id
    assert new.tenant_id == old.tenant_id == organization_tenant_id("clerk", clerk.org_id("ann"))
    assert (new.roles, old.roles, old.permissions) == ({"admin"}, {"org:admin"}, {"org:notes:read"})


@pytest.mark.parametrize("azp", ["https://evil.example", f"{SITE}/", f"{SITE}.evil.example", "", 7, [SITE], OMIT])
async def test_a_token_that_another_site_asked_for_is_refused(door: Door, clerk: Clerk, azp: Any) -> None:
    assert await door.verdict(clerk.access_token("ann", azp=azp)) == (401, "client_mismatch")


async def test_a_session_that_has_not_finished_signing_in_is_refused(door: Door, clerk: Clerk) -> None:
    assert await door.verdict(clerk.access_token("ann", sts="pending")) == (401, "token_kind_refused")


async def test_a_token_of_no_session_is_refused(door: Door, clerk: Clerk) -> None:
    assert await door.verdict(clerk.access_token("ann", sid=OMIT)) == (401, "token_kind_refused")


async def test_somebody_who_acts_as_the_user_is_refused_unless_the_operator_allows_it(
    world: World, door: Door, clerk: Clerk
) -> None:
    token = clerk.access_token("ann", act={"iss": "https://dashboard.clerk.com", "sub": "staff"})
    assert await door.verdict(token) == (401, "token_kind_refused")
    assert (await a_door(world, "clerk", impersonation=True).admit(token)).claims["act"]["sub"] == "staff"


@pytest.mark.parametrize("claims", [{"o": {"id": 7}}, {"o": []}, {"o": {}}, {"o": OMIT, "org_id": ["x"]}])
async def test_an_organisation_that_cannot_be_read_is_refused(door: Door, clerk: Clerk, claims: Any) -> None:
    assert await door.verdict(clerk.access_token("ann", **claims)) == (401, "claims_malformed")


async def test_listed_organisations_are_obligatory(world: World, clerk: Clerk) -> None:
    door = a_door(world, "clerk", tenants=[clerk.org_id("ann")])
    assert await door.admit(clerk.access_token("ann"))
    for token in (clerk.access_token("erin"), clerk.access_token("ann", o=OMIT)):
        assert await door.verdict(token) == (401, "organization_missing")


async def test_the_organisation_is_the_active_one_and_not_the_one_of_a_person_without(door: Door, clerk: Clerk) -> None:
    assert (await door.admit(clerk.access_token("ann", o=OMIT))).tenant_id.startswith("u___")


@pytest.mark.parametrize("changes", [{"authorized_parties": []}, {"authorized_parties": None}, {"audience": "x"}])
def test_an_entry_that_is_wrong_is_refused(changes: dict[str, Any]) -> None:
    assert f"member {next(iter(changes))!r}" in refused({**ENTRY, **changes})


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = settings_of_page("clerk", monkeypatch).oidc_providers or ()
    assert entry.issuer_settings(30).keys_url == "https://clerk.example.com/.well-known/jwks.json"
