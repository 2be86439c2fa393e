"""The test vectors of the Wycheproof project (Apache-2.0), read in place: known attacks on JWS, JWE and JWK, one test
each. Payloads are raw bytes, so the JWS layer is driven and not the claims."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenantry.core.jws import parse_jws
from tenantry.core.keys import ALGORITHMS, parse_key_set, verify_signature
from tenantry.errors import TokenInvalid

FOLDER = Path(__file__).parents[2].parent / "shared" / "vectors" / "wycheproof"
COUNTS = {"signature": 401, "key": 26, "crypto": 83, "encryption": 139}

# Vectors that contradict themselves, or that a verifier which is stricter than they ask for answers otherwise.
OTHERWISE = {
    ("signature", 367): "accepted: byte for byte the valid vector 357, yet marked invalid",
    ("signature", 370): "accepted: byte for byte the valid vector 357, yet marked invalid",
    ("signature", 372): 'refused: a "?" inside the header is not base64url, yet marked valid',
    ("signature", 373): 'refused: a "?" inside the payload is not base64url, yet marked valid',
    ("signature", 346): "refused: the key says PS256 and the token PS384, yet marked valid",
    ("signature", 350): "refused: the key says PS256 and the token PS384, yet marked valid",
    ("signature", 347): "refused: the key says ES521, which is no algorithm, and the token ES512, yet marked valid",
    ("signature", 351): "refused: the key says ES521, which is no algorithm, and the token ES512, yet marked valid",
}


def _read(kind: str) -> dict[str, Any]:
    path = FOLDER / f"json_web_{kind}_test.json"
    return json.loads(path.read_text()) if path.exists() else {"testGroups": [], "numberOfTests": None}


def _vectors() -> Iterator[Any]:
    for kind in COUNTS:
        for group in _read(kind)["testGroups"]:
            for test in group["tests"]:
                yield pytest.param(kind, group, test, id=f"{kind}-{test['tcId']}")


def accepted(group: dict[str, Any], token: Any) -> bool:
    """Whether the JWS layer takes the token with the keys of its group: one key or a set, ours if symmetric."""
    jwk = group.get("public") or group["private"]
    document = jwk if "keys" in jwk else {"keys": [jwk]}
    symmetric = any(key.get("kty") == "oct" for key in document["keys"])
    if type(token) is not str:
        return False  # the JSON serialization, which no header can carry
    try:
        keys = parse_key_set(document, symmetric=symmetric)
        parsed = parse_jws(token.encode())
        key = keys.choose(parsed.kid, parsed.algorithm)
        if key is None:
            return False
        verify_signature(parsed, key, ALGORITHMS.keys())
    except (TokenInvalid, ValueError):
        return False
    return True


def expected(kind: str, test: dict[str, Any]) -> bool:
    if "jwe" in test:
        return False  # no JWE here: an encrypted token proves nothing about its sender (CVE-2026-29000)
    return (test["result"] == "valid") is not ((kind, test["tcId"]) in OTHERWISE)


needs_vectors = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the Wycheproof vectors are not at {FOLDER}")


@needs_vectors
@pytest.mark.parametrize(("kind", "group", "test"), list(_vectors()))
def test_a_vector_of_wycheproof_is_judged_as_it_must_be(kind: str, group: Any, test: Any) -> None:
    token = test.get("jws", test.get("jwe"))
    assert token is not None
    assert accepted(group, token) is expected(kind, test), test["comment"]


@needs_vectors
@pytest.mark.parametrize("kind", COUNTS)
def test_no_vector_is_missing(kind: str) -> None:
    data = _read(kind)
    assert sum(len(group["tests"]) for group in data["testGroups"]) == data["numberOfTests"] == COUNTS[kind]


@needs_vectors
def test_the_encrypted_vectors_are_all_refused() -> None:
    vectors = [(group, test) for _, group, test in (param.values for param in _vectors()) if "jwe" in test]
    assert len(vectors) == 139 + 34
    assert not any(accepted(group, test["jwe"]) for group, test in vectors)


@needs_vectors
def test_every_exception_is_still_one() -> None:
    """Answering as the vector is marked would make its entry above a stale excuse."""
    by_id = {(kind, test["tcId"]): (group, test) for kind, group, test in (param.values for param in _vectors())}
    for place in OTHERWISE:
        group, test = by_id[place]
        assert accepted(group, test["jws"]) is (test["result"] != "valid")
