from __future__ import annotations

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from tenantry.core.keys import KeySet, parse_key_set
from tenantry.testing import TokenMint

RSA: dict[str, Any] = TokenMint("keys").jwks()["keys"][0]


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def octets(number: int, size: int) -> str:
    return b64(number.to_bytes(size, "big"))


def ec_jwk(curve: ec.EllipticCurve, name: str, size: int, **more: Any) -> dict[str, Any]:
    numbers = ec.generate_private_key(curve).public_key().public_numbers()
    return {"kty": "EC", "crv": name, "x": octets(numbers.x, size), "y": octets(numbers.y, size)} | more


P256 = ec_jwk(ec.SECP256R1(), "P-256", 32, kid="ec")
ED25519 = {
    "kty": "OKP",
    "crv": "Ed25519",
    "kid": "ed",
    "x": b64(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()),
}
ED448 = {
    "kty": "OKP",
    "crv": "Ed448",
    "kid": "ed",
    "x": b64(ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw()),
}
OCT = {"kty": "oct", "kid": "o", "k": b64(b"s" * 64)}


def read(*entries: dict[str, Any], symmetric: bool = False) -> KeySet:
    return parse_key_set({"keys": list(entries)}, symmetric=symmetric)


def ignored(entry: dict[str, Any]) -> bool:
    """Whether a set with this and one good key uses only the good one."""
    keys = read({**RSA, "kid": "good"}, entry)
    return [key.kid for key in keys.keys] == ["good"] and keys.ignored == 1


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        ({**RSA, "alg": "RS256"}, {"RS256"}),
        ({name: RSA[name] for name in ("kty", "n", "e")}, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        (P256, {"ES256"}),
        (ec_jwk(ec.SECP384R1(), "P-384", 48), {"ES384"}),
        (ec_jwk(ec.SECP521R1(), "P-521", 66), {"ES512"}),
        (ED25519, {"EdDSA", "Ed25519"}),
        (ED448, {"EdDSA", "Ed448"}),
    ],
)
def test_a_key_allows_what_its_type_curve_and_alg_allow(jwk: dict[str, Any], algorithms: set[str]) -> None:
    (key,) = read(jwk).keys
    assert key.algorithms == algorithms


def test_the_key_itself_is_hidden_in_its_repr() -> None:
    (key,) = read(OCT, symmetric=True).keys
    assert "ssss" not in repr(key)


@pytest.mark.parametrize(
    "entry",
    [
        {**RSA, "kid": "x", "use": "enc"},
        {**RSA, "kid": "x", "use": "SIG"},
        {**RSA, "kid": "x", "use": ["sig"]},
        {**RSA, "kid": "x", "key_ops": ["sign"]},
        {**RSA, "kid": "x", "key_ops": []},
        {**RSA, "kid": "x", "key_ops": "verify"},
        {**RSA, "kid": "x", "alg": "RSA-OAEP"},
        {**RSA, "kid": "x", "alg": "HS256"},
        {**RSA, "kid": "x", "alg": "ES256"},
        {**RSA, "kid": "x", "alg": "none"},
        {**RSA, "kid": "x", "alg": ["RS256"]},
        {**RSA, "kid": "x", "alg": {"RS256": 1}},
        {**RSA, "kid": 5},
        {**RSA, "kid": ["x"]},
        {**RSA, "kid": "x", "kty": "rsa"},
        {**RSA, "kid": "x", "kty": ["RSA"]},
        {**RSA, "kid": "x", "kty": {"RSA": 1}},
        {**RSA, "kid": "x", "kty": None},
        {**RSA, "kid": "x", "n": 65537},
        {**RSA, "kid": "x", "n": None},
        {**RSA, "kid": "x", "n": [RSA["n"]]},
        {**RSA, "kid": "x", "n": RSA["n"] + "="},
        {**RSA, "kid": "x", "n": "\u00e9"},
        {**RSA, "kid": "x", "n": ""},
        {**RSA, "kid": "x", "e": "AQ"},
        {**RSA, "kid": "x", "e": "AA"},
        {**RSA, "kid": "x", "e": octets(65536, 3)},
        {**RSA, "kid": "x", "e": RSA["n"]},
        {name: value for name, value in RSA.items() if name != "e"} | {"kid": "x"},
        {**P256, "kid": "x", "crv": "P-384"},
        {**P256, "kid": "x", "crv": "secp256k1"},
        {**P256, "kid": "x", "crv": ["P-256"]},
        {**P256, "kid": "x", "x": P256["y"], "y": P256["x"]},
        {**P256, "kid": "x", "x": b64(bytes(31))},
        {**P256, "kid": "x", "x": b64(bytes(1) + base64.urlsafe_b64decode(P256["x"] + "="))},
        {**P256, "kid": "x", "x": b64(bytes(32)), "y": b64(bytes(32))},
        {**P256, "kid": "x", "alg": "ES384"},
        {**ED25519, "kid": "x", "crv": "X25519"},
        {**ED25519, "kid": "x", "crv": "Ed448"},
        {**ED25519, "kid": "x", "x": b64(bytes(31))},
        {**OCT, "kid": "x"},
        {"kty": "AKP", "kid": "x", "alg": "ML-DSA-44", "pub": "AAAA"},
        {},
    ],
)
def test_a_key_that_cannot_verify_signatures_here_is_left_out_and_the_others_stay(entry: dict[str, Any]) -> None:
    assert ignored(entry)


@pytest.mark.parametrize("bits", [1024, 2040, 8200])
def test_an_rsa_key_too_small_or_too_large_is_left_out(bits: int) -> None:
    modulus = (1 << (bits - 1)) + 1
    assert ignored({"kty": "RSA", "kid": "x", "n": octets(modulus, (bits + 7) // 8), "e": "AQAB"})


def test_a_modulus_of_the_weak_infineon_generator_is_left_out_cve_2017_15361() -> None:
    primorial = 1
    for prime in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
                  103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167):  # fmt: skip
        primorial *= prime
    # Any number congruent to a power of 65537 modulo the primorial has the fingerprint.
    weak = pow(65537, 1234, primorial) + primorial * ((1 << 2047) // primorial + 2)
    assert weak.bit_length() == 2048
    assert ignored({"kty": "RSA", "kid": "x", "n": octets(weak, 256), "e": "AQAB"})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"keys": None},
        {"keys": {}},
        {"keys": "RSA"},
        {"keys": [1]},
        {"keys": [[]]},
        {"keys": []},
        {"keys": [{}]},
        RSA,
    ],
)
def test_a_document_that_is_no_set_of_usable_keys_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse_key_set(document)


@pytest.mark.parametrize("kid", ["same", None])
def test_two_keys_of_one_type_under_one_id_make_the_set_ambiguous(kid: str | None) -> None:
    other = TokenMint("keys").jwks()["keys"][1]
    with pytest.raises(ValueError, match="two keys"):
        read({**RSA, "kid": kid}, {**other, "kid": kid})


def test_an_encryption_key_may_share_the_id_of_a_signing_key() -> None:
    assert len(read(RSA, {**RSA, "use": "enc"}).keys) == 1


def test_a_remote_set_of_secrets_only_has_no_usable_key() -> None:
    with pytest.raises(ValueError, match="no usable"):
        read(OCT)


def test_secrets_and_public_keys_do_not_mix_in_a_set_of_ones_own() -> None:
    with pytest.raises(ValueError, match="symmetric"):
        read(OCT, RSA, symmetric=True)


@pytest.mark.parametrize(
    ("size", "algorithms"), [(31, None), (32, {"HS256"}), (48, {"HS256", "HS384"}), (64, {"HS256", "HS384", "HS512"})]
)
def test_a_secret_is_as_long_as_its_hash(size: int, algorithms: set[str] | None) -> None:
    jwk = {"kty": "oct", "k": b64(b"s" * size)}
    if algorithms is None:
        with pytest.raises(ValueError, match="no usable"):
            read(jwk, symmetric=True)
    else:
        assert read(jwk, symmetric=True).keys[0].algorithms == algorithms


def test_a_key_is_chosen_by_exact_id_and_algorithm() -> None:
    keys = read({**RSA, "kid": "a"}, P256)
    assert keys.choose("a", "RS256") is keys.keys[0]
    for kid, algorithm in [
        ("A", "RS256"),
        ("a ", "RS256"),
        ("", "RS256"),
        ("a", "ES256"),
        ("ec", "RS256"),
        ("a", "none"),
    ]:
        assert keys.choose(kid, algorithm) is None


def test_without_an_id_a_key_is_chosen_only_when_there_is_no_choice() -> None:
    one, other = TokenMint("keys").jwks()["keys"]
    assert read(one, P256).choose(None, "RS256") is not None
    assert read(one, other).choose(None, "RS256") is None


def test_a_key_without_an_id_does_not_answer_for_a_named_one() -> None:
    assert read({name: RSA[name] for name in ("kty", "n", "e")}).choose("k", "RS256") is None


def test_a_set_knows_which_ids_it_has() -> None:
    keys = read({**RSA, "kid": "a"})
    assert keys.has("a")
    assert not keys.has("b")
    assert not keys.has(None)


def test_a_generated_key_of_a_common_size_is_used() -> None:
    numbers = rsa.generate_private_key(public_exponent=3, key_size=2048).public_key().public_numbers()
    assert read({"kty": "RSA", "n": octets(numbers.n, 256), "e": "Aw"}).keys
