"""Auth0 access tokens: two profiles, one issuer with a slash, and what an Action may and may not say."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import Door, World

from tenantry.core.tenancy import organization_tenant_id
from tenantry.devidp import OMIT
from tenantry.errors import ConfigurationError
from tenantry.providers.auth0 import Auth0Provider, Auth0Settings
from tenantry.testing import FakeFetch, FrozenClock, Recorder

pytestmark = pytest.mark.anyio
SPACE = "https://mcp.example/"


@pytest.fixture
def door(world: World) -> Door:
    return world.door(only=["auth0"])


async def test_an_access_token_for_our_api_names_the_user_by_sub_and_the_tenant_by_org_id(
    world: World, door: Door
) -> None:
    user = await door.admit(world.idp.auth0.access_token("erin"))
    assert user.user_id == "auth0:auth0|650000000000000000000e21"
    assert user.tenant_id == organization_tenant_id("auth0", "org_Zq3mR7pWc1LxTn5H")
    assert (user.provider, user.client_id) == ("auth0", world.idp.auth0.client_id)


@pytest.mark.parametrize("profile", ["auth0", "rfc9068"])
async def test_both_token_profiles_are_accepted_and_name_their_client(world: World, door: Door, profile: Any) -> None:
    user = await door.admit(world.idp.auth0.access_token("ann", profile=profile))
    assert (user.subject, user.client_id) == ("google-oauth2|110248495921238986420", world.idp.auth0.client_id)


@pytest.mark.parametrize("scope", ["read:notes", "openid read:notes"])
async def test_the_audience_may_be_a_string_or_a_list(world: World, door: Door, scope: str) -> None:
    assert (await door.admit(world.idp.auth0.access_token("ann", scope=scope))).permissions == {"read:notes"}


async def test_the_audience_must_be_ours_exactly(world: World, door: Door) -> None:
    ours = world.idp.auth0.audience
    others = ("https://other.example", f"{ours}/", ours.upper(), [ours[:-1]], [], [ours, None], f"{ours} x", {ours: 1})
    for audience in (*others, OMIT):
        token = world.idp.auth0.access_token("ann", scope="read:notes", aud=audience)
        assert await door.verdict(token) == (401, "audience_mismatch"), audience


async def test_one_of_several_configured_audiences_is_enough(world: World) -> None:
    door = world.door(only=["auth0"], auth0_audience=f"https://other.example, {world.idp.auth0.audience}")
    assert await door.admit(world.idp.auth0.access_token("ann"))


async def test_the_issuer_is_compared_with_its_slash(world: World, door: Door) -> None:
    for issuer in (world.idp.base_url, f"{world.idp.auth0.issuer}/", world.idp.auth0.issuer.upper(), None, OMIT):
        token = world.idp.auth0.access_token("ann", iss=issuer)
        assert await door.verdict(token) == (401, "issuer_unknown"), issuer
    assert len(world.idp.calls) == 0


@pytest.mark.parametrize("written", ["{}", "{}/"])
async def test_the_domain_may_be_configured_with_or_without_the_slash(world: World, written: str) -> None:
    door = world.door(only=["auth0"], auth0_domain=written.format(world.idp.base_url))
    assert await door.admit(world.idp.auth0.access_token("ann"))


async def test_ps256_is_accepted_where_the_key_allows_it(world: World, door: Door) -> None:
    world.idp.auth0.keys.rotate()
    key = world.idp.auth0.keys.current
    free = {name: value for name, value in key.jwk().items() if name != "alg"} | {"kid": "ps"}
    world.idp.auth0.keys.extras.append(free)
    token = world.idp.auth0.keys.sign(_claims(world), header={"kid": "ps"}, alg="PS256")
    assert (await door.admit(token)).subject == "auth0|1"


async def test_ps256_with_a_key_that_says_rs256_is_refused(world: World, door: Door) -> None:
    token = world.idp.auth0.keys.sign(_claims(world), alg="PS256")
    assert (await door.refuse(token)).status == 401


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS512", "HS256", "HS512", "none"])
async def test_other_algorithms_are_refused_before_any_key_is_fetched(world: World, door: Door, algorithm: str) -> None:
    refusal = await door.refuse(world.idp.auth0.keys.sign(_claims(world), alg=algorithm))
    assert refusal.status == 401
    assert len(world.idp.calls) == 0


async def test_hs256_under_the_public_key_is_refused(world: World, door: Door) -> None:
    assert await door.verdict(world.idp.auth0.hs256_token()) == (401, "algorithm_refused")


async def test_an_opaque_token_is_refused_with_the_hint_that_no_audience_was_requested(
    world: World, door: Door
) -> None:
    for token in (world.idp.auth0.opaque_token("ann"), "k" * 32, "aB3_-" * 6 + "xy"):
        refusal = await door.refuse(token)
        assert (refusal.status, refusal.reason) == (401, "token_encrypted")
        assert "audience=" in (refusal.hint or "")
    assert len(world.idp.calls) == 0


async def test_an_encrypted_token_in_three_parts_is_not_taken_for_a_signed_one(world: World, door: Door) -> None:
    token = world.idp.auth0.keys.sign(_claims(world), header={"enc": "A256GCM"})
    assert await door.verdict(token) == (401, "token_encrypted")


@pytest.mark.parametrize("mark", ["nonce", "at_hash", "c_hash"])
async def test_an_id_token_is_no_access_token_even_with_our_audience(world: World, door: Door, mark: str) -> None:
    token = world.idp.auth0.access_token("ann", **{mark: "x"})
    assert await door.verdict(token) == (401, "token_kind_refused")


async def test_a_machine_token_is_let_in_as_its_client(world: World, door: Door) -> None:
    user = await door.admit(world.idp.auth0.machine_token("m2mClient"))
    assert (user.subject, user.client_id) == ("m2mClient@clients", "m2mClient")
    assert user.tenant_id.startswith("u___")


# Permissions


async def permitted(world: World, token: str, source: str) -> set[str]:
    door = world.door(only=["auth0"], auth0_permissions_from=source)
    return set((await door.admit(token)).permissions)


async def test_with_both_claims_only_what_both_say_is_permitted_by_default(world: World, door: Door) -> None:
    token = world.idp.auth0.access_token("ann", scope="openid read:notes delete:notes", permissions=["read:notes", "x"])
    assert (await door.admit(token)).permissions == {"read:notes"}


@pytest.mark.parametrize(
    ("source", "expected"),
    [("intersection", {"a"}), ("permissions", {"a", "b"}), ("scope", {"a", "c"})],
)
async def test_the_setting_says_which_claim_is_believed(world: World, source: str, expected: set[str]) -> None:
    token = world.idp.auth0.access_token("ann", scope="openid a c", permissions=["a", "b"])
    assert await permitted(world, token, source) == expected


@pytest.mark.parametrize(("source", "expected"), [("intersection", {"a"}), ("permissions", set()), ("scope", {"a"})])
async def test_a_token_without_rbac_has_its_scope_unless_only_rbac_counts(
    world: World, source: str, expected: set[str]
) -> None:
    assert await permitted(world, world.idp.auth0.access_token("ann", scope="openid a"), source) == expected


async def test_rbac_that_grants_nothing_grants_nothing(world: World) -> None:
    token = world.idp.auth0.access_token("ann", scope="openid a", permissions=[])
    assert await permitted(world, token, "intersection") == set()


@pytest.mark.parametrize("claims", [{"permissions": "admin"}, {"permissions": {"admin": 1}}, {"scope": 7}])
async def test_permissions_of_another_type_are_refused(world: World, door: Door, claims: dict[str, Any]) -> None:
    token = world.idp.auth0.keys.sign(_claims(world, **claims))
    assert await door.verdict(token) == (401, "claims_malformed")


async def test_what_cannot_name_a_permission_grants_none(world: World) -> None:
    token = world.idp.auth0.access_token("ann", permissions=["a b", 'q"', "", 7, None, "ok"])
    assert await permitted(world, token, "permissions") == {"ok"}


async def test_roles_come_from_the_claim_that_the_operator_names(world: World) -> None:
    door = world.door(only=["auth0"], auth0_roles_claim=f"{SPACE}roles", role_permissions={"editor": ("notes:write",)})
    user = await door.admit(world.idp.auth0.access_token("ann", **{f"{SPACE}roles": ["editor", "ghost"]}))
    assert user.roles == {"editor", "ghost"}
    assert "notes:write" in user.permissions
    plain = await door.admit(world.idp.auth0.access_token("ann", roles=["editor"]))
    assert plain.roles == frozenset()


# E-mail and organisation


async def test_a_namespaced_address_is_read_where_the_operator_says_where_it_is(world: World) -> None:
    token = world.idp.auth0.access_token("ann", namespace_email=SPACE)
    named = world.door(only=["auth0"], auth0_email_claim=f"{SPACE}email")
    user = await named.admit(token)
    assert (user.email, user.email_verified) == ("ann@acme.example", True)
    unnamed = await world.door(only=["auth0"]).admit(token)
    assert (unnamed.email, unnamed.email_verified) == (None, False)


@pytest.mark.parametrize("verified", [OMIT, "true", 1, None, False])
async def test_an_address_without_a_real_true_beside_it_is_not_verified(world: World, verified: Any) -> None:
    door = world.door(only=["auth0"], auth0_tenant_from_email=True)
    token = world.idp.auth0.access_token("fay", email="fay@initech.example", email_verified=verified)
    user = await door.admit(token)
    assert user.email_verified is False
    assert user.tenant_id.startswith("u___")


async def test_an_address_makes_no_tenant_unless_the_operator_opts_in(world: World, door: Door) -> None:
    token = world.idp.auth0.access_token("fay", email="fay@initech.example", email_verified=True)
    assert (await door.admit(token)).tenant_id.startswith("u___")
    opted = world.door(only=["auth0"], auth0_tenant_from_email=True)
    assert (await opted.admit(token)).tenant_id == "initech_example"


@pytest.mark.parametrize("address", ["a@b@initech.example", '"a@b"@initech.example', "a@initech", "@initech.example"])
async def test_an_address_that_can_be_read_in_two_ways_makes_no_tenant(world: World, address: str) -> None:
    door = world.door(only=["auth0"], auth0_tenant_from_email=True)
    token = world.idp.auth0.access_token("fay", email=address, email_verified=True)
    assert (await door.admit(token)).tenant_id.startswith("u___")


async def test_the_organisation_comes_before_the_address(world: World) -> None:
    door = world.door(only=["auth0"], auth0_tenant_from_email=True)
    token = world.idp.auth0.access_token("erin", email="erin@initech.example", email_verified=True)
    assert (await door.admit(token)).tenant_id == organization_tenant_id("auth0", "org_Zq3mR7pWc1LxTn5H")


async def test_two_people_of_one_organisation_share_its_tenant_and_others_do_not(world: World, door: Door) -> None:
    ann, bob, erin = [(await door.admit(world.idp.auth0.access_token(who))).tenant_id for who in ("ann", "bob", "erin")]
    assert ann == bob != erin


async def test_the_organisation_s_name_is_no_evidence(world: World, door: Door) -> None:
    fay = await door.admit(world.idp.auth0.access_token("fay", org_name="acme"))
    ann = await door.admit(world.idp.auth0.access_token("ann"))
    assert fay.tenant_id != ann.tenant_id


async def test_listed_organisations_are_obligatory(world: World) -> None:
    door = world.door(only=["auth0"], auth0_organizations="org_Zq3mR7pWc1LxTn5H")
    assert await door.admit(world.idp.auth0.access_token("erin"))
    for token in (world.idp.auth0.access_token("ann"), world.idp.auth0.access_token("fay")):
        assert await door.verdict(token) == (401, "organization_missing")


async def test_an_organisation_that_cannot_be_read_is_refused_rather_than_ignored(world: World, door: Door) -> None:
    odd = world.idp.auth0.access_token("erin", org_id=["org_Zq3mR7pWc1LxTn5H"])  # type: ignore[arg-type]
    assert await door.verdict(odd) == (401, "claims_malformed")


async def test_a_mapping_names_an_organisation_s_tenant(world: World) -> None:
    door = world.door(only=["auth0"], tenant_mapping={"auth0:org_Zq3mR7pWc1LxTn5H": "globex"})
    assert (await door.admit(world.idp.auth0.access_token("erin"))).tenant_id == "globex"


async def test_the_bar_in_a_subject_is_kept_and_a_colon_is_escaped(world: World, door: Door) -> None:
    assert (await door.admit(world.idp.auth0.access_token("fay", sub="oauth2|a:b|c"))).user_id == (
        "auth0:oauth2|a%3Ab|c"
    )


@pytest.mark.parametrize("subject", ["", "a\nb", "x" * 256, 7, None, ["x"], "a\x00", OMIT])
async def test_a_subject_that_can_name_nobody_is_refused(world: World, door: Door, subject: Any) -> None:
    assert await door.verdict(world.idp.auth0.access_token("fay", sub=subject)) == (401, "subject_invalid")


# Outages


@pytest.mark.parametrize(
    "kind", ["error", "rate_limited", "reset", "truncated", "html", "huge", "redirect", "not_json", "empty_keys"]
)
async def test_an_outage_of_the_key_endpoint_is_503_with_a_time_to_come_back(
    world: World, door: Door, kind: str
) -> None:
    with world.idp.faults.during("auth0", kind):
        refusal = await door.refuse(world.idp.auth0.access_token("ann"))
    assert (refusal.status, refusal.reason) == (503, "keys_unavailable")
    assert refusal.retry_after is not None
    world.clock.advance(refusal.retry_after)
    assert await door.admit(world.idp.auth0.access_token("ann"))
    assert world.idp.calls.count("devidp", "redirected") == 0


async def test_userinfo_is_never_asked(world: World, door: Door) -> None:
    await door.admit(world.idp.auth0.access_token("ann"))
    await door.refuse(world.idp.auth0.opaque_token("ann"))
    assert world.idp.calls.count("auth0", "userinfo") == 0


def test_auth0_without_an_audience_does_not_start() -> None:
    with pytest.raises(ConfigurationError, match="audiences"):
        Auth0Provider(Auth0Settings("https://x.example/", frozenset()), FakeFetch(), FrozenClock(), Recorder())


def _claims(world: World, **changes: Any) -> dict[str, Any]:
    now, auth0 = int(world.clock.now()), world.idp.auth0
    return {"iss": auth0.issuer, "aud": auth0.audience, "sub": "auth0|1", "iat": now, "exp": now + 60} | changes
