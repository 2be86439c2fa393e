"""Attacks on the HTTP around the credential (I of the catalogue), by hand and over a socket."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.support import Echo, World, ask, bearer

from tenantry.devidp import serve_on_loopback

pytestmark = pytest.mark.anyio

KEY = "a-key-of-our-own"
OTHER = "another-key-of-our-own"


@pytest.fixture
def app() -> Echo:
    return Echo()


@pytest.fixture
def guarded(world: World, app: Echo) -> Any:
    return world.guard(
        app, api_keys={KEY: {"name": "a", "tenant_id": "acme"}, OTHER: {"name": "b", "tenant_id": "victim"}}
    )


async def raw(guarded: Any, *lines: str, method: str = "POST", path: str = "/mcp") -> int:
    """One request as bytes on a socket; the status of the answer."""
    async with serve_on_loopback(guarded, lifespan="off") as url:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = [f"{method} {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close", "Content-Length: 0", *lines]
        writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
        status = (await reader.readline()).split(b" ")
        await reader.read()
        writer.close()
        await writer.wait_closed()
    return int(status[1])


@pytest.mark.parametrize("second", [KEY, OTHER, "junk", ""])
async def test_two_authorization_headers_are_refused_whichever_is_good(guarded: Any, app: Echo, second: str) -> None:
    """The first counts for one reader, the last for another, both joined for a third."""
    for headers in ([*bearer(KEY), *bearer(second)], [*bearer(second), *bearer(KEY)]):
        assert (await ask(guarded, headers=headers)).status == 400
    assert await raw(guarded, f"Authorization: Bearer {KEY}", f"authorization: Bearer {second}") == 400
    assert app.scopes == []


@pytest.mark.parametrize(
    "name",
    [
        "x-api-key",
        "host",
        "origin",
        "content-type",
        "content-length",
        "mcp-protocol-version",
        "mcp-method",
        "mcp-name",
        "mcp-session-id",
    ],
)
async def test_no_header_that_decides_something_may_come_twice(guarded: Any, app: Echo, name: str) -> None:
    good = [] if name == "x-api-key" else bearer(KEY)
    value = {"x-api-key": KEY, "host": "127.0.0.1:8000", "content-length": "0"}.get(name, "http://127.0.0.1:8000")
    reply = await ask(guarded, headers=[*good, (name, value), (name, value)])
    assert (reply.status, reply.json()["error"]) == (400, "invalid_request")
    assert app.scopes == []


async def test_a_key_in_each_header_is_refused(guarded: Any, app: Echo) -> None:
    for one, two in ((KEY, KEY), (KEY, OTHER), ("junk", KEY), (KEY, "")):
        assert (await ask(guarded, headers=[*bearer(one), ("x-api-key", two)])).status == 400
    assert app.scopes == []


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {KEY},Bearer {OTHER}",
        f"Bearer {KEY}, Bearer {KEY}",
        f"Bearer {KEY} {OTHER}",
        f"Bearer\t{KEY}",
        f"Bearer  {KEY}",
        f"Bearer {KEY} ",
        f"Bearer {KEY}\x00",
        f"Bearer {KEY}\x0b",
        f"Bearer {KEY};x",
        f'Bearer "{KEY}"',
        "Bearer ",
        "Bearer",
        f"Bearer:{KEY}",
        f"Bearer={KEY}",
        KEY,
        f"Basic {KEY}",
        f"Token {KEY}",
        f"DPoP {KEY}",
        f"\x00Bearer {KEY}",
        f"Bearer {KEY}\u00a0",
        f"Bearer Bearer {KEY}",
    ],
)
async def test_only_one_spelling_of_a_credential_is_read(guarded: Any, app: Echo, value: str) -> None:
    reply = await ask(guarded, headers=[("authorization", value)])
    assert reply.status in {400, 401}
    assert app.scopes == []


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR"])
async def test_the_scheme_is_read_in_any_case(guarded: Any, scheme: str) -> None:
    assert (await ask(guarded, headers=[("authorization", f"{scheme} {KEY}")])).status == 200


@pytest.mark.parametrize(
    "query",
    [
        b"access_token={}",
        b"ACCESS_TOKEN={}",
        b"access%5Ftoken={}",
        b"a=b&access_token={}",
        b"api_key={}",
        b"x-api-key={}",
        b"access_token",
        b"access_token=",
        b"%61ccess_token={}",
        b"a=1&&access_token=x&access_token={}",
        b"X_API_KEY={}",
    ],
)
@pytest.mark.parametrize("beside", [[], bearer(KEY)])
async def test_a_token_in_the_query_is_refused_also_beside_a_good_header(
    guarded: Any, app: Echo, query: bytes, beside: Any
) -> None:
    reply = await ask(guarded, headers=beside, query_string=query.replace(b"{}", KEY.encode()))
    assert (reply.status, reply.json()["error"]) == (400, "invalid_request")
    assert app.scopes == []


@pytest.mark.parametrize(
    "name",
    [
        "X_Api_Key",
        "x_api_key",
        "Authorization_",
        "X-Authorization",
        "Proxy-Authorization",
        "HTTP_AUTHORIZATION",
        "X-Forwarded-Authorization",
        "X-Original-Authorization",
        "Cookie",
    ],
)
async def test_a_header_that_some_servers_fold_into_another_is_no_credential(
    guarded: Any, app: Echo, name: str
) -> None:
    """oauth2-proxy CVE-2025-64484: underscores read as hyphens."""
    assert (await ask(guarded, headers=[(name, f"Bearer {KEY}")])).status == 401
    assert (await ask(guarded, headers=[(name, KEY)])).status == 401
    assert app.scopes == []


async def test_an_underscore_twin_does_not_change_the_caller(guarded: Any, app: Echo) -> None:
    reply = await ask(guarded, headers=[("x-api-key", KEY), ("x_api_key", OTHER), ("x-tenant-id", "victim")])
    assert reply.json()["tenant"] == "acme"


async def test_naming_the_credential_hop_by_hop_does_not_let_anybody_in(guarded: Any, app: Echo) -> None:
    """Fabio CVE-2025-48865: a proxy strips what Connection names."""
    assert (await ask(guarded, headers=[("connection", "authorization, x-api-key")])).status == 401
    assert (await ask(guarded, headers=[("connection", "authorization"), *bearer("junk")])).status == 401
    assert app.scopes == []


@pytest.mark.parametrize(
    "name",
    [
        "x-forwarded-uri",
        "x-original-url",
        "x-rewrite-url",
        "x-original-uri",
        "x-envoy-original-path",
        "x-forwarded-path",
    ],
)
async def test_a_header_with_another_path_exempts_nothing(guarded: Any, app: Echo, name: str) -> None:
    """oauth2-proxy CVE-2026-40575."""
    for value in ("/livez", "/.well-known/oauth-protected-resource"):
        assert (await ask(guarded, headers=[(name, value)])).status == 401
    assert app.scopes == []


async def test_a_health_checker_s_name_exempts_nothing(guarded: Any, app: Echo) -> None:
    """oauth2-proxy GHSA-5hvv-m4w4-gf6v."""
    for agent in ("GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0"):
        assert (await ask(guarded, headers=[("user-agent", agent)])).status == 401
    assert app.scopes == []


@pytest.mark.parametrize("suffix", ["?x=/livez", "?/livez", "#/livez", ";/livez", "?path=/.well-known/x"])
async def test_an_exempt_path_in_the_query_or_the_fragment_exempts_nothing(
    guarded: Any, app: Echo, suffix: str
) -> None:
    """oauth2-proxy CVE-2025-54576 (skip-auth on the whole URI), GHSA-pxq7-h93f-9jrg (fragment)."""
    assert await raw(guarded, path=f"/mcp{suffix}", method="GET") in {400, 401}
    assert app.scopes == []


@pytest.mark.parametrize(
    "path",
    [
        "//livez",
        "/livez/../mcp",
        "/./livez",
        "/livez/.",
        "/livez%2f..%2fmcp",
        "/livez%00",
        "/livez%20",
        "/x/..;/livez",
        "http://x/livez",
    ],
)
async def test_a_path_that_normalizes_to_an_exempt_one_is_not_exempt(guarded: Any, app: Echo, path: str) -> None:
    assert await raw(guarded, path=path, method="GET") in {400, 401}
    assert app.scopes == []


@pytest.mark.parametrize("name", ["x-http-method-override", "x-method-override", "x-http-method"])
async def test_a_method_override_makes_no_preflight(guarded: Any, app: Echo, name: str) -> None:
    """ESPv2: method override."""
    headers = [(name, "OPTIONS"), ("origin", "http://127.0.0.1:8000"), ("access-control-request-method", "POST")]
    assert (await ask(guarded, headers=headers)).status == 401
    assert app.scopes == []


async def test_a_preflight_reaches_no_app_and_no_provider(world: World, guarded: Any, app: Echo) -> None:
    token = world.idp.google.access_token("ann")
    headers = [("origin", "http://127.0.0.1:8000"), ("access-control-request-method", "POST"), *bearer(token)]
    assert (await ask(guarded, method="OPTIONS", headers=headers)).status == 204
    assert app.scopes == []
    assert len(world.idp.calls) == 0


@pytest.mark.parametrize(
    "header",
    [
        "x-user-id",
        "x-user",
        "x-tenant-id",
        "x-tenant",
        "x-forwarded-user",
        "x-forwarded-email",
        "x-auth-request-user",
        "remote-user",
    ],
)
async def test_an_identity_in_a_header_is_nobody_s(guarded: Any, header: str) -> None:
    assert (await ask(guarded, headers=[(header, "victim")])).status == 401
    reply = await ask(guarded, headers=[(header, "victim"), *bearer(KEY)])
    assert reply.json()["tenant"] == "acme"


async def test_nothing_of_a_request_chooses_the_tenant(guarded: Any) -> None:
    reply = await ask(
        guarded,
        path="/victim/mcp",
        headers=[
            *bearer(KEY),
            ("host", "127.0.0.1:8000"),
            ("referer", "https://victim.example"),
            ("mcp-session-id", "victim"),
        ],
        query_string=b"tenant=victim&tenant_id=victim",
        root_path="/victim",
    )
    assert reply.json()["tenant"] == "acme"


async def test_a_smuggled_line_break_in_a_header_reaches_nobody(guarded: Any, app: Echo) -> None:
    assert await raw(guarded, "X-A: b\rAuthorization: Bearer " + KEY) in {400, 401}
    assert await raw(guarded, "X-A: b", f" Authorization: Bearer {KEY}") in {400, 401}
    assert app.scopes == []


async def test_what_is_echoed_into_a_header_cannot_break_it(world: World) -> None:
    app = Echo()
    guarded = world.guard(app)
    asks = [
        ("origin", "http://127.0.0.1:8000"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "mcp-param-a\r\nset-cookie: x, mcp-param-b, mcp-param-\x00, mcp-param-é, mcp-param-c d",
        ),
    ]
    reply = await ask(guarded, method="OPTIONS", headers=asks)
    allowed = reply.headers["access-control-allow-headers"]
    assert allowed.isprintable()
    assert allowed.isascii()
    assert "mcp-param-b" in allowed
    assert "set-cookie" not in allowed
    assert app.scopes == []
