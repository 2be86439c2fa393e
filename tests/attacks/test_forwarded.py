"""Who lies about where he comes from: forwarded headers of strangers, smuggled identities, and http as https."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from tests.support import a_scope

from tenantry.adapters.forwarded import Peer, Proxies
from tenantry.adapters.https import HttpsOnly
from tenantry.adapters.incoming import cleaned
from tenantry.errors import UpgradeRequired

MALLORY, PROXY = "198.51.100.66", "10.0.0.7"
BEHIND = Proxies(["10.0.0.0/8"])
SPOOFS = [
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-proto", "https"),
    ("x-real-ip", "127.0.0.1"),
    ("forwarded", "for=127.0.0.1;proto=https"),
    ("x-forwarded-host", "127.0.0.1"),
    ("x-forwarded-ssl", "on"),
    ("x-forwarded-scheme", "https"),
    ("front-end-https", "on"),
]


def a_request(*headers: tuple[str, str], peer: str | None = MALLORY, **more: Any) -> dict[str, Any]:
    client = None if peer is None else (peer, 4000)
    return a_scope(headers=headers, **{"client": client, "server": ("10.0.0.1", 8000), "scheme": "http", **more})


@pytest.mark.parametrize("proxies", [Proxies(), BEHIND, Proxies(["unix"])])
def test_forwarded_headers_of_a_stranger_mean_nothing(proxies: Proxies) -> None:
    assert proxies.peer(a_request(*SPOOFS)) == Peer(MALLORY, https=False, trusted=False)


def test_a_client_cannot_put_himself_behind_another_address_through_a_trusted_proxy() -> None:
    """The proxy appends the address it saw: what the client wrote stands before it."""
    for lie in ("127.0.0.1", "10.0.0.1", "::1", "unknown", "_hidden", "", ",,,", "1.1.1.1, 10.0.0.1"):
        asked = a_request(("x-forwarded-for", f"{lie}, {MALLORY}"), peer=PROXY)
        assert BEHIND.peer(asked).address == MALLORY, lie
        asked = a_request(("x-forwarded-for", lie), ("x-forwarded-for", MALLORY), peer=PROXY)
        assert BEHIND.peer(asked).address == MALLORY, lie


@pytest.mark.parametrize(
    "entry",
    ["unknown", "_hidden", "", " ", "127.0.0.1;x", "127.0.0.1 1.1.1.1", "0x7f.1", "127.1", "2130706433", "127.0.0.01",
     "[127.0.0.1", "[::1", "::1]", "[::1]x", "[::1]:", "1.1.1.1:", "1.1.1.1:x", "1.1.1.1:123456", "1.1.1.1:+5",
     "1.1.1.1:\u0661", "::1%", "::1%a b", "::1%\r\nx", "1.1.1.1\x00", "a" * 5000, "\u0661.1.1.1", "for=1.1.1.1"],
)  # fmt: skip
def test_a_malformed_entry_ends_the_walk_at_whoever_handed_it_over(entry: str) -> None:
    """Whoever passes over it would believe what stands before it, and that the client wrote."""
    headers = a_request(peer=PROXY)["headers"]
    asked = a_request(peer=PROXY) | {"headers": [*headers, (b"x-forwarded-for", f"1.2.3.4, {entry}".encode())]}
    assert BEHIND.peer(asked).address == PROXY
    asked["headers"][-1] = (b"x-forwarded-for", f"1.2.3.4, {entry}, 10.9.9.9".encode())
    assert BEHIND.peer(asked).address == "10.9.9.9"


def test_a_header_of_a_million_hops_is_read_from_its_end() -> None:
    flood = ",".join(["10.0.0.1"] * 100_000)
    assert BEHIND.peer(a_request(("x-forwarded-for", f"{MALLORY},{flood}"), peer=PROXY)).address == MALLORY


def test_what_has_been_read_of_addresses_does_not_grow_without_bound() -> None:
    for number in range(10_000):
        BEHIND.peer(a_request(peer=f"198.51.{number // 256}.{number % 256}"))
    assert BEHIND._read.cache_info().currsize <= 4096


@pytest.mark.parametrize("server", [("10.0.0.1", 8000), ["10.0.0.1", 8000], ("::", 1)])
def test_a_connection_that_is_gone_is_no_unix_socket(server: Any) -> None:
    """A server that cannot ask a reset connection for its address says None, as it does for a unix socket."""
    asked = a_request(("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "https"), peer=None, server=server)
    assert Proxies(["unix"]).peer(asked) == Peer(None, https=False, trusted=False)


@pytest.mark.anyio
async def test_over_a_real_unix_socket_the_proxy_is_believed(tmp_path: Path) -> None:
    seen: list[Peer] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(Proxies(["unix"]).peer(scope))
        seen.append(Proxies(["127.0.0.1"]).peer(scope))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    path = str(tmp_path / "s")
    server = uvicorn.Server(uvicorn.Config(app, uds=path, lifespan="off", log_config=None, proxy_headers=False))
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    await server.startup()
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 204")
        writer.close()
    finally:
        await server.shutdown()
    assert seen == [Peer("203.0.113.9", https=False, trusted=True), Peer(None, https=False, trusted=False)]


# Smuggled identities

IDENTITIES = """
    x-user-id x-user-email x-user x-userid x-user-roles x-tenant-id x-tenant x-tenantid x_user_id x_tenant_id x-user_id
    x_user-id x_tenant-id x-tenant_id X-User-Id X_TENANT_ID x.user.id x!user!id x~tenant^id x`user'id x*user|id
    x+user#id x$tenant%id x&user-id
""".split()


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("peer", [MALLORY, PROXY])
def test_an_identity_in_a_header_reaches_no_app_whoever_sends_it(name: str, peer: str) -> None:
    """WSGI and CGI know them all as HTTP_X_USER_ID."""
    asked = a_request(("accept", "*/*"), peer=peer)
    asked["headers"].append((name.encode(), b"admin"))
    seen = cleaned(asked, BEHIND.peer(asked))
    assert [pair for pair in seen["headers"] if pair[0] == name.encode()] == []
    assert (b"accept", b"*/*") in seen["headers"]
    assert len(asked["headers"]) == 3  # the server's own scope is left alone


@pytest.mark.parametrize("name", [name for name, _ in SPOOFS[:7]] + ["x_forwarded_for", "X_Real_IP",
    "x-forwarded_for", "x.forwarded.for", "FORWARDED", "x_real-ip", "x-forwarded", "x_forwarded_user"])  # fmt: skip
def test_a_stranger_s_forwarded_header_reaches_no_app(name: str) -> None:
    asked = a_request()
    asked["headers"].append((name.encode(), b"127.0.0.1"))
    seen = cleaned(asked, BEHIND.peer(asked))
    assert [pair[0] for pair in seen["headers"]] == [b"host"]


@pytest.mark.parametrize("name", ["x_forwarded_for", "X-Forwarded_For", "x.forwarded.proto", "x_real_ip", "X_REAL-IP"])
def test_a_proxy_that_lets_another_spelling_through_is_not_believed(name: str) -> None:
    asked = a_request(("x-forwarded-for", MALLORY), peer=PROXY)
    asked["headers"].append((name.encode(), b"127.0.0.1"))
    seen = cleaned(asked, BEHIND.peer(asked))
    assert [pair[0] for pair in seen["headers"]] == [b"host", b"x-forwarded-for"]


# http for https

ONLY = HttpsOnly("https://mcp.example.com/mcp", {"/livez"})


def refused(asked: dict[str, Any], proxies: Proxies = BEHIND) -> bool:
    with contextlib.suppress(UpgradeRequired):
        return ONLY.check(asked, asked["path"], proxies.peer(asked)) is not None
    return True


@pytest.mark.parametrize("spoof", SPOOFS)
def test_nobody_talks_his_way_out_of_https(spoof: tuple[str, str]) -> None:
    assert refused(a_request(spoof))
    assert refused(a_request(spoof, ("host", "127.0.0.1:8000")))


@pytest.mark.parametrize(
    "name",
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via", "x-real-ip", "cf-connecting-ip",
     "fly-client-ip", "true-client-ip", "x_forwarded_for", "X-Forwarded-For", "x-forwarded-port"],
)  # fmt: skip
def test_a_proxy_or_tunnel_on_this_machine_is_not_this_machine(name: str) -> None:
    """ngrok, cloudflared and a local nginx connect from loopback, for somebody on the other side of the world."""
    here = a_request(("host", "127.0.0.1:8000"), peer="127.0.0.1")
    assert not refused(here)
    here["headers"].append((name.encode(), b"203.0.113.9"))
    assert refused(here)


def test_a_trusted_proxy_on_this_machine_cannot_make_a_client_local() -> None:
    proxies = Proxies(["127.0.0.1"])
    for headers in ([("x-forwarded-for", "127.0.0.1")], [("x-forwarded-for", MALLORY)], [("x-real-ip", "127.0.0.1")]):
        assert refused(a_request(("host", "localhost"), *headers, peer="127.0.0.1"), proxies)
    asked = a_request(("host", "localhost"), ("x-forwarded-proto", "https"), peer="127.0.0.1")
    assert not refused(asked, proxies)


@pytest.mark.parametrize("host", ["mcp.example.com", "localhost.evil.example", "127.0.0.1.evil.example", "x@127.0.0.1",
    "127.0.0.1/x", "127.0.0.1:x", "127.0.0.2x", "", "localhost:123456", "[::1", "::1"])  # fmt: skip
def test_another_name_than_this_machine_s_is_not_this_machine(host: str) -> None:
    assert refused(a_request(("host", host), peer="127.0.0.1"))


def test_two_hosts_or_none_are_not_this_machine() -> None:
    assert refused(a_request(("host", "localhost"), ("host", "localhost"), peer="127.0.0.1"))
    assert refused(a_request(peer="127.0.0.1") | {"headers": []})


@pytest.mark.parametrize("peer", ["128.0.0.1", "::2", "1.127.0.0.1", "::1:1", None])
def test_an_address_that_resembles_loopback_is_none(peer: str | None) -> None:
    assert refused(a_request(("host", "localhost"), peer=peer))


@pytest.mark.parametrize(
    "target",
    [b"http://evil.example/", b"@evil.example/", b"", b"*", b".evil.example", b"/a\r\nset-cookie: x", b"/a b", b"/\x7f",
     b"/\xff", b"evil.example:443"],
)  # fmt: skip
def test_a_target_that_could_lead_elsewhere_is_not_redirected(target: bytes) -> None:
    with pytest.raises(UpgradeRequired):
        ONLY.check(a_request(method="GET", raw_path=target), "/", Peer(MALLORY, https=False, trusted=False))


@pytest.mark.parametrize(
    "query",
    [b"access_token=ya29.x", b"a=1&api_key=abc", b"token=abc", b"x=eyJhbGciOiJub25l.e30.abc", b"access%5Ftoken=abc",
     b"q=Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y", b"q=gho_abcdef", b"q=Bearer%20abc123", b"password=x"],
)  # fmt: skip
def test_a_secret_in_the_query_is_not_repeated_in_a_location(query: bytes) -> None:
    with pytest.raises(UpgradeRequired):
        ONLY.check(a_request(method="GET", query_string=query), "/mcp", Peer(MALLORY, https=False, trusted=False))
