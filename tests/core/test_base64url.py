from __future__ import annotations

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core import base64url

ALPHABET = (string.ascii_letters + string.digits + "-_").encode()


@given(st.binary(max_size=300))
def test_decoding_undoes_encoding(data: bytes) -> None:
    assert base64url.decode(base64url.encode(data)) == data


@given(st.binary(max_size=300))
def test_encoding_is_that_of_the_standard_library_without_padding(data: bytes) -> None:
    assert base64url.encode(data) == base64.urlsafe_b64encode(data).rstrip(b"=")


@given(st.binary(max_size=12) | st.lists(st.sampled_from(ALPHABET), max_size=12).map(bytes))
def test_every_text_that_decodes_is_the_one_spelling_of_what_it_decodes_to(text: bytes) -> None:
    try:
        data = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(data) == text


def test_every_two_character_text_is_canonical_or_refused() -> None:
    accepted = set()
    for text in (bytes([a, b]) for a in range(256) for b in range(256)):
        try:
            accepted.add((base64url.decode(text), text))
        except ValueError:
            continue
    assert len(accepted) == len({data for data, _ in accepted}) == 256


@pytest.mark.parametrize(
    "text",
    [
        b"QQ==",
        b"QUI=",
        b"Q",
        b"QUJDR",
        b"QR",
        b"QUJ",
        b"++++",
        b"////",
        b"QU I",
        b"QUI\n",
        b"\nQUI",
        b"QUJD=",
        b"=QUJD",
    ],
)
def test_padding_blanks_other_alphabets_and_leftover_bits_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        base64url.decode(text)


@pytest.mark.parametrize("byte", sorted(set(range(256)) - set(ALPHABET)))
def test_a_byte_outside_the_alphabet_is_refused_wherever_it_stands(byte: int) -> None:
    for place in range(4):
        text = bytearray(b"AAAA")
        text[place] = byte
        with pytest.raises(ValueError):
            base64url.decode(bytes(text))


def test_nothing_is_the_spelling_of_nothing() -> None:
    assert base64url.decode(b"") == base64url.encode(b"") == b""
