from __future__ import annotations

import json
from typing import Any

import pytest

from tenantry.core import base64url
from tenantry.core.jws import MAX_KID_CHARACTERS, MAX_TOKEN_BYTES, parse_claims, parse_jws
from tenantry.core.keys import parse_key_set, verify_signature
from tenantry.errors import TokenInvalid
from tenantry.testing import TokenMint

MINT = TokenMint("jws")


def segment(value: Any) -> bytes:
    return base64url.encode(value if isinstance(value, bytes) else json.dumps(value).encode())


def token(header: Any, payload: Any = None, signature: bytes = b"signature") -> bytes:
    return b".".join([segment(header), segment({} if payload is None else payload), segment(signature)])


def refused(text: bytes) -> str:
    with pytest.raises(TokenInvalid) as caught:
        parse_jws(text)
    return caught.value.reason


def test_a_token_is_read_into_its_parts() -> None:
    text = token({"alg": "RS256", "kid": "k", "typ": "application/AT+JWT"}, {"sub": "1"}, b"\x00\x01")
    read = parse_jws(text)
    assert (read.algorithm, read.kid, read.type, read.signature) == ("RS256", "k", "at+jwt", b"\x00\x01")
    assert read.signing_input == text.rpartition(b".")[0]
    assert parse_claims(read) == {"sub": "1"}


def test_what_a_token_says_is_hidden_in_its_repr() -> None:
    shown = repr(parse_jws(token({"alg": "RS256"}, {"sub": "somebody"}, b"secret")))
    assert "somebody" not in shown
    assert "secret" not in shown


@pytest.mark.parametrize("parts", [0, 1, 2, 4, 5, 17])
def test_a_token_has_three_segments(parts: int) -> None:
    assert refused(b".".join([segment({"alg": "RS256"})] * parts)) == "token_malformed"


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_an_empty_header_or_signature_is_refused(empty: int) -> None:
    parts = token({"alg": "RS256"}).split(b".")
    parts[empty] = b""
    if empty == 1:  # no claims at all: a payload, but not one that is JSON
        with pytest.raises(TokenInvalid):
            parse_claims(parse_jws(b".".join(parts)))
    else:
        assert refused(b".".join(parts)) == "token_malformed"


@pytest.mark.parametrize("alg", [None, 1, True, ["RS256"], {"RS256": 1}])
def test_alg_is_a_string(alg: Any) -> None:
    assert refused(token({"alg": alg})) == "token_malformed"


def test_a_header_without_alg_is_refused() -> None:
    assert refused(token({"kid": "k"})) == "token_malformed"


@pytest.mark.parametrize("header", [[], "RS256", 1, None, [{"alg": "RS256"}]])
def test_a_header_that_is_not_an_object_is_refused(header: Any) -> None:
    assert refused(token(header)) == "token_malformed"


@pytest.mark.parametrize("kid", [None, 1, True, ["k"], {"a": 1}, "k" * (MAX_KID_CHARACTERS + 1)])
def test_a_kid_that_is_no_short_string_is_refused(kid: Any) -> None:
    assert refused(token({"alg": "RS256", "kid": kid})) == "token_header_refused"


def test_a_kid_may_be_long_and_need_not_be_there() -> None:
    assert parse_jws(token({"alg": "RS256", "kid": "k" * MAX_KID_CHARACTERS})).kid == "k" * MAX_KID_CHARACTERS
    assert parse_jws(token({"alg": "RS256"})).kid is None


@pytest.mark.parametrize("kind", [None, 1, ["JWT"], True])
def test_a_typ_that_is_no_string_is_refused(kind: Any) -> None:
    assert refused(token({"alg": "RS256", "typ": kind})) == "token_header_refused"


@pytest.mark.parametrize(
    "kind", ["dpop+jwt", "LOGOUT+JWT", "application/secevent+jwt", "kb+jwt", "vc+ld+jwt", "\u212ab+jwt"]
)
def test_a_type_that_serves_another_end_is_refused_for_every_provider(kind: str) -> None:
    assert refused(token({"alg": "RS256", "typ": kind})) == "token_type_refused"


def test_a_token_of_the_greatest_size_is_read_and_one_byte_more_is_not() -> None:
    starts = [token({"alg": "RS256", "pad": "x" * size}, {}, b"") for size in range(4)]
    start = next(start for start in starts if (MAX_TOKEN_BYTES - len(start)) % 4 == 0)
    longest = start + b"A" * (MAX_TOKEN_BYTES - len(start))
    assert parse_jws(longest).algorithm == "RS256"
    assert refused(longest + b"A") == "token_too_large"


def test_a_header_beyond_its_own_bound_is_refused() -> None:
    assert parse_jws(token({"alg": "RS256", "x5c": ["A" * 1900]})).algorithm == "RS256"
    assert refused(token({"alg": "RS256", "x5c": ["A" * 2100]})) == "token_malformed"


@pytest.mark.parametrize("payload", [b"", b"hello", b"[]", b"1", b'"a"', b"null", b"\x00\xff"])
def test_a_payload_that_is_no_json_object_is_no_claims(payload: bytes) -> None:
    with pytest.raises(TokenInvalid, match="token_malformed"):
        parse_claims(parse_jws(token({"alg": "RS256"}, payload)))


def verify(text: str, algorithms: set[str], jwks: dict[str, Any] | None = None) -> None:
    read = parse_jws(text.encode())
    key = parse_key_set(jwks or MINT.jwks()).choose(read.kid, read.algorithm)
    assert key is not None
    verify_signature(read, key, algorithms)


def test_a_signature_of_the_key_verifies() -> None:
    verify(MINT.sign({"sub": "1"}), {"RS256"})


def test_an_algorithm_that_the_configuration_does_not_name_is_refused_however_good_the_signature() -> None:
    with pytest.raises(TokenInvalid, match="algorithm_refused"):
        verify(MINT.sign({"sub": "1"}), {"PS256"})


def test_an_algorithm_that_the_key_does_not_allow_is_refused_however_the_key_was_chosen() -> None:
    (key,) = parse_key_set({"keys": [MINT.jwks()["keys"][0]]}).keys
    with pytest.raises(TokenInvalid, match="algorithm_refused"):
        verify_signature(parse_jws(MINT.sign({"sub": "1"}, alg="PS256").encode()), key, {"RS256", "PS256"})


def test_no_algorithms_mean_no_token() -> None:
    with pytest.raises(TokenInvalid, match="algorithm_refused"):
        verify(MINT.sign({"sub": "1"}), set())


def test_a_signature_of_another_key_under_the_same_id_is_refused() -> None:
    forged = TokenMint("jws-other").sign({"sub": "1"}, header={"kid": MINT.keys.current.kid})
    with pytest.raises(TokenInvalid, match="signature_invalid"):
        verify(forged, {"RS256"})


def test_a_signature_over_another_payload_is_refused() -> None:
    head, _, tail = MINT.sign({"sub": "1"}).split(".")
    with pytest.raises(TokenInvalid, match="signature_invalid"):
        verify(".".join([head, base64url.encode(b'{"sub":"2"}').decode(), tail]), {"RS256"})
