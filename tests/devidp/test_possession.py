"""/oauth/token binds tokens to the key of a DPoP proof (RFC 9449 section 5)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.devidp.relying import CALLBACK, VERIFIER, Relying, claims
from tests.dpop import Holder

from tenantry.devidp import OMIT, DevIdp

pytestmark = pytest.mark.anyio


async def redeemed(relying: Relying, code: str, proof: str | None) -> httpx.Response:
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER, "code": code}
    return await sent(relying, form, proof)


async def sent(relying: Relying, form: dict[str, str], proof: str | None) -> httpx.Response:
    headers = {} if proof is None else {"dpop": proof}
    return await relying.http.post("/oauth/token", data={"client_id": relying.client_id, **form}, headers=headers)


@pytest.fixture
def endpoint(idp: DevIdp) -> str:
    return f"{idp.auth0.issuer}oauth/token"


@pytest.fixture
def ann(clock: Any) -> Holder:
    return Holder(clock.now)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
async def test_a_token_is_bound_to_the_key_of_the_proof(
    relying: Relying, clock: Any, endpoint: str, algorithm: str
) -> None:
    holder = Holder(clock.now, algorithm=algorithm)
    body = (await redeemed(relying, await relying.code(), holder.for_token_request(endpoint))).json()
    assert body["token_type"] == "DPoP"
    assert claims(body["access_token"])["cnf"] == {"jkt": holder.thumbprint}


async def test_without_a_proof_it_is_a_bearer_token(relying: Relying) -> None:
    body = await relying.sign_in()
    assert body["token_type"] == "Bearer"
    assert "cnf" not in claims(body["access_token"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"htm": "GET"},
        {"htu": "https://evil.example/oauth/token"},
        {"iat": 0},
        {"jti": OMIT},
        {"header": {"typ": "JWT"}},
        {"header": {"alg": "HS256"}},
        {"header": {"jwk": OMIT}},
    ],
)
async def test_a_proof_that_is_no_good_gets_no_token_and_costs_no_code(
    relying: Relying, ann: Holder, endpoint: str, wrong: dict[str, Any]
) -> None:
    code = await relying.code()
    answer = await redeemed(relying, code, ann.proof("", **{"ath": OMIT, "htu": endpoint, **wrong}))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")
    assert (await redeemed(relying, code, ann.for_token_request(endpoint))).status_code == 200


async def test_a_public_client_refreshes_with_the_same_key_alone(
    relying: Relying, clock: Any, ann: Holder, endpoint: str
) -> None:
    first = (await redeemed(relying, await relying.code(), ann.for_token_request(endpoint))).json()
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    thief = Holder(clock.now, number=1)
    for proof in (None, thief.for_token_request(endpoint)):
        assert (await sent(relying, form, proof)).json()["error"] == "invalid_grant"
    body = (await sent(relying, form, ann.for_token_request(endpoint))).json()
    assert claims(body["access_token"])["cnf"] == {"jkt": ann.thumbprint}


async def test_a_client_with_a_secret_may_bind_a_token_of_its_own(
    client: httpx.AsyncClient, idp: DevIdp, ann: Holder, endpoint: str
) -> None:
    answer = await client.post(
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        auth=(idp.auth0.client_id, idp.auth0.client_secret),
        headers={"dpop": ann.for_token_request(endpoint)},
    )
    assert claims(answer.json()["access_token"])["cnf"] == {"jkt": ann.thumbprint}


async def test_the_metadata_says_so(client: httpx.AsyncClient) -> None:
    document = (await client.get("/.well-known/oauth-authorization-server")).json()
    assert document["dpop_signing_alg_values_supported"][0] == "ES256"
