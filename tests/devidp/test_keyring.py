from __future__ import annotations

import base64

import jwt
import pytest

from tenantry.devidp import OMIT, KeyRing, SigningKey


def first_bytes(token: str) -> bytes:
    return base64.urlsafe_b64decode(token.split(".")[0] + "==")


def test_rings_of_different_names_share_no_key() -> None:
    keys = {key["n"] for name in ("google", "auth0") for key in KeyRing(name).jwks()["keys"]}
    assert len(keys) == 4


def test_rings_of_one_name_reuse_the_keys_of_the_process() -> None:
    assert KeyRing("google").jwks() == KeyRing("google").jwks()


@pytest.mark.parametrize("alg", ["RS256", "RS512", "PS256"])
def test_signatures_verify_with_an_implementation_that_is_not_ours(alg: str) -> None:
    ring = KeyRing("google")
    token = ring.sign({"sub": "1"}, alg=alg)
    assert jwt.decode(token, ring.current.public_pem(), algorithms=[alg]) == {"sub": "1"}


def test_a_token_of_another_ring_does_not_verify() -> None:
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(KeyRing("stranger").sign({}), KeyRing("google").current.public_pem(), algorithms=["RS256"])


def test_header_members_can_be_replaced_and_left_out() -> None:
    assert first_bytes(KeyRing("google").sign({}, header={"kid": OMIT, "crit": []})) == (
        b'{"alg":"RS256","typ":"JWT","crit":[]}'
    )


def test_sign_raw_signs_any_bytes() -> None:
    ring = KeyRing("google")
    header = b'\xef\xbb\xbf{"alg":"RS256","alg":"none"}'
    token = ring.sign_raw(header, b"[" * 1000)
    assert first_bytes(token) == header
    signed, _, signature = token.rpartition(".")
    rs256 = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)
    raw = base64.urlsafe_b64decode(signature + "==")
    assert rs256.verify(signed.encode(), ring.current.private.public_key(), raw)


def test_the_algorithm_none_leaves_the_signature_empty() -> None:
    assert KeyRing("google").sign({}, alg="none").endswith(".")


def test_an_algorithm_that_is_not_known_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot sign with ES256"):
        KeyRing("google").sign({}, alg="ES256")


def test_extra_keys_are_published_as_they_are() -> None:
    ring = KeyRing("google")
    weak = SigningKey("weak", 0, bits=1024)
    ring.extras.append(weak.jwk())
    assert ring.jwks()["keys"][-1]["kid"] == weak.kid
