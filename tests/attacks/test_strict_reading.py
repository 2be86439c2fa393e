"""Tokens that two readers could understand differently, or that cost more than they are worth: facts sections 20.1
(every row) and 21 G. All are correctly signed by the issuer's own key."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks.tokens import (
    ADMITTED,
    CLIENT_ID,
    GOOGLE,
    GOOGLE_ISSUER,
    Entrance,
    auth0,
    encoded,
    google,
    payload_of,
    raw,
    with_member,
)

from tenantry.core.jws import MAX_TOKEN_BYTES, parse_claims, parse_jws
from tenantry.devidp import OMIT
from tenantry.errors import TokenInvalid
from tenantry.testing import NOW

LATER = int(NOW) + 3000
KID = GOOGLE.keys.current.kid


@pytest.fixture(scope="module")
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    yield made
    made.close()


def test_the_bytes_that_the_attacks_start_from_are_a_good_token(entrance: Entrance) -> None:
    assert entrance.verdict(raw()) == entrance.verdict(raw(with_member('"x":1'))) == ADMITTED


# --- Row by row of section 20.1 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "member",
    [
        '"exp":1',
        f'"exp":{LATER}',
        '"aud":"somebody-else"',
        f'"aud":"{CLIENT_ID}"',
        '"iss":"https://evil.example/"',
        f'"iss":"{GOOGLE_ISSUER}"',
        '"sub":"1"',
        '"hd":"victim.com"',
        '"\\u0065xp":1',
        '"\\u0061\\u0075\\u0064":"x"',
        '"email_verified":false',
        '"act":{"sub":"a","sub":"b"}',
        '"x":[{"y":1,"y":1}]',
    ],
)
def test_a_duplicate_claim_is_refused_whichever_would_have_won(entrance: Entrance, member: str) -> None:
    assert entrance.verdict(raw(with_member(member))) == "token_malformed"


@pytest.mark.parametrize("member", ['"alg":"none"', '"alg":"RS256"', '"kid":"x"', '"\\u0061lg":"none"', '"typ":"JWT"'])
def test_a_duplicate_header_member_is_refused_wherever_it_stands(entrance: Entrance, member: str) -> None:
    usual = f'"alg":"RS256","kid":"{KID}","typ":"JWT"'
    for header in (f"{{{member},{usual}}}", f"{{{usual},{member}}}"):
        assert entrance.verdict(raw(header=header.encode())) == "token_malformed"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1e309"])
@pytest.mark.parametrize("name", ["exp", "nbf", "iat", "anything"])
def test_a_number_that_is_not_finite_is_refused(entrance: Entrance, name: str, number: str) -> None:
    payload = b'{"%s":%s,' % (name.encode(), number.encode()) + payload_of(**{name: OMIT})[1:]
    assert entrance.verdict(raw(payload)) == "token_malformed"


@pytest.mark.parametrize("number", ["1e30", "1e12", "1000000000001", "1.5e300"])
def test_an_expiry_after_the_end_of_time_is_refused(entrance: Entrance, number: str) -> None:
    payload = b'{"exp":%s,' % number.encode() + payload_of(exp=OMIT)[1:]
    assert (entrance.verdict(raw(payload)) == ADMITTED) is (number == "1e12")


@pytest.mark.parametrize("digits", [17, 400, 5000])
@pytest.mark.parametrize("name", ["exp", "iat", "anything"])
def test_an_integer_of_very_many_digits_is_refused_without_being_converted(
    entrance: Entrance, name: str, digits: int
) -> None:
    payload = b'{"%s":%s,' % (name.encode(), b"9" * digits) + payload_of(**{name: OMIT})[1:]
    assert entrance.verdict(raw(payload)) == "token_malformed"


@pytest.mark.parametrize(
    "exp",
    [str(LATER), f" {LATER} ", "1_795_003_000", "1e10", True, False, None, [LATER], {"$date": LATER}, "", "0x6AFD"],
)
def test_an_expiry_that_is_no_number_is_refused(entrance: Entrance, exp: Any) -> None:
    assert entrance.verdict(google(exp=exp)) == "claims_malformed"


@pytest.mark.parametrize("name", ["exp", "iat"])
def test_a_token_without_an_end_or_a_beginning_is_refused(entrance: Entrance, name: str) -> None:
    for make in (google, auth0):
        assert entrance.verdict(make(**{name: OMIT})) == "claims_malformed"


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_a_token_from_the_future_is_refused(entrance: Entrance, name: str) -> None:
    assert entrance.verdict(google(**{name: NOW + 31})) == "token_not_yet_valid"


@pytest.mark.parametrize("sub", [OMIT, None, 0, 1, 1.5, True, [], ["1"], {"id": 1}, "", "\x00", "a\nb", "x" * 256])
def test_a_subject_that_names_nobody_is_refused(entrance: Entrance, sub: Any) -> None:
    assert entrance.verdict(google(sub=sub)) == "subject_invalid"
    assert entrance.verdict(auth0(sub=sub)) == "subject_invalid"


@pytest.mark.parametrize("text", ["\\ud800", "\\uDC00", "a\\ud800b", "\\ud800\\ud800", "\\udc00\\ud800"])
@pytest.mark.parametrize("name", ["sub", "name", "email", "anything"])
def test_a_lone_surrogate_anywhere_is_refused(entrance: Entrance, name: str, text: str) -> None:
    payload = f'{{"{name}":"{text}",'.encode() + payload_of(**{name: OMIT})[1:]
    assert entrance.verdict(raw(payload)) == "token_malformed"
    assert entrance.verdict(raw(with_member(f'"{text}":1'))) == "token_malformed"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-7"])
def test_only_plain_utf8_is_read(entrance: Entrance, encoding: str) -> None:
    if encoding != "utf-7":
        assert entrance.verdict(raw(payload_of().decode().encode(encoding))) == "token_malformed"
        header = f'{{"alg":"RS256","kid":"{KID}"}}'.encode(encoding)
        assert entrance.verdict(raw(header=header)) == "token_malformed"
    else:
        assert entrance.verdict(raw(b"+AHsAfQ-")) == "token_malformed"


@pytest.mark.parametrize("name", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80"])
def test_bytes_that_are_not_utf8_are_refused(entrance: Entrance, name: bytes) -> None:
    assert entrance.verdict(raw(b'{"x":"' + name + b'",' + payload_of()[1:])) == "token_malformed"


@pytest.mark.parametrize("depth", [17, 1000, 5000])
@pytest.mark.parametrize("bracket", ["[]", '{"a":}'])
def test_deep_nesting_is_refused_and_raises_no_recursion_error_ghsa_8wjv(
    entrance: Entrance, depth: int, bracket: str
) -> None:
    opening, closing = (bracket[:-1], bracket[-1])
    depth = min(depth, 11_000 // len(bracket))
    inner = opening * depth + "1" + closing * depth
    assert entrance.verdict(raw(with_member(f'"x":{inner}'))) == "token_malformed"
    assert entrance.verdict(raw(with_member(f'"x":{opening * depth}'))) == "token_malformed"
    deep_header = f'{{"alg":"RS256","kid":"{KID}","x":{opening * 300}}}'.encode()
    assert entrance.verdict(raw(header=deep_header)) == "token_malformed"


@pytest.mark.parametrize("suffix", ["=", "==", "===", "%3D"])
def test_a_signature_with_padding_is_refused(entrance: Entrance, suffix: str) -> None:
    assert entrance.verdict(google() + suffix) != ADMITTED


def test_a_header_beyond_two_kilobytes_is_refused_and_a_long_certificate_is_not(entrance: Entrance) -> None:
    assert entrance.verdict(google(header={"x5c": ["A" * 1500]})) == ADMITTED
    assert entrance.verdict(google(header={"x5c": ["A" * 2048]})) == "token_malformed"


@pytest.mark.parametrize("size", [12_000, 100_000, 1_000_000])
def test_a_token_beyond_sixteen_kilobytes_is_refused_unread_cve_2025_61920(entrance: Entrance, size: int) -> None:
    assert entrance.verdict(google(pad="x" * size)) == "token_too_large"


def test_a_large_token_within_the_bound_is_read(entrance: Entrance) -> None:
    token = google(pad="x" * 11_000)
    assert MAX_TOKEN_BYTES * 0.9 < len(token) <= MAX_TOKEN_BYTES
    assert entrance.verdict(token) == ADMITTED


@pytest.mark.parametrize("parts", [1, 2, 4, 6, 100, 8000])
def test_a_token_of_another_number_of_parts_is_refused(entrance: Entrance, parts: int) -> None:
    token = google().split(".")
    assert entrance.verdict(".".join((token * parts)[:parts])[:MAX_TOKEN_BYTES]) != ADMITTED
    assert entrance.verdict("." * (parts - 1)) != ADMITTED


# --- Beyond the matrix ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b'"sub"', b"1", b"true", b"{}", b"[{}]", b"{} {}", b"\x00"])
def test_a_payload_that_is_no_object_with_claims_is_refused(entrance: Entrance, payload: bytes) -> None:
    assert entrance.verdict(raw(payload)) in ("token_malformed", "issuer_unknown")


@pytest.mark.parametrize("header", [b"", b"[]", b"null", b'"RS256"', b"{}", b'{"alg":"RS256"', b"alg=RS256"])
def test_a_header_that_is_no_object_with_alg_is_refused(entrance: Entrance, header: bytes) -> None:
    assert entrance.verdict(raw(header=header)) in ("token_malformed", "provider_not_configured")


@pytest.mark.parametrize("garbage", [b" ", b"\n", b"}", b",", b"//", b"\x00", b"{}", b"\xef\xbb\xbf"])
def test_anything_after_the_claims_is_refused_but_blanks(entrance: Entrance, garbage: bytes) -> None:
    assert (entrance.verdict(raw(payload_of() + garbage)) == ADMITTED) is (garbage in (b" ", b"\n"))


def test_two_hundred_members_are_enough_for_anybody(entrance: Entrance) -> None:
    many = {f"m{number}": number for number in range(201)}
    assert entrance.verdict(google(**many)) == "token_malformed"
    assert entrance.verdict(google(nested=many)) == "token_malformed"


def test_members_that_mean_something_to_other_languages_mean_nothing_here(entrance: Entrance) -> None:
    odd = {"__proto__": {"admin": True}, "constructor": {}, "__class__": "x", "$ref": "#", "<<": {}, "": 1}
    user = entrance.admit(google(**odd))
    assert user.permissions == frozenset()
    assert user.claims["__proto__"] == {"admin": True}


def test_a_name_in_another_case_is_another_name(entrance: Entrance) -> None:
    payload = {"ISS": "https://evil.example/", "Sub": "victim", "AUD": "x", "EXP": 1, "Hd": "victim.com"}
    user = entrance.admit(google(**payload))
    assert (user.subject, user.tenant_id) == ("108256423011456677889", "acme_com")
    assert entrance.verdict(google(exp=OMIT, Exp=LATER)) == "claims_malformed"


@pytest.mark.parametrize("blank", ["\u2028", "\u0085", "\u00a0", "\u200b", "\u202e", "\ufeff"])
def test_an_invisible_character_in_a_subject_is_refused(entrance: Entrance, blank: str) -> None:
    assert entrance.verdict(google(sub=f"1{blank}2")) == "subject_invalid"


def test_what_a_refusal_says_is_never_taken_from_the_token(entrance: Entrance) -> None:
    marker = "MARKERMARKERMARKER"
    for token in (
        google(sub=marker + "\n"),
        google(aud=marker),
        google(iss=marker),
        google(header={"kid": marker}),
        google(header={"typ": marker}),
        google(header={"alg": marker}),
        google(header={"crit": [marker]}),
        raw(marker.encode()),
        marker,
        f"ghp_{marker}",
    ):
        with pytest.raises(Exception) as caught:
            entrance.admit(token)
        refusal = caught.value
        assert marker not in f"{refusal!r}{refusal.__dict__}{entrance.seen.seen}"
        assert refusal.__cause__ is None


# --- Work: counted, not timed -----------------------------------------------------------------------------------------


def _largest(start: bytes, unit: bytes, end: bytes = b"") -> bytes:
    """A payload of ``unit`` over and over, as large as fits into a token of the greatest size."""
    room = (MAX_TOKEN_BYTES - 700) * 3 // 4 - len(start) - len(end)
    return start + unit * (room // len(unit)) + end


WORST = {
    "open brackets": _largest(b'{"a":', b"["),
    "open objects": _largest(b"", b'{"a":'),
    "brackets and a string of quotes that never closes": _largest(b'{"a":' + b"[" * 17 + b'"', b'\\"'),
    "a string of backslashes": _largest(b'{"a":' + b"[" * 17 + b'"', b"\\"),
    "many short strings": _largest(b'{"a":[', b'"",', b'""]}'),
    "many empty objects": _largest(b'{"a":[', b"{},", b"{}]}"),
    "one name again and again": _largest(b"{", b'"a":0,', b'"b":0}'),
    "digits": _largest(b'{"a":', b"9", b"}"),
    "an exponent": _largest(b'{"a":1e', b"9", b"}"),
    "a fraction": _largest(b'{"a":0.', b"9", b"}"),
    "surrogate pairs": _largest(b'{"a":"', b"\\ud83d\\ude00", b'"}'),
    "lone surrogates": _largest(b'{"a":"', b"\\ud800", b'"}'),
    "blanks": _largest(b"{", b" ", b"}"),
    "quotes": _largest(b"", b'"'),
    "scopes": _largest(b'{"scope":"', b"a ", b'"}'),
}


@pytest.mark.parametrize("shape", WORST)
def test_the_worst_shapes_of_sixteen_kilobytes_call_no_more_than_a_few_functions_a_byte(shape: str) -> None:
    """What cannot be seen from here, the work inside one regular expression, is bounded by the test of half a megabyte
    in ``tests/core/test_strict_json.py``."""
    payload = WORST[shape]
    token = f"{encoded({'alg': 'RS256'})}.{encoded(payload)}.{encoded(b'x' * 256)}".encode()
    assert MAX_TOKEN_BYTES * 0.9 < len(token) <= MAX_TOKEN_BYTES
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        parse_claims(parse_jws(token))
    except TokenInvalid:
        pass
    finally:
        sys.setprofile(None)
    assert 0 < calls < 3 * len(payload)


@pytest.mark.parametrize("shape", WORST)
def test_the_worst_shapes_are_judged_like_any_other_token(entrance: Entrance, shape: str) -> None:
    assert entrance.verdict(raw(WORST[shape])) in ("token_malformed", "issuer_unknown")


def test_json_that_only_looks_hostile_is_read(entrance: Entrance) -> None:
    text = json.dumps({"[": '{"a":[[[[[[[[[[[[[[[[[[[[[[', '"': '\\\\\\"', "\u6f22": "\U0001f600"})
    assert entrance.admit(google(quoted=text)).claims["quoted"] == text
