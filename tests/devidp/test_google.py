from __future__ import annotations

from typing import Any

import httpx
import jwt
import pytest

from tenantry.devidp import OMIT, DevIdp
from tenantry.devidp.google import OTHER_CLIENT_ID, ROBOT_EMAIL, ROBOT_ID

pytestmark = pytest.mark.anyio


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def verified(idp: DevIdp, token: str) -> dict[str, Any]:
    """The claims, after PyJWT (an implementation that is not ours) checked the signature."""
    key = jwt.PyJWKSet.from_dict(idp.google.keys.jwks())[jwt.get_unverified_header(token)["kid"]]
    return jwt.decode(
        token, key, algorithms=["RS256"], options={"verify_exp": False, "verify_aud": False, "verify_iat": False}
    )


async def test_the_key_set_has_two_keys_a_long_max_age_and_an_age(client: httpx.AsyncClient) -> None:
    answer = await client.get("/oauth2/v3/certs")
    assert len(answer.json()["keys"]) == 2
    assert list(answer.json()["keys"][0]) == ["kid", "kty", "alg", "use", "n", "e"]
    assert answer.headers["cache-control"] == "public, max-age=22000, must-revalidate, no-transform"
    assert answer.headers["age"] == "1000"


async def test_an_id_token_verifies_with_the_published_keys(idp: DevIdp) -> None:
    claims = verified(idp, idp.google.id_token("ann"))
    assert claims["iss"] == "https://accounts.google.com"
    assert claims["aud"] == claims["azp"] == idp.google.client_id
    assert (claims["hd"], claims["email_verified"]) == ("acme.example", True)
    assert claims["exp"] - claims["iat"] == 3600


async def test_both_issuer_spellings_can_be_minted(idp: DevIdp) -> None:
    assert verified(idp, idp.google.id_token("ann", issuer="accounts.google.com"))["iss"] == "accounts.google.com"


async def test_a_mobile_client_asks_for_its_backend_with_another_azp(idp: DevIdp) -> None:
    claims = verified(idp, idp.google.id_token("ann", azp="android.apps.googleusercontent.com"))
    assert (claims["aud"], claims["azp"]) == (idp.google.client_id, "android.apps.googleusercontent.com")


async def test_any_claim_can_be_replaced_or_left_out(idp: DevIdp) -> None:
    claims = verified(idp, idp.google.id_token("ann", exp=OMIT, email_verified="true"))
    assert "exp" not in claims
    assert claims["email_verified"] == "true"


async def test_a_consumer_account_with_a_corporate_address_has_no_hd(idp: DevIdp) -> None:
    claims = verified(idp, idp.google.id_token("dave"))
    assert claims["email"] == "dave@corp.example"
    assert claims["email_verified"] is True
    assert "hd" not in claims


async def test_a_service_account_mints_an_id_token_for_our_audience(idp: DevIdp) -> None:
    claims = verified(idp, idp.google.service_account_id_token(idp.google.client_id))
    assert (claims["aud"], claims["azp"], claims["email"]) == (idp.google.client_id, ROBOT_ID, ROBOT_EMAIL)


async def test_after_a_rotation_the_previous_key_is_still_published_unless_told_otherwise(
    idp: DevIdp, client: httpx.AsyncClient
) -> None:
    async def kids() -> list[str]:
        return [key["kid"] for key in (await client.get("/oauth2/v3/certs")).json()["keys"]]

    first = idp.google.keys.current.kid
    second = idp.google.keys.rotate().kid
    assert await kids() == [second, first]
    third = idp.google.keys.rotate(keep_previous=False).kid
    assert await kids() == [third, first]


async def test_tokeninfo_has_strings_only_and_neither_iss_nor_hd(idp: DevIdp, client: httpx.AsyncClient) -> None:
    info = (await client.get("/tokeninfo", params={"access_token": idp.google.access_token("ann")})).json()
    assert all(isinstance(value, str) for value in info.values())
    assert not {"iss", "hd"} & info.keys()
    assert info["aud"] == info["azp"] == idp.google.client_id
    assert (info["email_verified"], info["expires_in"]) == ("true", "3600")
    assert "https://www.googleapis.com/auth/userinfo.email" in info["scope"].split()


async def test_tokeninfo_takes_the_token_from_query_header_or_form(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.google.access_token("ann")
    answers = [
        await client.get("/tokeninfo", params={"access_token": token}),
        await client.get("/tokeninfo", headers=bearer(token)),
        await client.post("/tokeninfo", data={"access_token": token}),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert [call.credential for call in idp.calls.of("google", "tokeninfo")] == ["query", "bearer", "form"]


async def test_tokeninfo_shows_the_address_with_its_scope_only(idp: DevIdp, client: httpx.AsyncClient) -> None:
    info = (await client.get("/tokeninfo", headers=bearer(idp.google.access_token("ann", scopes=["openid"])))).json()
    assert not {"email", "email_verified"} & info.keys()
    assert "sub" in info


async def test_tokeninfo_shows_no_subject_without_openid_or_profile(idp: DevIdp, client: httpx.AsyncClient) -> None:
    info = (await client.get("/tokeninfo", headers=bearer(idp.google.access_token("ann", scopes=["email"])))).json()
    assert "sub" not in info


async def test_tokeninfo_answers_400_to_junk_expired_and_revoked_tokens(
    idp: DevIdp, client: httpx.AsyncClient, clock: Any
) -> None:
    expired = idp.google.access_token("ann", expires_in=10)
    revoked = idp.google.access_token("ann")
    idp.google.revoke(revoked)
    clock.time += 10
    for token in ("ya29.junk", expired, revoked):
        answer = await client.get("/tokeninfo", headers=bearer(token))
        assert answer.status_code == 400
        assert answer.json() == {"error": "invalid_token", "error_description": "Invalid Value"}


async def test_userinfo_v3_has_real_booleans_and_hd(idp: DevIdp, client: httpx.AsyncClient) -> None:
    info = (await client.get("/v1/userinfo", headers=bearer(idp.google.access_token("ann")))).json()
    assert (info["sub"], info["email_verified"], info["hd"]) == ("110248495921238986420", True, "acme.example")


async def test_userinfo_v2_has_its_own_names(idp: DevIdp, client: httpx.AsyncClient) -> None:
    info = (await client.get("/oauth2/v2/userinfo", headers=bearer(idp.google.access_token("ann")))).json()
    assert (info["id"], info["verified_email"]) == ("110248495921238986420", True)
    assert not {"sub", "email_verified"} & info.keys()


async def test_userinfo_answers_401_to_a_bad_token(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/userinfo", headers=bearer("ya29.junk"))
    assert answer.status_code == 401
    assert answer.json() == {"error": "invalid_request", "error_description": "Invalid Credentials"}
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_a_token_of_another_client_works_at_userinfo_and_says_so_at_tokeninfo(
    idp: DevIdp, client: httpx.AsyncClient
) -> None:
    token = idp.google.access_token("ann", client_id=OTHER_CLIENT_ID)
    assert (await client.get("/v1/userinfo", headers=bearer(token))).status_code == 200
    assert (await client.get("/tokeninfo", headers=bearer(token))).json()["aud"] == OTHER_CLIENT_ID


async def test_a_service_account_token_names_the_account_as_its_audience(
    idp: DevIdp, client: httpx.AsyncClient
) -> None:
    info = (await client.get("/tokeninfo", headers=bearer(idp.google.service_account_access_token()))).json()
    assert (info["aud"], info["azp"], info["email"]) == (ROBOT_ID, ROBOT_ID, ROBOT_EMAIL)


async def test_the_discovery_document_is_google_s_for_google_s_host(client: httpx.AsyncClient) -> None:
    path = "/.well-known/openid-configuration"
    assert (await client.get(path, headers={"host": "accounts.google.com"})).json()["issuer"] == (
        "https://accounts.google.com"
    )
    assert (await client.get(f"/google{path}")).json()["issuer"] == "https://accounts.google.com"


async def test_revoking_by_http_ends_the_token(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.google.access_token("ann")
    assert (await client.post("/revoke", data={"token": token})).status_code == 200
    assert (await client.get("/tokeninfo", headers=bearer(token))).status_code == 400
    assert (await client.post("/revoke", data={"token": token})).status_code == 400
