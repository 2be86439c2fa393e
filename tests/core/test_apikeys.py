from __future__ import annotations

import hashlib
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.apikeys import base62, compose_key, crc62, digest, digest_id, key_id_of

KEY = compose_key("live", bytes(range(8)), bytes(range(32)))
_ids, _secrets = st.binary(min_size=8, max_size=8), st.binary(min_size=32, max_size=32)


@given(_ids, _secrets)
def test_a_composed_key_is_one_word_and_names_its_id(key_id: bytes, secret: bytes) -> None:
    key = compose_key("live", key_id, secret)
    assert re.fullmatch(r"[A-Za-z0-9_]+", key)
    assert key_id_of(key) == base62(int.from_bytes(key_id, "big"), 11)


@given(_ids, _secrets, _ids, _secrets)
def test_different_random_bytes_make_different_keys(a: bytes, b: bytes, c: bytes, d: bytes) -> None:
    assert (compose_key("live", a, b) == compose_key("live", c, d)) is ((a, b) == (c, d))


@given(st.integers(0, len(KEY) - 1), st.sampled_from("0Az_"))
def test_a_mistyped_character_is_noticed(place: int, character: str) -> None:
    mistyped = KEY[:place] + character + KEY[place + 1 :]
    if mistyped != KEY:
        with pytest.raises(ValueError):
            key_id_of(mistyped)


@pytest.mark.parametrize(
    "text",
    ["", "mcpk_", KEY[:-1], KEY + "0", KEY + "\n", " " + KEY, KEY.upper(), KEY.replace("mcpk", "MCPK"), KEY * 2],
)
def test_a_key_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        key_id_of(text)


def test_digits_of_other_scripts_are_not_digits() -> None:
    body = KEY[:-6].replace("0", "\u0660")
    with pytest.raises(ValueError):
        key_id_of(body + crc62(body))


@pytest.mark.parametrize("environment", ["", "x", "LIVE", "li_ve", "thirteenchars", "live1", "l\u00efve"])
def test_an_environment_is_two_to_twelve_lower_case_letters(environment: str) -> None:
    with pytest.raises(ValueError):
        compose_key(environment, bytes(8), bytes(32))


@pytest.mark.parametrize(("key_id", "secret"), [(7, 32), (9, 32), (8, 31), (8, 16), (0, 0)])
def test_a_key_is_not_composed_from_too_little_chance(key_id: int, secret: int) -> None:
    with pytest.raises(ValueError, match="random bytes"):
        compose_key("live", bytes(key_id), bytes(secret))


def test_what_is_stored_is_sha256_of_the_whole_key() -> None:
    assert digest(KEY.encode()) == hashlib.sha256(KEY.encode()).digest()


def test_the_id_of_a_key_without_one_tells_nothing_of_the_key_or_its_digest() -> None:
    stored = digest(b"a long random key of the operator's own")
    assert digest_id(stored)[1:] not in stored.hex()
    assert digest_id(stored) != digest_id(digest(b"another"))


def test_the_checksum_is_six_base62_characters_of_crc32() -> None:
    assert crc62("") == "000000"
    assert crc62("The quick brown fox") == base62(zlib.crc32(b"The quick brown fox"), 6)
