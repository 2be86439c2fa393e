"""/oauth/token and /oauth/revoke: OAuth 2.1, RFC 7636, RFC 8707, RFC 9700, RFC 7009."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import jwt
import pytest
from tests.devidp.relying import CALLBACK, SERVER, VERIFIER, Relying, claims, register, registered

from tenantry.devidp import DevIdp

pytestmark = pytest.mark.anyio


def failed(answer: httpx.Response) -> tuple[int, str]:
    """(status, error) of an error as RFC 6749 section 5.2 wants it."""
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json().keys() == {"error", "error_description"}
    return answer.status_code, answer.json()["error"]


NO_GRANT = (400, "invalid_grant")


async def test_a_sign_in_ends_in_a_token_for_the_person_and_the_resource(
    relying: Relying, idp: DevIdp, client: httpx.AsyncClient
) -> None:
    """RFC 8707: the audience is the resource, byte for byte."""
    answer = await relying.redeem(await relying.code(scope="notes:read"))
    body = answer.json()
    assert answer.headers["cache-control"] == "no-store"
    assert (body["token_type"], body["scope"], body["expires_in"]) == ("Bearer", "notes:read", 86_400)
    keys = jwt.PyJWKSet.from_dict((await client.get("/.well-known/jwks.json")).json())
    payload = jwt.decode(
        body["access_token"],
        keys[jwt.get_unverified_header(body["access_token"])["kid"]],
        algorithms=["RS256"],
        audience=SERVER,
        issuer=idp.auth0.issuer,
        options={"verify_exp": False, "verify_iat": False},
    )
    ann = idp.people["ann"].at_auth0()
    assert (payload["sub"], payload["aud"], payload["azp"]) == (ann.sub, SERVER, relying.client_id)
    assert (payload["org_id"], payload["scope"]) == (ann.org_id, "notes:read")


@pytest.mark.parametrize("resource", [f"{SERVER}/", "HTTP://LOCALHOST:8000/mcp", "urn:example:notes"])
async def test_no_resource_is_rewritten(relying: Relying, resource: str) -> None:
    token = (await relying.sign_in(resource=resource, scope="notes:read"))["access_token"]
    assert claims(token)["aud"] == resource


async def test_several_resources_become_several_audiences_and_a_token_request_narrows_them(relying: Relying) -> None:
    two = [SERVER, "http://127.0.0.1:8001/mcp"]
    assert claims((await relying.sign_in(resource=two))["access_token"])["aud"] == two
    answer = await relying.redeem(await relying.code(resource=two, scope="notes:read"), resource=two[1])
    assert claims(answer.json()["access_token"])["aud"] == two[1]


async def test_a_token_request_cannot_ask_for_another_resource(relying: Relying) -> None:
    """RFC 8707 section 2.2."""
    answer = await relying.redeem(await relying.code(), resource="http://127.0.0.1:8001/mcp")
    assert failed(answer) == (400, "invalid_target")
    body = await relying.sign_in()
    answer = await relying.refresh(body["refresh_token"], resource="http://127.0.0.1:8001/mcp")
    assert failed(answer) == (400, "invalid_target")


async def test_auth0s_own_audience_does_what_resource_does_and_there_is_a_default(
    relying: Relying, idp: DevIdp
) -> None:
    token = (await relying.sign_in(resource=None, audience=SERVER, scope="notes:read"))["access_token"]
    assert claims(token)["aud"] == SERVER
    token = (await relying.sign_in(resource=None, scope="notes:read"))["access_token"]
    assert claims(token)["aud"] == idp.auth0.audience


async def test_openid_brings_an_id_token_for_the_client_and_opens_userinfo(
    relying: Relying, client: httpx.AsyncClient
) -> None:
    body = await relying.sign_in(scope="openid", nonce="once")
    payload = claims(body["id_token"])
    assert (payload["aud"], payload["nonce"], payload["email"]) == (relying.client_id, "once", "ann@acme.example")
    answer = await client.get("/userinfo", headers={"authorization": f"Bearer {body['access_token']}"})
    assert answer.json()["email"] == "ann@acme.example"
    assert "id_token" not in await relying.sign_in(scope="notes:read")


# --- Codes ------------------------------------------------------------------------------------------------------------


async def test_a_code_is_good_once_and_a_second_use_revokes_what_the_first_led_to(
    relying: Relying, client: httpx.AsyncClient
) -> None:
    """RFC 6749 section 4.1.2, RFC 9700 section 2.1.1."""
    code = await relying.code()
    first = (await relying.redeem(code)).json()
    assert failed(await relying.redeem(code)) == NO_GRANT
    assert failed(await relying.refresh(first["refresh_token"])) == NO_GRANT
    answer = await client.get("/userinfo", headers={"authorization": f"Bearer {first['access_token']}"})
    assert answer.status_code == 401


async def test_a_code_lives_for_a_minute(relying: Relying, clock: Any) -> None:
    code = await relying.code()
    clock.time += 60
    assert failed(await relying.redeem(code)) == NO_GRANT


@pytest.mark.parametrize("verifier", [None, "", "b" * 43, VERIFIER + "x", VERIFIER[:42], VERIFIER.upper(), "ö" * 43])
async def test_only_the_right_verifier_redeems_a_code_and_a_wrong_one_spends_it(
    relying: Relying, verifier: str | None
) -> None:
    """RFC 7636 section 4.6."""
    code = await relying.code()
    assert failed(await relying.redeem(code, code_verifier=verifier)) == NO_GRANT
    assert failed(await relying.redeem(code)) == NO_GRANT


async def test_the_redirect_uri_of_the_token_request_is_the_one_of_the_authorization_request(relying: Relying) -> None:
    """RFC 6749 section 4.1.3; OAuth 2.1 lets it be left out."""
    other = CALLBACK.replace("3000", "3001")
    assert failed(await relying.redeem(await relying.code(), redirect_uri=other)) == NO_GRANT
    assert (await relying.redeem(await relying.code(), redirect_uri=None)).status_code == 200


async def test_another_client_cannot_redeem_a_code_nor_spoil_it(relying: Relying, client: httpx.AsyncClient) -> None:
    other = await registered(client)
    code = await relying.code()
    assert failed(await other.redeem(code)) == NO_GRANT
    assert (await relying.redeem(code)).status_code == 200


# --- Refresh tokens ---------------------------------------------------------------------------------------------------


async def test_a_refresh_token_is_rotated_and_keeps_person_scope_and_resource(relying: Relying) -> None:
    first = await relying.sign_in()
    second = (await relying.refresh(first["refresh_token"], resource=SERVER)).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["scope"] == first["scope"]
    same = ("sub", "aud", "azp", "org_id", "scope")
    assert [claims(second["access_token"])[name] for name in same] == [
        claims(first["access_token"])[name] for name in same
    ]
    assert (await relying.refresh(second["refresh_token"])).status_code == 200


async def test_a_refresh_token_that_comes_back_ends_the_whole_family(relying: Relying) -> None:
    """RFC 9700 section 4.14.2: of two who hold it, nobody can tell which is honest."""
    first = await relying.sign_in()
    second = (await relying.refresh(first["refresh_token"])).json()
    assert failed(await relying.refresh(first["refresh_token"])) == NO_GRANT
    assert failed(await relying.refresh(second["refresh_token"])) == NO_GRANT
    other_family = await relying.sign_in()
    assert (await relying.refresh(other_family["refresh_token"])).status_code == 200


async def test_a_refresh_may_narrow_the_scope_and_never_widens_it(relying: Relying) -> None:
    """RFC 6749 section 6: the new refresh token still stands for all that was granted."""
    first = await relying.sign_in()
    assert failed(await relying.refresh(first["refresh_token"], scope="notes:admin")) == (400, "invalid_scope")
    narrow = (await relying.refresh(first["refresh_token"], scope="notes:read")).json()
    assert narrow["scope"] == "notes:read"
    assert (await relying.refresh(narrow["refresh_token"])).json()["scope"] == first["scope"]


async def test_a_refresh_token_comes_with_offline_access_to_a_client_that_registered_for_it(
    relying: Relying, client: httpx.AsyncClient
) -> None:
    assert "refresh_token" not in await relying.sign_in(scope="notes:read")
    without = await registered(client, grant_types=["authorization_code"])
    body = await without.sign_in()
    assert "refresh_token" not in body
    assert (await without.refresh("v1.x")).json()["error"] == "unauthorized_client"


async def test_another_client_cannot_use_a_refresh_token_nor_spoil_it(
    relying: Relying, client: httpx.AsyncClient
) -> None:
    other = await registered(client)
    body = await relying.sign_in()
    assert failed(await other.refresh(body["refresh_token"])) == NO_GRANT
    assert (await relying.refresh(body["refresh_token"])).status_code == 200


# --- Scopes -----------------------------------------------------------------------------------------------------------


async def test_who_asks_for_no_scope_gets_what_the_directory_says(relying: Relying) -> None:
    """RFC 6749 section 3.3."""
    body = await relying.sign_in(scope=None)
    assert body["scope"].split() == ["openid", "profile", "email", "offline_access", "read:notes", "write:notes"]
    assert "permissions" not in claims(body["access_token"])


async def test_with_rbac_nobody_gets_more_than_the_directory_says(relying: Relying, idp: DevIdp) -> None:
    idp.auth0.authorization.rbac = True
    body = await relying.sign_in(login_hint="bob", scope="openid read:notes write:notes")
    assert body["scope"] == "openid read:notes"
    assert claims(body["access_token"])["permissions"] == ["read:notes"]


async def test_the_lifetime_can_be_set(relying: Relying, idp: DevIdp) -> None:
    idp.auth0.authorization.tokens.lifetime = 300
    body = await relying.sign_in()
    payload = claims(body["access_token"])
    assert body["expires_in"] == payload["exp"] - payload["iat"] == 300


# --- Clients that authenticate ----------------------------------------------------------------------------------------


def basic(name: str, secret: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


async def machine(http: httpx.AsyncClient, method: str) -> tuple[str, str]:
    answer = await register(
        http, grant_types=["client_credentials"], redirect_uris=None, token_endpoint_auth_method=method
    )
    return answer.json()["client_id"], answer.json()["client_secret"]


async def test_a_machine_gets_a_token_of_its_own(client: httpx.AsyncClient) -> None:
    """RFC 6749 section 4.4, with the secret in the header or in the form, as registered."""
    wish = {"grant_type": "client_credentials", "scope": "read:notes", "resource": SERVER}
    name, secret = await machine(client, "client_secret_basic")
    answer = await client.post("/oauth/token", data=wish, headers=basic(name, secret))
    payload = claims(answer.json()["access_token"])
    assert (payload["sub"], payload["aud"], payload["gty"]) == (f"{name}@clients", SERVER, "client-credentials")
    assert "refresh_token" not in answer.json()
    name, secret = await machine(client, "client_secret_post")
    answer = await client.post("/oauth/token", data=wish | {"client_id": name, "client_secret": secret})
    assert claims(answer.json()["access_token"])["azp"] == name


async def test_the_client_that_is_known_from_the_start_signs_people_in_and_itself(
    client: httpx.AsyncClient, idp: DevIdp
) -> None:
    relying = Relying(client, idp.auth0.client_id)
    secret = {"client_secret": idp.auth0.client_secret}
    assert (await relying.redeem(await relying.code(), **secret)).status_code == 200
    assert failed(await relying.redeem(await relying.code())) == (401, "invalid_client")
    answer = await client.post(
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        headers=basic(idp.auth0.client_id, idp.auth0.client_secret),
    )
    assert claims(answer.json()["access_token"])["aud"] == idp.auth0.audience


async def test_a_wrong_secret_is_told_like_an_unknown_client(client: httpx.AsyncClient) -> None:
    """RFC 6749 section 5.2: 401, and a challenge for whoever used the header."""
    name, secret = await machine(client, "client_secret_basic")
    form = {"grant_type": "client_credentials"}
    for headers in (
        basic(name, "wrong"),
        basic(name, secret + "x"),
        basic("nobody", secret),
        {"authorization": "Basic"},
    ):
        answer = await client.post("/oauth/token", data=form, headers=headers)
        assert failed(answer) == (401, "invalid_client")
        assert answer.headers["www-authenticate"].startswith("Basic ")
    answer = await client.post("/oauth/token", data=form | {"client_id": name})
    assert failed(answer) == (401, "invalid_client")
    assert "www-authenticate" not in answer.headers


async def test_a_client_authenticates_in_the_way_it_registered_and_in_one_only(client: httpx.AsyncClient) -> None:
    name, secret = await machine(client, "client_secret_basic")
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": secret}
    assert failed(await client.post("/oauth/token", data=form)) == (401, "invalid_client")
    answer = await client.post("/oauth/token", data=form, headers=basic(name, secret))
    assert failed(answer) == (400, "invalid_request")


async def test_a_public_client_is_nobody_without_a_person(relying: Relying) -> None:
    assert failed(await relying.token(grant_type="client_credentials")) == (400, "unauthorized_client")


async def test_a_public_client_has_no_secret_to_send(relying: Relying) -> None:
    assert failed(await relying.redeem(await relying.code(), client_secret="x")) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password", "username": "ann", "password": "x"}, "unsupported_grant_type"),
        ({"grant_type": ["authorization_code", "refresh_token"]}, "invalid_request"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
    ],
)
async def test_a_request_that_is_not_right_is_told_why(relying: Relying, form: dict[str, str], error: str) -> None:
    assert failed(await relying.token(**form)) == (400, error)


async def test_a_token_request_is_a_form(relying: Relying, client: httpx.AsyncClient) -> None:
    body = {"client_id": relying.client_id, "grant_type": "refresh_token", "refresh_token": "x"}
    assert failed(await client.post("/oauth/token", json=body)) == (400, "invalid_request")
    assert (await client.get("/oauth/token")).status_code == 405


# --- Revocation (RFC 7009) --------------------------------------------------------------------------------------------


async def revoke(relying: Relying, token: str) -> httpx.Response:
    return await relying.http.post("/oauth/revoke", data={"client_id": relying.client_id, "token": token})


async def test_revoking_a_refresh_token_ends_all_that_came_of_the_sign_in(
    relying: Relying, client: httpx.AsyncClient
) -> None:
    first = await relying.sign_in()
    second = (await relying.refresh(first["refresh_token"])).json()
    assert (await revoke(relying, second["refresh_token"])).status_code == 200
    assert failed(await relying.refresh(second["refresh_token"])) == NO_GRANT
    answer = await client.get("/userinfo", headers={"authorization": f"Bearer {first['access_token']}"})
    assert answer.status_code == 401


async def test_revoking_an_access_token_closes_userinfo_to_it(relying: Relying, client: httpx.AsyncClient) -> None:
    body = await relying.sign_in()
    assert (await revoke(relying, body["access_token"])).status_code == 200
    answer = await client.get("/userinfo", headers={"authorization": f"Bearer {body['access_token']}"})
    assert answer.status_code == 401
    assert (await relying.refresh(body["refresh_token"])).status_code == 200


async def test_a_token_that_nobody_knows_is_revoked_already(relying: Relying) -> None:
    assert (await revoke(relying, "unknown")).status_code == 200


async def test_nobody_revokes_what_another_client_was_given(relying: Relying, client: httpx.AsyncClient) -> None:
    other = await registered(client)
    body = await relying.sign_in()
    for token in (body["refresh_token"], body["access_token"]):
        assert failed(await revoke(other, token)) == NO_GRANT
    answer = await client.get("/userinfo", headers={"authorization": f"Bearer {body['access_token']}"})
    assert answer.status_code == 200
    assert (await relying.refresh(body["refresh_token"])).status_code == 200
