"""Okta: custom authorization servers, people by uid, scopes in an array."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import Door, World

from tenantry.devidp import OMIT
from tenantry.devidp.issuers.okta import Okta

pytestmark = pytest.mark.anyio
ENTRY = {
    "name": "okta",
    "preset": "okta",
    "issuer": "https://acme.okta.com/oauth2/default",
    "audience": "https://mcp.example.com/mcp",
}


@pytest.fixture
def okta(world: World) -> Okta:
    return world.idp.issuers.okta


@pytest.fixture
def door(world: World) -> Door:
    return a_door(world, "okta")


async def test_the_user_is_the_uid_also_after_the_login_has_changed(door: Door, okta: Okta) -> None:
    before = await door.admit(okta.access_token("ann"))
    after = await door.admit(okta.access_token("ann", sub="ann.married@acme.example"))
    assert before.user_id == after.user_id == f"okta:{okta.uid('ann')}"


async def test_a_recycled_login_is_another_user(door: Door, okta: Okta) -> None:
    ann = await door.admit(okta.access_token("ann"))
    bob = await door.admit(okta.access_token("bob", sub="ann@acme.example"))
    assert ann.user_id != bob.user_id


async def test_a_service_is_called_after_its_client(door: Door, okta: Okta) -> None:
    assert (await door.admit(okta.service_token("0oaS1"))).user_id == "okta:client:0oaS1"


@pytest.mark.parametrize("claims", [{"uid": OMIT}, {"uid": ""}, {"uid": 7}, {"uid": None}, {"uid": "client:0oaS1"}])
async def test_a_person_without_a_uid_is_not_taken_for_a_service(door: Door, okta: Okta, claims: Any) -> None:
    assert await door.verdict(okta.access_token("ann", **claims)) == (401, "subject_invalid")


async def test_scp_is_an_array_and_asking_for_a_profile_is_no_permission(door: Door, okta: Okta) -> None:
    user = await door.admit(okta.access_token("ann", scp=("openid", "profile", "notes:read")))
    assert user.permissions == {"notes:read"}


@pytest.mark.parametrize("scp", ["notes:read", {"notes:read": True}, 7])
async def test_a_scp_of_another_type_is_refused(door: Door, okta: Okta, scp: Any) -> None:
    assert await door.verdict(okta.access_token("ann", scp=scp)) == (401, "claims_malformed")


async def test_an_id_token_is_no_access_token(world: World, okta: Okta) -> None:
    door = a_door(world, "okta", audience=[okta.audience, okta.client_id])
    for claims in ({}, {"cid": okta.client_id}):
        assert await door.verdict(okta.id_token("ann", **claims)) == (401, "token_kind_refused")


async def test_a_token_of_the_organisation_s_own_server_is_refused_without_a_call(world: World, door: Door) -> None:
    token = world.idp.issuers.okta.organization_token("ann")
    assert await door.verdict(token) == (401, "issuer_unknown")
    assert len(world.idp.calls) == 0


async def test_listed_clients_are_looked_for_in_cid(world: World, okta: Okta) -> None:
    door = a_door(world, "okta", clients=["ours"])
    assert await door.admit(okta.access_token("ann", cid="ours"))
    assert await door.verdict(okta.access_token("ann", cid="theirs")) == (401, "client_mismatch")


@pytest.mark.parametrize(
    "issuer", ["https://acme.okta.com", "https://acme.okta.com/", "https://acme.okta.com/oauth2", "https://x/oauth2/a/"]
)
def test_the_organisation_s_own_server_cannot_be_configured(issuer: str) -> None:
    assert "not a custom authorization server" in refused({**ENTRY, "issuer": issuer})


def test_the_subject_cannot_be_another_claim() -> None:
    assert "no such member" in refused({**ENTRY, "claims": {"subject": "sub"}})


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = settings_of_page("okta", monkeypatch).oidc_providers or ()
    assert entry.issuer_settings(30).keys_url == "https://acme.okta.com/oauth2/default/v1/keys"
