"""Supabase Auth: the audience that every project has, and the metadata that users write."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import Door, World

from tenantry.core.tenancy import organization_tenant_id
from tenantry.devidp import OMIT
from tenantry.devidp.issuers.supabase import Supabase

pytestmark = pytest.mark.anyio
ENTRY = {"name": "supabase", "preset": "supabase", "project": "abcdefghijklmnopqrst"}


@pytest.fixture
def supabase(world: World) -> Supabase:
    return world.idp.issuers.supabase


@pytest.fixture
def door(world: World) -> Door:
    return a_door(world, "supabase")


async def test_what_the_project_wrote_counts_and_what_the_user_wrote_does_not(door: Door, supabase: Supabase) -> None:
    user = await door.admit(supabase.access_token("ann"))
    assert user.roles == {"editor"}
    assert user.tenant_id == organization_tenant_id("supabase", "acme")
    assert (user.email, user.email_verified) == ("ann@acme.example", False)


async def test_a_token_of_another_project_is_refused_though_its_audience_is_the_same(
    door: Door, supabase: Supabase
) -> None:
    token = supabase.access_token("ann", iss="https://another.supabase.co/auth/v1")
    assert await door.verdict(token) == (401, "issuer_unknown")


@pytest.mark.parametrize(
    "claims", [{"role": "anon"}, {"role": "service_role"}, {"role": OMIT}, {"is_anonymous": True}, {"is_anonymous": 1}]
)
async def test_only_a_signed_in_user_is_let_in(door: Door, supabase: Supabase, claims: Any) -> None:
    assert await door.verdict(supabase.access_token("ann", **claims)) == (401, "token_kind_refused")


async def test_a_token_under_the_project_s_shared_secret_is_refused(door: Door, supabase: Supabase) -> None:
    assert await door.verdict(supabase.secret_token("ann")) == (401, "algorithm_refused")


async def test_an_unproved_address_makes_no_tenant_even_where_addresses_do(world: World, supabase: Supabase) -> None:
    door = a_door(world, "supabase", without=("claims",), tenant_from_email=True)
    token = supabase.access_token("ann", email_verified=True, email="boss@globex.example")
    assert (await door.admit(token)).tenant_id.startswith("u___")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"project": None}, "give project"),
        ({"issuer": "https://id.example.com/auth/v1"}, "give project"),
        ({"project": "a/b"}, "project is not"),
        ({"claims": {"roles": "user_metadata.roles"}}, "users write themselves"),
        ({"claims": {"tenant": ["user_metadata", "org"]}}, "users write themselves"),
        ({"algorithms": ["HS256"]}, "no such member"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in refused({**ENTRY, **changes})


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = settings_of_page("supabase", monkeypatch).oidc_providers or ()
    made = entry.issuer_settings(30)
    assert made.issuers == ("https://abcdefghijklmnopqrst.supabase.co/auth/v1",)
    assert made.keys_url == "https://abcdefghijklmnopqrst.supabase.co/auth/v1/.well-known/jwks.json"
