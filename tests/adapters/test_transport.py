"""Every answer of the design's table, the resource metadata, CORS, and which hosts and origins are served."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from tests.support import Echo, Reply, World, a_client, a_scope, ask, bearer

from tenantry.adapters.observers import LogObserver
from tenantry.adapters.transport import Transport
from tenantry.errors import REASONS, InsufficientScope, Refusal, TokenInvalid
from tenantry.ports import HttpResponse
from tenantry.testing import FakeFetch

pytestmark = pytest.mark.anyio

KEY = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE"
HOST = [("host", "mcp.example.com")]
METADATA = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"
PATHS = ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"]


def production(world: World, app: Any = None, **changes: Any) -> Any:
    values = {
        "environment": "production",
        "public_url": "https://mcp.example.com/mcp",
        "google_client_id": "ours",
        "api_keys": {KEY: {"name": "ci", "tenant_id": "acme"}},
    }
    return world.guard(app or Echo(), only=(), **(values | changes))


def development(world: World, app: Any = None, **changes: Any) -> Any:
    return world.guard(app or Echo(), **({"api_keys": {KEY: {"name": "ci", "tenant_id": "acme"}}} | changes))


# The table of answers

CASES: dict[str, tuple[list[tuple[str, str]], bytes, int, str, str | None]] = {
    "no credential": ([], b"", 401, "unauthorized", ""),
    "two credentials": ([*bearer(KEY), ("x-api-key", KEY)], b"", 400, "invalid_request", "invalid_request"),
    "token in the query": ([], b"access_token=x", 400, "invalid_request", "invalid_request"),
    "token in the query beside a good one": (
        bearer(KEY),
        b"a=1&Access_Token=x",
        400,
        "invalid_request",
        "invalid_request",
    ),
    "malformed header": ([("authorization", "Bearer a b")], b"", 400, "invalid_request", "invalid_request"),
    "a scheme and nothing more": ([("authorization", "Bearer")], b"", 400, "invalid_request", "invalid_request"),
    "duplicate authorization": ([*bearer(KEY), *bearer(KEY)], b"", 400, "invalid_request", "invalid_request"),
    "joined credentials": (
        [("authorization", f"Bearer {KEY}, Bearer {KEY}")],
        b"",
        400,
        "invalid_request",
        "invalid_request",
    ),
    "duplicate protocol version": (
        [*bearer(KEY), ("mcp-protocol-version", "a"), ("mcp-protocol-version", "b")],
        b"",
        400,
        "invalid_request",
        "invalid_request",
    ),
    "another scheme": ([("authorization", "Basic YTpi")], b"", 401, "invalid_token", "invalid_token"),
    "dpop": ([("authorization", "DPoP abc")], b"", 401, "invalid_token", "invalid_token"),
    "an unset variable": (bearer("${GITHUB_TOKEN}"), b"", 401, "invalid_token", "invalid_token"),
    "a bad token": (bearer("junk"), b"", 401, "invalid_token", "invalid_token"),
    "a bad key": ([("x-api-key", "junk")], b"", 401, "invalid_token", "invalid_token"),
    "a bad origin": ([("origin", "https://evil.example"), *bearer(KEY)], b"", 403, "access_denied", None),
    "a bad host": ([("host", "evil.example"), *bearer(KEY)], b"", 421, "misdirected_request", None),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", [production, development])
async def test_a_refusal_has_its_status_its_challenge_and_its_body(world: World, mode: Any, case: str) -> None:
    headers, query, status, error, challenge = CASES[case]
    app = Echo()
    if mode is production and not any(name == "host" for name, _ in headers):
        headers = [*HOST, *headers]
    reply = await ask(mode(world, app), headers=headers, query_string=query)
    assert (reply.status, reply.json()["error"]) == (status, error)
    assert app.scopes == []
    assert_challenge(reply, challenge)
    always = {"error", "error_description", "request_id"}
    more = {"reason", "hint"} if mode is development else set()
    assert always <= reply.json().keys() <= always | more
    assert ("reason" in reply.json()) is (mode is development)
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert "retry-after" not in reply.headers
    assert int(reply.headers["content-length"]) == len(reply.body)


def assert_challenge(reply: Reply, error: str | None) -> None:
    words = reply.challenge
    if error is None:
        assert words is None
        return
    assert words is not None
    assert words.startswith("Bearer resource_metadata=")
    assert (f'error="{error}"' in words) is bool(error)
    assert ("error=" in words) is bool(error)
    fields = re.findall(r'([a-z_]+)="([^"]*)"', words)
    assert "Bearer " + ", ".join(f'{name}="{value}"' for name, value in fields) == words  # every value is quoted
    if error:
        assert fields[-1][0] == "error_description"  # last, for clients that search with unanchored expressions
    assert words.count("scope=") <= 1


async def test_the_challenge_names_metadata_and_scopes_of_the_configuration(world: World) -> None:
    guarded = production(world, default_permissions="notes:read, notes:write")
    reply = await ask(guarded, headers=[*HOST, ("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "http")])
    assert reply.challenge == f'Bearer resource_metadata="{METADATA}", scope="notes:read notes:write"'
    refused = await ask(guarded, headers=[*HOST, *bearer("junk")])
    assert refused.challenge == (
        f'Bearer resource_metadata="{METADATA}", scope="notes:read notes:write", error="invalid_token", '
        'error_description="No configured provider vouches for this token"'
    )


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", ["/mcp", "/", "/else"])
async def test_the_challenge_is_the_same_for_every_method_and_path(world: World, method: str, path: str) -> None:
    reply = await ask(production(world), headers=HOST, method=method, path=path)
    assert reply.challenge == f'Bearer resource_metadata="{METADATA}"'


async def test_an_outage_is_503_without_a_challenge_and_with_a_time_to_come_back(world: World) -> None:
    with world.idp.faults.during("google", "rate_limited", retry_after=7):
        reply = await ask(development(world), headers=bearer(world.idp.google.access_token("ann")))
    assert (reply.status, reply.json()["error"]) == (503, "temporarily_unavailable")
    assert reply.challenge is None
    assert reply.headers["retry-after"] == "7"


async def test_every_503_has_a_retry_after(world: World) -> None:
    tokens = [world.idp.google.id_token("ann"), world.idp.google.access_token("ann"), world.idp.github.token("octo")]
    for provider in ("google", "github"):
        world.idp.faults.set(provider, "reset")
    for token in tokens:
        reply = await ask(development(world), headers=bearer(token))
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) >= 1
        assert reply.challenge is None


async def test_our_wrong_secret_is_503_and_its_words_stay_in_the_log(world: World) -> None:
    world.fetch = FakeFetch({"https://api.github.com/applications/ours/token": HttpResponse(401, {}, b"{}")})
    guarded = production(
        world, github_enabled=True, github_client_id="ours", github_client_secret="s", github_checksum=False
    )
    reply = await ask(guarded, headers=[*HOST, *bearer("gho_x")])
    assert (reply.status, reply.challenge) == (503, None)
    assert b"MCP_HTTP" not in reply.body


async def test_over_quota_is_429_with_the_limit_and_the_problem_in_words(world: World) -> None:
    guarded = development(world, rate_limit_tenant="2/60", rate_limit_user="off")
    for _ in range(2):
        assert (await ask(guarded, headers=bearer(KEY))).status == 200
    reply = await ask(guarded, headers=bearer(KEY))
    assert (reply.status, reply.headers["content-type"]) == (429, "application/problem+json")
    assert reply.headers["retry-after"] == "30"
    assert reply.headers["ratelimit-policy"] == '"tenant";q=2;w=60'
    assert reply.headers["ratelimit"] == '"tenant";r=0;t=30'
    assert reply.challenge is None
    problem = reply.json()
    assert (problem["status"], problem["title"], problem["error"]) == (429, "Too many requests", "too_many_requests")
    world.clock.advance(30)
    assert (await ask(guarded, headers=bearer(KEY))).status == 200


async def test_an_account_that_may_not_come_in_is_403_without_a_challenge(world: World) -> None:
    reply = await ask(development(world, allowed_domains="x.example"), headers=bearer(world.idp.google.id_token("ann")))
    assert (reply.status, reply.challenge, reply.json()["error"]) == (403, None, "access_denied")


async def test_a_mistake_of_ours_is_500_and_says_nothing(world: World) -> None:
    class Broken(FakeFetch):
        async def __call__(self, request: Any) -> Any:
            raise RuntimeError("ya29.the-token-of-somebody")

    world.fetch = Broken()
    reply = await ask(production(world), headers=[*HOST, *bearer("ya29.the-token-of-somebody")])
    assert (reply.status, reply.challenge, reply.json()["error"]) == (500, None, "server_error")
    assert b"ya29" not in reply.body


def test_too_few_permissions_is_403_with_everything_that_would_do() -> None:
    transport = Transport(resource="https://mcp.example.com/mcp", scopes=("read",))
    answer = transport.refusal(InsufficientScope("permission_missing", scopes=("notes:write", "notes:read")), {}, "1")
    headers = dict(answer.headers)
    assert answer.status == 403
    assert headers[b"www-authenticate"].decode() == (
        f'Bearer resource_metadata="{METADATA}", scope="notes:write notes:read", error="insufficient_scope", '
        'error_description="More permissions are needed"'
    )


@pytest.mark.parametrize("reason", REASONS)
def test_no_description_could_break_a_header_or_mislead_a_client(reason: str) -> None:
    """RFC 6750 section 3's characters, and nothing that an unanchored expression takes for a parameter."""
    description, _ = REASONS[reason]
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", description)
    assert "=" not in description


@pytest.mark.parametrize(
    "reason", ["domain_not_allowed", "personal_account_denied", "tenant_unknown", "tenant_conflict"]
)
def test_who_may_not_come_in_is_not_told_why(reason: str) -> None:
    assert REASONS[reason].description == REASONS["domain_not_allowed"].description


def test_the_hint_of_an_encrypted_token_reaches_the_developer() -> None:
    answer = Transport(development=True).refusal(TokenInvalid("token_encrypted"), {}, "1")
    assert "audience" in json.loads(answer.body)["hint"]
    assert json.loads(answer.body)["reason"] == "token_encrypted"


async def test_two_answers_have_two_request_ids_each_in_body_and_header(world: World) -> None:
    replies = [await ask(production(world), headers=HOST) for _ in range(2)]
    assert replies[0].json()["request_id"] != replies[1].json()["request_id"]
    assert [reply.json()["request_id"] for reply in replies] == [reply.headers["x-request-id"] for reply in replies]


# Metadata


@pytest.mark.parametrize("path", [*PATHS, PATHS[0] + "/", PATHS[1] + "/"])
async def test_the_metadata_is_at_both_places_without_a_caller(world: World, path: str) -> None:
    app = Echo()
    guarded = production(world, app, default_permissions="read")
    reply = await ask(guarded, path=path, method="GET", headers=[("host", "evil.example")])
    assert reply.status == 200
    assert reply.json() == {
        "resource": "https://mcp.example.com/mcp",
        "authorization_servers": ["https://accounts.google.com"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["read"],
    }
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "max-age" in reply.headers["cache-control"]
    assert app.scopes == []


async def test_the_resource_is_character_for_character_what_the_operator_wrote(world: World) -> None:
    for url in ("https://mcp.example.com/mcp", "https://mcp.example.com", "https://MCP.example.com/a/b"):
        guarded = production(world, public_url=url)
        reply = await ask(guarded, path=PATHS[1], method="GET", headers=[("host", "x"), ("x-forwarded-host", "y")])
        assert reply.json()["resource"] == url


async def test_every_provider_s_authorization_server_is_listed_and_never_offline_access(world: World) -> None:
    reply = await ask(development(world), path=PATHS[1], method="GET")
    servers = reply.json()["authorization_servers"]
    assert servers == [world.idp.auth0.issuer, "https://accounts.google.com", "https://github.com/login/oauth"]
    assert b"offline_access" not in reply.body


@pytest.mark.parametrize("path", PATHS)
async def test_head_and_options_of_the_metadata(world: World, path: str) -> None:
    guarded = production(world)
    head = await ask(guarded, path=path, method="HEAD")
    whole = await ask(guarded, path=path, method="GET")
    assert (head.status, head.body) == (200, b"")
    assert head.headers.keys() == whole.headers.keys()
    assert head.headers["content-length"] == whole.headers["content-length"]
    options = await ask(
        guarded,
        path=path,
        method="OPTIONS",
        headers=[("origin", "https://any.example"), ("access-control-request-method", "GET")],
    )
    assert options.status == 204
    assert options.headers["access-control-allow-origin"] == "*"
    assert "GET" in options.headers["access-control-allow-methods"]


async def test_other_methods_on_the_metadata_are_405(world: World) -> None:
    for method in ("POST", "PUT", "DELETE"):
        reply = await ask(production(world), path=PATHS[0], method=method)
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize(
    "path",
    [
        "/.well-known/oauth-protected-resource/other",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/",
        "/.well-known/jwks.json",
        "/.well-known/oauth-protected-resource/mcp/x",
        "/.well-known/../mcp",
        "/.well-known/oauth-protected-resourcex",
        "/.well-known//oauth-protected-resource",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_the_metadata_s_neighbours_are_a_clean_404_and_reach_nobody(world: World, path: str, method: str) -> None:
    app = Echo()
    reply = await ask(production(world, app), path=path, method=method, headers=bearer(KEY))
    assert (reply.status, reply.headers["content-type"]) == (404, "application/json")
    assert reply.json() == {"error": "not_found"}
    assert app.scopes == []


async def test_below_a_mount_the_metadata_is_there_too(world: World) -> None:
    outer = Starlette(
        routes=[
            Route("/health", lambda request: JSONResponse({})),
            Mount("/tools", app=production(world)),
        ]
    )
    for path in PATHS:
        reply = await ask(outer, path="/tools" + path, method="GET")
        assert reply.json()["resource"] == "https://mcp.example.com/mcp"
    assert (await ask(outer, path="/tools/.well-known/x", method="GET")).json() == {"error": "not_found"}


async def test_with_api_keys_only_there_is_no_metadata_and_no_mention_of_it(world: World) -> None:
    """Cursor and Claude Code ignore a configured key once OAuth is advertised."""
    guarded = production(world, google_client_id=None, public_url="https://mcp.example.com/mcp")
    for path in PATHS:
        assert (await ask(guarded, path=path, method="GET", headers=HOST)).status == 404
    reply = await ask(guarded, headers=HOST)
    assert reply.status == 401
    assert reply.challenge is not None
    assert reply.challenge.startswith("Bearer ")
    assert "resource_metadata" not in reply.challenge


# CORS


ORIGIN = "https://app.example.com"
ASKS = [*HOST, ("origin", ORIGIN)]


def browser(world: World, app: Any = None, **changes: Any) -> Any:
    return production(world, app, **({"cors_origins": f"{ORIGIN}, https://other.example"} | changes))


async def test_a_preflight_passes_without_a_caller_and_allows_what_mcp_clients_send(world: World) -> None:
    app = Echo()
    asks = [
        *ASKS,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization, mcp-param-Note, x-evil"),
    ]
    reply = await ask(browser(world, app), method="OPTIONS", headers=asks)
    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["access-control-allow-origin"] == ORIGIN
    assert reply.headers["vary"] == "Origin"
    assert {"GET", "POST", "DELETE"} <= set(reply.headers["access-control-allow-methods"].split(", "))
    allowed = {name.strip().lower() for name in reply.headers["access-control-allow-headers"].split(",")}
    needed = "authorization dpop x-api-key content-type accept last-event-id".split()
    of_mcp = "mcp-protocol-version mcp-method mcp-name mcp-session-id mcp-param-note".split()
    assert {*needed, *of_mcp} == allowed
    assert "access-control-allow-credentials" not in reply.headers
    assert app.scopes == []


@pytest.mark.parametrize(
    "headers",
    [[("origin", ORIGIN)], [("access-control-request-method", "POST")], []],
    ids=["without the method", "without the origin", "bare"],
)
async def test_an_options_request_that_is_no_preflight_is_refused(world: World, headers: Any) -> None:
    app = Echo()
    assert (await ask(browser(world, app), method="OPTIONS", headers=[*HOST, *headers])).status == 401
    assert app.scopes == []


async def test_only_the_method_options_is_a_preflight(world: World) -> None:
    app = Echo()
    for method in ("POST", "GET", "options"):
        reply = await ask(
            browser(world, app), method=method, headers=[*ASKS, ("access-control-request-method", "POST")]
        )
        assert reply.status == 401
    assert app.scopes == []


async def test_a_preflight_from_elsewhere_is_refused(world: World) -> None:
    asks = [*HOST, ("origin", "https://evil.example"), ("access-control-request-method", "POST")]
    reply = await ask(browser(world), method="OPTIONS", headers=asks)
    assert reply.status == 403
    assert "access-control-allow-origin" not in reply.headers


async def test_a_preflight_to_a_host_that_is_not_ours_is_refused(world: World) -> None:
    asks = [("host", "evil.example"), ("origin", ORIGIN), ("access-control-request-method", "POST")]
    assert (await ask(browser(world), method="OPTIONS", headers=asks)).status == 421


EXPOSED = {
    *("www-authenticate", "dpop-nonce", "mcp-session-id", "retry-after", "ratelimit", "ratelimit-policy"),
    "x-request-id",
}


async def test_answers_and_refusals_alike_can_be_read_by_an_allowed_origin(world: World) -> None:
    guarded = browser(world, rate_limit_tenant="1/60")
    world.fetch = FakeFetch()
    replies = {
        200: await ask(guarded, headers=[*ASKS, *bearer(KEY)]),
        429: await ask(guarded, headers=[*ASKS, *bearer(KEY)]),
        401: await ask(guarded, headers=ASKS),
        400: await ask(guarded, headers=[*ASKS, *bearer("a b")]),
        503: await ask(browser(world), headers=[*ASKS, *bearer("ya29.x")]),
    }
    for status, reply in replies.items():
        assert reply.status == status
        assert reply.headers["access-control-allow-origin"] == ORIGIN, status
        assert reply.headers["vary"] == "Origin"
        exposed = {name.strip().lower() for name in reply.headers["access-control-expose-headers"].split(",")}
        assert exposed == EXPOSED


async def test_a_403_of_the_gate_can_be_read_by_an_allowed_origin(world: World) -> None:
    guarded = development(world, allowed_domains="x.example", cors_origins=ORIGIN)
    reply = await ask(guarded, headers=[("origin", ORIGIN), *bearer(world.idp.google.id_token("ann"))])
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (403, ORIGIN)


async def test_a_refused_origin_cannot_read_the_refusal(world: World) -> None:
    reply = await ask(browser(world), headers=[*HOST, ("origin", "https://evil.example")])
    assert reply.status == 403
    assert not any(name.startswith("access-control") for name in reply.headers)


async def test_without_an_origin_there_are_no_cors_headers(world: World) -> None:
    for reply in (await ask(browser(world), headers=HOST), await ask(browser(world), headers=[*HOST, *bearer(KEY)])):
        assert not any(name.startswith("access-control") for name in reply.headers)


async def test_what_the_app_says_about_cors_itself_is_left_alone(world: World) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"Access-Control-Allow-Origin", b"*")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    reply = await ask(browser(world, app), headers=[*ASKS, *bearer(KEY)])
    assert reply.headers["access-control-allow-origin"] == "*"
    assert "vary" not in reply.headers


# Origin and Host, before anything else


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://mcp.example.com",
        "https://mcp.example.com.evil.example",
        "https://mcp.example.com:8443",
        "https://evil.example/https://mcp.example.com",
        "https://mcp.example.com/",
        "file://",
        "https://xmcp.example.com",
        "http://127.0.0.1:8000",
        "http://localhost",
        "https://mcp.example.com, https://evil.example",
        "https://mcp.example.com\x00",
    ],
)
async def test_an_origin_that_is_not_ours_is_refused_before_anything_is_asked(world: World, origin: str) -> None:
    world.fetch = fetch = FakeFetch()
    reply = await ask(production(world), headers=[*HOST, ("origin", origin), *bearer("ya29.good")])
    assert (reply.status, reply.challenge) == (403, None)
    assert fetch.requests == []


@pytest.mark.parametrize(
    "origin", ["https://mcp.example.com", "HTTPS://MCP.EXAMPLE.COM", ORIGIN, "https://other.example"]
)
async def test_our_own_origin_and_the_listed_ones_are_served(world: World, origin: str) -> None:
    reply = await ask(browser(world), headers=[*HOST, ("origin", origin), *bearer(KEY)])
    assert reply.status == 200
    assert reply.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "",
        "mcp.example.com.evil.example",
        "evil.example:443",
        "mcp.example.com:8443",
        "127.0.0.1",
        "localhost:8000",
        "mcp.example.com@evil.example",
        "mcp.example.com/",
        "[::1]:8000",
        "mcp.example.com\x00",
        "xmcp.example.com",
    ],
)
async def test_a_host_that_is_not_ours_is_421_before_anything_is_asked(world: World, host: str) -> None:
    """DNS rebinding: CVE-2025-66416 (Python SDK), CVE-2025-66414 (TypeScript SDK)."""
    world.fetch = fetch = FakeFetch()
    reply = await ask(production(world), headers=[("host", host), *bearer("ya29.good")])
    assert (reply.status, reply.challenge) == (421, None)
    assert fetch.requests == []


async def test_a_request_without_a_host_is_421(world: World) -> None:
    app, sent = Echo(), Reply()

    async def send(message: Any) -> None:
        sent.messages.append(message)

    bare = [(b"authorization", f"Bearer {KEY}".encode())]
    await production(world, app)(a_scope() | {"headers": bare}, None, send)
    assert sent.status == 421
    assert app.scopes == []


@pytest.mark.parametrize("host", ["mcp.example.com", "MCP.Example.COM"])
async def test_our_own_host_is_served_in_any_case(world: World, host: str) -> None:
    assert (await ask(production(world), headers=[("host", host), *bearer(KEY)])).status == 200


async def test_further_hosts_are_served_when_they_are_listed(world: World) -> None:
    guarded = production(world, allowed_hosts="internal.example:8080")
    assert (await ask(guarded, headers=[("host", "internal.example:8080"), *bearer(KEY)])).status == 200
    assert (await ask(guarded, headers=[("host", "internal.example"), *bearer(KEY)])).status == 421


@pytest.mark.parametrize("name", ["127.0.0.1:8000", "localhost:1", "[::1]:9999", "127.0.0.1:31337"])
async def test_in_development_this_machine_is_served_by_all_of_its_names(world: World, name: str) -> None:
    reply = await ask(development(world), headers=[("host", name), ("origin", f"http://{name}"), *bearer(KEY)])
    assert reply.status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://127.0.0.1.evil.example",
        "http://localhost.evil.example",
        "http://evil.example:8000",
        "http://localhost:1@evil.example",
        "ftp://localhost",
        "http://",
        "http://evil.example/127.0.0.1",
        "http://127.0.0.1:80:evil.example",
    ],
)
async def test_in_development_a_page_of_somebody_else_is_refused(world: World, origin: str) -> None:
    reply = await ask(development(world), headers=[("origin", origin), *bearer(KEY)])
    assert reply.status == 403


async def test_origin_and_host_are_checked_before_any_upstream_call(world: World) -> None:
    token = world.idp.google.access_token("ann")
    for headers in ([("origin", "https://evil.example")], [("host", "evil.example")]):
        assert (await ask(development(world), headers=[*headers, *bearer(token)])).status in {403, 421}
    assert len(world.idp.calls) == 0


# Nothing of a token anywhere


def pieces(token: str) -> list[str]:
    """Every part of a token that is 16 characters long."""
    return [token[at : at + 16] for at in range(len(token) - 15)]


@pytest.mark.parametrize("mode", ["good", "bad", "down"])
async def test_no_piece_of_a_token_is_in_a_log_record_a_header_or_a_body(
    world: World, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    idp = world.idp
    tokens = [
        idp.google.id_token("ann"),
        idp.google.id_token("ann", client_id="other"),
        idp.google.id_token("ann", expires_in=-1000),
        idp.google.access_token("ann"),
        idp.auth0.access_token("erin"),
        idp.auth0.hs256_token(),
        idp.auth0.opaque_token("ann"),
        idp.github.token("octo"),
        idp.github.token("octo", prefix="ghp_"),
        idp.github.installation_token(long=True),
        idp.google.service_account_id_token(idp.google.client_id),
        "sk-a-secret-of-somebody-else",
        KEY,
    ]
    if mode == "bad":
        tokens = [token[:-7] + "AAAAAAA" for token in tokens]
    world.seen = LogObserver()  # type: ignore[assignment]
    with caplog.at_level(logging.DEBUG):
        if mode == "down":
            for provider in ("google", "auth0", "github"):
                idp.faults.set(provider, "error")
        guarded = development(world, github_tenant_from_email=True)
        async with a_client(guarded) as client:
            for token in tokens:
                for headers in ({"authorization": f"Bearer {token}"}, {"x-api-key": token}, {"authorization": token}):
                    reply = await client.post("/mcp", headers=headers)
                    shown = f"{reply.headers} {reply.text}"
                    assert not any(piece in shown for piece in pieces(token))
    assert any(record.name == "tenantry" for record in caplog.records)
    logged = "\n".join(f"{record.getMessage()} {record.args} {record.exc_text}" for record in caplog.records)
    for token in tokens:
        assert not any(piece in logged for piece in pieces(token)), token[:6]


async def test_what_a_token_says_is_not_repeated_in_a_refusal(world: World) -> None:
    words = 'evil", scope="admin'
    token = world.idp.google.id_token("ann", aud=words, azp=words, sub=words, iss="https://accounts.google.com")
    reply = await ask(development(world), headers=bearer(token))
    assert reply.status == 401
    assert "evil" not in f"{reply.headers} {reply.body!r}"


def test_a_refusal_is_never_a_success() -> None:
    def every(kind: type[Refusal]) -> list[type[Refusal]]:
        return [kind, *(found for child in kind.__subclasses__() for found in every(child))]

    assert {kind.status for kind in every(Refusal)} <= {400, 401, 403, 413, 415, 421, 426, 429, 500, 503}
