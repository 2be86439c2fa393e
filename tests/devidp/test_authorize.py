"""/authorize: who gets a code, and what becomes of a request that is not right (RFC 6749, 7636, 8252, 8707, 9207)."""

from __future__ import annotations

import html
import re
from urllib.parse import urlsplit

import httpx
import pytest
from tests.devidp.relying import CALLBACK, SERVER, VERIFIER, Relying, came_back, claims, registered, s256

from tenantry.devidp import DevIdp

pytestmark = pytest.mark.anyio


async def test_the_answer_has_a_code_the_state_as_it_came_and_the_issuer(relying: Relying, idp: DevIdp) -> None:
    """RFC 6749 section 4.1.2, RFC 9207 section 2."""
    state = 'a "state" & <more>=ö'
    answer = await relying.authorize(state=state)
    words = came_back(answer)
    assert answer.headers["location"].startswith(f"{CALLBACK}?")
    assert words.keys() == {"code", "state", "iss"}
    assert (words["state"], words["iss"]) == (state, idp.auth0.issuer)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"


async def test_without_a_state_none_is_made_up(relying: Relying) -> None:
    assert "state" not in came_back(await relying.authorize(state=None))


async def test_a_query_of_the_redirect_uri_is_kept(client: httpx.AsyncClient) -> None:
    """RFC 6749 section 3.1.2."""
    uri = f"{CALLBACK}?tab=1"
    relying = await registered(client, redirect_uris=[uri])
    words = came_back(await relying.authorize(redirect_uri=uri))
    assert words["tab"] == "1"
    assert "code" in words


# --- Before the redirect URI is known to be the client's, nothing is redirected (RFC 9700 section 4.11) ---------------


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "https://evil.example/callback",
        f"{CALLBACK}/more",
        f"{CALLBACK}?more=1",
        f"{CALLBACK}#fragment",
        "http://127.0.0.1:3000/Callback",
        "http://localhost:3000/callback",
        "https://127.0.0.1:3000/callback",
        "http://127.0.0.1:3000@evil.example/callback",
        "http://evil.example@127.0.0.1:3000/callback",
        "http://127.0.0.1:3000.evil.example/callback",
        "http://127.0.0.1:99999/callback",
        "http://127.0.0.1\\@evil.example/callback",
        "//127.0.0.1:3000/callback",
    ],
)
async def test_no_code_and_no_error_is_sent_to_a_redirect_uri_that_is_not_the_clients(
    relying: Relying, uri: str | None
) -> None:
    for changes in ({}, {"response_type": "token"}, {"login_hint": None}):
        answer = await relying.authorize(redirect_uri=uri, **changes)
        assert answer.status_code == 400
        assert "location" not in answer.headers


@pytest.mark.parametrize("client_id", [None, "nobody", '"><script>alert(1)</script>'])
async def test_an_unknown_client_is_sent_nowhere(relying: Relying, client_id: str | None) -> None:
    answer = await relying.authorize(client_id=client_id)
    assert answer.status_code == 400
    assert "location" not in answer.headers
    assert "<script" not in answer.text


async def test_two_redirect_uris_are_one_too_many(relying: Relying) -> None:
    """RFC 6749 section 3.1: no parameter twice."""
    answer = await relying.authorize(redirect_uri=[CALLBACK, "https://evil.example/"])
    assert answer.status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_the_port_of_a_loopback_redirect_uri_is_free(client: httpx.AsyncClient, host: str) -> None:
    """RFC 8252 section 7.3: the client takes whatever port is free when it starts."""
    relying = await registered(client, redirect_uris=[f"http://{host}/callback"])
    for port in ("", ":1", ":65535"):
        answer = await relying.authorize(redirect_uri=f"http://{host}{port}/callback")
        assert answer.headers["location"].startswith(f"http://{host}{port}/callback?")


async def test_the_port_of_any_other_redirect_uri_is_not(client: httpx.AsyncClient) -> None:
    relying = await registered(client, redirect_uris=["https://app.example/callback"])
    assert (await relying.authorize(redirect_uri="https://app.example/callback")).status_code == 302
    assert (await relying.authorize(redirect_uri="https://app.example:444/callback")).status_code == 400


async def test_an_app_of_its_own_scheme_is_called_back(client: httpx.AsyncClient) -> None:
    """RFC 8252 section 7.1."""
    relying = await registered(client, redirect_uris=["cursor://anysphere/callback"])
    answer = await relying.authorize(redirect_uri="cursor://anysphere/callback")
    assert answer.headers["location"].startswith("cursor://anysphere/callback?code=")


# --- Errors that the client is told (RFC 6749 section 4.1.2.1) --------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "invalid_request"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain", "code_challenge": VERIFIER}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": [s256(VERIFIER), s256("x" * 43)]}, "invalid_request"),
        ({"scope": ["a", "b"]}, "invalid_request"),
        ({"resource": "not-absolute"}, "invalid_target"),
        ({"resource": f"{SERVER}#fragment"}, "invalid_target"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"request_uri": "https://evil.example/"}, "request_uri_not_supported"),
        ({"prompt": "none", "login_hint": None}, "login_required"),
        ({"decision": "deny"}, "access_denied"),
    ],
)
async def test_what_is_wrong_is_said_to_the_client(relying: Relying, changes: dict[str, str], error: str) -> None:
    words = came_back(await relying.authorize(**changes))
    assert (words["error"], words["state"]) == (error, "a state")
    assert words["error_description"]
    assert words["iss"]
    assert "code" not in words


async def test_a_client_that_registered_without_codes_gets_none(client: httpx.AsyncClient) -> None:
    metadata = {"grant_types": ["client_credentials"], "token_endpoint_auth_method": "client_secret_post"}
    relying = await registered(client, **metadata)
    assert came_back(await relying.authorize())["error"] == "unauthorized_client"


# --- Who signs in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hint", ["erin", "erin@globex.example"])
async def test_a_login_hint_names_who_signs_in(relying: Relying, idp: DevIdp, hint: str) -> None:
    token = (await relying.sign_in(login_hint=hint))["access_token"]
    assert claims(token)["sub"] == idp.people["erin"].at_auth0().sub


@pytest.mark.parametrize("hint", [None, "", "nobody", "octo"])
async def test_without_one_there_is_a_button_for_everybody_with_an_account(
    relying: Relying, idp: DevIdp, hint: str | None
) -> None:
    page = await relying.authorize(login_hint=hint)
    assert page.status_code == 200
    buttons = re.findall(r'<button name="login_hint" value="(\w+)">', page.text)
    assert buttons == [person.key for person in idp.people.values() if person.auth0]


async def test_a_button_repeats_the_request_and_signs_in(relying: Relying, idp: DevIdp) -> None:
    page = await relying.authorize(login_hint=None, prompt="consent", state='"><b>&amp;')
    fields = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text)
    action = re.search(r'<form method="get" action="([^"]*)">', page.text)
    assert action
    asked = [(html.unescape(name), html.unescape(value)) for name, value in fields]
    words = came_back(await relying.http.get(action[1], params=[*asked, ("login_hint", "bob")]))
    assert words["state"] == '"><b>&amp;'
    token = (await relying.redeem(words["code"])).json()["access_token"]
    assert claims(token)["sub"] == idp.people["bob"].at_auth0().sub


async def test_who_signs_in_can_be_settled_beforehand(relying: Relying, idp: DevIdp) -> None:
    idp.auth0.authorization.sign_in = "fay"
    for hint in (None, "ann"):
        token = (await relying.sign_in(login_hint=hint))["access_token"]
        assert claims(token)["sub"] == idp.people["fay"].at_auth0().sub


@pytest.mark.parametrize("nobody", ["zoe", "octo"])
async def test_nobody_without_an_account_can_be_settled_on(nobody: str) -> None:
    with pytest.raises(LookupError, match=nobody):
        DevIdp(sign_in=nobody)


async def test_the_page_escapes_what_strangers_wrote(client: httpx.AsyncClient) -> None:
    evil = "\"'><script>alert(1)</script>"
    relying = await registered(client, client_name=evil)
    page = await relying.authorize(
        login_hint=None, state=evil, scope=evil, audience=evil, resource=None, **{evil: evil}
    )
    assert page.status_code == 200
    assert "<script" not in page.text
    assert html.escape(evil) in page.text


@pytest.mark.parametrize("changes", [{"login_hint": None}, {"client_id": "nobody"}])
async def test_the_pages_run_nothing_and_are_framed_by_nobody(relying: Relying, changes: dict[str, str | None]) -> None:
    headers = (await relying.authorize(**changes)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


async def test_a_page_that_rebinds_its_name_signs_nobody_in(relying: Relying) -> None:
    for method, path in (("GET", "/authorize"), ("POST", "/oauth/token"), ("POST", "/oidc/register")):
        answer = await relying.http.request(method, path, headers={"host": "evil.example:3000"})
        assert answer.status_code == 403


async def test_faults_and_the_record_know_the_new_endpoints(relying: Relying, idp: DevIdp) -> None:
    idp.faults.set("auth0", "error", endpoint="authorize", times=1)
    assert (await relying.authorize()).status_code == 500
    assert (await relying.authorize()).status_code == 302
    assert [call.status for call in idp.calls.of("auth0", "authorize")] == [500, 302]
    assert urlsplit(idp.base_url).hostname == idp.calls.of("auth0", "register")[0].host
