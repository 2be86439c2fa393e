"""Firebase: one set of keys for every project of the world."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import Door, World

from tenantry.core.tenancy import organization_tenant_id
from tenantry.devidp import OMIT
from tenantry.devidp.issuers.firebase import PROJECT, Firebase

pytestmark = pytest.mark.anyio
ENTRY = {"name": "firebase", "preset": "firebase", "project": "acme-notes"}


@pytest.fixture
def firebase(world: World) -> Firebase:
    return world.idp.issuers.firebase


@pytest.fixture
def door(world: World) -> Door:
    return a_door(world, "firebase")


async def test_an_id_token_of_our_project_names_the_user(door: Door, firebase: Firebase) -> None:
    user = await door.admit(firebase.id_token("ann"))
    assert (user.user_id, user.client_id) == (f"firebase:{user.claims['user_id']}", PROJECT)
    assert (user.email, user.email_verified) == ("ann@acme.example", True)


async def test_a_token_of_another_project_under_the_same_keys_is_refused(door: Door, firebase: Firebase) -> None:
    assert await door.verdict(firebase.id_token("ann", project="other-project")) == (401, "issuer_unknown")
    assert await door.verdict(firebase.id_token("ann", aud="other-project")) == (401, "audience_mismatch")


@pytest.mark.parametrize("at", [60, 3600, OMIT, "now"])
async def test_a_sign_in_that_has_not_happened_is_refused(
    world: World, door: Door, firebase: Firebase, at: Any
) -> None:
    when = int(world.clock.now()) + at if isinstance(at, int) else at
    assert await door.verdict(firebase.id_token("ann", auth_time=when)) == (401, "claims_malformed")


@pytest.mark.parametrize("said", [{"sign_in_provider": "anonymous"}, {}, OMIT, "anonymous"])
async def test_an_anonymous_sign_in_names_nobody(door: Door, firebase: Firebase, said: Any) -> None:
    assert await door.verdict(firebase.id_token("ann", firebase=said)) == (401, "token_kind_refused")


async def test_the_tenant_of_identity_platform_is_the_organisation(world: World, firebase: Firebase) -> None:
    said = {"sign_in_provider": "password", "tenant": "acme-x7k2p"}
    user = await a_door(world, "firebase", tenants=["acme-x7k2p"]).admit(firebase.id_token("ann", firebase=said))
    assert user.tenant_id == organization_tenant_id("firebase", "acme-x7k2p")
    other = a_door(world, "firebase", tenants=["globex-1"])
    assert await other.verdict(firebase.id_token("ann", firebase=said)) == (401, "organization_missing")


async def test_a_subject_is_not_longer_than_firebase_makes_them(door: Door, firebase: Firebase) -> None:
    assert await door.admit(firebase.id_token("ann", sub="x" * 128))
    assert await door.verdict(firebase.id_token("ann", sub="x" * 129)) == (401, "subject_invalid")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"project": ""}, "member 'project'"),
        ({"project": "Acme Notes"}, "project is not"),
        ({"project": "a/../b"}, "project is not"),
        ({"issuer": "https://evil.example/acme-notes"}, "issuer follows from project"),
        ({"audience": "x"}, "no such member"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in refused({**ENTRY, **changes})


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = settings_of_page("firebase", monkeypatch).oidc_providers or ()
    made = entry.issuer_settings(30)
    assert (made.issuers, made.audiences) == (("https://securetoken.google.com/acme-notes",), {"acme-notes"})
