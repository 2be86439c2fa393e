from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, ValidationError

from tenantry.core.uris import misspelt, misspelt_template


@pytest.mark.parametrize(
    "uri",
    [
        "notes://a",
        "notes://a/b/",
        "notes:///a",
        "notes://Alice/b?c=d&e=/f",
        "notes:a",
        "urn:isbn:0451450523",
        "file:///docs/a%20b.txt",
        "file:///docs/.hidden",
        "https://example.com/",
        "https://example.com/?q=1",
        "https://example.com:8443/a/b..c/d",
        "https://192.0.2.1/a",
        "http://localhost:8000/a",
        "proxy://get/https://example.com/a",
        "proxy://get?url=https://example.com/a",
        "data:text/plain,a",
        "notes://a/%C3%A4",
        "a+b.c-1://x",
    ],
)
def test_a_plain_uri_is_let_in(uri: str) -> None:
    assert misspelt(uri) is None


@pytest.mark.parametrize(
    "uri",
    [
        "a",
        "/a",
        "//a",
        ":a",
        "1a://b",
        "NOTES://a",
        "Notes://a",
        " notes://a",
        "notes://a ",
        "notes://a\tb",
        "notes://a\nb",
        "notes://a\x00",
        "notes://ä",
        "notes://a\\b",
        "notes://a#b",
        "notes://a#",
        "notes://{id}",
        "notes://a/../b",
        "notes://a/./b",
        "notes://a/..",
        "notes://../a",
        "notes://..",
        "notes:../a",
        "notes:..",
        "notes://a?x/../b",
        "notes://a/%2e%2e/b",
        "notes://a/%2E%2E/b",
        "notes://a/.%2E/b",
        "notes://a%2F..%2Fb",
        "notes://a%5C..%5Cb",
        "notes://a/%252E%252E/b",
        "notes://a/%C0%AE%C0%AE/b",
        "notes://%61",
        "notes://a%2fb",
        "notes://a%",
        "notes://a%zz",
        "notes://a%00",
        "notes://a%0A",
        "notes://a%7F",
        "notes://a//b",
        "notes://a/%2Fb",
        "urn:a//b",
        "notes://a%3F//b",
        "file:/a",
        "file://a",
        "file://localhost/a",
        "file:////a",
        "file:///a?b",
        "https:/example.com/",
        "https:example.com/",
        "https://example.com",
        "https://Example.com/",
        "https://example.com./",
        "https://example.com:443/",
        "https://example.com:/",
        "https://example.com:0443/",
        "https://user@example.com/",
        "https://ex%61mple.com/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://127.0.0.01/",
        "https://999.0.0.1/",
        "https://[::1]/",
        "https:///a",
        "http://example.com:80/",
    ],
)
def test_another_spelling_is_refused(uri: str) -> None:
    assert misspelt(uri) is not None


def test_a_template_is_a_uri_in_which_anything_may_stand_for_something() -> None:
    assert misspelt_template("notes://{id}/{+path}") is None
    assert misspelt_template("notes://{id}/../{path}") is not None
    assert misspelt_template("NOTES://{id}") is not None
    assert misspelt_template("notes://{id") is not None


pieces = st.lists(
    st.sampled_from(
        "a . .. / // \\ %2E %2e %2F %61 %C3%A4 %00 ? # : @ :80 :443 :8080 a.com A.com localhost 127.1 ä".split()
    ),
    max_size=7,
).map("".join)


@given(
    st.sampled_from(["notes", "file", "http", "https", "HTTP", "x"]),
    st.sampled_from([":", ":/", "://", ":///"]),
    pieces,
)
def test_what_is_let_in_is_what_a_url_library_makes_of_it(scheme: str, separator: str, rest: str) -> None:
    """``AnyUrl`` normalises (WHATWG); mcp 1.x reads resources by what comes out of it."""
    uri = scheme + separator + rest
    if misspelt(uri) is not None:
        return
    try:
        normal = str(AnyUrl(uri))
    except ValidationError:
        return
    assert normal == uri
