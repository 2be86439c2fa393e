"""One token has one spelling: whoever can write it in a second way evades cache keys and deny-lists."""

from __future__ import annotations

import string
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.tokens import ADMITTED, API_KEY, AUTH0, AUTH0_CLAIMS, Entrance, auth0, google

BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
TOKENS = [google(), auth0(), google(pad="x"), auth0(pad="xx"), google(header={"x": "y"}), auth0(header={"x": "yz"})]
SEGMENTS = [0, 1, 2]


@pytest.fixture(scope="module")
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    for token in TOKENS:
        assert made.verdict(token) == ADMITTED  # and from here on remembered
    yield made
    made.close()


def change(token: str, segment: int, new: str) -> str:
    parts = token.split(".")
    parts[segment] = new
    return ".".join(parts)


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("segment", SEGMENTS)
def test_the_unused_bits_of_a_last_character_are_zero(entrance: Entrance, token: str, segment: int) -> None:
    part = token.split(".")[segment]
    for other in BASE64URL:
        respelled = change(token, segment, part[:-1] + other)
        assert (entrance.verdict(respelled) == ADMITTED) is (respelled == token)


@pytest.mark.parametrize("segment", SEGMENTS)
@pytest.mark.parametrize(
    "blank", ["=", "==", " ", "\n", "\t", "\r\n", "\x00", "%20", "\x0b", "\xa0", "*", "~", "+", "/"]
)
def test_nothing_may_stand_inside_before_or_after_a_segment(entrance: Entrance, segment: int, blank: str) -> None:
    for token in TOKENS:
        part = token.split(".")[segment]
        for respelled in (part + blank, blank + part, part[:8] + blank + part[8:]):
            assert entrance.verdict(change(token, segment, respelled)) != ADMITTED


@pytest.mark.parametrize("segment", SEGMENTS)
def test_the_standard_alphabet_is_another_one(entrance: Entrance, segment: int) -> None:
    tried = 0
    for number in range(40):
        token = auth0(pad=f"\u00ff\u00fe?>~{number}", header={"x": "?>\u00ff~"})
        part = token.split(".")[segment]
        respelled = part.replace("-", "+").replace("_", "/")
        if respelled != part:
            tried += 1
            assert entrance.verdict(change(token, segment, respelled)) != ADMITTED
    assert tried


@pytest.mark.parametrize(
    "respell",
    [
        lambda token: token.replace(".", "%2E"),
        lambda token: token.replace(".", "\uff0e").encode(),
        lambda token: token.replace(".", ".."),
        lambda token: token + ".",
        lambda token: "." + token,
        lambda token: token.swapcase(),
        lambda token: f'"{token}"',
        lambda token: f"Bearer {token}",
        lambda token: f"{token},{token}",
        lambda token: f"{token}, Bearer {token}",
        lambda token: token.encode("utf-16"),
        lambda token: "\ufeff".encode() + token.encode(),
    ],
)
def test_a_token_in_another_wrapping_is_refused(entrance: Entrance, respell: object) -> None:
    for token in TOKENS:
        assert entrance.verdict(respell(token)) != ADMITTED  # type: ignore[operator]


def test_json_that_says_the_same_in_other_bytes_is_not_what_was_signed(entrance: Entrance) -> None:
    head, payload, tail = AUTH0.sign(AUTH0_CLAIMS).split(".")
    other_payload = AUTH0.sign(dict(reversed(AUTH0_CLAIMS.items()))).split(".")[1]
    assert other_payload != payload
    assert entrance.verdict(f"{head}.{other_payload}.{tail}") == "signature_invalid"


@pytest.mark.parametrize("token", TOKENS[:2])
def test_every_single_character_matters(entrance: Entrance, token: str) -> None:
    """Each place in turn becomes its neighbour in the alphabet: one to six bits change."""
    ring = BASE64URL + "."
    for place, character in enumerate(token):
        other = ring[(ring.index(character) + 1) % len(ring)]
        assert entrance.verdict(token[:place] + other + token[place + 1 :]) != ADMITTED


@settings(max_examples=300)
@given(st.sampled_from(TOKENS), st.data())
def test_any_flip_in_any_segment_is_refused_also_while_the_original_is_remembered(
    entrance: Entrance, token: str, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(token) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != ord(token[place])))
    flipped = token.encode()[:place] + bytes([byte]) + token.encode()[place + 1 :]
    assert entrance.verdict(flipped) != ADMITTED
    assert entrance.verdict(token) == ADMITTED


@settings(max_examples=200)
@given(st.sampled_from(TOKENS), st.sampled_from(TOKENS), st.lists(st.sampled_from(SEGMENTS), min_size=1, max_size=2))
def test_parts_of_two_good_tokens_make_no_third(entrance: Entrance, one: str, other: str, swapped: list[int]) -> None:
    mixed = one
    for segment in swapped:
        mixed = change(mixed, segment, other.split(".")[segment])
    assert (entrance.verdict(mixed) == ADMITTED) is (mixed in TOKENS)


@settings(max_examples=200)
@given(st.integers(0, len(API_KEY)), st.sampled_from(["cut", "insert", "replace"]), st.integers(0, 255))
def test_an_api_key_has_one_spelling(entrance: Entrance, place: int, how: str, byte: int) -> None:
    key, new = API_KEY.encode(), bytes([byte])
    changed = {
        "cut": key[:place],
        "insert": key[:place] + new + key[place:],
        "replace": key[:place] + new + key[place + 1 :],
    }[how]
    for header in (b"authorization", b"x-api-key"):
        assert (entrance.verdict(changed, header) == ADMITTED) is (changed == key)
