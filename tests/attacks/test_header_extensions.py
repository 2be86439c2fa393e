"""``crit``, ``b64``, ``zip`` and types that serve other ends: facts section 21 E and section 4. All well signed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks.tokens import ADMITTED, GOOGLE, Entrance, auth0, encoded, google, payload_of


@pytest.fixture(scope="module")
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    yield made
    made.close()


@pytest.mark.parametrize(
    "crit",
    [[], ["x"], ["b64"], ["alg"], ["exp"], "x", None, {}, True, 0, ["x", "x"], [[]], ["http://example.com/UNDEFINED"]],
)
def test_any_crit_is_refused_also_an_empty_one_cve_2025_59420_cve_2026_32597_cve_2026_35042(
    entrance: Entrance, crit: Any
) -> None:
    assert entrance.verdict(google(header={"crit": crit, "x": 1})) == "token_header_refused"
    assert entrance.verdict(auth0(header={"crit": crit})) == "token_header_refused"


@pytest.mark.parametrize("b64", [False, True, None, "false", 0])
def test_any_b64_is_refused_with_or_without_crit_cve_2026_48525(entrance: Entrance, b64: Any) -> None:
    assert entrance.verdict(google(header={"b64": b64})) == "token_header_refused"
    assert entrance.verdict(google(header={"b64": b64, "crit": ["b64"]})) == "token_header_refused"


def test_a_detached_or_unencoded_payload_is_refused(entrance: Entrance) -> None:
    head, _, tail = google(header={"b64": False, "crit": ["b64"]}).split(".")
    for payload in (b"", payload_of()):
        assert entrance.verdict(head.encode() + b"." + payload + b"." + tail.encode()) != ADMITTED
    head, _, tail = google().split(".")
    assert entrance.verdict(f"{head}..{tail}") == "token_malformed"


@pytest.mark.parametrize("how", ["DEF", "def", "", None, "GZIP"])
def test_a_compressed_token_is_refused_unopened_cve_2024_33664_cve_2024_28176(entrance: Entrance, how: Any) -> None:
    assert entrance.verdict(google(header={"zip": how})) == "token_header_refused"


@pytest.mark.parametrize(
    "typ",
    [
        "logout+jwt",
        "dpop+jwt",
        "DPOP+JWT",
        "application/logout+jwt",
        "secevent+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
        "client-authentication+jwt",
        "oauth-id-jag+jwt",
        "kb+jwt",
        "dc+sd-jwt",
        "vc+jwt",
        "statuslist+jwt",
        "\u212ab+jwt",
        "jwt ",
        "JWT\u0000",
        "",
        "JOSE",
        "application/application/jwt",
        "id+jwt",
        "at+jwt+x",
        "jwt;x=1",
    ],
)
def test_a_token_that_the_same_key_signed_for_another_end_is_refused_rfc8725_3_11(entrance: Entrance, typ: str) -> None:
    assert entrance.verdict(google(header={"typ": typ})) == "token_type_refused"
    assert entrance.verdict(auth0(header={"typ": typ})) == "token_type_refused"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt", "at+jwt", "AT+JWT"])
def test_the_types_of_access_tokens_are_accepted_from_auth0(entrance: Entrance, typ: str) -> None:
    assert entrance.verdict(auth0(header={"typ": typ})) == ADMITTED


def test_google_signs_no_access_tokens(entrance: Entrance) -> None:
    assert entrance.verdict(google(header={"typ": "at+jwt"})) == "token_type_refused"


@pytest.mark.parametrize("typ", [None, 1, ["JWT"], {"typ": "JWT"}, True])
def test_a_typ_that_is_no_string_is_refused(entrance: Entrance, typ: Any) -> None:
    assert entrance.verdict(google(header={"typ": typ})) == "token_header_refused"


def test_a_private_header_name_changes_nothing(entrance: Entrance) -> None:
    """Clerk sends ``cat``, Entra ``x5t``; some gateways add their own."""
    assert entrance.verdict(google(header={"cat": "cl_B7d4PD111AAA", "x5t": "abc", "nonce": "n"})) == ADMITTED


def test_a_header_copied_into_the_claims_and_claims_into_the_header_mean_nothing(entrance: Entrance) -> None:
    assert (
        entrance.verdict(google(alg="RS256", crit=["x"], b64=False, zip="DEF", typ="logout+jwt", kid="x")) == ADMITTED
    )
    assert entrance.verdict(google(header={"aud": "x", "exp": 0, "iss": "https://evil.example/"})) == ADMITTED


def test_an_unprotected_header_has_no_place_ghsa_jc38_x7x8_2xc8(entrance: Entrance) -> None:
    """The JSON serializations carry one; only the compact form is read."""
    head, payload, tail = google().split(".")
    flattened = b'{"protected":"%s","header":{"alg":"none"},"payload":"%s","signature":"%s"}' % tuple(
        part.encode() for part in (head, payload, tail)
    )
    assert entrance.verdict(flattened) != ADMITTED
    assert entrance.verdict(encoded(flattened)) != ADMITTED


def test_a_second_signature_appended_is_refused(entrance: Entrance) -> None:
    token = google()
    for spare in (token.rpartition(".")[2], "", encoded(b"x"), GOOGLE.sign({}).split(".")[1]):
        assert entrance.verdict(f"{token}.{spare}") != ADMITTED
