"""WorkOS: Connect's tokens by audience, session tokens by application, and who acts as somebody else."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import Door, World

from tenantry.core.tenancy import organization_tenant_id
from tenantry.devidp import OMIT
from tenantry.devidp.issuers.workos import WorkOS

pytestmark = pytest.mark.anyio
ACTOR = {"act": {"sub": "admin@workos.example"}}
CONNECT = {"name": "workos", "preset": "workos", "issuer": "https://x.authkit.app", "audience": "https://m.example/mcp"}


@pytest.fixture
def workos(world: World) -> WorkOS:
    return world.idp.issuers.workos


@pytest.fixture
def connect(world: World) -> Door:
    return a_door(world, "workos")


def a_session_door(world: World, **changes: Any) -> Door:
    return world.door(only=[], oidc_providers=[{**world.idp.issuers.workos.session_entry(), **changes}])


async def test_the_organisation_is_the_tenant_in_both_kinds(world: World, connect: Door, workos: WorkOS) -> None:
    org = workos.org_id("ann")
    assert (await connect.admit(workos.access_token("ann"))).tenant_id == organization_tenant_id("workos", org)
    user = await a_session_door(world).admit(workos.session_token("ann"))
    assert user.tenant_id == organization_tenant_id("authkit", org)
    assert (user.permissions, user.roles) == ({"notes:read"}, {"member"})


async def test_a_machine_is_its_client(connect: Door, workos: WorkOS) -> None:
    assert (await connect.admit(workos.machine_token("client_01M"))).user_id == "workos:client_01M"


async def test_somebody_who_acts_as_the_user_is_refused(world: World, connect: Door, workos: WorkOS) -> None:
    for door, mint in ((connect, workos.access_token), (a_session_door(world), workos.session_token)):
        refusal = await door.refuse(mint("ann", **ACTOR))
        assert (refusal.reason, "impersonation" in (refusal.detail or "")) == ("token_kind_refused", True)
        assert await door.verdict(mint("ann", act=None)) == (401, "token_kind_refused")


async def test_where_impersonation_is_allowed_tools_see_who_acts(world: World, workos: WorkOS) -> None:
    door = a_session_door(world, impersonation=True)
    user = await door.admit(workos.session_token("ann", **ACTOR))
    assert user.claims["act"] == {"sub": "admin@workos.example"}


async def test_a_session_token_is_no_connect_token_and_the_other_way_round(
    world: World, connect: Door, workos: WorkOS
) -> None:
    assert await connect.verdict(workos.session_token("ann", iss=workos.issuer)) == (401, "audience_mismatch")
    token = workos.access_token("ann", iss=workos.session_issuer)
    assert await a_session_door(world).verdict(token) == (401, "token_kind_refused")


async def test_a_session_of_another_application_is_refused(world: World, workos: WorkOS) -> None:
    door = a_session_door(world)
    other = f"{workos.issuer}/user_management/client_02OTHER"
    assert await door.verdict(workos.session_token("ann", iss=other)) == (401, "issuer_unknown")
    assert await door.verdict(workos.session_token("ann", client_id="client_02OTHER")) == (401, "client_mismatch")
    assert await door.admit(workos.session_token("ann", client_id=workos.client_id))


async def test_without_an_organisation_one_has_a_tenant_of_one_s_own(connect: Door, workos: WorkOS) -> None:
    assert (await connect.admit(workos.access_token("ann", org_id=OMIT))).tenant_id.startswith("u___")
    assert await connect.verdict(workos.access_token("ann", org_id=["x"])) == (401, "claims_malformed")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"audience": None}, "needs issuer"),
        ({"issuer": None}, "needs issuer"),
        ({"client_id": "client_1"}, "and no client_id"),
        ({"tokens": "session"}, "needs client_id"),
        ({"tokens": "both"}, "member 'tokens'"),
        ({"impersonation": "yes please"}, "member 'impersonation'"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in refused({**CONNECT, **changes})


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    connect, session = settings_of_page("workos", monkeypatch).oidc_providers or ()
    assert connect.issuer_settings(30).keys_url == "https://acme.authkit.app/oauth2/jwks"
    made = session.issuer_settings(30)
    assert made.issuers == ("https://api.workos.com/user_management/client_01ABCDEF",)
    assert made.keys_url == "https://api.workos.com/sso/jwks/client_01ABCDEF"
