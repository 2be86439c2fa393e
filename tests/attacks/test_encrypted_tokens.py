"""Encryption says nothing about who made a token: facts section 21 K. No JWE is opened here, for anybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks.tokens import ADMITTED, AUTH0_ISSUER, Entrance, auth0, encoded, google


@pytest.fixture
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    yield made
    assert made.asked == set()
    made.close()


def jwe(header: dict[str, Any], parts: int = 5) -> str:
    return ".".join([encoded(header), *(encoded(b"x" * 16) for _ in range(parts - 1))])


@pytest.mark.parametrize(
    "alg", ["dir", "RSA-OAEP", "RSA-OAEP-256", "RSA1_5", "A256KW", "ECDH-ES", "PBES2-HS256+A128KW", "none"]
)
@pytest.mark.parametrize("enc", ["A256GCM", "A128CBC-HS256"])
def test_an_encrypted_token_is_refused_unopened_cve_2026_29000_cve_2026_28490(
    entrance: Entrance, alg: str, enc: str
) -> None:
    assert entrance.verdict(jwe({"alg": alg, "enc": enc, "cty": "JWT", "iss": AUTH0_ISSUER})) == "token_encrypted"


def test_auth0s_opaque_token_is_refused_with_the_hint_what_to_ask_for(entrance: Entrance) -> None:
    header = encoded({"alg": "dir", "enc": "A256GCM", "iss": AUTH0_ISSUER})
    assert (
        entrance.verdict(f"{header}..{encoded(b'i' * 12)}.{encoded(b'c' * 40)}.{encoded(b't' * 16)}")
        == "token_encrypted"
    )


@pytest.mark.parametrize("parts", [3, 4, 6])
def test_an_encrypted_token_of_another_shape_is_refused(entrance: Entrance, parts: int) -> None:
    assert entrance.verdict(jwe({"alg": "dir", "enc": "A256GCM", "iss": AUTH0_ISSUER}, parts)) != ADMITTED


def test_a_jwe_header_on_three_parts_is_not_taken_for_a_signature_cve_2022_3102(entrance: Entrance) -> None:
    assert entrance.verdict(google(header={"enc": "A256GCM"})) == "token_encrypted"
    assert entrance.verdict(auth0(header={"enc": "A256GCM", "alg": "dir"})) == "token_encrypted"


@pytest.mark.parametrize("count", [1, 10**6, 2**31, 2**53 - 1, 10**400])
def test_a_password_iteration_count_costs_nothing_cve_2026_27932_cve_2023_6681(entrance: Entrance, count: int) -> None:
    header = {"alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": count, "p2s": "c2FsdA", "iss": AUTH0_ISSUER}
    assert entrance.verdict(jwe(header)) == "token_encrypted"
    assert entrance.verdict(jwe(header, 3)) != ADMITTED


def test_a_compressed_bomb_is_not_inflated_cve_2024_28102_cve_2026_39373(entrance: Entrance) -> None:
    assert entrance.verdict(jwe({"alg": "dir", "enc": "A256GCM", "zip": "DEF"})) == "token_encrypted"


def test_a_signed_token_inside_an_encrypted_one_is_not_looked_for(entrance: Entrance) -> None:
    wrapped = ".".join(
        [encoded({"alg": "dir", "enc": "A256GCM", "cty": "JWT"}), "", encoded(b"i"), encoded(google().encode()), "dA"]
    )
    assert entrance.verdict(wrapped) == "token_encrypted"


def test_a_signed_token_as_the_payload_of_another_is_not_unwrapped(entrance: Entrance) -> None:
    head, _, tail = google().split(".")
    assert entrance.verdict(f"{head}.{encoded(google().encode())}.{tail}") == "token_malformed"
