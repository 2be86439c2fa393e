"""API keys: their form, their life, and that nothing of them is kept or told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.support import Door, World

from tenantry.core import apikeys
from tenantry.core.credentials import read_credential
from tenantry.core.matching import Presented
from tenantry.errors import Refusal, TokenInvalid, Unavailable
from tenantry.model import ApiKeyRecord, Credential
from tenantry.providers.api_key import ApiKeyProvider
from tenantry.testing import FrozenClock, StaticKeyStore

pytestmark = pytest.mark.anyio

KEY = apikeys.compose_key("live", b"\x01" * 8, b"\x02" * 32)
OTHER = apikeys.compose_key("live", b"\x01" * 8, b"\x03" * 32)
THIRD = apikeys.compose_key("test", b"\x04" * 8, b"\x05" * 32)
PLAIN = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE"


def a_record(key: str = KEY, **changes: Any) -> ApiKeyRecord:
    values = {"key_id": apikeys.key_id_of(key), "digest": apikeys.digest(key.encode()), "name": "ci"}
    return ApiKeyRecord(**(values | changes))


def a_provider(*records: ApiKeyRecord, clock: FrozenClock | None = None) -> ApiKeyProvider:
    return ApiKeyProvider(StaticKeyStore(records), clock or FrozenClock())


async def refused(provider: ApiKeyProvider, key: str) -> str:
    with pytest.raises(TokenInvalid) as caught:
        await provider.verify(Presented("api_key", key))
    return caught.value.reason


def keys(world: World, entries: Mapping[str, Mapping[str, Any]], **changes: Any) -> Door:
    return world.door(only=(), api_keys=entries, **changes)


async def test_a_key_is_its_record_user_tenant_and_permissions(world: World) -> None:
    door = keys(world, {KEY: {"name": "ci", "tenant_id": "acme_example", "permissions": ["notes:read"]}})
    user = await door.admit(KEY)
    assert user.user_id == f"apikey:{apikeys.key_id_of(KEY)}"
    assert (user.tenant_id, user.permissions, user.name) == ("acme_example", {"notes:read"}, "ci")
    assert user.expires_at is None


async def test_a_key_without_permissions_has_none(world: World) -> None:
    user = await keys(world, {KEY: {"name": "ci", "tenant_id": "acme"}}).admit(KEY)
    assert user.permissions == frozenset()
    assert not user.has_permission("read")


async def test_a_key_without_a_tenant_has_one_of_its_own(world: World) -> None:
    door = keys(world, {KEY: {"name": "a"}, THIRD: {"name": "b"}})
    first, second = await door.admit(KEY), await door.admit(THIRD)
    assert first.tenant_id.startswith("u___")
    assert first.tenant_id != second.tenant_id


async def test_the_digest_in_the_configuration_does_what_the_key_does(world: World) -> None:
    door = keys(world, {f"sha256:{apikeys.digest(PLAIN.encode()).hex()}": {"name": "ci", "tenant_id": "acme"}})
    assert (await door.admit(PLAIN)).tenant_id == "acme"


async def test_the_digest_itself_is_no_key(world: World) -> None:
    digest = apikeys.digest(PLAIN.encode()).hex()
    door = keys(world, {f"sha256:{digest}": {"name": "ci", "tenant_id": "acme"}})
    for shown in (digest, f"sha256.{digest}"):
        assert (await door.refuse(shown)).status == 401


async def test_the_single_key_of_mcp_http_api_key_works_in_both_headers(world: World) -> None:
    door = world.door(only=(), api_key=PLAIN)
    by_bearer = await door.admit(PLAIN)
    by_header = await door.gate.validate(Credential(PLAIN.encode(), "x-api-key"))
    assert by_bearer.user_id == by_header.user.user_id


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
async def test_a_key_comes_as_bearer_or_as_x_api_key(world: World, name: bytes) -> None:
    value = KEY.encode() if name == b"x-api-key" else b"Bearer " + KEY.encode()
    door = keys(world, {KEY: {"name": "ci", "tenant_id": "acme"}})
    assert (await door.gate.validate(read_credential({name: value}))).user.tenant_id == "acme"


async def test_both_headers_at_once_are_refused_even_with_the_same_key() -> None:
    with pytest.raises(Refusal) as caught:
        read_credential({b"authorization": b"Bearer " + KEY.encode(), b"x-api-key": KEY.encode()})
    assert (caught.value.status, caught.value.reason) == (400, "credential_duplicate")


# The form


def test_a_composed_key_is_one_word_of_letters_digits_and_underscores() -> None:
    assert KEY.isascii()
    assert KEY.replace("_", "").isalnum()
    assert apikeys.key_id_of(KEY) == apikeys.key_id_of(OTHER)
    assert KEY != OTHER


@pytest.mark.parametrize("position", [0, 5, 12, 20, 40, -1, -6])
async def test_a_mistyped_key_is_refused_offline(position: int) -> None:
    class Closed:
        async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
            raise AssertionError("the store was asked")

    place = position % len(KEY)
    wrong = KEY[:place] + ("x" if KEY[place] != "x" else "y") + KEY[place + 1 :]
    if not wrong.startswith(apikeys.PREFIX):
        wrong = apikeys.PREFIX + wrong
    provider = ApiKeyProvider(Closed(), FrozenClock())
    assert await refused(provider, wrong) == "api_key_invalid"


@pytest.mark.parametrize("change", ["{}\n", " {}", "{}=", "{}{}", "{}é"])
async def test_another_spelling_of_a_key_is_not_the_key(world: World, change: str) -> None:
    door = keys(world, {KEY: {"name": "ci", "tenant_id": "acme"}})
    for source in ("bearer", "x-api-key"):
        with pytest.raises(Refusal):
            await door.gate.validate(Credential(change.format(KEY, KEY).encode(), source))


async def test_the_right_id_with_another_secret_is_refused(world: World) -> None:
    door = keys(world, {KEY: {"name": "ci", "tenant_id": "acme"}})
    assert await door.verdict(OTHER) == (401, "api_key_invalid")


async def test_an_unknown_id_and_a_wrong_secret_look_alike(world: World) -> None:
    door = keys(world, {KEY: {"name": "ci", "tenant_id": "acme"}})
    unknown, wrong = await door.refuse(THIRD), await door.refuse(OTHER)
    assert (unknown.status, unknown.reason, unknown.hint) == (wrong.status, wrong.reason, wrong.hint)


# Life


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"revoked": True}, "api_key_invalid"),
        ({"expires_at": 999.0}, "api_key_expired"),
        ({"not_before": 1001.0}, "api_key_invalid"),
    ],
)
async def test_revoked_expired_and_early_keys_are_refused(record: dict[str, Any], reason: str) -> None:
    provider = a_provider(a_record(**record), clock=FrozenClock(1000.0))
    assert await refused(provider, KEY) == reason


async def test_a_key_ends_in_the_very_second_it_says(world: World) -> None:
    clock = FrozenClock(1000.0)
    provider = a_provider(a_record(not_before=1000.0, expires_at=1001.0), clock=clock)
    assert (await provider.verify(Presented("api_key", KEY))).expires_at == 1001.0
    clock.advance(1)
    assert await refused(provider, KEY) == "api_key_expired"


async def test_a_revocation_works_at_once() -> None:
    class Store:
        record = a_record()

        async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
            return self.record

    store = Store()
    provider = ApiKeyProvider(store, FrozenClock())
    await provider.verify(Presented("api_key", KEY))
    store.record = a_record(revoked=True)
    assert await refused(provider, KEY) == "api_key_invalid"
    assert provider.cacheable is False


async def test_expiry_reaches_the_context_and_the_next_request(world: World) -> None:
    door = keys(world, {KEY: {"name": "ci", "tenant_id": "acme", "expires_at": world.clock.now() + 60}})
    assert (await door.admit(KEY)).expires_at == world.clock.now() + 60
    world.clock.advance(60)
    assert await door.verdict(KEY) == (401, "api_key_expired")


async def test_two_live_keys_serve_one_tenant_while_they_are_rotated(world: World) -> None:
    entry = {"name": "ci", "tenant_id": "acme"}
    door = keys(world, {KEY: entry, THIRD: entry | {"expires_at": world.clock.now() + 60}})
    assert {(await door.admit(key)).tenant_id for key in (KEY, THIRD)} == {"acme"}
    world.clock.advance(61)
    assert (await door.admit(KEY)).tenant_id == "acme"
    assert (await door.refuse(THIRD)).status == 401


# The store


async def test_a_store_that_is_down_is_503(world: World) -> None:
    class Down:
        async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
            raise Unavailable("store_unavailable", retry_after=5)

    with pytest.raises(Unavailable) as caught:
        await ApiKeyProvider(Down(), FrozenClock()).verify(Presented("api_key", KEY))
    assert caught.value.status == 503


async def test_a_store_that_answers_with_somebody_else_s_record_lets_nobody_in() -> None:
    class Confused:
        async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
            return a_record(THIRD)

    assert await refused(ApiKeyProvider(Confused(), FrozenClock()), KEY) == "api_key_invalid"


async def test_the_store_sees_the_id_and_the_digest_and_never_the_key() -> None:
    seen: list[tuple[str, bytes]] = []

    class Store:
        async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
            seen.append((key_id, digest))
            return None

    await refused(ApiKeyProvider(Store(), FrozenClock()), KEY)
    assert seen == [(apikeys.key_id_of(KEY), apikeys.digest(KEY.encode()))]


async def test_neither_records_nor_refusals_show_a_key_or_its_digest(world: World) -> None:
    door = keys(world, {KEY: {"name": "ci", "tenant_id": "acme"}})
    user = await door.admit(KEY)
    refusal = await door.refuse(OTHER)
    words = f"{a_record()!r} {Credential(KEY.encode())!r} {user!r} {dict(user.claims)!r} {refusal!r} {refusal.hint}"
    secret = KEY.rsplit("_", 1)[1]
    assert secret not in words
    assert OTHER.rsplit("_", 1)[1] not in words
    assert apikeys.digest(KEY.encode()).hex() not in words


async def test_a_token_of_another_provider_in_x_api_key_is_shown_to_nobody(world: World) -> None:
    door = world.door(api_keys={KEY: {"name": "ci", "tenant_id": "acme"}})
    for token in (
        world.idp.google.access_token("ann"),
        world.idp.github.token("octo"),
        world.idp.google.id_token("ann"),
    ):
        with pytest.raises(TokenInvalid):
            await door.gate.validate(Credential(token.encode(), "x-api-key"))
    assert len(world.idp.calls) == 0


async def test_without_api_keys_a_key_is_refused_and_shown_to_nobody(world: World) -> None:
    assert await world.door().verdict(KEY) == (401, "provider_not_configured")
    assert len(world.idp.calls) == 0
