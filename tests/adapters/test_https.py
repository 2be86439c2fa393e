"""Where plain http is answered, and with what. Who lies about it is in tests/attacks/test_forwarded.py."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from tests.support import a_client, a_scope

from tenantry.adapters.forwarded import Peer
from tenantry.adapters.https import HttpsOnly, upgrade_headers
from tenantry.errors import UpgradeRequired

PUBLIC = "https://mcp.example.com/mcp"
ONLY = HttpsOnly(PUBLIC, {"/livez", "/readyz"})
PLAIN = Peer("203.0.113.9", https=False, trusted=False)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]


def outcome(only: HttpsOnly, peer: Peer, **asked: Any) -> Any:
    """None for served, 426, or the (status, location) of a redirect."""
    scope = a_scope(scheme="http", **asked)
    try:
        answer = only.check(scope, scope["path"], peer)
    except UpgradeRequired as refusal:
        return refusal.status
    return None if answer is None else (answer.status, dict(answer.headers)[b"location"].decode())


@pytest.mark.parametrize("method", METHODS)
def test_a_safe_method_is_redirected_and_every_other_must_upgrade(method: str) -> None:
    redirected = (308, "https://mcp.example.com/mcp")
    assert outcome(ONLY, PLAIN, method=method) == (redirected if method in ("GET", "HEAD") else 426)


def test_a_preflight_must_upgrade_so_that_no_token_follows_it() -> None:
    headers = [("origin", "https://app.example"), ("access-control-request-method", "POST")]
    assert outcome(ONLY, PLAIN, method="OPTIONS", headers=headers) == 426


@pytest.mark.parametrize("method", METHODS)
def test_without_a_public_url_there_is_nowhere_to_send_anybody(method: str) -> None:
    assert outcome(HttpsOnly(None), PLAIN, method=method, headers=[("host", "evil.example")]) == 426


@pytest.mark.parametrize(
    ("raw_path", "query", "location"),
    [
        (b"/mcp", b"", "/mcp"),
        (b"/mcp", b"a=1&b=%20x", "/mcp?a=1&b=%20x"),
        (b"/a%2Fb/%C3%A9", b"", "/a%2Fb/%C3%A9"),
        (b"//evil.example/x", b"", "//evil.example/x"),
        (b"/", b"x=https://evil.example", "/?x=https://evil.example"),
    ],
)
def test_the_location_is_the_same_target_at_the_public_host(raw_path: bytes, query: bytes, location: str) -> None:
    found = outcome(
        ONLY, PLAIN, method="GET", raw_path=raw_path, query_string=query, headers=[("host", "evil.example")]
    )
    assert found == (308, f"https://mcp.example.com{location}")


def test_a_port_of_the_public_url_is_kept_and_a_mount_s_path_too() -> None:
    only = HttpsOnly("https://mcp.example.com:8443/mcp")
    found = outcome(only, PLAIN, method="GET", path="/tools/mcp", root_path="/tools")
    assert found == (308, "https://mcp.example.com:8443/tools/mcp")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/.well-known/oauth-protected-resource", "/.well-known/x"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_health_and_discovery_are_served_anyhow(path: str, method: str) -> None:
    assert outcome(ONLY, PLAIN, method=method, path=path) is None


@pytest.mark.parametrize("path", ["/livez/", "/livezz", "//livez", "/LIVEZ", "/.well-known", "/x/.well-known/y"])
def test_their_neighbours_are_not(path: str) -> None:
    assert outcome(ONLY, PLAIN, path=path) == 426


HOSTS = {"mcp.example.com": False, "127.0.0.1": True, "127.0.0.1:8000": True, "LOCALHOST:1": True, "[::1]:8000": True}
PEERS = {"203.0.113.9": False, "10.0.0.1": False, "127.0.0.1": True, "127.9.9.9": True, "::1": True, None: False}


@pytest.mark.parametrize(("host", "peer", "forwarded", "https", "trusted"),
                         [*product(HOSTS, PEERS, [False, True], [False, True], [False, True])])  # fmt: skip
def test_plain_http_is_served_to_this_machine_alone(
    host: str, peer: str | None, forwarded: bool, https: bool, trusted: bool
) -> None:
    headers = [("host", host), *([("x-forwarded-for", "203.0.113.9")] if forwarded else [])]
    served = https or (HOSTS[host] and PEERS[peer] and not forwarded)
    for method, refused in (("POST", 426), ("GET", (308, "https://mcp.example.com/mcp"))):
        seen = outcome(ONLY, Peer(peer, https=https, trusted=trusted), headers=headers, method=method)
        assert seen == (None if served else refused)


def test_a_websocket_must_upgrade_too() -> None:
    with pytest.raises(UpgradeRequired):
        ONLY.check(a_scope("websocket", scheme="ws"), "/mcp", PLAIN)


def test_the_upgrade_is_named_where_the_protocol_knows_the_field() -> None:
    """HTTP/2 takes a message with connection-specific fields for malformed (RFC 9113, section 8.2.2)."""
    assert upgrade_headers(a_scope()) == [(b"upgrade", b"TLS/1.2, HTTP/1.1"), (b"connection", b"Upgrade")]
    for version in ("2", "3", "1.0"):
        assert upgrade_headers(a_scope(http_version=version)) == []


@pytest.mark.anyio
async def test_a_connection_that_was_told_to_upgrade_can_go_on() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 426,
                "headers": [(b"content-length", b"2"), *upgrade_headers(scope)],
            }
        )
        await send({"type": "http.response.body", "body": b"{}"})

    async with a_client(app) as client:
        for _ in range(3):
            answer = await client.post("/mcp", json={"a": 1})
            assert (answer.status_code, answer.text) == (426, "{}")
            assert (answer.headers["upgrade"], answer.headers["connection"]) == ("TLS/1.2, HTTP/1.1", "Upgrade")
