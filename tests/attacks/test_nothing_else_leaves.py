"""Whatever comes in, a refusal or an admission comes out: no other exception leaves the gate, and none has to be caught
inside (``Entrance.verdict`` fails on an ``InternalError``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.tokens import (
    ADMITTED,
    API_KEY,
    AUTH0,
    AUTH0_CLAIMS,
    AUTH0_ISSUER,
    AUTH0_KEYS,
    CLIENT_ID,
    GOOGLE,
    GOOGLE_CLAIMS,
    GOOGLE_ISSUER,
    GOOGLE_KEYS,
    Entrance,
    auth0,
    encoded,
    google,
)

from tenantry.core.matching import Routes, match
from tenantry.core.tenancy import check_tenant_id
from tenantry.errors import Refusal, RequestInvalid, TokenInvalid
from tenantry.model import Credential
from tenantry.ports import HttpResponse


@pytest.fixture(scope="module")
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    yield made
    made.close()


ROUTES = Routes(frozenset({"google", "auth0", "github", "api_key"}), {GOOGLE_ISSUER: "google", AUTH0_ISSUER: "auth0"})
SEEDS = [
    google().encode(),
    auth0().encode(),
    API_KEY.encode(),
    b"ya29.abc",
    b"gho_" + b"a" * 36,
    b"ghs_1_a.b.c",
    b"a.b.c.d.e",
]
PIECES = st.sampled_from(
    [b".", b"..", b"=", b"\x00", b"\xff", b"ey", b"{", b" ", b"${", b"mcpk_", b"ghp_", b"%00", b"\n"]
) | st.binary(max_size=4)


@st.composite
def mutated(draw: Any) -> bytes:
    """A good credential after up to four cuts, insertions, repetitions and flips."""
    token = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(token)))
        end = min(len(token), start + draw(st.integers(0, 40)))
        middle = draw(st.sampled_from([b"", token[start:end] * 2]) | PIECES)
        token = token[:start] + middle + token[end:]
    return token


# Strings that mean something to somebody, and JSON of every shape.
TEXTS = st.sampled_from(
    ["", "none", "RS256", "JWT", GOOGLE_ISSUER, CLIENT_ID, "acme.com", "a@acme.com", "\x00", "x" * 600, "\u202e"]
) | st.text(st.characters(codec="utf-8"), max_size=6)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
HEADERS = st.dictionaries(
    st.sampled_from("alg kid typ crit b64 zip enc jwk jku x5u x5c cty p2c nonce".split()) | TEXTS, JSON, max_size=3
)
CLAIMS = st.dictionaries(
    st.sampled_from(
        """iss aud azp sub email email_verified hd name picture scope permissions roles org_id client_id cnf exp iat nbf
        jti tid tenant_id gty nonce at_hash""".split()
    ),
    JSON,
    max_size=4,
)


@settings(max_examples=500)
@given(st.binary(max_size=120) | mutated(), st.sampled_from(["bearer", "x-api-key"]))
def test_routing_any_bytes_ends_in_a_provider_or_a_refusal_of_form(secret: bytes, source: Any) -> None:
    try:
        match(Credential(secret, source), ROUTES)
    except Refusal as refusal:
        assert isinstance(refusal, (TokenInvalid, RequestInvalid))  # noqa: PT017 - admission is the other good end


@settings(max_examples=300)
@given(st.binary(max_size=120) | mutated(), st.sampled_from([b"authorization", b"x-api-key"]))
def test_any_bytes_in_a_header_are_refused_unless_they_are_a_good_credential(
    entrance: Entrance, secret: bytes, header: bytes
) -> None:
    assert (entrance.verdict(secret, header) == ADMITTED) is (
        secret in SEEDS[:3] and (header == b"authorization" or secret == API_KEY.encode())
    )


@settings(max_examples=300)
@given(HEADERS)
def test_any_header_under_a_good_signature_gets_an_answer(entrance: Entrance, header: dict[str, Any]) -> None:
    entrance.verdict(google(header=header))
    entrance.verdict(auth0(header=header))


@settings(max_examples=500)
@given(CLAIMS)
def test_any_claims_under_a_good_signature_get_an_answer_that_makes_sense(
    entrance: Entrance, claims: dict[str, Any]
) -> None:
    for mint, usual in ((GOOGLE, GOOGLE_CLAIMS), (AUTH0, AUTH0_CLAIMS)):
        token = mint.sign(usual | claims)
        first = entrance.verdict(token)
        assert entrance.verdict(token) == first  # remembered or not
        if first != ADMITTED:
            continue
        user = entrance.admit(token)
        assert user.subject == claims.get("sub", usual["sub"])
        assert check_tenant_id(user.tenant_id) == user.tenant_id
        assert user.email_verified in (True, False)
        assert all(type(name) is str and name.isprintable() for name in (*user.permissions, *user.roles))
        assert all(text is None or text.isprintable() for text in (user.email, user.name, user.picture, user.client_id))
        assert user.user_id.isprintable()


@settings(max_examples=200)
@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_payload_under_a_good_signature_gets_an_answer(entrance: Entrance, payload: bytes) -> None:
    header = json.dumps({"alg": "RS256", "kid": GOOGLE.keys.current.kid}).encode()
    assert entrance.verdict(GOOGLE.raw(header, payload)) != ADMITTED


@settings(max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from([b"authorization", b"x-api-key", b"host", b"origin"]), st.binary(max_size=80), max_size=4
    ),
    st.binary(max_size=40),
)
def test_any_headers_and_query_get_an_answer(entrance: Entrance, headers: dict[bytes, bytes], query: bytes) -> None:
    assert entrance.ask(headers, query) != ADMITTED


JWKS = st.builds(
    lambda keys: {"keys": keys},
    JSON
    | st.lists(
        st.dictionaries(st.sampled_from("kty kid alg use key_ops n e crv x y k d x5c".split()), JSON, max_size=5),
        max_size=3,
    ),
)


@settings(max_examples=150)
@given(
    st.sampled_from([200, 200, 200, 204, 302, 404, 429, 500]),
    st.binary(max_size=40) | JWKS.map(lambda value: json.dumps(value).encode()),
)
def test_whatever_a_key_endpoint_answers_the_caller_is_told_to_come_again(status: int, body: bytes) -> None:
    """An issuer's mistake is not the caller's, and not an error of ours."""
    entrance = Entrance()
    for url in (GOOGLE_KEYS, AUTH0_KEYS):
        entrance.fetch.answer[url] = HttpResponse(status, {}, body)
    assert entrance.verdict(google()) in ("keys_unavailable", "key_unknown", "keys_unconfirmed")
    entrance.close()


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": ["RSA"]},
        {"kty": "RSA", "n": 5, "e": "AQAB"},
        {**GOOGLE.jwks()["keys"][0], "alg": ["RS256"]},
        {"kty": {}},
    ],
)
def test_a_key_of_odd_types_does_not_take_the_good_ones_down(jwk: dict[str, Any]) -> None:
    entrance = Entrance()
    keys = [*GOOGLE.jwks()["keys"], {**jwk, "kid": "odd"}]
    entrance.fetch.answer[GOOGLE_KEYS] = HttpResponse(200, {}, json.dumps({"keys": keys}).encode())
    assert entrance.verdict(google()) == ADMITTED
    entrance.close()


OPAQUE = {
    "ya29.x": "https://oauth2.googleapis.com/tokeninfo",
    "gho_x": "https://api.github.com/applications/Iv1.0123456789abcdef/token",
}
ANSWERS = st.dictionaries(
    st.sampled_from(
        "aud azp sub exp scope email email_verified hd app user scopes expires_at id type client_id error".split()
    ),
    JSON,
    max_size=6,
)


@settings(max_examples=200)
@given(st.sampled_from(sorted(OPAQUE)), st.sampled_from([200, 200, 200, 401, 403, 404, 422, 429, 500]), ANSWERS)
def test_whatever_a_provider_answers_about_an_opaque_token_there_is_an_answer(
    token: str, status: int, answer: dict[str, Any]
) -> None:
    entrance = Entrance()
    entrance.fetch.answer[OPAQUE[token]] = HttpResponse(status, {}, json.dumps(answer).encode())
    assert entrance.verdict(token) != ADMITTED
    entrance.close()


GITHUB_USER = {"id": 7, "login": "ann", "type": "User", "name": "Ann"}


@settings(max_examples=150)
@given(
    st.dictionaries(st.sampled_from("id login type name avatar_url email".split()), JSON, max_size=3), JSON, JSON, JSON
)
def test_whatever_github_says_of_a_token_of_ours_there_is_an_answer(
    user: dict[str, Any], scopes: Any, expires: Any, emails: Any
) -> None:
    entrance = Entrance(github_tenant_from_email=True)
    answer = {
        "app": {"client_id": "Iv1.0123456789abcdef"},
        "user": GITHUB_USER | user,
        "scopes": scopes,
        "expires_at": expires,
    }
    entrance.fetch.answer[OPAQUE["gho_x"]] = HttpResponse(200, {}, json.dumps(answer).encode())
    entrance.fetch.answer["https://api.github.com/user/emails"] = HttpResponse(200, {}, json.dumps(emails).encode())
    entrance.verdict("gho_x")
    entrance.close()


@settings(max_examples=150)
@given(ANSWERS, ANSWERS)
def test_whatever_google_says_of_a_token_of_ours_there_is_an_answer(
    info: dict[str, Any], person: dict[str, Any]
) -> None:
    entrance = Entrance()
    usual = {"aud": CLIENT_ID, "sub": "1", "exp": "1795003000", "email": "ann@gmail.com", "email_verified": "true"}
    entrance.fetch.answer[OPAQUE["ya29.x"]] = HttpResponse(200, {}, json.dumps(usual | info).encode())
    entrance.fetch.answer["https://openidconnect.googleapis.com/v1/userinfo"] = HttpResponse(
        200, {}, json.dumps({"sub": "1"} | person).encode()
    )
    entrance.verdict("ya29.x")
    entrance.close()


def test_a_token_of_nothing_but_structure_is_refused(entrance: Entrance) -> None:
    for header in ({}, [], "", None, 0):
        for claims in ({}, [], "", None, 0):
            assert entrance.verdict(f"{encoded(header)}.{encoded(claims)}.") != ADMITTED
            assert entrance.verdict(f"{encoded(header)}.{encoded(claims)}.{encoded(b'x')}") != ADMITTED
