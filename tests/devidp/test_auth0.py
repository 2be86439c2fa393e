from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import jwt
import pytest

from tenantry.devidp import OMIT, DevIdp

pytestmark = pytest.mark.anyio


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and payload, unverified."""
    first, second = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    return first, second


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def test_the_issuer_ends_in_a_slash(idp: DevIdp, client: httpx.AsyncClient) -> None:
    discovery = (await client.get("/.well-known/openid-configuration")).json()
    assert discovery["issuer"] == idp.auth0.issuer == f"{idp.base_url}/"
    assert parts(idp.auth0.access_token("erin"))[1]["iss"] == f"{idp.base_url}/"


async def test_the_key_set_has_three_keys_with_certificates_and_a_short_life(client: httpx.AsyncClient) -> None:
    answer = await client.get("/.well-known/jwks.json")
    assert len(answer.json()["keys"]) == 3
    assert {"x5t", "x5c"} <= answer.json()["keys"][0].keys()
    assert answer.headers["cache-control"].startswith("public, max-age=15,")


async def test_a_token_verifies_with_the_published_keys(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.auth0.access_token("erin")
    keys = jwt.PyJWKSet.from_dict((await client.get("/.well-known/jwks.json")).json())
    claims = jwt.decode(
        token,
        keys[jwt.get_unverified_header(token)["kid"]],
        algorithms=["RS256"],
        audience=idp.auth0.audience,
        issuer=idp.auth0.issuer,
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["org_id"] == "org_Zq3mR7pWc1LxTn5H"


async def test_the_auth0_profile_says_jwt_and_azp(idp: DevIdp) -> None:
    header, claims = parts(idp.auth0.access_token("erin"))
    assert header["typ"] == "JWT"
    assert claims["azp"] == idp.auth0.client_id
    assert "client_id" not in claims


async def test_the_rfc9068_profile_says_at_jwt_client_id_and_jti(idp: DevIdp) -> None:
    header, claims = parts(idp.auth0.access_token("erin", profile="rfc9068"))
    assert header["typ"] == "at+jwt"
    assert {"client_id", "jti"} <= claims.keys()
    assert "azp" not in claims


async def test_with_openid_the_audience_is_a_list_with_userinfo(idp: DevIdp) -> None:
    assert parts(idp.auth0.access_token("erin"))[1]["aud"] == [idp.auth0.audience, f"{idp.base_url}/userinfo"]
    assert parts(idp.auth0.access_token("erin", scope="read:notes"))[1]["aud"] == idp.auth0.audience
    assert parts(idp.auth0.access_token("erin", audience=["a", "b"]))[1]["aud"] == ["a", "b"]


async def test_permissions_are_there_when_given_and_scope_stays_beside_them(idp: DevIdp) -> None:
    assert "permissions" not in parts(idp.auth0.access_token("erin"))[1]
    claims = parts(idp.auth0.access_token("erin", permissions=["write:notes"], scope="read:notes"))[1]
    assert (claims["permissions"], claims["scope"]) == (["write:notes"], "read:notes")


async def test_the_organisation_can_be_another_or_none(idp: DevIdp) -> None:
    assert parts(idp.auth0.access_token("erin", org_id="org_other"))[1]["org_id"] == "org_other"
    assert "org_id" not in parts(idp.auth0.access_token("erin", org_id=OMIT))[1]
    assert "org_id" not in parts(idp.auth0.access_token("fay"))[1]


async def test_the_address_is_absent_unless_an_action_adds_it_under_a_namespace(idp: DevIdp) -> None:
    assert "email" not in parts(idp.auth0.access_token("fay"))[1]
    claims = parts(idp.auth0.access_token("fay", namespace_email="https://mcp.example/"))[1]
    assert claims["https://mcp.example/email"] == "fay@initech.example"
    assert claims["https://mcp.example/email_verified"] is False


async def test_a_machine_token_names_the_client_as_subject(idp: DevIdp) -> None:
    claims = parts(idp.auth0.machine_token("robot"))[1]
    assert (claims["sub"], claims["gty"]) == ("robot@clients", "client-credentials")


async def test_an_opaque_token_is_a_five_part_jwe_that_opens_userinfo(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.auth0.opaque_token("erin")
    first, second, *_ = segments = token.split(".")
    assert (len(segments), second) == (5, "")
    header = json.loads(base64.urlsafe_b64decode(first + "=="))
    assert header == {"alg": "dir", "enc": "A256GCM", "iss": idp.auth0.issuer}
    assert (await client.get("/userinfo", headers=bearer(token))).json()["sub"] == "auth0|650000000000000000000e21"


async def test_the_hs256_token_is_signed_with_the_pem_of_the_public_key(idp: DevIdp) -> None:
    token = idp.auth0.hs256_token("erin")
    assert parts(token)[0] == {"alg": "HS256", "kid": idp.auth0.keys.current.kid, "typ": "JWT"}
    signed, _, signature = token.rpartition(".")
    honest = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    raw = base64.urlsafe_b64decode(signature + "==")
    assert honest.verify(signed.encode(), idp.auth0.keys.current.public_pem(), raw)


async def test_userinfo_answers_401_in_text(client: httpx.AsyncClient) -> None:
    answer = await client.get("/userinfo", headers=bearer("junk"))
    assert (answer.status_code, answer.text) == (401, "Unauthorized")
    assert answer.headers["content-type"].startswith("text/plain")


async def test_userinfo_is_limited_per_user_with_429_in_json(
    idp: DevIdp, client: httpx.AsyncClient, clock: Any
) -> None:
    token = idp.auth0.access_token("erin")
    answers = [await client.get("/userinfo", headers=bearer(token)) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert answers[-1].json()["error"] == "too_many_requests"
    assert answers[-1].headers["x-ratelimit-remaining"] == "0"
    assert (await client.get("/userinfo", headers=bearer(idp.auth0.access_token("fay")))).status_code == 200
    clock.time += 12  # five a minute: one more every 12 seconds
    assert (await client.get("/userinfo", headers=bearer(token))).status_code == 200
    assert (await client.get("/userinfo", headers=bearer(token))).status_code == 429


async def test_userinfo_refuses_a_token_without_openid(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.auth0.access_token("erin", scope="read:notes")
    assert (await client.get("/userinfo", headers=bearer(token))).status_code == 401
