"""Microsoft Entra ID: two versions of tokens, several directories, and what anybody with a directory can forge."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import Door, World

from tenantry.core.tenancy import organization_tenant_id
from tenantry.devidp import OMIT
from tenantry.devidp.issuers.base import guid
from tenantry.devidp.issuers.entra import GRAPH, PERSONAL, Entra

pytestmark = pytest.mark.anyio
TID = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
ENTRY = {"name": "entra", "preset": "entra", "audience": "api://notes", "tenants": [TID]}


@pytest.fixture
def entra(world: World) -> Entra:
    return world.idp.issuers.entra


@pytest.fixture
def door(world: World) -> Door:
    return a_door(world, "entra")


@pytest.mark.parametrize("version", ["1.0", "2.0"])
async def test_both_versions_of_a_token_name_the_same_user_and_tenant(door: Door, entra: Entra, version: Any) -> None:
    user = await door.admit(entra.access_token("ann", version=version))
    assert user.user_id == f"entra:{entra.tid('ann')}:{entra.oid('ann')}"
    assert user.tenant_id == organization_tenant_id("entra", entra.tid("ann"))
    assert (user.permissions, user.client_id) == ({"notes.read"}, entra.client_id)


async def test_the_version_of_a_token_is_the_api_s_and_its_audience_too(world: World, entra: Entra) -> None:
    door = a_door(world, "entra", audience=[entra.audience])
    assert await door.admit(entra.access_token("ann"))
    assert await door.verdict(entra.access_token("ann", version="1.0")) == (401, "audience_mismatch")


async def test_a_directory_that_is_not_listed_has_no_issuer_here(world: World, door: Door, entra: Entra) -> None:
    for version in ("1.0", "2.0"):
        token = entra.access_token("quinn", version=version)  # type: ignore[arg-type]
        assert await door.verdict(token) == (401, "issuer_unknown")
    assert len(world.idp.calls) == 0


@pytest.mark.parametrize("tid", [guid("entra", "globex.example"), PERSONAL, "common", "{tenantid}", "", 7, OMIT])
async def test_a_tid_that_is_not_the_issuer_s_is_refused(door: Door, entra: Entra, tid: Any) -> None:
    assert await door.verdict(entra.access_token("ann", tid=tid)) == (401, "issuer_mismatch")


async def test_people_of_two_directories_with_the_same_oid_are_two_users(door: Door, entra: Entra) -> None:
    oid = entra.oid("ann")
    ann, erin = [await door.admit(entra.access_token(who, oid=oid)) for who in ("ann", "erin")]
    assert ann.user_id != erin.user_id
    assert ann.tenant_id != erin.tenant_id


# Whose tokens a key signs


async def test_a_key_of_one_directory_signs_for_no_other(world: World, entra: Entra) -> None:
    """The key of personal accounts is in the common set too: it must not sign for a company."""
    door = a_door(world, "entra")
    token = entra.access_token("ann", key=entra.personal_key)
    assert await door.verdict(token) == (401, "key_unknown")
    assert await door.verdict(entra.access_token("ann", version="1.0", key=entra.personal_key)) == (401, "key_unknown")


@pytest.mark.parametrize("said", ["", "https://evil.example/{tenantid}/v2.0", "{tenantid}", None])
async def test_a_key_that_does_not_say_whose_tokens_it_signs_is_not_used_for_several(
    world: World, entra: Entra, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [{**key, "issuer": said} if said is not None else key for key in entra.keys.jwks()["keys"]]
    monkeypatch.setattr(entra, "jwks", lambda: {"keys": keys})
    assert await a_door(world, "entra").verdict(entra.access_token("ann")) == (401, "key_unknown")


async def test_the_keys_of_one_directory_alone_need_not_say_it(
    world: World, entra: Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entra, "jwks", entra.keys.jwks)
    door = a_door(world, "entra", tenants=[entra.tid("ann")])
    assert await door.admit(entra.access_token("ann"))
    (call,) = world.idp.calls.of("entra", "jwks")
    assert call.params == {"tid": entra.tid("ann")}


async def test_the_keys_of_several_directories_come_from_the_common_set(world: World, door: Door, entra: Entra) -> None:
    for person in ("ann", "erin"):
        assert await door.admit(entra.access_token(person))
    (call,) = world.idp.calls.of("entra", "jwks")
    assert call.params == {"tid": "common"}


# Personal accounts


async def test_the_directory_of_personal_accounts_is_nobody_s_company(world: World, entra: Entra) -> None:
    door = a_door(world, "entra", tenants=[PERSONAL, entra.tid("ann")])
    carol = await door.admit(entra.access_token("carol"))
    other = await door.admit(entra.access_token("carol", oid=guid("somebody else")))
    assert carol.tenant_id.startswith("u___")
    assert carol.tenant_id != other.tenant_id


async def test_personal_accounts_are_refused_unless_they_are_listed(door: Door, entra: Entra) -> None:
    assert await door.verdict(entra.access_token("carol")) == (401, "issuer_unknown")


# Who somebody is


async def test_a_forged_address_changes_neither_the_user_nor_the_tenant(world: World, door: Door, entra: Entra) -> None:
    """Anybody can put any address on a user of his own directory (nOAuth)."""
    honest = await door.admit(entra.access_token("erin"))
    forged = {"email": "ann@acme.example", "upn": "ann@acme.example", "preferred_username": "ann@acme.example"}
    door = a_door(world, "entra", tenant_from_email=True)
    user = await door.admit(entra.access_token("erin", email_verified=True, unique_name="ann@acme.example", **forged))
    assert (user.user_id, user.tenant_id, user.email) == (honest.user_id, honest.tenant_id, None)


@pytest.mark.parametrize(("edov", "shown"), [(True, True), (1, True), ("false", False), (0, False), (False, False)])
async def test_an_address_is_shown_where_its_domain_is_verified(
    door: Door, entra: Entra, edov: Any, shown: bool
) -> None:
    user = await door.admit(entra.access_token("ann", email="ann@acme.example", xms_edov=edov))
    assert (user.email is not None, user.email_verified) == (shown, shown)


@pytest.mark.parametrize("oid", ["", "x", 7, None, OMIT, "0F0F0F0F-0000-0000-0000-0000000000AA", "a:b"])
async def test_an_oid_that_is_no_guid_names_nobody(door: Door, entra: Entra, oid: Any) -> None:
    assert await door.verdict(entra.access_token("ann", oid=oid)) == (401, "subject_invalid")


# What somebody was granted


async def test_an_application_as_itself_has_the_roles_it_was_assigned(door: Door, entra: Entra) -> None:
    user = await door.admit(entra.app_token(entra.tid("ann")))
    assert user.permissions == {"Notes.Read.All"}


async def test_an_application_that_was_granted_nothing_is_refused(door: Door, entra: Entra) -> None:
    """Every application of the directory gets a token for our audience, just by asking."""
    for roles in (OMIT, []):
        refusal = await door.refuse(entra.app_token(entra.tid("ann"), roles=roles))
        assert (refusal.reason, "scp" in (refusal.detail or "")) == ("token_kind_refused", True)
    assert await door.verdict(entra.access_token("ann", scp="")) == (401, "token_kind_refused")


async def test_an_id_token_with_roles_is_no_access_token_though_the_audience_is_the_same(
    door: Door, entra: Entra
) -> None:
    for claims in ({}, {"nonce": OMIT}, {"azp": 7, "nonce": OMIT}):
        assert await door.verdict(entra.id_token("ann", **claims)) == (401, "token_kind_refused")


async def test_a_token_for_microsoft_graph_is_refused_with_the_scope_to_ask_for(world: World, door: Door) -> None:
    entra = world.idp.issuers.entra
    for audience in (GRAPH, "https://graph.microsoft.com"):
        refusal = await door.refuse(entra.graph_token("ann", aud=audience))
        assert (refusal.reason, "api://" in (refusal.detail or "")) == ("audience_mismatch", True)
    assert len(world.idp.calls) == 0


async def test_groups_that_are_too_many_are_not_read_as_none(world: World, entra: Entra) -> None:
    door = a_door(world, "entra", claims={"roles": "groups"})
    overage = {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph/…"}}}
    refusal = await door.refuse(entra.access_token("ann", **overage))
    assert (refusal.reason, "too many" in (refusal.detail or "")) == ("claims_malformed", True)
    assert (await door.admit(entra.access_token("ann", groups=["g1"]))).roles == {"g1"}
    assert (await a_door(world, "entra").admit(entra.access_token("ann", **overage))).roles == frozenset()


# What an operator may write


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tenants": None}, "member 'tenants'"),
        ({"tenants": []}, "member 'tenants': is empty"),
        ({"tenants": ["common"]}, "there is no 'any'"),
        ({"tenants": ["any"]}, "there is no 'any'"),
        ({"tenants": "*"}, "there is no 'any'"),
        ({"audience": []}, "member 'audience': is empty"),
        ({"organization": "acme"}, "organization is"),
        ({"issuer": "https://login.microsoftonline.com/common/v2.0"}, "member 'issuer': there is no such member"),
        ({"claims": {"subject": "email"}}, "member 'claims.subject': there is no such member"),
        ({"authority": "https://login.microsoftonline.us"}, "sts is missing"),
        ({"authority": "http://login.microsoftonline.com"}, "sts is missing"),
        ({"authority": "http://login.example"}, "member 'authority': it must be https"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in refused({**ENTRY, **changes})


def test_the_page_s_settings_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of_page("entra", monkeypatch)
    (entry,) = settings.oidc_providers or ()
    made = entry.issuer_settings(30)
    assert made.issuers[:2] == (
        f"https://login.microsoftonline.com/{TID}/v2.0",
        f"https://sts.windows.net/{TID}/",
    )
    assert settings.tenant_mapping == {f"entra:{TID}": "acme"}
