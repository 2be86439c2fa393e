"""The application as a whole: what it records, what it refuses, how another process drives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import httpx
import jwt
import pytest

from tenantry.devidp import DevIdp, serve_on_loopback
from tenantry.errors import ConfigurationError

pytestmark = pytest.mark.anyio


async def test_a_token_is_on_record_with_the_provider_that_was_shown_it(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.google.access_token("ann")
    await client.get("/tokeninfo", headers={"authorization": f"Bearer {token}"})
    assert idp.calls.shown(token) == {"google"}
    await client.get("/user", headers={"authorization": f"token {token}"})
    assert idp.calls.shown(token) == {"google", "github"}
    assert [(call.endpoint, call.token, call.status) for call in idp.calls] == [
        ("tokeninfo", token, 200),
        ("user", token, 401),
    ]


async def test_the_app_token_check_records_both_credentials(idp: DevIdp, client: httpx.AsyncClient) -> None:
    await client.post("/applications/x/token", auth=("us", "secret"), json={"access_token": "gho_x"})
    (call,) = idp.calls.of("github", "app_token")
    assert (call.credential, call.token, call.basic()) == ("json", "gho_x", ("us", "secret"))


async def test_counting_a_mistyped_endpoint_is_an_error(idp: DevIdp) -> None:
    with pytest.raises(LookupError):
        idp.calls.count("google", "jwks")


async def test_the_settings_point_every_provider_here(idp: DevIdp) -> None:
    settings = idp.settings()
    assert settings["MCP_HTTP_ENVIRONMENT"] == "development"
    urls = {name for name, value in settings.items() if value == idp.base_url}
    assert urls == {"MCP_HTTP_GOOGLE_BASE_URL", "MCP_HTTP_AUTH0_DOMAIN", "MCP_HTTP_GITHUB_API_URL"}


@pytest.mark.parametrize("environment", ["production", "staging", "Development", ""])
async def test_it_refuses_to_start_outside_development(monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    monkeypatch.setenv("MCP_HTTP_ENVIRONMENT", environment)
    with pytest.raises(ConfigurationError, match="MCP_HTTP_ENVIRONMENT is"):
        async with DevIdp().serve():
            pytest.fail("it started")


async def test_it_refuses_to_start_outside_development_without_a_lifespan_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MCP_HTTP_ENVIRONMENT", "production")
    transport = httpx.ASGITransport(DevIdp(base_url="http://127.0.0.1").app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        with pytest.raises(ConfigurationError):
            await client.get("/oauth2/v3/certs")


async def test_it_answers_on_loopback_addresses_only() -> None:
    transport = httpx.ASGITransport(DevIdp(base_url="http://192.0.2.7").app)
    async with httpx.AsyncClient(transport=transport, base_url="http://192.0.2.7") as client:
        assert (await client.get("/oauth2/v3/certs")).status_code == 403


async def test_nothing_but_loopback_can_be_asked_for() -> None:
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 and nothing else"):
        async with serve_on_loopback(DevIdp().app, host="0.0.0.0"):
            pytest.fail("it started")


async def test_it_has_no_address_before_it_is_served() -> None:
    with pytest.raises(RuntimeError, match="no address before it is served"):
        DevIdp().settings()


async def test_the_control_api_mints_what_the_methods_mint(idp: DevIdp, client: httpx.AsyncClient) -> None:
    minted = await client.post(
        "/_devidp/tokens",
        json={"provider": "google", "kind": "id_token", "person": "bob", "nonce": "n", "omit": ["hd"]},
    )
    claims = jwt.decode(minted.json()["token"], options={"verify_signature": False})
    assert (claims["email"], claims["nonce"], "hd" in claims) == ("bob@acme.example", "n", False)


@pytest.mark.parametrize(
    "wish",
    [
        {"provider": "nobody"},
        {"provider": "google", "kind": "revoke"},
        {"provider": "google", "person": "nobody"},
        {"provider": "google", "person": "octo"},
        {"provider": "google", "kind": "access_token", "person": "ann", "colour": "blue"},
    ],
)
async def test_the_control_api_says_what_it_cannot_mint(client: httpx.AsyncClient, wish: dict[str, str]) -> None:
    answer = await client.post("/_devidp/tokens", json=wish)
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_the_control_api_revokes_rotates_and_switches_faults(idp: DevIdp, client: httpx.AsyncClient) -> None:
    token = idp.github.token("octo")
    await client.post("/_devidp/revoke", json={"token": token})
    assert (await client.get("/user", headers={"authorization": f"Bearer {token}"})).status_code == 401

    answer = await client.post("/_devidp/rotate", json={"provider": "auth0", "keep_previous": False})
    assert answer.json()["kid"] == idp.auth0.keys.current.kid

    fault = {"provider": "google", "kind": "status", "code": 503, "endpoint": "certs", "times": 1}
    listed = (await client.post("/_devidp/faults", json=fault)).json()["faults"]
    assert listed == [{"provider": "google", "endpoint": "certs", "kind": "status", "times": 1}]
    assert (await client.get("/oauth2/v3/certs")).status_code == 503
    assert (await client.delete("/_devidp/faults")).json() == {"faults": []}


async def test_the_control_api_lists_and_forgets_calls(idp: DevIdp, client: httpx.AsyncClient) -> None:
    await client.get("/tokeninfo", params={"access_token": "ya29.x"})
    (call,) = (await client.get("/_devidp/calls")).json()["calls"]
    assert (call["endpoint"], call["credential"], call["token"], call["status"]) == (
        "tokeninfo",
        "query",
        "ya29.x",
        400,
    )
    await client.delete("/_devidp/calls")
    assert len(idp.calls) == 0


async def test_the_control_api_tells_who_there_is_and_why(idp: DevIdp, client: httpx.AsyncClient) -> None:
    assert [person["person"] for person in (await client.get("/_devidp/people")).json()] == list(idp.people)
    assert (await client.get("/_devidp/")).json()["settings"] == idp.settings()


async def test_the_control_api_refuses_rebound_names_and_bodies_a_web_page_could_send(
    client: httpx.AsyncClient,
) -> None:
    rebound = await client.get("/_devidp/people", headers={"host": "evil.example"})
    assert rebound.status_code == 403
    simple = await client.post("/_devidp/tokens", content=b"{}", headers={"content-type": "text/plain"})
    assert simple.status_code == 400


async def test_the_command_serves_until_it_is_interrupted() -> None:
    server = "http://127.0.0.1:8123/notes"
    command = [sys.executable, "-m", "tenantry.devidp", "--port", "0", "--settings-for", server, "--sign-in", "erin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ.copy()) as process:  # noqa: ASYNC220
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first.startswith("Development identity provider on http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(10) == 0
    assert "export MCP_HTTP_GITHUB_API_URL=http://127.0.0.1:" in rest
    assert f"export MCP_HTTP_AUTH0_AUDIENCE={server}\n" in rest
    assert f"export MCP_HTTP_PUBLIC_URL={server}\n" in rest
    assert "it is erin at once" in rest
    assert "gho_" in rest


@pytest.mark.parametrize("nobody", ["zoe", "octo"])
async def test_the_command_says_who_cannot_sign_in(nobody: str) -> None:
    command = [sys.executable, "-m", "tenantry.devidp", "--port", "0", "--sign-in", nobody]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: ASYNC221
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert nobody in done.stderr


async def test_the_settings_fit_a_server_that_clients_know_by_its_url(idp: DevIdp) -> None:
    settings = idp.settings("http://127.0.0.1:8000/mcp")
    assert settings["MCP_HTTP_AUTH0_AUDIENCE"] == settings["MCP_HTTP_PUBLIC_URL"] == "http://127.0.0.1:8000/mcp"
    assert "MCP_HTTP_PUBLIC_URL" not in idp.settings()
