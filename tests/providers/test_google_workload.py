"""Google service accounts: anybody's get tokens for our audience; alone, and beside sign-in with Google."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.workloads import NOBODY, OURS, rule
from tests.support import Door, World

from tenantry.assemble import Outside
from tenantry.cli.explaining import explain
from tenantry.devidp import OMIT
from tenantry.devidp.google import ROBOT_EMAIL, ROBOT_ID

pytestmark = pytest.mark.anyio


def google_entry(world: World, **changes: Any) -> dict[str, Any]:
    return {
        "name": "google-workload",
        "preset": "google-workload",
        "audience": OURS,
        "jwks_uri": f"{world.idp.base_url}/oauth2/v3/certs",
        "rules": [rule({"sub": ROBOT_ID}, "acme", "notes:write", name="the robot")],
        **changes,
    }


@pytest.fixture(params=["alone", "beside sign-in"])
def google(request: pytest.FixtureRequest, world: World) -> Door:
    """The same rules with the issuer to themselves, and with it shared."""
    only = ["google"] if request.param == "beside sign-in" else []
    return world.door(only=only, oidc_providers=[google_entry(world)])


async def test_a_service_account_is_its_number_under_the_rule_alone(world: World, google: Door) -> None:
    user = await google.admit(world.idp.google.service_account_id_token(OURS))
    assert (user.user_id, user.provider) == (f"google-workload:sa:{ROBOT_ID}", "google-workload")
    assert (user.tenant_id, user.permissions, user.email, user.name) == ("acme", {"notes:write"}, None, "the robot")
    short = world.idp.google.service_account_id_token(OURS, iss="accounts.google.com")
    assert (await google.admit(short)).user_id == user.user_id


async def test_any_other_project_s_account_is_refused_though_google_signs_for_our_audience(
    world: World, google: Door
) -> None:
    mint = world.idp.google.service_account_id_token
    assert await google.verdict(mint(OURS, sub="999", azp="999")) == NOBODY
    again = mint(OURS, sub="999", azp="999", email=ROBOT_EMAIL)  # made again under its address
    assert await google.verdict(again) == NOBODY
    assert await google.verdict(mint("https://other.example")) == (401, "audience_mismatch")


async def test_a_person_s_token_is_no_service_account_s(world: World, google: Door) -> None:
    """Nor is one with the account's number as subject, from somebody's client."""
    idp = world.idp.google
    for token in (idp.id_token("ann", client_id=OURS), idp.id_token("ann", sub=ROBOT_ID, client_id=OURS)):
        assert (await google.refuse(token)).status == 401


async def test_beside_sign_in_people_go_on_and_each_token_is_judged_by_one_of_the_two(world: World) -> None:
    door = world.door(only=["google"], oidc_providers=[google_entry(world)])
    assert (await door.admit(world.idp.google.id_token("ann"))).user_id.startswith("google:")
    to_sign_in = world.idp.google.service_account_id_token(world.idp.google.client_id)
    assert await door.verdict(to_sign_in) == (401, "audience_mismatch")
    assert (await door.refuse(world.idp.google.service_account_access_token())).status == 401


async def test_the_setting_for_service_accounts_works_as_before_without_an_entry(world: World) -> None:
    door = world.door(only=["google"], google_service_accounts=[ROBOT_ID])
    token = world.idp.google.service_account_id_token(world.idp.google.client_id)
    assert (await door.admit(token)).user_id == f"google:{ROBOT_ID}"


async def test_a_rule_may_ask_for_the_machine(world: World) -> None:
    match = {"sub": ROBOT_ID, "project_id": "acme-prod"}
    door = world.door(only=[], oidc_providers=[google_entry(world, rules=[rule(match)])])
    mint = world.idp.google.service_account_id_token
    assert await door.admit(mint(OURS, google={"compute_engine": {"project_id": "acme-prod"}}))
    for machine in ({"compute_engine": {"project_id": "x"}}, {}, OMIT):
        assert await door.verdict(mint(OURS, google=machine)) == NOBODY


async def test_token_explain_tells_the_checks_that_the_token_got(world: World) -> None:
    settings = world.settings(only=["google"], oidc_providers=[google_entry(world)])
    outside = Outside(world.clock, world.fetch, world.seen)
    told = await explain(settings, world.idp.google.service_account_id_token(OURS).encode(), outside=outside)
    assert (told.verdict, {step.outcome for step in told.steps}) == ("valid", {"passed"})
    assert "rule" in {step.name for step in told.steps}
