"""ports.ApiKeyStore: found by what a key's holder alone can show, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tenantry.core import apikeys
from tenantry.model import ApiKeyRecord
from tenantry.ports import ApiKeyStore
from tenantry.testing import StaticKeyStore

pytestmark = pytest.mark.anyio

ONE = apikeys.compose_key("live", b"\x01" * 8, b"\x02" * 32)
TWO = apikeys.compose_key("live", b"\x03" * 8, b"\x04" * 32)
NEVER = apikeys.compose_key("live", b"\x05" * 8, b"\x06" * 32)
PLAIN = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE"


def a_record(key: str, **changes: object) -> ApiKeyRecord:
    digest = apikeys.digest(key.encode())
    key_id = apikeys.key_id_of(key) if key.startswith(apikeys.PREFIX) else apikeys.digest_id(digest)
    return ApiKeyRecord(key_id=key_id, digest=digest, name=key[-4:], **changes)  # type: ignore[arg-type]


Make = Callable[[Sequence[ApiKeyRecord]], ApiKeyStore]


@pytest.fixture(params=[StaticKeyStore], ids=["static"])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


async def find(store: ApiKeyStore, key: str) -> ApiKeyRecord | None:
    wanted = a_record(key)
    return await store.find(wanted.key_id, wanted.digest)


@pytest.mark.parametrize("key", [ONE, TWO, PLAIN])
async def test_a_key_finds_its_own_record(make: Make, key: str) -> None:
    store = make([a_record(ONE), a_record(TWO), a_record(PLAIN)])
    found = await find(store, key)
    assert found == a_record(key)


async def test_an_unknown_key_finds_nothing(make: Make) -> None:
    assert await find(make([a_record(ONE)]), NEVER) is None
    assert await find(make([]), ONE) is None


async def test_a_record_s_life_is_for_the_caller_to_judge(make: Make) -> None:
    record = a_record(ONE, revoked=True, expires_at=1.0)
    assert await find(make([record]), ONE) == record


async def test_a_known_id_with_another_digest_never_gives_a_record_that_the_caller_would_take(make: Make) -> None:
    found = await make([a_record(ONE)]).find(a_record(ONE).key_id, a_record(NEVER).digest)
    assert found is None or found.digest != a_record(NEVER).digest


async def test_text_in_an_id_is_never_code(make: Make) -> None:
    """LiteLLM CVE-2026-42208: SQL in exactly this look-up."""
    store = make([a_record(ONE)])
    for key_id in ("' or 1=1 --", "%", "\\", "\x00", "", "a" * 10_000, "d'; drop table api_keys; --"):
        assert await store.find(key_id, b"\0" * 32) is None
    assert await find(store, ONE) == a_record(ONE)
