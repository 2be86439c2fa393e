"""API keys as an attacker sends them: facts section 21 M and L, section 16."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from tests.attacks.tokens import ADMITTED, API_KEY, Entrance, google

from tenantry.core.apikeys import compose_key, crc62
from tenantry.testing import NOW

OTHER = compose_key("live", b"key id 9", bytes(range(32)))
PLAIN = "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"
HEADERS = (b"authorization", b"x-api-key")


@pytest.fixture(scope="module")
def entrance() -> Iterator[Entrance]:
    made = Entrance(
        api_keys={
            PLAIN: {"name": "plain", "tenant_id": "batch", "permissions": ["notes:read"]},
            OTHER: {"name": "old", "expires_at": NOW - 1},
            compose_key("live", b"key id A", bytes(32)): {"name": "future", "not_before": NOW + 10},
        }
    )
    yield made
    assert made.asked == set()
    made.close()


@pytest.fixture(scope="module")
def cut_off() -> Iterator[Entrance]:
    """An entrance whose keys may be in a database, which somebody has put out of reach."""
    made = Entrance(database_connection_string="postgresql://app:word@127.0.0.1:1/none")
    yield made
    assert made.asked == set()
    made.close()


@pytest.mark.parametrize("header", HEADERS)
def test_a_key_is_let_in_through_either_header(entrance: Entrance, header: bytes) -> None:
    assert entrance.verdict(API_KEY, header) == entrance.verdict(PLAIN, header) == ADMITTED


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize(
    "key",
    [
        "mcpk_live_' OR '1'='1",
        "mcpk_live_00000000000_" + "' UNION SELECT 1--".ljust(49, "0"),
        "mcpk_live_%00",
        "mcpk_",
        "mcpk_live_" + "0" * 5000,
        f"{API_KEY}' --",
        f"{API_KEY};{OTHER}",
        "*",
        "%",
        "null",
        "undefined",
        "sha256:" + "0" * 64,
    ],
)
def test_a_key_is_compared_and_never_put_into_a_query_cve_2026_42208(
    entrance: Entrance, header: bytes, key: str
) -> None:
    assert entrance.verdict(key, header) != ADMITTED


def test_the_stored_digest_is_no_key(entrance: Entrance) -> None:
    for key in (API_KEY, PLAIN):
        digest = hashlib.sha256(key.encode()).hexdigest()
        for text in (digest, f"sha256:{digest}", digest.upper()):
            assert entrance.verdict(text, b"x-api-key") == "api_key_invalid"


def test_the_right_id_with_another_secret_is_refused_like_an_unknown_id(entrance: Entrance) -> None:
    known = compose_key("live", b"key id 8", bytes(32))
    unknown = compose_key("live", b"unknown!", bytes(32))
    elsewhere = compose_key("test", b"key id 8", bytes(range(100, 132)))
    assert {entrance.verdict(key) for key in (known, unknown, elsewhere)} == {"api_key_invalid"}


def test_a_good_checksum_is_no_proof(entrance: Entrance) -> None:
    body = API_KEY[:-7] + ("A" if API_KEY[-7] != "A" else "B")
    assert entrance.verdict(body + crc62(body)) == "api_key_invalid"


def test_a_key_before_its_beginning_or_after_its_end_is_refused(entrance: Entrance) -> None:
    assert entrance.verdict(OTHER) == "api_key_expired"
    assert entrance.verdict(compose_key("live", b"key id A", bytes(32))) == "api_key_invalid"


def test_a_key_opens_its_own_tenant_with_its_own_permissions(entrance: Entrance) -> None:
    plain, own = entrance.admit(PLAIN), entrance.admit(API_KEY)
    assert (plain.tenant_id, plain.permissions) == ("batch", {"notes:read"})
    assert own.tenant_id.startswith("u___")
    assert own.permissions == frozenset()
    assert PLAIN not in repr(plain) + str(dict(plain.claims))


@pytest.mark.parametrize("cut", [1, 6, 20, 31])
def test_a_beginning_of_a_key_is_no_key(entrance: Entrance, cut: int) -> None:
    for header in HEADERS:
        assert entrance.verdict(PLAIN[:-cut], header) != ADMITTED
        assert entrance.verdict(PLAIN + PLAIN[:cut], header) != ADMITTED


def test_a_token_is_no_key(entrance: Entrance) -> None:
    assert entrance.verdict(google(), b"x-api-key") == "api_key_invalid"


@pytest.mark.parametrize("header", HEADERS)
def test_who_puts_the_database_out_of_reach_gets_nobody_in_and_no_good_key_called_bad(
    cut_off: Entrance, header: bytes
) -> None:
    """A 401 would make clients throw good keys away; and a key that was revoked must not come back to life."""
    invented = [compose_key("live", number.to_bytes(8, "big"), bytes(32)) for number in range(50)]
    assert {cut_off.verdict(key, header) for key in (API_KEY, OTHER, *invented)} == {"database_unavailable"}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("key", ["mcpk_", "mcpk_live_' OR '1'='1", API_KEY[:-1], "mcpk_live_" + "0" * 60])
def test_what_can_be_no_key_troubles_no_database(cut_off: Entrance, header: bytes, key: str) -> None:
    assert cut_off.verdict(key, header) not in (ADMITTED, "database_unavailable")
