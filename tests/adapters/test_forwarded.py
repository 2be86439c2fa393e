"""Which addresses are trusted to speak for others, and what is read of what they say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import a_scope

from tenantry.adapters.forwarded import Peer, Proxies
from tenantry.errors import ConfigurationError

PROXY = "10.0.0.7"
CLIENT = "203.0.113.9"


def a_request(*headers: tuple[str, str], peer: str | None = PROXY, **more: Any) -> dict[str, Any]:
    client = None if peer is None else (peer, 4000)
    return a_scope(headers=headers, **{"client": client, "server": ("10.0.0.1", 8000), "scheme": "http", **more})


def forwarded(*values: str, **more: Any) -> dict[str, Any]:
    return a_request(*(("x-forwarded-for", value) for value in values), **more)


TRUSTING = Proxies(["10.0.0.0/8", "fd00::/8", "2001:db8:1::5"])


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    proxies = Proxies()
    assert proxies.peer(a_request(peer=CLIENT)) == Peer(CLIENT, https=False, trusted=False)
    assert proxies.peer(a_request(peer=CLIENT, scheme="https")) == Peer(CLIENT, https=True, trusted=False)
    assert proxies.peer(a_request(peer=None)) == Peer(None, https=False, trusted=False)
    assert proxies.peer({"type": "http", "headers": []}) == Peer(None, https=False, trusted=False)


@pytest.mark.parametrize("scheme", ["https", "wss"])
def test_tls_of_our_own_is_https(scheme: str) -> None:
    assert Proxies().peer(a_request(scheme=scheme)).https
    assert TRUSTING.peer(a_request(scheme=scheme)).https


def test_a_trusted_proxy_tells_the_client_and_how_he_came() -> None:
    asked = a_request(("x-forwarded-for", CLIENT), ("x-forwarded-proto", "https"))
    assert TRUSTING.peer(asked) == Peer(CLIENT, https=True, trusted=True)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([CLIENT], CLIENT),
        ([f"1.1.1.1, {CLIENT}"], CLIENT),
        (["1.1.1.1", CLIENT], CLIENT),
        ([f"1.1.1.1, {CLIENT}, 10.9.9.9"], CLIENT),
        ([f"1.1.1.1,{CLIENT}", "10.9.9.9,fd00::1", "10.1.1.1"], CLIENT),
        ([f" \t{CLIENT} \t"], CLIENT),
        ([f"{CLIENT}:5123"], CLIENT),
        (["2001:db8::9"], "2001:db8::9"),
        (["2001:DB8:0:0::9"], "2001:db8::9"),
        (["[2001:db8::9]"], "2001:db8::9"),
        (["[2001:db8::9]:443"], "2001:db8::9"),
        ([f"::ffff:{CLIENT}"], CLIENT),
        ([f"[::ffff:{CLIENT}]:1"], CLIENT),
        (["fe80::1%eth0"], "fe80::1"),
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),  # trusted hops alone: the farthest
        ([f"{CLIENT}, ::ffff:10.9.9.9"], CLIENT),
        ([f"{CLIENT}, 2001:db8:1::5"], CLIENT),
        ([f"{CLIENT}, 2001:db8:1::6"], "2001:db8:1::6"),
    ],
)
def test_the_client_is_the_first_hop_from_the_end_that_is_not_trusted(values: list[str], expected: str) -> None:
    assert TRUSTING.peer(forwarded(*values)).address == expected


@pytest.mark.parametrize("scope_address", [PROXY, "::ffff:10.0.0.7", "fd00::1", "fd00::1%2"])
def test_a_proxy_is_known_in_every_spelling_of_its_address(scope_address: str) -> None:
    assert TRUSTING.peer(forwarded(CLIENT, peer=scope_address)) == Peer(CLIENT, https=False, trusted=True)


def test_a_mapped_address_is_written_as_the_ipv4_one_it_is() -> None:
    for proxies in (Proxies(), TRUSTING):
        assert proxies.peer(a_request(peer=f"::ffff:{CLIENT}")).address == CLIENT


def test_a_network_written_as_mapped_is_the_ipv4_one_it_is() -> None:
    assert Proxies(["::ffff:10.0.0.0/104"]).peer(forwarded(CLIENT)).trusted


def test_a_real_ip_is_taken_where_there_is_no_list() -> None:
    assert TRUSTING.peer(a_request(("x-real-ip", CLIENT))).address == CLIENT
    assert TRUSTING.peer(a_request(("x-real-ip", "1.1.1.1"), ("x-forwarded-for", CLIENT))).address == CLIENT
    assert TRUSTING.peer(a_request(("x-real-ip", "1.1.1.1"), ("x-real-ip", CLIENT))).address == PROXY


@pytest.mark.parametrize(
    ("values", "https"),
    [
        ([], False),
        (["https"], True),
        (["HTTPS"], True),
        (["wss"], True),
        (["http"], False),
        (["http, https"], True),
        (["https, http"], False),
        (["http", "https"], True),
        (["https", "http"], False),
        (["https,"], False),
        ([""], False),
        (["https;x"], False),
        (["httpss"], False),
    ],
)
def test_what_the_nearest_hop_says_of_the_protocol_counts(values: list[str], https: bool) -> None:
    asked = a_request(*(("x-forwarded-proto", value) for value in values))
    assert TRUSTING.peer(asked).https is https


def test_a_proxy_that_says_http_is_believed_over_our_own_tls() -> None:
    assert not TRUSTING.peer(a_request(("x-forwarded-proto", "http"), scheme="https")).https


def test_a_unix_socket_s_peer_is_trusted_when_the_operator_says_so() -> None:
    asked = forwarded(CLIENT, peer=None, server=("/run/tenantry.sock", None))
    assert Proxies(["unix"]).peer(asked) == Peer(CLIENT, https=False, trusted=True)
    assert Proxies(["unix", "10.0.0.0/8"]).peer({**asked, "server": None}).trusted
    assert Proxies(["10.0.0.0/8"]).peer(asked) == Peer(None, https=False, trusted=False)


@pytest.mark.parametrize(
    "entry",
    ["*", "0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96", "10.0.0.1/8", "fd00::1/8", "10.0.0", "10.0.0.0/33", "proxy", "Unix",
     "10.0.0.1:80", "[::1]", "", "10.0.0.0/8;x", "fe80::1%eth0/64"],
)  # fmt: skip
def test_what_is_no_proxy_s_address_or_everybody_s_is_refused_by_name(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="MCP_HTTP_TRUSTED_PROXIES holds") as caught:
        Proxies([PROXY, entry])
    assert repr(entry) in str(caught.value)


@given(st.lists(st.one_of(st.text(max_size=60), st.ip_addresses().map(str)), max_size=6), st.sampled_from([",", ", "]))
def test_whatever_a_client_writes_the_client_s_own_address_stands(junk: list[str], comma: str) -> None:
    """The proxy appends what it saw; nothing that stands before it changes the answer."""
    line = comma.join([*junk, CLIENT]).encode("utf-8")
    asked = a_request()
    asked["headers"] = [*asked["headers"], (b"x-forwarded-for", line)]
    assert TRUSTING.peer(asked).address == CLIENT


# A header that holds the address alone

FLY = Proxies(["10.0.0.0/8"], "fly-client-ip")


def test_a_header_of_the_platform_s_own_is_read_in_place_of_the_list() -> None:
    asked = a_request(
        ("x-forwarded-for", "1.1.1.1"),
        ("x-real-ip", "2.2.2.2"),
        ("fly-client-ip", f" {CLIENT} "),
        ("x-forwarded-proto", "https"),
    )
    assert FLY.peer(asked) == Peer(CLIENT, https=True, trusted=True)


def test_a_client_with_a_proxy_s_kind_of_address_is_still_the_client() -> None:
    assert FLY.peer(a_request(("fly-client-ip", "10.9.9.9"))).address == "10.9.9.9"


@pytest.mark.parametrize(
    "values",
    [[], [""], [CLIENT, CLIENT], [f"{CLIENT}, 1.1.1.1"], ["unknown"], ["a" * 5000], ["\u0661.1.1.1"], ["for=1.1.1.1"]],
)
def test_a_header_that_is_missing_twice_there_or_no_address_is_no_statement(values: list[str]) -> None:
    asked = a_request(("x-forwarded-for", "1.1.1.1"))
    asked["headers"] += [(b"fly-client-ip", value.encode()) for value in values]
    assert FLY.peer(asked) == Peer(PROXY, https=False, trusted=True)


def test_from_a_stranger_it_means_nothing() -> None:
    assert FLY.peer(a_request(("fly-client-ip", "1.1.1.1"), peer=CLIENT)) == Peer(CLIENT, https=False, trusted=False)
