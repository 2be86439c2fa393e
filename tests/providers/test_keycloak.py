"""Keycloak: the audience that nobody set up, four kinds of tokens under one key, two lists of roles."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import Door, World

from tenantry.devidp import OMIT
from tenantry.devidp.issuers.keycloak import Keycloak

pytestmark = pytest.mark.anyio
ENTRY = {
    "name": "kc",
    "preset": "keycloak",
    "issuer": "https://sso.example.com/realms/acme",
    "audience": "https://mcp.example.com/mcp",
}


@pytest.fixture
def keycloak(world: World) -> Keycloak:
    return world.idp.issuers.keycloak


@pytest.fixture
def door(world: World) -> Door:
    return a_door(world, "keycloak")


@pytest.mark.parametrize("claims", [{"mapper": False}, {"aud": OMIT}, {"aud": ["account"]}])
async def test_without_a_mapper_the_audience_is_not_ours_and_the_operator_is_told_the_mend(
    door: Door, keycloak: Keycloak, claims: Any
) -> None:
    refusal = await door.refuse(keycloak.access_token("ann", **claims))
    assert (refusal.reason, "Audience mapper" in (refusal.detail or "")) == ("audience_mismatch", True)


async def test_a_token_of_any_client_of_the_realm_is_not_ours(door: Door, keycloak: Keycloak) -> None:
    assert await door.verdict(keycloak.access_token("ann", aud="another-api")) == (401, "audience_mismatch")


async def test_where_the_operator_binds_by_client_only_listed_ones_are_let_in(world: World, keycloak: Keycloak) -> None:
    door = a_door(world, "keycloak", without=("audience",), binding="client", clients=["ours"])
    assert await door.admit(keycloak.access_token("ann", mapper=False, azp="ours"))
    for azp in ("theirs", OMIT, 7):
        assert await door.verdict(keycloak.access_token("ann", mapper=False, azp=azp)) == (401, "client_mismatch")


@pytest.mark.parametrize("kind", ["ID", "Refresh", "Offline", "Logout", "Serialized-ID", "bearer", "", 7, None, OMIT])
async def test_only_bearer_is_an_access_token(door: Door, keycloak: Keycloak, kind: Any) -> None:
    assert await door.verdict(keycloak.access_token("ann", typ=kind)) == (401, "token_kind_refused")


async def test_id_and_refresh_tokens_with_our_audience_are_refused(door: Door, keycloak: Keycloak) -> None:
    for mint in (keycloak.id_token, keycloak.refresh_token):
        assert await door.verdict(mint("ann", aud=keycloak.audience)) == (401, "token_kind_refused")


async def test_realm_roles_and_those_of_a_listed_client_are_told_apart(door: Door, keycloak: Keycloak) -> None:
    user = await door.admit(keycloak.access_token("ann"))
    assert user.roles == {"offline_access", "editor", "notes.api:admin"}


async def test_roles_of_other_clients_do_not_count(world: World, keycloak: Keycloak) -> None:
    door = a_door(world, "keycloak", without=("role_clients",))
    assert (await door.admit(keycloak.access_token("ann"))).roles == {"offline_access", "editor"}


@pytest.mark.parametrize(
    "claims", [{"realm_access": {"roles": "admin"}}, {"resource_access": {"notes.api": {"roles": 1}}}]
)
async def test_roles_of_another_type_are_refused(door: Door, keycloak: Keycloak, claims: Any) -> None:
    assert await door.verdict(keycloak.access_token("ann", **claims)) == (401, "claims_malformed")


async def test_a_lightweight_token_without_a_subject_is_refused_with_the_mend(door: Door, keycloak: Keycloak) -> None:
    refusal = await door.refuse(keycloak.lightweight_token("ann"))
    assert (refusal.reason, "basic" in (refusal.detail or "")) == ("subject_invalid", True)


async def test_a_lightweight_token_with_a_subject_grants_its_scope_and_no_roles(door: Door, keycloak: Keycloak) -> None:
    user = await door.admit(keycloak.lightweight_token("ann", sub="1"))
    assert (user.permissions, user.roles) == ({"notes:read"}, frozenset())


async def test_the_key_for_encryption_signs_nothing(door: Door, keycloak: Keycloak) -> None:
    token = keycloak.keys.sign(
        {"iss": keycloak.issuer, "typ": "Bearer", "aud": keycloak.audience, "sub": "1", "exp": 1_795_000_300}
        | {"iat": 1_795_000_000},
        key=keycloak.encryption_key,
    )
    assert await door.verdict(token) == (401, "key_unknown")


async def test_the_name_that_a_user_chose_is_not_his_id(door: Door, keycloak: Keycloak) -> None:
    ann = await door.admit(keycloak.access_token("ann"))
    bob = await door.admit(keycloak.access_token("bob", preferred_username="ann", email="ann@acme.example"))
    assert ann.user_id != bob.user_id


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"issuer": "https://sso.example.com/realms/acme/"}, "issuer is not a realm"),
        ({"issuer": "https://sso.example.com"}, "issuer is not a realm"),
        ({"audience": None}, "audience is missing"),
        ({"binding": "client"}, "needs clients and no audience"),
        ({"binding": "none"}, "member 'binding'"),
        ({"role_clients": []}, "member 'role_clients': is empty"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in refused({**ENTRY, **changes})


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = settings_of_page("keycloak", monkeypatch).oidc_providers or ()
    keys = "https://sso.example.com/realms/acme/protocol/openid-connect/certs"
    assert entry.issuer_settings(30).keys_url == keys
