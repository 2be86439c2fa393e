"""Algorithm confusion, ``none`` and the wrong kind of key: facts section 21 D."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.attacks.tokens import ADMITTED, AUTH0, AUTH0_CLAIMS, GOOGLE, STRANGER, Entrance, auth0, encoded, google

from tenantry.core.jws import parse_jws
from tenantry.core.keys import ALGORITHMS, parse_key_set, verify_signature
from tenantry.errors import TokenInvalid


@pytest.fixture(scope="module")
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    yield made
    made.close()


def test_the_tokens_that_the_attacks_start_from_are_good(entrance: Entrance) -> None:
    assert entrance.verdict(google()) == entrance.verdict(auth0()) == ADMITTED


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "none ", "", "null"])
@pytest.mark.parametrize("make", [google, auth0])
def test_an_unsigned_token_is_refused_however_none_is_spelled_cve_2015_9235(
    entrance: Entrance, make: Any, alg: str
) -> None:
    stripped = make(header={"alg": alg}).rpartition(".")[0] + "."
    assert entrance.verdict(stripped) != ADMITTED
    assert entrance.verdict(stripped + "AAAA") != ADMITTED
    assert entrance.verdict(stripped[:-1]) != ADMITTED


@pytest.mark.parametrize("make", [google, auth0])
@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_the_public_key_is_no_hmac_secret_cve_2016_5431_cve_2024_33663(entrance: Entrance, make: Any, alg: str) -> None:
    assert entrance.verdict(make(alg=alg)) == "algorithm_refused"


@pytest.mark.parametrize(
    "secret",
    [
        GOOGLE.keys.current.public_pem(),
        GOOGLE.keys.current.public_pem().strip(),
        b"\n" + GOOGLE.keys.current.public_pem(),
        GOOGLE.keys.current.certificate(),
        json.dumps(GOOGLE.keys.current.jwk()).encode(),
        GOOGLE.keys.current.jwk()["n"].encode(),
        GOOGLE.keys.current.kid.encode(),
        b"",
        b"\x00",
    ],
)
def test_no_spelling_of_a_public_key_is_an_hmac_secret_cve_2017_11424_cve_2022_29217(
    entrance: Entrance, secret: bytes
) -> None:
    signed = google(header={"alg": "HS256"}).rpartition(".")[0]
    forged = signed + "." + encoded(hmac.digest(secret, signed.encode(), "sha256"))
    assert entrance.verdict(forged) == "algorithm_refused"


@pytest.mark.parametrize(
    "alg", ["RS384", "RS512", "PS256", "PS384", "ES256", "EdDSA", "Ed25519", "HS256", "rs256", "RS256 "]
)
def test_an_algorithm_beside_the_allow_list_is_refused_cve_2026_48523(entrance: Entrance, alg: str) -> None:
    assert entrance.verdict(google(header={"alg": alg})) == "algorithm_refused"


@pytest.mark.parametrize("really", ["RS256", "RS384", "RS512", "PS256"])
@pytest.mark.parametrize("claimed", ["RS256", "PS256"])
def test_a_signature_counts_only_under_the_algorithm_that_made_it(
    entrance: Entrance, really: str, claimed: str
) -> None:
    token = auth0(header={"alg": claimed}, alg=really)
    # The published key says RS256, so PS256 has no key of its own even though the provider allows both names.
    assert (entrance.verdict(token) == ADMITTED) is (really == claimed == "RS256")


def test_a_list_of_algorithms_in_the_header_is_refused(entrance: Entrance) -> None:
    for alg in (["RS256"], ["none", "RS256"], {"RS256": True}, None, True, 256):
        assert entrance.verdict(google(header={"alg": alg})) == "token_malformed"


def test_the_right_key_id_over_a_strangers_signature_is_refused(entrance: Entrance) -> None:
    forged = STRANGER.sign(AUTH0_CLAIMS, header={"kid": AUTH0.keys.current.kid})
    assert entrance.verdict(forged) == "signature_invalid"


def test_one_issuers_key_does_not_sign_for_another(entrance: Entrance) -> None:
    forged = GOOGLE.sign(AUTH0_CLAIMS, header={"kid": AUTH0.keys.current.kid})
    assert entrance.verdict(forged) == "signature_invalid"
    assert entrance.verdict(GOOGLE.sign(AUTH0_CLAIMS)) != ADMITTED


@pytest.mark.parametrize(
    "signature", [b"\x00", b"\x00" * 256, b"\x01", b"\xff" * 256, b"\x00" * 255 + b"\x01", b"A" * 8000]
)
def test_a_made_up_rsa_signature_is_refused(entrance: Entrance, signature: bytes) -> None:
    forged = google().rpartition(".")[0] + "." + encoded(signature)
    assert entrance.verdict(forged) == "signature_invalid"


def test_a_signature_plus_the_modulus_is_refused(entrance: Entrance) -> None:
    """The same residue, another number: it would be a second spelling of one token."""
    head, _, tail = google().rpartition(".")
    number = int.from_bytes(base64.urlsafe_b64decode(tail + "=="), "big")
    modulus = GOOGLE.keys.current.private.public_key().public_numbers().n
    assert entrance.verdict(f"{head}.{encoded((number + modulus).to_bytes(257, 'big'))}") == "signature_invalid"


def test_a_signature_with_a_zero_in_front_is_refused(entrance: Entrance) -> None:
    head, _, tail = google().rpartition(".")
    signature = base64.urlsafe_b64decode(tail + "==")
    for other in (b"\x00" + signature, signature + b"\x00", signature[:-1], signature[1:]):
        assert entrance.verdict(f"{head}.{encoded(other)}") == "signature_invalid"


def test_a_bad_token_is_never_taken_for_no_token_cve_2021_21378(entrance: Entrance) -> None:
    for bad in (STRANGER.sign({"iss": "https://unknown/"}), "", "x", "ya29", "a.b.c", google(exp=1)):
        assert entrance.verdict(bad) != "credential_missing"


# --- Elliptic curves, which no built-in provider uses yet: the layer that will carry them -----------------------------

_PRIVATE = ec.generate_private_key(ec.SECP256R1())
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _size32(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _numbers() -> tuple[int, int, str]:
    signed = encoded({"alg": "ES256"}) + "." + encoded({"sub": "1"})
    return *decode_dss_signature(_PRIVATE.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))), signed


def _ec_accepts(token: str) -> bool:
    point = _PRIVATE.public_key().public_numbers()
    keys = parse_key_set(
        {"keys": [{"kty": "EC", "crv": "P-256", "x": encoded(_size32(point.x)), "y": encoded(_size32(point.y))}]}
    )
    parsed = parse_jws(token.encode())
    key = keys.choose(parsed.kid, parsed.algorithm)
    if key is None:
        return False
    try:
        verify_signature(parsed, key, ALGORITHMS.keys())
    except TokenInvalid:
        return False
    return True


def test_a_good_ecdsa_signature_is_accepted() -> None:
    r, s, signed = _numbers()
    assert _ec_accepts(f"{signed}.{encoded(_size32(r) + _size32(s))}")


@pytest.mark.parametrize(
    ("r", "s"),
    [(0, 0), (0, 1), (1, 0), (1, 1), (_ORDER, _ORDER), (_ORDER, 0), (_ORDER - 1, _ORDER - 1), (2**256 - 1, 1)],
)
def test_a_psychic_signature_is_refused_cve_2022_21449(r: int, s: int) -> None:
    signed = _numbers()[2]
    assert not _ec_accepts(f"{signed}.{encoded(_size32(r) + _size32(s))}")


def test_an_ecdsa_signature_in_another_encoding_or_length_is_refused() -> None:
    r, s, signed = _numbers()
    der = _PRIVATE.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    raw = _size32(r) + _size32(s)
    for other in (
        der,
        b"\x00" + raw,
        raw + b"\x00",
        _size32(r),
        b"\x00" * 32 + raw,
        r.to_bytes(33, "big") + s.to_bytes(33, "big"),
    ):
        assert not _ec_accepts(f"{signed}.{encoded(other)}")


def test_a_public_point_is_no_hmac_secret_ghsa_ffqj_6fqr_9h24() -> None:
    point = _PRIVATE.public_key().public_numbers()
    signed = encoded({"alg": "HS256"}) + "." + encoded({"sub": "1"})
    for secret in (_size32(point.x) + _size32(point.y), b"\x04" + _size32(point.x) + _size32(point.y)):
        assert not _ec_accepts(f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}")


def test_an_edwards_public_key_is_no_hmac_secret_cve_2022_29217() -> None:
    public = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    keys = parse_key_set({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": encoded(public)}]})
    assert keys.choose(None, "HS256") is None


def test_every_known_algorithm_signs_and_none_is_not_among_them() -> None:
    assert not [name for name in ALGORITHMS if name.lower() == "none" or name == ""]
