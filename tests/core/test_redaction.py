"""What is taken out of a text, and what is left in."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.redaction import MARK, is_suspect, one_line, redact

LETTERS = string.ascii_letters + string.digits
SHAPES: dict[str, Callable[[random.Random], str]] = {
    "hexadecimal, 128 bits": lambda r: r.randbytes(16).hex(),
    "hexadecimal, 160 bits": lambda r: r.randbytes(20).hex(),
    "base64url, 256 bits": lambda r: base64.urlsafe_b64encode(r.randbytes(32)).decode().rstrip("="),
    "base64, 320 bits": lambda r: base64.b64encode(r.randbytes(40)).decode(),
    "base62, 32 characters": lambda r: "".join(r.choices(LETTERS, k=32)),
    "GitHub": lambda r: "gho_" + "".join(r.choices(LETTERS, k=36)),
    "GitHub, fine-grained": lambda r: "github_pat_" + "".join(r.choices(LETTERS + "_", k=82)),
    "Google": lambda r: "ya29." + base64.urlsafe_b64encode(r.randbytes(60)).decode(),
    "ours": lambda r: f"mcpk_live_{''.join(r.choices(LETTERS, k=11))}_{''.join(r.choices(LETTERS, k=49))}",
    "JWT": lambda r: (
        "eyJ" + ".".join(base64.urlsafe_b64encode(r.randbytes(n)).decode().rstrip("=") for n in (20, 90, 256))
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "words",
    ["{}", "token {} was", "x={};", "('{}',)", "b'{}'", "/mcp?x={}&y=1", "GET /a/b/{}/c", '{{"a": "{}"}}', "{}\n"],
)
def test_no_piece_of_a_thousand_random_secrets_is_left(shape: str, words: str) -> None:
    dice = random.Random(f"{shape} {words}")
    for _ in range(1000):
        secret = SHAPES[shape](dice)
        text = redact(words.format(secret))
        assert not any(secret[at : at + 16] in text for at in range(len(secret) - 15)), secret


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ("got Bearer Ab1 and more", "got Bearer [redacted] and more"),
        ("basic dXNlcjpw", "basic [redacted]"),
        ("{'authorization': 'Bearer a b', 'x': 1}", "{'authorization': '[redacted]', 'x': 1}"),
        (
            "[(b'cookie', b'sid=a; b=c'), (b'x-api-key', b'k')]",
            "[(b'cookie', b'[redacted]'), (b'x-api-key', b'[redacted]')]",
        ),
        ("Cookie: sid=a; b=c", "Cookie: [redacted]"),
        ("set-cookie: sid=a; path=/", "set-cookie: [redacted]"),
        ("X-API-Key: short", "X-API-Key: [redacted]"),
        ('{"access_token": "abc", "n": 1}', '{"access_token": "[redacted]", "n": 1}'),
        ("?access_token=abc&b=1", "?access_token=[redacted]&b=1"),
        ("client_secret=abc&grant=x", "client_secret=[redacted]&grant=x"),
        ("host=db password=hunter2 user=me", "host=db password=[redacted] user=me"),
        ("postgresql://me:p@ss/w:rd@db/x?y", "postgresql://me:[redacted]@db/x?y"),
        ("redis://:pw@127.0.0.1:6379/0", "redis://:[redacted]@127.0.0.1:6379/0"),
    ],
)
def test_a_named_secret_is_taken_out_and_its_name_left(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "refused 401 token_rejected: Its provider refuses it.",
        "Only the Bearer scheme is supported",
        "refused 401 credential_missing: Send Authorization: Bearer <token> or X-API-Key.",
        "MCP_HTTP_API_KEY: is too short.",
        "admitted google:110248495921238986420 to mycompany_com",
        "admitted auth0|5f7c8ec7c33c6c004bbafe82 to acme__co_io",
        "tenant u___k3j4abcdefghijklmnopqrst2k and tenant_org___k3j4abcdefghijklmnopqrst2k",
        "entra:123e4567-e89b-12d3-a456-426614174000",
        "/usr/lib/python3.11/site-packages/opentelemetry/sdk/trace/__init__.py:42",
        "/Users/Ann/Projects/notes-server-2/.venv/lib/python3.12/site-packages/starlette/routing.py",
        "in test_over_quota_is_429_with_the_limit_and_the_problem",
        "https://mcp.example.com:8443/mcp answered 200",
        "http://127.0.0.1:8000/a@b",
        "trace 1,234,567,890,123,456,789,012,345",
        "",
    ],
)
def test_what_a_log_is_about_stays(text: str) -> None:
    assert redact(text) == text
    assert not is_suspect(text)


@given(st.text(max_size=200))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


LONG = ["a" * 200_000 + "://", "token" * 40_000, "eyJ" * 60_000, "x:" * 100_000 + "://@", "=" * 200_000, "a/" * 100_000,
        "bearer " * 30_000, "'token' " * 30_000 + "=", "://a:" * 40_000]  # fmt: skip


@pytest.mark.parametrize("text", LONG)
def test_a_long_text_is_done_with_as_well(text: str) -> None:
    """Were a rule quadratic, this test would not end."""
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb", "a\\r\\nb"),
        ("a\tb\x00\x1b[31m\x7f", "a\\tb\\x00\\x1b[31m\\x7f"),
        ("\u2028\u2029\x85", "\\u2028\\u2029\\x85"),
        ("a\u202eb\u200b\ufeff\u2066", "a\\u202eb\\u200b\\ufeff\\u2066"),
        ("\ud800", "\\ud800"),
        ("Ünïcode 语 'quoted' \\n", "Ünïcode 语 'quoted' \\n"),
    ],
)
def test_no_sign_ends_a_line_hides_or_colours(text: str, expected: str) -> None:
    assert one_line(text) == expected


@given(st.text())
def test_a_line_stays_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


def test_the_mark_is_no_secret_itself() -> None:
    assert not is_suspect(MARK)
