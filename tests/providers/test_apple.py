"""Sign in with Apple: ID tokens of a pinned issuer, whose booleans may be texts."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door, refused, settings_of_page
from tests.support import Door, World

from tenantry.devidp.issuers.apple import Apple
from tenantry.providers.apple import ISSUER

pytestmark = pytest.mark.anyio
ENTRY = {"name": "apple", "preset": "apple", "audience": "com.example.notes"}


@pytest.fixture
def apple(world: World) -> Apple:
    return world.idp.issuers.apple


@pytest.fixture
def door(world: World) -> Door:
    return a_door(world, "apple")


async def test_an_id_token_for_our_services_id_names_the_user(door: Door, apple: Apple) -> None:
    user = await door.admit(apple.id_token("ann"))
    assert (user.user_id, user.client_id) == (f"apple:{apple.subject('ann')}", apple.client_id)


@pytest.mark.parametrize(("said", "verified"), [(True, True), ("true", True), ("false", False), (False, False)])
async def test_a_verified_address_may_be_said_as_a_text(door: Door, apple: Apple, said: Any, verified: bool) -> None:
    assert (await door.admit(apple.id_token("ann", email_verified=said))).email_verified is verified


@pytest.mark.parametrize("said", ["TRUE", "yes", "1", 1, 0, None, ["true"]])
async def test_no_other_text_says_that_an_address_is_verified(door: Door, apple: Apple, said: Any) -> None:
    assert (await door.admit(apple.id_token("ann", email_verified=said))).email_verified is False


async def test_an_address_of_the_relay_is_nobody_s_domain(world: World, apple: Apple) -> None:
    door = a_door(world, "apple", tenant_from_email=True)
    hidden = [(await door.admit(apple.id_token(who, relay=True))).tenant_id for who in ("ann", "bob")]
    assert all(tenant.startswith("u___") for tenant in hidden)
    assert len(set(hidden)) == 2


async def test_a_second_spelling_of_the_issuer_counts_only_where_it_is_configured(world: World, apple: Apple) -> None:
    """June 2025: the discovery document said account.apple.com, most tokens did not."""
    other = apple.issuer.replace("/apple", "/account")
    assert await a_door(world, "apple").verdict(apple.id_token("ann", iss=other)) == (401, "issuer_unknown")
    both = a_door(world, "apple", issuers=[apple.issuer, other])
    one, two = [await both.admit(apple.id_token("ann", iss=issuer)) for issuer in (apple.issuer, other)]
    assert one.user_id == two.user_id
    assert world.idp.calls.count("apple", "discovery") == 0


async def test_a_notification_to_the_developer_is_no_id_token(door: Door, apple: Apple) -> None:
    assert await door.verdict(apple.notification("ann")) == (401, "token_kind_refused")


def test_the_issuer_is_apple_s_unless_it_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    (entry,) = settings_of_page("apple", monkeypatch).oidc_providers or ()
    made = entry.issuer_settings(30)
    assert (made.issuers, made.keys_url) == ((ISSUER,), "https://appleid.apple.com/auth/keys")


@pytest.mark.parametrize("changes", [{"audience": []}, {"issuers": []}, {"issuer": ISSUER}, {"discovery": True}])
def test_an_entry_that_is_wrong_is_refused(changes: dict[str, Any]) -> None:
    assert f"member {next(iter(changes))!r}" in refused({**ENTRY, **changes})
