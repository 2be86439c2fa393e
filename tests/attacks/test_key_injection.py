"""Keys and addresses that the token brings along: facts section 21 F. Only configured addresses are ever asked."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks.tokens import (
    ADMITTED,
    AUTH0_CLAIMS,
    AUTH0_KEYS,
    GOOGLE,
    GOOGLE_CLAIMS,
    GOOGLE_KEYS,
    STRANGER,
    Entrance,
    auth0,
    google,
)

from tenantry.devidp import OMIT


@pytest.fixture
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    yield made
    assert made.asked <= {GOOGLE_KEYS, AUTH0_KEYS}  # whatever a token said
    made.close()


X5C = [base64.b64encode(STRANGER.keys.current.certificate()).decode()]
EVIL = "https://evil.example/jwks.json"
INJECTED = [
    {"jwk": STRANGER.keys.current.jwk()},
    {"jwk": {"kty": "oct", "k": "c2VjcmV0"}},
    {"jku": EVIL},
    {"jku": "http://169.254.169.254/latest/meta-data/"},
    {"jku": "file:///etc/passwd"},
    {"x5u": EVIL},
    {"x5c": X5C},
    {"jwk": STRANGER.keys.current.jwk(), "jku": EVIL, "x5u": EVIL, "x5c": X5C},
]


@pytest.mark.parametrize("header", INJECTED)
@pytest.mark.parametrize("kid", [STRANGER.keys.current.kid, GOOGLE.keys.current.kid, OMIT])
def test_a_key_that_a_token_brings_along_does_not_verify_it_cve_2018_0114_cve_2026_27962(
    entrance: Entrance, header: dict[str, Any], kid: Any
) -> None:
    forged = STRANGER.sign(GOOGLE_CLAIMS, header={**header, "kid": kid})
    assert entrance.verdict(forged) in ("signature_invalid", "key_unknown", "keys_unconfirmed")


@pytest.mark.parametrize("header", INJECTED)
def test_beside_a_good_signature_they_are_not_even_looked_at(entrance: Entrance, header: dict[str, Any]) -> None:
    assert entrance.verdict(google(header=header)) == ADMITTED


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/dev/null",
        "file:///etc/passwd",
        "key' OR '1'='1",
        "'; drop table keys; --",
        "| cat /etc/passwd",
        "https://evil.example/key",
        "http://169.254.169.254/",
        "\u0000",
        "../keys/" + GOOGLE.keys.current.kid,
        GOOGLE.keys.current.kid + "\u0000",
        GOOGLE.keys.current.kid.upper(),
        f" {GOOGLE.keys.current.kid}",
        "",
        "*",
        "%s%s%n",
        "{0.__class__}",
    ],
)
def test_a_kid_is_a_name_and_nothing_else(entrance: Entrance, kid: str) -> None:
    for mint in (STRANGER, GOOGLE):
        assert entrance.verdict(mint.sign(GOOGLE_CLAIMS, header={"kid": kid})) in ("key_unknown", "keys_unconfirmed")


@pytest.mark.parametrize("kid", [None, 1, True, ["k"], {"k": 1}, [GOOGLE.keys.current.kid], "k" * 257])
def test_a_kid_that_is_no_short_string_is_refused_before_any_fetch(entrance: Entrance, kid: Any) -> None:
    assert entrance.verdict(google(header={"kid": kid})) == "token_header_refused"
    assert entrance.asked == set()


def test_a_token_without_a_kid_does_not_get_to_try_several_keys(entrance: Entrance) -> None:
    assert len(GOOGLE.jwks()["keys"]) > 1
    assert entrance.verdict(google(header={"kid": OMIT})) == "key_unknown"


@pytest.mark.parametrize(
    "issuer",
    [
        "https://evil.example/",
        "https://accounts.google.com@evil.example/",
        "https://accounts.google.com.evil.example",
        "https://evil.example/?https://accounts.google.com",
        "http://127.0.0.1:8000/",
        "http://[::1]/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "//accounts.google.com",
        "https://acme.eu.auth0.com/../evil/",
        "https://evil.eu.auth0.com/",
    ],
)
def test_an_issuer_never_becomes_an_address(entrance: Entrance, issuer: str) -> None:
    for claims in (GOOGLE_CLAIMS, AUTH0_CLAIMS):
        assert entrance.verdict(STRANGER.sign(claims | {"iss": issuer, "jwks_uri": EVIL})) == "issuer_unknown"
    assert entrance.asked == set()


def test_a_flood_of_invented_key_ids_costs_a_handful_of_fetches_cve_2026_48524(entrance: Entrance) -> None:
    for number in range(500):
        assert entrance.verdict(STRANGER.sign(GOOGLE_CLAIMS, header={"kid": f"k{number}"})) != ADMITTED
    assert len(entrance.fetch.requests) <= 6
    assert entrance.verdict(google()) == ADMITTED


@pytest.mark.parametrize(
    "damaged",
    [
        {"exp": 1},
        {"aud": "somebody else"},
        {"sub": ""},
        {"cnf": {"jkt": "x"}},
        {"iat": OMIT},
        {"exp": "2000000000"},
    ],
)
def test_what_no_key_could_make_good_costs_no_key(entrance: Entrance, damaged: dict[str, Any]) -> None:
    for mint, claims in ((STRANGER, GOOGLE_CLAIMS), (STRANGER, AUTH0_CLAIMS)):
        assert entrance.verdict(mint.sign(claims | damaged)) != ADMITTED
    assert entrance.asked == set()


def test_a_good_token_of_each_issuer_asks_that_issuer_only(entrance: Entrance) -> None:
    assert entrance.verdict(google()) == ADMITTED
    assert entrance.asked == {GOOGLE_KEYS}
    assert entrance.verdict(auth0()) == ADMITTED
