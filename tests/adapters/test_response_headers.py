"""What every answer carries, each with its off switch."""

from __future__ import annotations

from itertools import combinations

import pytest

from tenantry.adapters.response_headers import HEADERS, SecurityHeaders
from tenantry.errors import ConfigurationError

APP = [(b"content-type", b"application/json"), (b"content-length", b"2")]
HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains; preload")
ALL = SecurityHeaders(hsts_max_age=63_072_000)


def test_everything_is_on_by_default() -> None:
    assert dict(SecurityHeaders().add(list(APP), https=False)) == dict(APP) | {
        b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
        b"x-content-type-options": b"nosniff",
        b"x-frame-options": b"DENY",
        b"referrer-policy": b"no-referrer",
        b"cross-origin-opener-policy": b"same-origin",
    }


@pytest.mark.parametrize("off", HEADERS)
def test_each_can_be_left_out(off: str) -> None:
    names = [name for name in HEADERS if name != off]
    sent = SecurityHeaders(names).add([], https=True)
    assert sent == [HEADERS[name] for name in names]


def test_off_leaves_them_all_out_and_hsts_in() -> None:
    assert SecurityHeaders(["off"], hsts_max_age=60, hsts_preload=False).add([], https=True) == [
        (b"strict-transport-security", b"max-age=60")
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nosnif", "did you mean nosniff"),
        ("COOP", "did you mean coop"),
        ("hsts9", "they are csp"),
        ("off", "stands alone"),
    ],
)
def test_an_unknown_name_is_a_configuration_error(name: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        SecurityHeaders(["csp", name])
    assert "MCP_HTTP_SECURITY_HEADERS" in str(caught.value)


def test_hsts_is_said_over_https_only() -> None:
    assert HSTS in ALL.add([], https=True)
    assert not [name for name, _ in ALL.add([], https=False) if name == HSTS[0]]


@pytest.mark.parametrize(
    ("max_age", "preload", "value"),
    [
        (63_072_000, True, b"max-age=63072000; includeSubDomains; preload"),
        (31_536_000, True, b"max-age=31536000; includeSubDomains; preload"),
        (31_535_999, True, b"max-age=31535999; includeSubDomains"),  # too short for any preload list
        (63_072_000, False, b"max-age=63072000"),
        (0, True, None),
    ],
)
def test_hsts_says_what_the_settings_say(max_age: int, preload: bool, value: bytes | None) -> None:
    sent = SecurityHeaders(["off"], hsts_max_age=max_age, hsts_preload=preload).add([], https=True)
    assert dict(sent).get(b"strict-transport-security") == value


NAMES = [name for name, _ in ALL.add([], https=True)]


@pytest.mark.parametrize("own", [names for size in (1, 2, len(NAMES)) for names in combinations(NAMES, size)])
@pytest.mark.parametrize("spelled", [bytes.lower, bytes.upper, bytes.title])
def test_what_the_app_has_set_stays_and_is_not_sent_twice(own: tuple[bytes, ...], spelled: object) -> None:
    theirs = [(spelled(name), b"theirs") for name in own]  # type: ignore[operator]
    sent = ALL.add([*APP, *theirs], https=True)
    names = [name.lower() for name, _ in sent]
    assert len(names) == len(set(names))
    assert sent[: len(APP) + len(theirs)] == [*APP, *theirs]
    assert set(NAMES) <= set(names)


def test_an_exempt_path_gets_hsts_alone() -> None:
    assert ALL.add(list(APP), https=True, exempt=True) == [*APP, HSTS]
    assert ALL.add(list(APP), https=False, exempt=True) == APP


def test_one_answer_s_headers_are_not_the_next_one_s() -> None:
    ALL.add([], https=True).append((b"x", b"y"))
    assert (b"x", b"y") not in ALL.add([], https=True)
