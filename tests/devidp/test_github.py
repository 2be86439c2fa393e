from __future__ import annotations

import re
import zlib
from typing import Any

import httpx
import pytest

from tenantry.devidp import DevIdp
from tenantry.devidp.github import OTHER_CLIENT_ID

pytestmark = pytest.mark.anyio

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def checksum_holds(token: str) -> bool:
    """The recipe of the checksum, written down a second time."""
    match = re.fullmatch(r"gh[oprsu]_([0-9A-Za-z]{30})([0-9A-Za-z]{6})", token)
    assert match
    number = 0
    for digit in match[2]:
        number = number * 62 + BASE62.index(digit)
    return number == zlib.crc32(match[1].encode())


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def checked(idp: DevIdp, client: httpx.AsyncClient, token: Any, secret: str | None = None) -> httpx.Response:
    return await client.post(
        f"/applications/{idp.github.client_id}/token",
        auth=(idp.github.client_id, secret or idp.settings()["MCP_HTTP_GITHUB_CLIENT_SECRET"]),
        json={"access_token": token},
    )


@pytest.mark.parametrize("prefix", ["gho_", "ghu_", "ghp_", "ghs_", "ghr_"])
async def test_tokens_carry_the_right_checksum(idp: DevIdp, prefix: str) -> None:
    assert all(checksum_holds(idp.github.token("octo", prefix=prefix)) for _ in range(50))


async def test_a_fine_grained_token_has_93_characters(idp: DevIdp) -> None:
    assert re.fullmatch(r"github_pat_\w{22}_\w{59}", idp.github.token("octo", prefix="github_pat_"))


async def test_a_long_installation_token_has_two_dots(idp: DevIdp) -> None:
    token = idp.github.installation_token(long=True)
    assert token.startswith("ghs_1234567_")
    assert token.count(".") == 2
    assert 480 <= len(token) <= 560


async def test_the_app_token_check_names_the_app_the_user_and_the_scopes(
    idp: DevIdp, client: httpx.AsyncClient
) -> None:
    answer = await checked(idp, client, idp.github.token("octo"))
    body = answer.json()
    assert answer.status_code == 200
    assert body["app"]["client_id"] == idp.github.client_id
    assert (body["user"]["id"], body["user"]["login"]) == (91827364, "octo-olsen")
    assert body["scopes"] == ["read:user", "user:email"]
    assert body["expires_at"] is None


async def test_a_user_token_of_a_github_app_expires_after_eight_hours_and_has_no_scopes(
    idp: DevIdp, client: httpx.AsyncClient, clock: Any
) -> None:
    token = idp.github.token("octo", prefix="ghu_")
    body = (await checked(idp, client, token)).json()
    assert (body["expires_at"], body["scopes"]) == ("2026-11-18T19:06:40Z", [])
    clock.time += 8 * 3600
    assert (await checked(idp, client, token)).status_code == 404


async def test_the_app_token_check_answers_404_to_every_token_that_is_not_a_live_one_of_the_app(
    idp: DevIdp, client: httpx.AsyncClient
) -> None:
    revoked = idp.github.token("octo")
    idp.github.revoke(revoked)
    others = [idp.github.token("octo", prefix=prefix) for prefix in ("ghp_", "github_pat_", "ghs_", "ghr_")]
    anothers = idp.github.token("octo", client_id=OTHER_CLIENT_ID)
    for token in ("gho_junk", revoked, anothers, *others):
        answer = await checked(idp, client, token)
        assert (answer.status_code, answer.json()["message"]) == (404, "Not Found")


async def test_wrong_client_credentials_give_401_or_as_it_happens_404(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.github.token("octo")
    assert (await checked(idp, client, token, secret="wrong")).status_code == 401
    idp.github.bad_basic_status = 404
    assert (await checked(idp, client, token, secret="wrong")).json()["message"] == "Not Found"


async def test_a_malformed_body_gives_422(idp: DevIdp, client: httpx.AsyncClient) -> None:
    assert (await checked(idp, client, 7)).status_code == 422
    assert (await checked(idp, client, "")).status_code == 422


async def test_deleting_an_app_token_revokes_it(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.github.token("octo")
    auth = (idp.github.client_id, idp.settings()["MCP_HTTP_GITHUB_CLIENT_SECRET"])
    path = f"/applications/{idp.github.client_id}/token"
    assert (await client.request("DELETE", path, auth=auth, json={"access_token": token})).status_code == 204
    assert (await checked(idp, client, token)).status_code == 404


async def test_user_has_no_address_and_says_the_scopes_of_an_oauth_token(
    idp: DevIdp, client: httpx.AsyncClient
) -> None:
    answer = await client.get("/user", headers=bearer(idp.github.token("octo")))
    assert (answer.json()["id"], answer.json()["email"]) == (91827364, None)
    assert answer.headers["x-oauth-scopes"] == "read:user, user:email"
    assert answer.headers["x-oauth-client-id"] == idp.github.client_id


@pytest.mark.parametrize("prefix", ["ghu_", "github_pat_"])
async def test_tokens_with_permissions_have_no_scopes_header(
    idp: DevIdp, client: httpx.AsyncClient, prefix: str
) -> None:
    answer = await client.get("/user", headers=bearer(idp.github.token("octo", prefix=prefix)))
    assert answer.status_code == 200
    assert "x-oauth-scopes" not in answer.headers


async def test_user_works_for_a_token_of_another_app(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.github.token("octo", client_id=OTHER_CLIENT_ID)
    assert (await client.get("/user", headers=bearer(token))).status_code == 200


async def test_user_answers_401_to_a_bad_token_and_to_none(client: httpx.AsyncClient) -> None:
    answer = await client.get("/user", headers=bearer("gho_junk"))
    assert (answer.status_code, answer.json()["message"], answer.json()["status"]) == (401, "Bad credentials", "401")
    assert (await client.get("/user")).json()["message"] == "Requires authentication"


async def test_user_answers_403_without_a_user_agent(idp: DevIdp, client: httpx.AsyncClient) -> None:
    request = client.build_request("GET", "/user", headers=bearer(idp.github.token("octo")))
    del request.headers["user-agent"]
    answer = await client.send(request)
    assert answer.status_code == 403
    assert "administrative rules" in answer.text


@pytest.mark.parametrize("long", [False, True])
async def test_user_answers_403_to_an_installation_token(idp: DevIdp, client: httpx.AsyncClient, long: bool) -> None:
    answer = await client.get("/user", headers=bearer(idp.github.installation_token(long=long)))
    assert (answer.status_code, answer.json()["message"]) == (403, "Resource not accessible by integration")


async def test_many_bad_tokens_lock_good_ones_out_for_a_while(
    idp: DevIdp, client: httpx.AsyncClient, clock: Any
) -> None:
    good = bearer(idp.github.token("octo"))
    for _ in range(idp.github.lockout_after):
        assert (await client.get("/user", headers=bearer("gho_junk"))).status_code == 401
    assert (await client.get("/user", headers=good)).status_code == 403
    assert (await checked(idp, client, good["authorization"][7:])).status_code == 200
    clock.time += idp.github.lockout_seconds
    assert (await client.get("/user", headers=good)).status_code == 200


async def test_emails_need_their_scope(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.github.token("octo", scopes=["read:user"])
    assert (await client.get("/user/emails", headers=bearer(token))).status_code == 404
    token = idp.github.token("octo", prefix="ghu_", scopes=[])
    assert (await client.get("/user/emails", headers=bearer(token))).status_code == 403


async def test_a_primary_address_may_be_unverified_beside_a_verified_noreply_one(
    idp: DevIdp, client: httpx.AsyncClient
) -> None:
    rows = (await client.get("/user/emails", headers=bearer(idp.github.token("pat")))).json()
    assert [(row["primary"], row["verified"]) for row in rows] == [(True, False), (False, True)]
    assert rows[1]["email"].endswith("@users.noreply.github.com")


async def test_over_the_hourly_limit_the_answer_is_403_with_nothing_remaining(
    idp: DevIdp, client: httpx.AsyncClient, clock: Any
) -> None:
    idp.github.hourly_limit = 1
    token = idp.github.token("octo")
    assert (await client.get("/user", headers=bearer(token))).headers["x-ratelimit-remaining"] == "0"
    answer = await client.get("/user", headers=bearer(token))
    assert answer.status_code == 403
    assert answer.json()["message"].startswith("API rate limit exceeded for user ID 91827364.")
    assert answer.headers["x-ratelimit-remaining"] == "0"
    clock.time = float(answer.headers["x-ratelimit-reset"])
    assert (await client.get("/user", headers=bearer(token))).status_code == 200


async def test_a_renamed_login_keeps_its_id_and_a_recycled_one_has_a_new_id(
    idp: DevIdp, client: httpx.AsyncClient
) -> None:
    async def user(token: str) -> tuple[str, int]:
        body = (await checked(idp, client, token)).json()["user"]
        return body["login"], body["id"]

    octo = idp.github.token("octo")
    idp.github.rename("octo", "octavia")
    stranger = idp.github.token(idp.github.recycle("octo-olsen"))
    assert await user(octo) == ("octavia", 91827364)
    login, number = await user(stranger)
    assert login == "octo-olsen"
    assert number != 91827364


async def test_everything_is_served_below_the_base_path_of_enterprise_server_too(
    idp: DevIdp, client: httpx.AsyncClient
) -> None:
    headers = bearer(idp.github.token("octo"))
    assert (await client.get("/api/v3/user", headers=headers)).status_code == 200
    assert (await client.get("/api/v3/user/emails", headers=headers)).status_code == 200
