"""DPoP proofs as values: what one must say, and that nothing else is one (RFC 9449 section 4.3)."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dpop import Holder, hmac_proof

from tenantry.core.confirmation import thumbprint_of
from tenantry.core.nonces import LIFETIME, Nonces
from tenantry.core.proofs import (
    MAX_PROOF_BYTES,
    PROOF_ALGORITHMS,
    Asked,
    ExternalUrls,
    Proof,
    check_proof,
    jwk_thumbprint,
)
from tenantry.devidp import OMIT
from tenantry.errors import ProofInvalid, Refusal, TokenInvalid

NOW = 1_800_000_000.0
WINDOW = 60.0
URL = "https://mcp.example.com/mcp"
TOKEN = "header.payload.signature"


def holder(algorithm: str = "ES256", number: int = 0) -> Holder:
    return Holder(lambda: NOW, algorithm=algorithm, number=number, url=URL)


ANN = holder()


def check(proof: str | bytes, *, bound_to: str | None = None, **changes: Any) -> Proof:
    asked = {"method": "POST", "url": URL, "token": TOKEN.encode(), "thumbprint": bound_to or ANN.thumbprint}
    header = proof.encode() if isinstance(proof, str) else proof
    return check_proof(header, Asked(**(asked | changes)), NOW, WINDOW)


def reason(proof: str | bytes, **asked: Any) -> str:
    with pytest.raises(Refusal) as caught:
        check(proof, **asked)
    assert caught.value.status == 401
    return caught.value.reason


@pytest.mark.parametrize("algorithm", PROOF_ALGORITHMS)
def test_a_proof_with_any_advertised_algorithm_holds(algorithm: str) -> None:
    one = holder(algorithm)
    proof = check(one.proof(TOKEN, jti="1", nonce="n"), bound_to=one.thumbprint)
    assert proof == Proof("1", NOW, "n")


def test_a_proof_without_a_nonce_has_an_empty_one() -> None:
    assert check(ANN.proof(TOKEN)).nonce == ""


@pytest.mark.parametrize(
    ("jwk", "thumbprint"),
    [
        (  # RFC 9449, section 6.1 and figure 2: the key of its examples
            {
                "kty": "EC",
                "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
                "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
                "crv": "P-256",
            },
            "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
        ),
        (  # RFC 8037, appendix A.3
            {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "left out"},
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
        ),
    ],
)
def test_thumbprints_are_those_of_the_standards(jwk: dict[str, str], thumbprint: str) -> None:
    assert jwk_thumbprint(jwk) == thumbprint


# --- The request, the token, the moment -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "post", "POST ", "", "DELETE"])
def test_a_proof_for_another_method_is_refused(method: str) -> None:
    assert reason(ANN.proof(TOKEN, method=method)) == "proof_of_another_request"


@pytest.mark.parametrize(
    "url",
    [
        "https://MCP.example.com/mcp",
        "HTTPS://mcp.example.com/mcp",
        "https://mcp.example.com:443/mcp",
        "https://mcp.example.com/mcp/",
        "https://mcp.example.com/%6Dcp",
    ],
)
def test_another_spelling_of_the_same_address_is_the_same(url: str) -> None:
    assert check(ANN.proof(TOKEN, htu=url)).id


@pytest.mark.parametrize(
    "url",
    [
        "http://mcp.example.com/mcp",
        "https://mcp.example.com/",
        "https://mcp.example.com/mcp//",
        "https://mcp.example.com/MCP",
        "https://mcp.example.com/mcp/x",
        "https://mcp.example.com/x/../mcp",
        "https://mcp.example.com/x/%2e%2e/mcp",
        "https://mcp.example.com%2Fmcp",
        "https://mcp.example.com:8443/mcp",
        "https://mcp.example.com.evil.example/mcp",
        "https://evil.example/mcp",
        "https://user@mcp.example.com/mcp",
        "https://@mcp.example.com/mcp",
        "https://mcp.example.com./mcp",
        "https://mcp.example.com/mcp?x=1",
        "https://mcp.example.com/mcp?",
        "https://mcp.example.com/mcp#x",
        "https://mcp.example.com/mcp#",
        "https://mcp.example.com\\@evil.example/mcp",
        " https://mcp.example.com/mcp",
        "https://mcp.example.com/mcp\n",
        "https://mcp.exam\tple.com/mcp",
        "https://mcp.example.com:x/mcp",
        "https://[mcp.example.com/mcp",
        "https://m\u0441p.example.com/mcp",
        "//mcp.example.com/mcp",
        "/mcp",
        "",
    ],
)
def test_a_proof_for_another_address_is_refused(url: str) -> None:
    assert reason(ANN.proof(TOKEN, htu=url)) == "proof_of_another_request"


@pytest.mark.parametrize("token", ["another.access.token", "", TOKEN + "=", TOKEN.upper()])
def test_a_proof_of_another_token_is_refused(token: str) -> None:
    assert reason(ANN.proof(token)) == "proof_of_another_token"


def test_a_proof_counts_for_its_window_before_and_after_now() -> None:
    for age in (0, 59, 59.9, -60):
        assert check(ANN.proof(TOKEN, iat=NOW - age)).issued_at == NOW - age


@pytest.mark.parametrize("age", [60, 61, 3600, NOW])
def test_a_stale_proof_is_refused(age: float) -> None:
    assert reason(ANN.proof(TOKEN, iat=NOW - age)) == "proof_stale"


@pytest.mark.parametrize("ahead", [60.5, 61, 3600])
def test_a_proof_of_the_future_is_refused(ahead: float) -> None:
    assert reason(ANN.proof(TOKEN, iat=NOW + ahead)) == "proof_not_yet_valid"


# --- Form -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("claim", ["jti", "htm", "htu", "iat", "ath"])
@pytest.mark.parametrize("value", [OMIT, None, True, [], {}, 1.5, ""])
def test_a_claim_that_is_missing_or_of_another_type_is_refused(claim: str, value: Any) -> None:
    if claim == "iat" and value == 1.5:
        assert reason(ANN.proof(TOKEN, iat=value)) == "proof_stale"
    else:
        assert reason(ANN.proof(TOKEN, **{claim: value})).startswith("proof_")


@pytest.mark.parametrize("claims", [{"iat": -1}, {"iat": 1e13}, {"jti": "x" * 257}, {"nonce": 1}, {"nonce": None}])
def test_a_claim_out_of_bounds_is_refused(claims: dict[str, Any]) -> None:
    assert reason(ANN.proof(TOKEN, **claims)) == "proof_malformed"


@pytest.mark.parametrize("kind", [OMIT, "JWT", "at+jwt", "DPOP+JWT", "application/dpop+jwt", None, 1])
def test_a_token_of_another_type_is_no_proof(kind: Any) -> None:
    assert reason(ANN.proof(TOKEN, header={"typ": kind})) == "proof_malformed"


@pytest.mark.parametrize("name", ["crit", "b64", "zip", "enc"])
def test_a_header_that_changes_the_meaning_is_refused(name: str) -> None:
    assert reason(ANN.proof(TOKEN, header={name: ["b64"]})) == "proof_malformed"


@pytest.mark.parametrize(
    "algorithm", ["none", "nOnE", "HS256", "HS512", "RS1", "ES256K", "RSA-OAEP", "", None, 1, OMIT]
)
def test_no_other_algorithm_proves_anything(algorithm: Any) -> None:
    assert reason(ANN.proof(TOKEN, header={"alg": algorithm})) == "proof_algorithm_refused"


def test_a_proof_signed_by_hmac_under_the_public_key_is_refused() -> None:
    assert reason(hmac_proof(ANN, TOKEN, json.dumps(ANN.jwk).encode())) == "proof_algorithm_refused"


def test_a_private_key_in_the_proof_is_refused() -> None:
    assert reason(ANN.proof(TOKEN, header={"jwk": ANN.private_jwk})) == "proof_key_refused"
    one = holder("RS256")
    assert reason(one.proof(TOKEN, header={"jwk": one.private_jwk})) == "proof_key_refused"


def big(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def an_rsa_jwk(bits: int, exponent: int = 65537) -> dict[str, str]:
    """Of the right size; nobody has its private half."""
    modulus = rsa.generate_private_key(public_exponent=65537, key_size=max(bits, 1024)).public_key().public_numbers().n
    return {"kty": "RSA", "n": big(modulus), "e": big(exponent)}


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"},
        {"kty": "EC"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "unheard of"},
        {},
        {**ANN.jwk, "y": ANN.jwk["x"]},
        {**ANN.jwk, "use": "enc"},
        {**ANN.jwk, "alg": "ES384"},
        {**ANN.jwk, "key_ops": ["sign"]},
        {**ANN.jwk, "crv": "P-384"},
        holder("ES384").jwk,
    ],
)
def test_a_key_that_cannot_have_signed_is_refused(jwk: dict[str, Any]) -> None:
    assert reason(ANN.proof(TOKEN, header={"jwk": jwk})) == "proof_key_refused"


@pytest.mark.parametrize(
    "jwk", [an_rsa_jwk(1024), an_rsa_jwk(2048, 3), an_rsa_jwk(2048, 2**1024 + 1), an_rsa_jwk(4352)], ids=str
)
def test_a_weak_or_dear_rsa_key_is_refused(jwk: dict[str, str]) -> None:
    assert reason(holder("RS256").proof(TOKEN, header={"jwk": jwk})) == "proof_key_refused"


@pytest.mark.parametrize("jwk", [OMIT, None, [], "x", 1])
def test_a_proof_brings_its_key(jwk: Any) -> None:
    assert reason(ANN.proof(TOKEN, header={"jwk": jwk})) == "proof_malformed"


def test_the_key_of_another_is_refused_though_the_proof_holds_in_itself() -> None:
    with pytest.raises(TokenInvalid, match="proof_key_mismatch"):
        check(holder(number=1).proof(TOKEN))


def test_a_proof_that_names_the_right_key_and_is_signed_with_another_is_refused() -> None:
    thief = holder(number=1)
    assert reason(thief.proof(TOKEN, header={"jwk": ANN.jwk})) == "proof_signature_invalid"


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda proof: "",
        lambda proof: "a.b",
        lambda proof: f"{proof}.x",
        lambda proof: f"{proof},{proof}",
        lambda proof: f"{proof}, x",
        lambda proof: f"{proof}==",
        lambda proof: f" {proof}",
        lambda proof: f"DPoP {proof}",
        lambda proof: proof.replace(".", "..", 1),
        lambda proof: proof.rpartition(".")[0] + ".",
        lambda proof: "x" * (MAX_PROOF_BYTES + 1),
    ],
)
def test_anything_but_one_compact_jws_is_refused(spoilt: Any) -> None:
    assert reason(spoilt(ANN.proof(TOKEN))) in ("proof_malformed", "proof_signature_invalid")


def test_a_proof_that_is_larger_than_any_honest_one_is_not_read() -> None:
    assert check(ANN.proof(TOKEN, more="x" * 1000)).id
    assert reason(ANN.proof(TOKEN, more="x" * MAX_PROOF_BYTES)) == "proof_malformed"


@pytest.mark.parametrize("payload", ["[]", "x", '{"jti":"1","jti":"2"}', "\ufeff{}", '{"iat":NaN}', "{" * 20])
def test_a_payload_that_two_readers_could_understand_differently_is_refused(payload: str) -> None:
    head = json.dumps({"alg": "ES256", "typ": "dpop+jwt", "jwk": ANN.jwk})
    assert reason(ANN.signed(head, payload)) == "proof_malformed"
    assert reason(ANN.signed(head.replace('"alg"', '"alg":"ES256","alg"'), "{}")) == "proof_malformed"


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_flipped_byte_leaves_a_proof_standing(data: Any) -> None:
    proof = bytearray(ANN.proof(TOKEN, jti="1").encode())
    place = data.draw(st.integers(0, len(proof) - 1))
    proof[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Refusal):
        check(bytes(proof))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.lists(st.binary(max_size=60), min_size=3, max_size=3).map(b".".join))
def test_whatever_comes_gets_a_refusal_and_nothing_else(header: bytes) -> None:
    with pytest.raises(ProofInvalid):
        check(header)


# --- What a token is bound to -----------------------------------------------------------------------------------------


def test_the_confirmation_of_a_key_is_its_thumbprint() -> None:
    assert thumbprint_of({}) is None
    assert thumbprint_of({"cnf": {"jkt": ANN.thumbprint}}) == ANN.thumbprint


@pytest.mark.parametrize(
    "confirmation",
    [
        None,
        "",
        {},
        [],
        {"jkt": None},
        {"jkt": "x"},
        {"jkt": "\u00e9" * 43},
        {"jkt": ["x" * 43]},
        {"x5t#S256": "x" * 43},
        {"jkt": "x" * 43, "x5t#S256": "x" * 43},
        {"jwk": {}},
    ],
)
def test_what_cannot_be_proved_here_is_refused(confirmation: Any) -> None:
    with pytest.raises(TokenInvalid, match="sender_constrained"):
        thumbprint_of({"cnf": confirmation})


# --- The address as clients see it ------------------------------------------------------------------------------------


def test_the_address_is_the_operator_s_origin_and_the_path_of_the_request() -> None:
    urls = ExternalUrls.of("https://mcp.example.com/api/mcp", {"/other": "https://mcp.example.com/api/other"})
    assert (
        urls.of_path("/api/mcp") == urls.of_path("/mcp") == urls.of_path("/mcp/") == "https://mcp.example.com/api/mcp"
    )
    assert urls.of_path("/other") == "https://mcp.example.com/api/other"
    assert urls.of_path("/else where") == "https://mcp.example.com/else%20where"
    assert urls.of_path("/\udcff") == "https://mcp.example.com/%3F"


def test_a_resource_without_a_path_is_the_root() -> None:
    assert ExternalUrls.of("https://mcp.example.com", {}).of_path("/") == "https://mcp.example.com/"


def test_a_backslash_in_the_path_of_a_request_matches_no_proof() -> None:
    url = ExternalUrls.of(URL, {}).of_path("/a\\b")
    assert reason(ANN.proof(TOKEN, htu=url), url=url) == "proof_of_another_request"


# --- Nonces -----------------------------------------------------------------------------------------------------------


def test_a_nonce_is_good_for_its_lifetime_under_its_key_and_no_other() -> None:
    ours, theirs = Nonces(b"k" * 32), Nonces(b"x" * 32)
    nonce = ours.new(NOW)
    assert Nonces(b"k" * 32).age(nonce, NOW + 10) == 10
    assert ours.age(nonce, NOW + LIFETIME - 1) == LIFETIME - 1
    assert ours.age(nonce, NOW + LIFETIME) is None
    assert ours.age(nonce, NOW - 30) == -30
    assert ours.age(nonce, NOW - 31) is None
    assert theirs.age(nonce, NOW) is None


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=40) | st.binary(min_size=24, max_size=24).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_no_invented_nonce_is_ours(text: str) -> None:
    assert Nonces(b"k" * 32).age(text, NOW) is None


def test_a_nonce_with_another_time_in_it_is_not_ours() -> None:
    nonces = Nonces(b"k" * 32)
    raw = base64.urlsafe_b64decode(nonces.new(NOW))
    later = base64.urlsafe_b64encode((int(NOW) + 60).to_bytes(8, "big") + raw[8:]).decode()
    assert nonces.age(later, NOW + 60) is None
