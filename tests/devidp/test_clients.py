"""How a client that nobody has heard of becomes known: metadata (RFC 8414), registration (RFC 7591), or a document at
its identifier (draft-ietf-oauth-client-id-metadata-document); and what a browser may read of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from tests.devidp.relying import CALLBACK, Relying, register

from tenantry.devidp import DevIdp, serve_on_loopback

pytestmark = pytest.mark.anyio

PLACES = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")


async def test_the_metadata_is_the_same_at_both_places_and_every_endpoint_of_it_is_served(
    client: httpx.AsyncClient, idp: DevIdp
) -> None:
    first, second = [(await client.get(place)).json() for place in PLACES]
    assert first == second
    assert first["issuer"] == idp.auth0.issuer
    assert first["code_challenge_methods_supported"] == ["S256"]
    assert first["authorization_response_iss_parameter_supported"] is True
    for name, value in first.items():
        if name.endswith("_endpoint") or name == "jwks_uri":
            assert (await client.get(value)).status_code != 404, name


async def test_googles_face_offers_no_registration(client: httpx.AsyncClient) -> None:
    metadata = (await client.get("/google/.well-known/openid-configuration")).json()
    assert "registration_endpoint" not in metadata


# --- Registration (RFC 7591) ------------------------------------------------------------------------------------------


async def test_a_public_client_registers_and_is_told_what_it_registered(client: httpx.AsyncClient) -> None:
    answer = await register(client, client_name="Notes", application_type="native")
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert body["client_id"]
    assert "client_secret" not in body
    assert (body["redirect_uris"], body["token_endpoint_auth_method"]) == ([CALLBACK], "none")
    assert (body["client_name"], body["application_type"]) == ("Notes", "native")


async def test_a_client_that_says_nothing_gets_a_secret(client: httpx.AsyncClient) -> None:
    """RFC 7591 section 2: the default method is client_secret_basic, the default grant the code."""
    body = (await register(client, token_endpoint_auth_method=None, grant_types=None)).json()
    assert body["token_endpoint_auth_method"] == "client_secret_basic"
    assert body["client_secret"]
    assert body["client_secret_expires_at"] == 0
    assert body["grant_types"] == ["authorization_code"]


async def test_what_cannot_be_granted_is_left_out_and_the_answer_says_so(client: httpx.AsyncClient) -> None:
    body = (await register(client, grant_types=["authorization_code", "implicit"])).json()
    assert body["grant_types"] == ["authorization_code"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example/callback",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "https:///callback",
        "https://user@app.example/",
        "https://app.example/#fragment",
        "https://app.example/a b",
        "https://app.example/\r\nset-cookie: a",
        "https://app.example\\@evil.example/",
        "https://äpp.example/",
        "/callback",
        "",
        "https://app.example/" + "a" * 2000,
    ],
)
async def test_a_redirect_uri_is_https_this_machine_or_the_clients_own_scheme(
    client: httpx.AsyncClient, uri: str
) -> None:
    answer = await register(client, redirect_uris=[CALLBACK, uri])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"redirect_uris": None}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": CALLBACK}, "invalid_client_metadata"),
        ({"redirect_uris": [1]}, "invalid_client_metadata"),
        ({"grant_types": "authorization_code"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": ["none"]}, "invalid_client_metadata"),
    ],
)
async def test_metadata_that_makes_no_client_is_refused(
    client: httpx.AsyncClient, metadata: dict[str, Any], error: str
) -> None:
    answer = await register(client, **metadata)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize("body", [b"", b"[]", b"{"])
async def test_registering_takes_a_json_object(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/oidc/register", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


async def test_registration_can_be_off_as_it_is_at_auth0_by_default(client: httpx.AsyncClient, idp: DevIdp) -> None:
    idp.auth0.authorization.clients.registration = False
    assert (await register(client)).status_code == 403
    assert "registration_endpoint" not in (await client.get(PLACES[0])).json()


# --- Client-id metadata documents -------------------------------------------------------------------------------------


@pytest.fixture
async def publish() -> AsyncIterator[Callable]:
    """``await publish(change)``: a site with a client's document, which ``change`` may spoil; the client_id."""
    async with contextlib.AsyncExitStack() as stack:

        async def served(change: Callable[[dict[str, Any]], Any] = lambda document: document, status: int = 200) -> str:
            holder: dict[str, Any] = {}

            async def site(scope: Any, receive: Any, send: Any) -> None:
                headers = [(b"content-type", b"application/json"), (b"location", b"/other.json")]
                await send({"type": "http.response.start", "status": status, "headers": headers})
                body = holder["document"]
                sent = body if isinstance(body, bytes) else json.dumps(body).encode()
                await send({"type": "http.response.body", "body": sent})

            base = await stack.enter_async_context(serve_on_loopback(site, lifespan="off"))
            document = {"client_id": f"{base}/client.json", "client_name": "Notes", "redirect_uris": [CALLBACK]}
            holder["document"] = change(document)
            return f"{base}/client.json"

        yield served


async def test_a_client_whose_identifier_is_a_url_signs_in_unregistered(
    publish: Callable, client: httpx.AsyncClient, idp: DevIdp
) -> None:
    relying = Relying(client, await publish())
    body = await relying.sign_in()
    assert body["access_token"]
    assert idp.calls.count("auth0", "register") == 0
    assert (await relying.authorize(redirect_uri="http://127.0.0.1:3000/other")).status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document | {"client_id": "https://other.example/client.json"},
        lambda document: document | {"client_secret": "x"},
        lambda document: document | {"token_endpoint_auth_method": "client_secret_post"},
        lambda document: document | {"redirect_uris": []},
        lambda document: document | {"redirect_uris": ["javascript:alert(1)"]},
        lambda document: document | {"padding": "x" * 6000},
        lambda document: [document],
        lambda document: b"no json",
        lambda document: b"\xff\xfe",
    ],
)
async def test_a_document_that_cannot_be_relied_on_makes_no_client(
    publish: Callable, client: httpx.AsyncClient, change: Callable
) -> None:
    answer = await Relying(client, await publish(change)).authorize()
    assert answer.status_code == 400
    assert "location" not in answer.headers


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_document_is_there_or_it_is_not(publish: Callable, client: httpx.AsyncClient, status: int) -> None:
    assert (await Relying(client, await publish(status=status)).authorize()).status_code == 400


@pytest.mark.parametrize(
    "client_id",
    [
        "http://app.example/client.json",
        "https://127.0.0.1",
        "https://127.0.0.1/",
        "https://user@127.0.0.1/client.json",
        "https://127.0.0.1/client.json#fragment",
        "https://127.0.0.1/a/../client.json",
        "https://[/client.json",
        "https://127.0.0.1:99999/client.json",
    ],
)
async def test_a_url_that_is_no_identifier_is_not_fetched(client: httpx.AsyncClient, client_id: str) -> None:
    """The tests' network guard would fail the test if another machine were asked."""
    assert (await Relying(client, client_id).authorize()).status_code == 400


# --- Browsers ---------------------------------------------------------------------------------------------------------

BROWSERS = {"GET": [*PLACES, "/.well-known/jwks.json", "/userinfo"], "POST": ["/oauth/token", "/oidc/register"]}
CASES = [(method, path) for method, paths in BROWSERS.items() for path in paths]


@pytest.mark.parametrize(("method", "path"), CASES)
@pytest.mark.parametrize("origin", ["http://localhost:6274", "http://127.0.0.1:6274"])
async def test_a_client_in_a_browser_on_this_machine_may_ask_and_read(
    client: httpx.AsyncClient, idp: DevIdp, method: str, path: str, origin: str
) -> None:
    asking = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "content-type,mcp-protocol-version",
    }
    preflight = await client.options(path, headers=asking)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "mcp-protocol-version" in preflight.headers["access-control-allow-headers"]
    assert len(idp.calls) == 0
    answer = await client.request(method, path, headers={"origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(("method", "path"), CASES)
@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example:6274", "null"])
async def test_a_page_from_elsewhere_reads_nothing(
    client: httpx.AsyncClient, method: str, path: str, origin: str
) -> None:
    answer = await client.request(method, path, headers={"origin": origin})
    assert "access-control-allow-origin" not in answer.headers
