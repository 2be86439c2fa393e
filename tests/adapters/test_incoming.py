"""What the app sees of a request. Smuggled identities are in tests/attacks/test_forwarded.py."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import a_scope

from tenantry.adapters.forwarded import Peer
from tenantry.adapters.incoming import cleaned

STRANGER = Peer("203.0.113.9", https=False, trusted=False)
BEHIND = Peer("203.0.113.9", https=True, trusted=True)
ORDINARY = [
    ("accept", "application/json, text/event-stream"),
    ("content-type", "application/json"),
    ("authorization", "Bearer x"),
    ("mcp-method", "tools/call"),
    ("user-agent", "x"),
]


def test_an_ordinary_request_is_handed_on_as_it_is() -> None:
    asked = a_scope(headers=ORDINARY)
    assert cleaned(asked, STRANGER) is asked


@pytest.mark.parametrize("name", ["mcp-param-x", "x-unknown", "xx-user-id", "y-user-id", "user-id", "x-usable"])
def test_other_headers_are_the_app_s_business(name: str) -> None:
    asked = a_scope(headers=[*ORDINARY, (name, "1")])
    assert cleaned(asked, STRANGER) is asked


def test_what_is_dropped_leaves_the_rest_in_its_order() -> None:
    asked = a_scope(headers=[("a", "1"), ("x-user-id", "2"), ("a", "3"), ("x-forwarded-for", "4"), ("b", "5")])
    before = list(asked["headers"])
    seen = cleaned(asked, STRANGER)
    assert seen["headers"][1:] == [(b"a", b"1"), (b"a", b"3"), (b"b", b"5")]
    assert asked["headers"] == before
    assert {**seen, "headers": 0} == {**asked, "headers": 0}


def test_a_trusted_proxy_s_word_becomes_the_connection_s() -> None:
    asked = a_scope(headers=[("x-forwarded-for", "203.0.113.9")], client=("10.0.0.1", 4000), scheme="http")
    seen = cleaned(asked, BEHIND)
    assert (seen["client"], seen["scheme"]) == (("203.0.113.9", 0), "https")
    assert (b"x-forwarded-for", b"203.0.113.9") in seen["headers"]
    assert (asked["client"], asked["scheme"]) == (("10.0.0.1", 4000), "http")


@pytest.mark.parametrize(("kind", "https", "scheme"), [("websocket", True, "wss"), ("websocket", False, "ws"),
                                                       ("http", True, "https"), ("http", False, "http")])  # fmt: skip
def test_the_scheme_is_the_client_s(kind: str, https: bool, scheme: str) -> None:
    asked = a_scope(kind, scheme="http", client=None)
    seen = cleaned(asked, Peer(None, https=https, trusted=True))
    assert (seen["scheme"], seen["client"]) == (scheme, None)


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20), max_size=8))
def test_cleaning_twice_is_cleaning_once(names: list[str]) -> None:
    for peer in (STRANGER, BEHIND):
        once: Any = cleaned(a_scope(headers=[(name, "v") for name in names]), peer)
        assert cleaned(once, peer) == once
