"""Amazon Cognito: tokens that name their client in different claims, of a pool that anybody's app may be in."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import Door, World

from tenantry.devidp import OMIT
from tenantry.devidp.issuers.cognito import Cognito

pytestmark = pytest.mark.anyio
ENTRY = {
    "name": "cognito",
    "preset": "cognito",
    "issuer": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEf123",
    "clients": ["1h57kf5cpq17m0eml12EXAMPLE"],
}


@pytest.fixture
def cognito(world: World) -> Cognito:
    return world.idp.issuers.cognito


@pytest.fixture
def door(world: World) -> Door:
    return a_door(world, "cognito")


async def test_an_access_token_without_an_audience_is_ours_by_its_client(door: Door, cognito: Cognito) -> None:
    user = await door.admit(cognito.access_token("ann"))
    assert (user.client_id, user.permissions, user.roles) == (cognito.client_id, {"notes/read"}, {"editor"})


@pytest.mark.parametrize("client", ["another-app-of-the-pool", "", 7, ["devidp-client"], OMIT])
async def test_a_token_of_another_app_of_the_pool_is_refused(door: Door, cognito: Cognito, client: Any) -> None:
    assert await door.verdict(cognito.access_token("ann", client_id=client)) == (401, "client_mismatch")


async def test_our_client_in_the_wrong_claim_proves_nothing(world: World, cognito: Cognito) -> None:
    door = a_door(world, "cognito", accept=["access_token", "id_token"])
    access = cognito.access_token("ann", client_id="theirs", aud=cognito.client_id)
    id_token = cognito.id_token("ann", aud="theirs", client_id=cognito.client_id)
    for token in (access, id_token):
        assert await door.verdict(token) == (401, "client_mismatch")


@pytest.mark.parametrize("use", ["id", "refresh", "Access", "", 7, OMIT])
async def test_token_use_must_say_access(door: Door, cognito: Cognito, use: Any) -> None:
    assert await door.verdict(cognito.access_token("ann", token_use=use)) == (401, "token_kind_refused")


async def test_an_id_token_is_accepted_only_where_the_operator_says_so(
    world: World, door: Door, cognito: Cognito
) -> None:
    assert await door.verdict(cognito.id_token("ann")) == (401, "token_kind_refused")
    opted = a_door(world, "cognito", accept=["id_token"])
    user = await opted.admit(cognito.id_token("ann"))
    assert (user.email, user.email_verified, user.client_id) == ("ann@acme.example", True, cognito.client_id)
    assert await opted.verdict(cognito.access_token("ann")) == (401, "token_kind_refused")


async def test_an_address_is_verified_by_a_real_true_alone(world: World, cognito: Cognito) -> None:
    door = a_door(world, "cognito", accept=["id_token"])
    assert (await door.admit(cognito.id_token("ann", email_verified="true"))).email_verified is False


async def test_a_pool_that_binds_to_a_resource_must_name_ours(world: World, cognito: Cognito) -> None:
    door = a_door(world, "cognito", audience=cognito.audience)
    assert await door.admit(cognito.access_token("ann", aud=cognito.audience))
    for audience in (OMIT, "https://other.example", [], [cognito.audience, 7], 7):
        assert await door.verdict(cognito.access_token("ann", aud=audience)) == (401, "audience_mismatch")


async def test_the_name_that_a_user_chose_is_not_his_id(door: Door, cognito: Cognito) -> None:
    ann = await door.admit(cognito.access_token("ann"))
    bob = await door.admit(cognito.access_token("bob", username="ann"))
    assert ann.user_id != bob.user_id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"clients": None}, "member 'clients'"),
        ({"clients": []}, "member 'clients': is empty"),
        ({"issuer": "https://cognito-idp.eu-west-1.amazonaws.com/us-east-1_AbCdEf123"}, "issuer is not a user pool"),
        ({"issuer": "https://cognito-idp.eu-west-1.amazonaws.com"}, "issuer is not a user pool"),
        ({"issuer": "https://evil.example/eu-west-1_AbCdEf123"}, "issuer is not a user pool"),
        ({"issuer": "http://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_A"}, "member 'issuer': it must be https"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in refused({**ENTRY, **changes})


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = settings_of_page("cognito", monkeypatch).oidc_providers or ()
    assert (entry.issuer_settings(30).keys_url or "").endswith("_AbCdEf123/.well-known/jwks.json")
