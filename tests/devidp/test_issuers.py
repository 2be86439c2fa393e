"""The issuers beside Google and Auth0: their tokens verify with an implementation that is not ours, and where the real
ones differ from the textbook, so do they."""

from __future__ import annotations

from typing import Any

import httpx
import jwt
import pytest

from tenantry.devidp import DevIdp
from tenantry.devidp.issuers.entra import PERSONAL

pytestmark = pytest.mark.anyio
MINTED = {"apple": "id_token", "firebase": "id_token"}
ISSUERS = "generic entra okta keycloak cognito apple workos clerk supabase firebase".split()
UNCHECKED = {"verify_exp": False, "verify_aud": False, "verify_iat": False, "verify_nbf": False}


async def verified(client: httpx.AsyncClient, place: str, token: str) -> dict[str, Any]:
    """The claims, after PyJWT checked the signature with what is published at ``place``."""
    keys = {key["kid"]: key for key in (await client.get(place)).json()["keys"]}
    header = jwt.get_unverified_header(token)
    return jwt.decode(token, jwt.PyJWK(keys[header["kid"]]), algorithms=["RS256", "ES256"], options=UNCHECKED)


@pytest.mark.parametrize("name", ISSUERS)
async def test_a_token_verifies_with_the_keys_that_are_published(
    idp: DevIdp, client: httpx.AsyncClient, name: str
) -> None:
    issuer = idp.issuers[name]
    token = getattr(issuer, MINTED.get(name, "access_token"))("ann")
    claims = await verified(client, issuer.keys_url.replace("{tid}", "common"), token)
    assert claims["iss"].startswith(idp.base_url)
    assert idp.calls.count(name, "jwks") == 1


@pytest.mark.parametrize("name", [name for name in ISSUERS if name != "entra"])
async def test_the_discovery_document_names_the_issuer_and_its_keys(
    idp: DevIdp, client: httpx.AsyncClient, name: str
) -> None:
    issuer = idp.issuers[name]
    document = (await client.get(f"{issuer.issuer}/.well-known/openid-configuration")).json()
    assert (document["issuer"], document["jwks_uri"]) == (issuer.issuer, issuer.keys_url)


@pytest.mark.parametrize("name", ISSUERS)
async def test_another_process_mints_every_kind_by_its_name(idp: DevIdp, client: httpx.AsyncClient, name: str) -> None:
    takes_nobody = {"service_token", "machine_token"}
    for kind in idp.issuers[name].kinds:
        wish: dict[str, Any] = {} if kind in takes_nobody else {"person": "ann"}
        wish = {"tid": idp.issuers.entra.tid("ann")} if kind == "app_token" else wish
        answer = await client.post("/_devidp/tokens", json={"provider": name, "kind": kind, **wish})
        assert answer.json()["token"].count(".") == 2, answer.text


@pytest.mark.parametrize("name", ISSUERS)
async def test_a_rotation_signs_with_a_key_that_nobody_has_seen(
    idp: DevIdp, client: httpx.AsyncClient, name: str
) -> None:
    issuer = idp.issuers[name]
    place = issuer.keys_url.replace("{tid}", "common")
    before = {key["kid"] for key in (await client.get(place)).json()["keys"]}
    await client.post("/_devidp/rotate", json={"provider": name})
    token = getattr(issuer, MINTED.get(name, "access_token"))("ann")
    assert jwt.get_unverified_header(token)["kid"] not in before
    assert await verified(client, place, token)


async def test_entra_s_keys_say_whose_tokens_they_sign(idp: DevIdp, client: httpx.AsyncClient) -> None:
    keys = (await client.get("/entra/common/discovery/v2.0/keys")).json()["keys"]
    said = {key["issuer"] for key in keys}
    assert said == {f"{idp.base_url}/entra/{tid}/v2.0" for tid in ("{tenantid}", PERSONAL)}


async def test_keycloak_publishes_a_key_for_encryption(idp: DevIdp, client: httpx.AsyncClient) -> None:
    keys = (await client.get(idp.issuers.keycloak.keys_url)).json()["keys"]
    assert [key["use"] for key in keys] == ["enc", "sig", "sig"]


async def test_cognito_signs_the_two_kinds_with_two_keys(idp: DevIdp) -> None:
    kinds = (idp.issuers.cognito.access_token("ann"), idp.issuers.cognito.id_token("ann"))
    assert len({jwt.get_unverified_header(token)["kid"] for token in kinds}) == 2


async def test_somebody_else_s_issuer_is_asked_for_by_name_only(idp: DevIdp) -> None:
    assert [entry["name"] for entry in idp.issuers.entries("okta", "entra")] == ["okta", "entra"]
    with pytest.raises(KeyError):
        idp.issuers.entries("nobody")
