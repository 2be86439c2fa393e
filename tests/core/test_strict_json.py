from __future__ import annotations

import contextlib
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.strict_json import MAX_DEPTH, MAX_MEMBERS, parse_object


def nested(depth: int) -> bytes:
    """An object that many levels deep, arrays and objects by turns."""
    opening = ["[" if level % 2 else '{"a":' for level in range(depth)]
    closing = ["]" if level % 2 else "}" for level in reversed(range(depth))]
    return "".join([*opening, "1", *closing]).encode()


def test_an_object_is_read() -> None:
    assert parse_object(b'{"a": [1, 2.5, true, null, "\\u00e9"], "b": {}}') == {
        "a": [1, 2.5, True, None, "é"],
        "b": {},
    }


@pytest.mark.parametrize("text", [b"", b" ", b"[]", b'"a"', b"1", b"null", b"true", b"NaN", b"{", b"{}{}", b"{} x"])
def test_what_is_not_one_object_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"a":1,"\\u0061":2}',
        b'{"o":{"a":1,"a":2}}',
        b'{"o":[{"a":1,"a":2}]}',
        b'{"":1,"":2}',
        b'{"a":1,"b":2,"c":{"d":[{"e":1,"e":1}]}}',
    ],
)
def test_a_duplicate_name_is_refused_at_any_depth_and_in_any_spelling(text: bytes) -> None:
    with pytest.raises(ValueError, match="duplicate"):
        parse_object(text)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"1E+999999"])
def test_a_number_that_is_not_finite_is_refused(number: bytes) -> None:
    with pytest.raises(ValueError, match="finite"):
        parse_object(b'{"a":[' + number + b"]}")


@pytest.mark.parametrize("number", [b"01", b"+1", b".5", b"5.", b"0x1", b"1_000", b"--1", b"\xd9\xa1"])
def test_a_number_in_a_foreign_notation_is_refused(number: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(b'{"a":' + number + b"}")


@pytest.mark.parametrize("number", [0, 1, -1, 2**53 - 1, -(2**53) + 1])
def test_integers_that_every_reader_holds_are_read(number: int) -> None:
    assert parse_object(b'{"a":%d}' % number) == {"a": number}


@pytest.mark.parametrize(
    "number", [str(2**53), str(-(2**53)), "9" * 16, "9" * 17, "9" * 31, "1" + "0" * 400, "-" + "9" * 5000]
)
def test_integers_that_readers_disagree_on_are_refused(number: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_object(b'{"a":' + number.encode() + b"}")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"])
def test_another_encoding_than_plain_utf8_is_refused(encoding: str) -> None:
    with pytest.raises(ValueError):
        parse_object('{"a":1}'.encode(encoding))


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xaf"}',  # overlong "/"
        b'{"a":"\xed\xa0\x80"}',  # a surrogate written as if it were a character
        b'{"a":"\xf4\x90\x80\x80"}',  # beyond U+10FFFF
        b'{"a":"\xe2\x82"}',
    ],
)
def test_bytes_that_are_not_utf8_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(text)


@pytest.mark.parametrize("text", [b'{"a":"\\ud800"}', b'{"a":"\\uDFFF"}', b'{"\\ud800":1}', b'{"a":["x\\udc00y"]}'])
def test_a_lone_surrogate_is_refused_in_names_and_values(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(text)


def test_a_surrogate_pair_is_one_character() -> None:
    assert parse_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_an_escaped_backslash_before_ud800_is_text() -> None:
    assert parse_object(b'{"a":"\\\\ud800"}') == {"a": "\\ud800"}


@pytest.mark.parametrize("text", [b'{"a":"\n"}', b'{"a":"\x00"}', b'{"a":"\x1f"}', b'{"a\t":1}'])
def test_a_raw_control_character_in_a_string_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(text)


@pytest.mark.parametrize("text", [b"{'a':1}", b"{a:1}", b'{"a":1,}', b'{"a":[1,]}', b'{"a":1 /* b */}', b'{"a":1}//b'])
def test_relaxed_json_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_object(text)


@pytest.mark.parametrize("blank", ["\x0b", "\x0c", "\xa0", "\u2028", "\ufeff", "\x00"])
def test_only_the_four_json_blanks_are_blanks(blank: str) -> None:
    with pytest.raises(ValueError):
        parse_object(f'{{"a":{blank}1}}'.encode())


def test_nesting_up_to_the_bound_is_read() -> None:
    assert json.loads(nested(MAX_DEPTH)) == parse_object(nested(MAX_DEPTH))


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100, 100_000])
def test_nesting_beyond_the_bound_is_refused(depth: int) -> None:
    with pytest.raises(ValueError, match="deeply"):
        parse_object(nested(depth))


@pytest.mark.parametrize(
    "before",
    [b'"\\""', b'"\\\\"', b'"]"', b'"]]]]]]]]]]]]]]]]]]]]"', b'"\\\\\\""', b'"\\\\\\\\"'],
)
def test_brackets_and_quotes_inside_strings_do_not_hide_depth(before: bytes) -> None:
    hidden = b'{"a":[' + before + b"," + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"]}"
    with pytest.raises(ValueError, match="deeply"):
        parse_object(hidden)


def test_brackets_inside_strings_are_not_depth() -> None:
    text = "[" * 100 + "{" * 100
    assert parse_object(json.dumps({"a": text}).encode()) == {"a": text}


def test_many_shallow_brackets_are_read() -> None:
    assert parse_object(b'{"a":[' + b"[]," * 500 + b"[]]}") == {"a": [[]] * 501}


def test_members_up_to_the_bound_are_read_and_one_more_is_not() -> None:
    members = {f"m{number}": number for number in range(MAX_MEMBERS)}
    assert parse_object(json.dumps(members).encode()) == members
    with pytest.raises(ValueError, match="too many"):
        parse_object(json.dumps({**members, "one": 1}).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_value_error(text: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert type(parse_object(text)) is dict


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=8), _JSON, max_size=6), st.booleans())
def test_what_is_read_is_what_was_written(value: dict[str, object], ascii_only: bool) -> None:
    assert parse_object(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


_BRACKETS = st.text(alphabet='[]{}",:\\u1 a', max_size=60).map(str.encode)


@given(_BRACKETS)
def test_whatever_the_standard_parser_reads_deeply_is_refused_here(middle: bytes) -> None:
    """The scan for depth may refuse too much of what is not JSON, never too little of what is."""
    text = b'{"k":' + b"[" * MAX_DEPTH + middle + b"]" * MAX_DEPTH + b"}"
    try:
        json.loads(text)
    except ValueError:
        return
    with pytest.raises(ValueError):
        parse_object(text)


_HOSTILE = r"""
import json, sys
from tenantry.core.strict_json import parse_object
size = 512 * 1024
shapes = [
    b'{"a":' + b"[" * 17 + b'"' + b'\\"' * (size // 2),       # an unclosed string of quotes
    b'{"a":' + b"[" * 17 + b'"' + b'\\' * size,
    b'{"a":' + b"[" * size,
    b'{' * size,
    b'{"a":"' + b'[' * size + b'"}',
    b'{"a":[' + b'"",' * (size // 3) + b'1]}',
    b'{"a":[' + b'1,' * (size // 2) + b'1]}',
    b'{"a":[' + b'{},' * (size // 3) + b'1]}',
    b'{"a":' + b'9' * size + b'}',
    b'{"a":0.' + b'9' * size + b'}',
    b'{"a":1e' + b'9' * size + b'}',
    b'{"a":"' + b'\\ud800' * (size // 6) + b'"}',
    b'{"a":"' + b'\\ud83d\\ude00' * (size // 12) + b'"}',
    b'{"a":' + b' ' * size + b'1}',
    b'{' + b','.join(b'"%d":0' % n for n in range(size // 10)) + b'}',
    b'{' + b','.join(b'"a":0' for n in range(size // 6)) + b'}',
    b'"' * size,
]
for shape in shapes:
    try:
        parse_object(shape)
    except ValueError:
        pass
print(len(shapes))
"""


def test_half_a_megabyte_of_the_worst_shapes_is_read_or_refused_in_one_pass() -> None:
    """Work that grew with the square of the size would take hours here (16 KiB took half a second once): the limit
    is there to name the failure, not to measure."""
    done = subprocess.run([sys.executable, "-c", _HOSTILE], capture_output=True, timeout=60, check=True, text=True)
    assert done.stdout.strip() == "17"
