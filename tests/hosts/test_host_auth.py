"""The adapters to the hosts' own auth: what they say, what they cannot say, and that it is documented truthfully.
Who tools see behind them is in test_identity.py."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.routing import Mount
from tests.hosts.conftest import Mcp, Served, message

from tenantry import ConfigurationError, Settings, TokenValidator, current_user
from tenantry.adapters.clock import SystemClock
from tenantry.adapters.host_auth import HostAuth
from tenantry.adapters.http import HttpFetch
from tenantry.adapters.mcp_sdk import TenantryTokenVerifier
from tenantry.assemble import Outside, assemble
from tenantry.errors import OverQuota, Unavailable
from tenantry.observations import Refused
from tenantry.postgres import EmbeddedPostgres, get_tenant_database
from tenantry.testing import DevIdp, Recorder, serve_on_loopback

HOSTS = ["mcp1", "mcp2", "fastmcp"]
OLD = "2025-11-25"
PATH = "/.well-known/oauth-protected-resource"
KEY = "only-for-this-machine"
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
}


def begin(served: Served, token: str | None) -> httpx.Response:
    headers = {"Accept": "application/json, text/event-stream"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    url = f"{served.url}/auth/mcp"
    return httpx.post(url, json=INITIALIZE, headers=headers, verify=False, trust_env=False, timeout=20)


@pytest.mark.parametrize("host", HOSTS)
def test_an_outage_is_a_server_error_and_never_a_reason_to_drop_a_token(
    serving: Callable[[str], Served], host: str
) -> None:
    served = serving(host)
    answer = begin(served, served.tokens["down"])
    assert answer.status_code == 500
    assert {"www-authenticate", "retry-after"}.isdisjoint(answer.headers)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("token", [None, "bad.bad.bad", "unknown-key"])
def test_without_a_good_token_it_is_a_401_that_names_the_metadata(
    serving: Callable[[str], Served], host: str, token: str | None
) -> None:
    answer = begin(serving(host), token)
    assert answer.status_code == 401
    assert f'resource_metadata="http://127.0.0.1:8000{PATH}/mcp"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("host", HOSTS)
def test_the_metadata_names_the_resource_as_it_is_configured(serving: Callable[[str], Served], host: str) -> None:
    answer = httpx.get(f"{serving(host).url}/auth{PATH}/mcp", verify=False, trust_env=False)
    assert answer.json()["resource"] == "http://127.0.0.1:8000/mcp"


@pytest.mark.parametrize("host", HOSTS)
def test_a_permission_that_is_missing_is_a_tools_error(caller: Callable[..., Mcp], host: str) -> None:
    reader, writer = (caller(host, "auth", OLD, name) for name in ("reader", "writer"))
    for tool in ("at_once", "by_user", "direct"):
        arguments = {"text": "text"} if tool == "at_once" else {}
        result = message(reader.call(tool, **arguments))["result"]
        assert result["isError"] is True
        assert not message(writer.call(tool, **arguments))["result"].get("isError")


@pytest.mark.parametrize("host", HOSTS)
def test_a_second_authorization_header_goes_unseen(serving: Callable[[str], Served], host: str) -> None:
    """What the middleware refuses with 400; docs/hosts.md says so."""
    served = serving(host)
    words = [f"Bearer {served.tokens['reader']}", "Bearer bad.bad.bad"]
    for order, status in ((words, 200), (words[::-1], 401)):
        headers = [("Accept", "application/json, text/event-stream"), *(("Authorization", word) for word in order)]
        answer = httpx.post(f"{served.url}/auth/mcp", json=INITIALIZE, headers=headers, verify=False, trust_env=False)
        assert answer.status_code == status


# --- In this process --------------------------------------------------------------------------------------------------


@pytest.fixture
async def idp() -> AsyncIterator[DevIdp]:
    idp = DevIdp()
    async with idp.serve():
        yield idp


@pytest.fixture
def configured(idp: DevIdp) -> Callable[..., Settings]:
    trusted = {name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings().items()}

    def make(**values: Any) -> Settings:
        return Settings(**trusted | values)

    return make


@pytest.fixture(scope="module")
def postgres() -> Iterator[EmbeddedPostgres]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(EmbeddedPostgres()) as server:
        yield server


def provider(settings: Settings) -> Any:
    pytest.importorskip("fastmcp")
    from tenantry.adapters.fastmcp import TenantryAuthProvider

    return TenantryAuthProvider(settings)


@pytest.mark.anyio
async def test_the_token_says_who_and_for_what_and_is_none(idp: DevIdp, configured: Callable[..., Settings]) -> None:
    settings = configured(public_url="https://mcp.example.com/mcp", api_key=KEY)
    async with TenantryTokenVerifier(settings) as verifier:
        bearer = idp.auth0.access_token("ann", permissions=["notes:read"], scope="notes:read openid")
        ann = await verifier.verify_token(bearer)
        key = await verifier.verify_token(KEY)
    assert ann is not None
    assert key is not None
    assert ann.resource == key.resource == "https://mcp.example.com/mcp"
    assert (ann.client_id, ann.scopes) == (idp.auth0.client_id, ["notes:read"])
    assert ann.subject == "auth0:google-oauth2|110248495921238986420"
    assert ann.claims is not None
    assert ann.claims["iss"] == idp.auth0.issuer
    assert ann.expires_at == ann.claims["exp"]
    assert len({(one.client_id, one.subject, one.claims["iss"]) for one in (ann, key) if one.claims}) == 2
    assert bearer not in repr(ann) + str(ann.model_dump()) + ann.model_dump_json()
    assert KEY not in repr(key) + str(key.model_dump()) + key.model_dump_json()
    assert ann.token.startswith("tenantry:")
    assert await TenantryTokenVerifier(settings).verify_token(ann.token) is None


@pytest.mark.anyio
async def test_the_reason_of_a_none_is_observed(idp: DevIdp, configured: Callable[..., Settings]) -> None:
    recorder, fetch = Recorder(), HttpFetch(allow_loopback_http=True)
    settings = configured(allowed_domains="acme.example", api_key=KEY)
    made = assemble(settings, Outside(SystemClock(), fetch, recorder))
    auth = HostAuth(settings, validator=TokenValidator(made.gate))
    shown = [idp.google.id_token("ann", exp=1), "", "two words", idp.google.id_token("carol")]
    assert [await auth.judge(token) for token in shown] == [None] * 4
    reasons = ["token_expired", "authorization_malformed", "authorization_malformed", "domain_not_allowed"]
    assert [refused.reason for refused in recorder.of(Refused)] == reasons
    await auth.aclose()
    assert await auth.judge(KEY) is not None  # a validator of the caller's own is not closed
    await made.aclose()


@pytest.mark.anyio
async def test_a_spent_quota_and_an_outage_are_raised(idp: DevIdp, configured: Callable[..., Settings]) -> None:
    async with HostAuth(configured(rate_limit_user="1/60")) as auth:
        assert await auth.judge(idp.google.id_token("ann")) is not None
        with pytest.raises(OverQuota, match="user_quota"):
            await auth.judge(idp.google.id_token("ann"))
        idp.faults.set("google", "error")
        with pytest.raises(Unavailable, match="provider_unavailable"):
            await auth.judge(idp.google.access_token("bob"))


@pytest.mark.anyio
async def test_what_a_host_writes_down_of_an_outage_holds_no_token(
    idp: DevIdp, configured: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    token = idp.google.access_token("bob")
    idp.faults.set("google", "error")
    async with TenantryTokenVerifier(configured()) as verifier:
        server = MCPServer("tests", auth=verifier.auth_settings(), token_verifier=verifier)
        with caplog.at_level(logging.DEBUG):
            async with serve_on_loopback(server.streamable_http_app()) as url, httpx.AsyncClient() as client:
                headers = {"Authorization": f"Bearer {token}"}
                assert (await client.post(f"{url}/mcp", json=INITIALIZE, headers=headers)).status_code == 500
    assert "provider_unavailable" in caplog.text
    assert token not in caplog.text


@pytest.mark.anyio
async def test_the_audit_says_who_was_let_in_and_who_was_not(
    idp: DevIdp, configured: Callable[..., Settings], tmp_path: Path
) -> None:
    log = tmp_path / "audit.log"
    async with HostAuth(configured(audit_sinks=f"file:{log}", audit_hmac_key="a" * 43)) as auth:
        await auth.judge(idp.google.id_token("ann"))
        await auth.judge("bad.bad.bad")
    events = [json.loads(line) for line in log.read_text().splitlines()]
    told = [(event["event"], event.get("reason")) for event in events]
    assert ("refused", "token_malformed") in told
    assert "admitted" in dict(told)


def test_of_several_issuers_the_sdk_is_told_one_of_ours() -> None:
    url = "https://mcp.example.com/mcp"
    settings = Settings(google_client_id="web.example", github_enabled=True, github_binding="none", public_url=url)
    verifier = TenantryTokenVerifier(settings)
    assert str(verifier.auth_settings().issuer_url) == "https://accounts.google.com"
    github = verifier.authorization_servers[1]
    assert str(verifier.auth_settings(github).issuer_url) == github
    with pytest.raises(ConfigurationError, match="none of the issuers"):
        verifier.auth_settings("https://evil.example")


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["mcp2", "fastmcp"])
async def test_with_api_keys_alone_nothing_is_published(host: str) -> None:
    settings = Settings(environment="development", api_key=KEY)
    async with _serving(host, settings) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get(f"{PATH}/mcp")).status_code == 404
        refused = await client.post("/mcp", json=INITIALIZE)
        headers = {"Authorization": f"Bearer {KEY}", "Accept": "application/json, text/event-stream"}
        admitted = await client.post("/mcp", json=INITIALIZE, headers=headers)
    assert (refused.status_code, admitted.status_code) == (401, 200)
    assert "resource_metadata" not in refused.headers["www-authenticate"]


@contextlib.asynccontextmanager
async def _serving(host: str, settings: Settings, *tools: Callable[..., Any]) -> AsyncIterator[str]:
    if host == "fastmcp":
        auth = provider(settings)
        from fastmcp import FastMCP

        app = FastMCP("tests", auth=auth, lifespan=auth.lifespan, tools=tools).http_app()
        async with serve_on_loopback(app) as url:
            yield url
        return
    async with TenantryTokenVerifier(settings) as verifier:
        server = MCPServer("tests", auth=verifier.auth_settings(), token_verifier=verifier)
        for tool in tools:
            server.add_tool(tool)
        async with serve_on_loopback(server.streamable_http_app()) as url:
            yield url


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("public_url", "path"),
    [
        ("https://mcp.example.com/mcp", "/mcp"),
        ("https://mcp.example.com/notes/mcp", "/mcp"),
        ("https://mcp.example.com/notes", "/"),
        ("https://mcp.example.com", "/"),
    ],
)
async def test_fastmcp_publishes_all_issuers_at_both_places_from_the_root_of_the_parent(
    idp: DevIdp, configured: Callable[..., Settings], public_url: str, path: str
) -> None:
    auth = provider(configured(public_url=public_url, default_permissions="notes:read"))
    from fastmcp import FastMCP

    app = FastMCP("tests", auth=auth, lifespan=auth.lifespan).http_app(path=path)
    below = public_url.removeprefix("https://mcp.example.com").removesuffix(path) or "/"
    parent = Starlette(routes=[*auth.get_well_known_routes(path), Mount(below, app)], lifespan=app.lifespan)
    async with serve_on_loopback(parent) as url, httpx.AsyncClient(base_url=url, follow_redirects=True) as client:
        refused = await client.post(below.rstrip("/") + path, json=INITIALIZE)
        challenge = refused.headers["www-authenticate"]
        told = challenge.split('resource_metadata="https://mcp.example.com')[1].split('"')[0]
        documents = [(await client.get(place)).json() for place in (told, PATH, told.rstrip("/"))]
        preflight = await client.options(told)
    assert refused.status_code == 401
    assert 'scope="notes:read"' in challenge
    assert documents[0] == documents[1] == documents[2]
    assert documents[0]["resource"] == public_url
    assert {"https://accounts.google.com", idp.auth0.issuer} < set(documents[0]["authorization_servers"])
    assert preflight.headers["access-control-allow-origin"] == "*"


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["mcp2", "fastmcp"])
async def test_tools_have_the_tenant_database(
    idp: DevIdp, configured: Callable[..., Settings], postgres: EmbeddedPostgres, host: str
) -> None:
    settings = configured(database_connection_string=postgres.app_dsn, direct_database_url=postgres.admin_dsn)

    async def schema() -> str:
        database = await get_tenant_database(current_user().tenant_id)
        return str(await database.fetchval("select current_schema()"))

    async with _serving(host, settings, schema) as url, httpx2.AsyncClient(trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {idp.google.id_token('ann')}"
        for mode in ("legacy", "2026-07-28"):
            async with Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client:
                found = await client.call_tool("schema")
                assert found.structured_content == {"result": "tenant_acme_example"}


@pytest.mark.anyio
async def test_inside_multi_auth_an_outage_is_a_401_and_the_caller_is_still_known(
    idp: DevIdp, configured: Callable[..., Settings]
) -> None:
    async with provider(configured()) as auth:
        from fastmcp.server.auth import MultiAuth

        multi = MultiAuth(server=auth)
        known: Any = await multi.verify_token(idp.google.id_token("ann"))
        assert known.tenantry.user_id == known.subject
        idp.faults.set("google", "error")
        assert await multi.verify_token(idp.google.access_token("bob")) is None


def test_fastmcp_may_not_serve_elsewhere_than_the_public_url_says() -> None:
    auth = provider(Settings(google_client_id="web.example", public_url="https://mcp.example.com/mcp"))
    with pytest.raises(ConfigurationError, match="MCP_HTTP_PUBLIC_URL"):
        auth.get_routes("/other")
