from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.credentials import ONCE_ONLY, check_form, read_credential, single_headers
from tenantry.core.jws import MAX_TOKEN_BYTES
from tenantry.errors import CredentialMissing, Refusal, RequestInvalid, TokenInvalid
from tenantry.model import Credential


def bearer(value: bytes) -> Credential:
    return read_credential({b"authorization": value})


def test_a_bearer_token_is_read() -> None:
    assert bearer(b"Bearer abc") == Credential(b"abc")


@pytest.mark.parametrize("scheme", [b"bearer", b"BEARER", b"bEaReR"])
def test_the_scheme_is_read_in_any_case(scheme: bytes) -> None:
    assert bearer(scheme + b" abc") == Credential(b"abc")


def test_an_api_key_header_is_read() -> None:
    assert read_credential({b"x-api-key": b"abc"}) == Credential(b"abc", "x-api-key")


def test_no_header_is_no_credential_and_says_so_without_an_error_code() -> None:
    with pytest.raises(CredentialMissing) as caught:
        read_credential({b"host": b"example.com"})
    assert caught.value.challenge == "plain"


def test_two_credentials_are_refused_even_when_they_are_the_same() -> None:
    with pytest.raises(RequestInvalid, match="credential_duplicate"):
        read_credential({b"authorization": b"Bearer abc", b"x-api-key": b"abc"})


@pytest.mark.parametrize("empty", [b"", b"Bearer", b"bearer"])
def test_a_present_but_empty_authorization_is_malformed_not_missing(empty: bytes) -> None:
    with pytest.raises(RequestInvalid, match="authorization_malformed"):
        bearer(empty)


@pytest.mark.parametrize(
    "value", [b"Basic YTpi", b"DPoPX abc", b"Digest x", b"Token abc", b"Bearer\tabc", b"BearerX abc", b"abc"]
)
def test_another_scheme_is_refused_and_never_counts_as_missing(value: bytes) -> None:
    with pytest.raises(TokenInvalid, match="scheme_unsupported"):
        bearer(value)


@pytest.mark.parametrize("name", sorted(ONCE_ONLY))
def test_a_header_that_may_come_once_does_not_come_twice(name: bytes) -> None:
    assert single_headers([(name, b"1"), (b"accept", b"a"), (b"accept", b"b")]) == {name: b"1"}
    with pytest.raises(RequestInvalid, match="header_duplicate"):
        single_headers([(name, b"1"), (name, b"1")])


def test_headers_that_decide_nothing_are_left_alone() -> None:
    assert single_headers([(b"x-user-id", b"root"), (b"x-tenant-id", b"other"), (b"authorization_", b"x")]) == {}


@pytest.mark.parametrize(
    "query",
    [
        b"access_token=a",
        b"a=1&access_token=a",
        b"ACCESS_TOKEN=a",
        b"%61ccess_token=a",
        b"access%5ftoken=a",
        b"api_key=a",
        b"x-api-key=a",
        b"X_API_KEY=a",
        b"access_token=",
        b"access_token",
        b"&&access_token=a",
        b"a=%zz&access_token=a",
        b"a=\xff&access_token=a",
    ],
)
def test_a_token_in_the_query_is_refused_even_beside_a_header(query: bytes) -> None:
    with pytest.raises(RequestInvalid, match="token_in_query"):
        read_credential({b"authorization": b"Bearer abc"}, query)


@pytest.mark.parametrize(
    "query", [b"a=access_token", b"q=api_key&x=1", b"my_access_token=1", b"=", b"&", b"%", b"\xff\xfe"]
)
def test_another_query_is_nobodys_business(query: bytes) -> None:
    assert read_credential({b"authorization": b"Bearer abc"}, query) == Credential(b"abc")


@pytest.mark.parametrize(
    "secret",
    [
        b"",
        b" ",
        b" abc",
        b"abc ",
        b"a b",
        b"a,b",
        b"a, Bearer b",
        b"a\tb",
        b"a\nb",
        b"a\r\nb",
        b"a\x00",
        b"\xff",
        b'a"b',
        b"=",
        b"a=b",
        b"=a",
        b"a;b",
        b"a%b",
        b"a\\b",
        b"abc\n",
        "\u00e9".encode(),
        "\uff41".encode(),
    ],
)
def test_a_bearer_secret_that_is_no_token68_is_refused(secret: bytes) -> None:
    with pytest.raises(RequestInvalid, match="authorization_malformed"):
        check_form(Credential(secret))


@pytest.mark.parametrize("secret", [b"", b"a b", b"a\n", b"\xff", b"a\x7f"])
def test_an_api_key_is_visible_ascii(secret: bytes) -> None:
    with pytest.raises(RequestInvalid, match="authorization_malformed"):
        check_form(Credential(secret, "x-api-key"))


@pytest.mark.parametrize("secret", [b"${TOKEN}", b"Bearer${TOKEN}", b"$TOKEN", b"<your-token>", b"{{token}}", b"x${y"])
def test_a_placeholder_sent_instead_of_a_token_is_named_as_one(secret: bytes) -> None:
    with pytest.raises(TokenInvalid, match="placeholder_sent"):
        check_form(Credential(secret))


@pytest.mark.parametrize("source", ["bearer", "x-api-key"])
def test_a_secret_beyond_the_bound_is_refused_for_its_size(source: str) -> None:
    assert len(check_form(Credential(b"a" * MAX_TOKEN_BYTES, source))) == MAX_TOKEN_BYTES  # type: ignore[arg-type]
    with pytest.raises(TokenInvalid, match="token_too_large"):
        check_form(Credential(b"a" * (MAX_TOKEN_BYTES + 1), source))  # type: ignore[arg-type]


def test_a_credential_hides_its_secret() -> None:
    assert "hunter2" not in repr(Credential(b"hunter2"))


_HEADERS = st.dictionaries(st.sampled_from([b"authorization", b"x-api-key"]), st.binary(max_size=60), max_size=2)


@given(_HEADERS, st.binary(max_size=60))
def test_any_headers_give_a_credential_or_a_refusal(headers: dict[bytes, bytes], query: bytes) -> None:
    try:
        credential = read_credential(headers, query)
        text = check_form(credential)
    except Refusal as refusal:
        assert refusal.status in (400, 401)  # noqa: PT017
        assert isinstance(refusal, CredentialMissing) is (not headers and refusal.reason != "token_in_query")  # noqa: PT017
    else:
        assert text.encode() == credential.secret
