"""Forged form posts: which requests of a browser reach a page's handler, and which do not."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from tests.support import Reply, a_client, a_scope

from tenantry.csrf import CsrfMiddleware
from tenantry.devidp import DevIdp
from tenantry.errors import ConfigurationError

pytestmark = pytest.mark.anyio

SITE = "https://mcp.example.com"
SECRET = bytes(range(32))
FORM = ("content-type", "application/x-www-form-urlencoded")
SAME = ("sec-fetch-site", "same-origin")


class Page:
    """A page with a form: it shows the token, and remembers what was posted to it."""

    def __init__(self, kind: bytes = b"text/html; charset=utf-8") -> None:
        self.kind = kind
        self.bodies: list[bytes] = []
        self.tokens: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.tokens.append(scope["state"].get("csrf_token"))
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self.kind)]})
        await send({"type": "http.response.body", "body": b"ok"})


def a_session(scope: Any) -> bytes:
    pairs = (
        pair.strip().partition(b"=")
        for name, value in scope["headers"]
        if name == b"cookie"
        for pair in value.split(b";")
    )
    return {name: value for name, _, value in pairs}.get(b"sid", b"")


def guarded(page: Any = None, **options: Any) -> CsrfMiddleware:
    return CsrfMiddleware(page or Page(), **{"origins": [SITE], "secret": SECRET, "session": a_session, **options})


async def ask(
    app: Any, *headers: tuple[str, str], body: bytes = b"", method: str = "POST", chunks: int = 1, **more: Any
) -> Reply:
    reply = Reply()
    size = -(-len(body) // chunks) or 1
    parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    inbox = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    inbox[-1]["more_body"] = False

    async def receive() -> Any:
        return inbox.pop(0) if inbox else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        reply.messages.append(dict(message))

    await app(a_scope(headers=headers, path="/form", **{"method": method, "scheme": "https", **more}), receive, send)
    return reply


async def visit(app: Any, *headers: tuple[str, str], **more: Any) -> str:
    """Load the page; the cookie it sets, as a browser sends it back."""
    reply = await ask(app, *headers, method="GET", **more)
    return reply.headers["set-cookie"].partition(";")[0]


def token_of(cookie: str) -> str:
    return cookie.partition("=")[2]


async def test_the_page_s_own_form_is_taken() -> None:
    page = Page()
    app = guarded(page)
    cookie = await visit(app)
    assert page.tokens == [token_of(cookie)]
    body = f"title=a%20b&csrf_token={token_of(cookie)}&n=1".encode()
    reply = await ask(app, SAME, FORM, ("origin", SITE), ("cookie", cookie), body=body)
    assert (reply.status, page.bodies[-1]) == (200, body)
    assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("chunks", [1, 2, 7])
async def test_the_body_comes_to_the_app_byte_for_byte(chunks: int) -> None:
    page = Page()
    app = guarded(page)
    cookie = await visit(app)
    body = f"csrf_token={token_of(cookie)}&x=%00%FF&".encode() + b"\xc3\xa9" * 100
    assert (await ask(app, SAME, FORM, ("cookie", cookie), body=body, chunks=chunks)).status == 200
    assert page.bodies[-1] == body


async def test_a_script_of_the_page_sends_the_token_in_a_header_and_any_body() -> None:
    page = Page()
    app = guarded(page)
    cookie = await visit(app)
    for kind in ("application/json", "multipart/form-data; boundary=x"):
        reply = await ask(
            app,
            SAME,
            ("content-type", kind),
            ("cookie", cookie),
            ("x-csrf-token", token_of(cookie)),
            body=b"{}" * 100_000,
        )
        assert (reply.status, len(page.bodies[-1])) == (200, 200_000)


async def test_reading_needs_no_token_and_pages_get_one() -> None:
    for method in ("GET", "HEAD", "OPTIONS"):
        assert (await ask(guarded(), method=method)).status == 200
    assert "set-cookie" not in (await ask(guarded(Page(b"application/json")), method="GET")).headers


async def test_the_cookie_is_kept_while_it_fits() -> None:
    page = Page()
    app = guarded(page)
    cookie = await visit(app)
    reply = await ask(app, ("cookie", cookie), method="GET")
    assert "set-cookie" not in reply.headers
    assert page.tokens == [token_of(cookie)] * 2


async def test_over_https_the_cookie_is_for_this_very_host_alone() -> None:
    set_cookie = (await ask(guarded(), method="GET")).headers["set-cookie"]
    name, _, attributes = set_cookie.partition("=")
    assert name == "__Host-csrf"
    assert attributes.split("; ")[1:] == ["Path=/", "HttpOnly", "SameSite=Strict", "Secure"]
    plain = (await ask(guarded(), method="GET", scheme="http")).headers["set-cookie"]
    assert plain.startswith("csrf=")
    assert plain.endswith("; Path=/; HttpOnly; SameSite=Strict")


async def test_two_replicas_with_one_secret_take_each_other_s_tokens() -> None:
    cookie = await visit(guarded())
    headers = (SAME, ("cookie", cookie), ("x-csrf-token", token_of(cookie)))
    assert (await ask(guarded(), *headers)).status == 200
    assert (await ask(guarded(secret=None), *headers)).status == 403
    assert (await ask(guarded(secret=bytes(32)), *headers)).status == 403


# Attacks on the first check: another site


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([SAME], 200),
        ([("sec-fetch-site", "none")], 200),
        ([SAME, ("origin", "null")], 200),  # a page of ours with Referrer-Policy: no-referrer
        ([("origin", SITE)], 200),
        ([("origin", SITE.upper())], 200),
        ([("sec-fetch-site", "cross-site"), ("origin", SITE)], 200),
        ([("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")], 403),
        ([("sec-fetch-site", "cross-site")], 403),
        ([("sec-fetch-site", "cross-site"), ("origin", "null")], 403),
        ([("sec-fetch-site", "same-site"), ("origin", "https://blog.example.com")], 403),
        ([("sec-fetch-site", "same-site")], 403),
        ([("sec-fetch-site", "Same-Origin")], 403),
        ([("sec-fetch-site", "")], 403),
        ([SAME, ("sec-fetch-site", "cross-site")], 403),
        ([SAME, SAME], 403),
        ([("origin", SITE), ("origin", "https://evil.example")], 403),
        ([("origin", "null")], 403),
        ([("origin", "https://evil.example")], 403),
        ([("origin", f"{SITE}.evil.example")], 403),
        ([("origin", f"{SITE}:8443")], 403),
        ([("origin", "http://mcp.example.com")], 403),
        ([("origin", f"{SITE}/")], 403),
        ([("origin", "")], 403),
        ([], 403),
        ([("referer", f"{SITE}/form")], 403),
        ([("authorization", "Basic YTpi")], 403),
        ([("authorization", "Negotiate x"), ("cookie", "a=b")], 403),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "post", "QUERY"])
async def test_only_what_this_site_sends_may_change_something(headers: Any, status: int, method: str) -> None:
    page = Page()
    app = guarded(page)
    cookie = await visit(app)
    reply = await ask(app, *headers, ("cookie", cookie), ("x-csrf-token", token_of(cookie)), method=method)
    assert reply.status == status
    assert len(page.bodies) == (2 if status == 200 else 1)


@pytest.mark.parametrize(
    "headers", [[("authorization", "Bearer x")], [("authorization", "bearer x")], [("x-api-key", "x")]]
)
async def test_a_program_with_a_credential_of_its_own_is_exempt(headers: Any) -> None:
    page = Page()
    reply = await ask(guarded(page), *headers, ("origin", "https://app.example"), body=b"{}")
    assert (reply.status, page.tokens) == (200, [None])
    assert "set-cookie" not in reply.headers


# Attacks on the second check: no token, another's, a planted one


async def refused(app: Any, *headers: tuple[str, str], **more: Any) -> bool:
    reply = await ask(app, SAME, ("origin", SITE), *headers, **more)
    if reply.status == 403:
        assert reply.json()["error_description"] == "The form was not sent from this site"
        assert reply.headers["x-frame-options"] == "DENY"
    return reply.status == 403


async def test_a_form_without_the_token_is_refused() -> None:
    app = guarded()
    cookie = await visit(app)
    token = token_of(cookie)
    assert await refused(app, FORM, ("cookie", cookie), body=b"title=a")
    assert await refused(app, FORM, ("cookie", cookie), body=b"csrf_token=")
    assert await refused(app, FORM, ("cookie", cookie))
    assert await refused(app, FORM, body=f"csrf_token={token}".encode())
    assert await refused(app, ("x-csrf-token", token))
    assert await refused(app, ("x-csrf-token", ""), ("cookie", "__Host-csrf="))


async def test_a_token_sent_twice_or_beside_another_is_refused() -> None:
    app = guarded()
    cookie = await visit(app)
    token = token_of(cookie)
    assert await refused(app, FORM, ("cookie", cookie), body=f"csrf_token=x&csrf_token={token}".encode())
    assert await refused(app, ("cookie", cookie), ("x-csrf-token", token), ("x-csrf-token", "x"))
    assert await refused(app, FORM, ("cookie", cookie), ("x-csrf-token", "x"), body=f"csrf_token={token}".encode())


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/json",
        "multipart/form-data; boundary=x",
        "",
        "application/x-www-form-urlencodedx",
        "text/html",
    ],
)
async def test_a_body_of_another_kind_is_not_read_for_the_token(kind: str) -> None:
    """enctype=text/plain lets a form of any site send bytes of its choice."""
    app = guarded()
    cookie = await visit(app)
    assert await refused(
        app, ("content-type", kind), ("cookie", cookie), body=f"csrf_token={token_of(cookie)}".encode()
    )


async def test_two_content_types_are_not_a_form() -> None:
    app = guarded()
    cookie = await visit(app)
    body = f"csrf_token={token_of(cookie)}".encode()
    assert await refused(app, FORM, ("content-type", "text/plain"), ("cookie", cookie), body=body)


async def test_the_token_of_another_session_is_refused() -> None:
    app = guarded()
    mallory = await visit(app, ("cookie", "sid=mallory"))
    headers = (("x-csrf-token", token_of(mallory)),)
    assert not await refused(app, ("cookie", f"sid=mallory; {mallory}"), *headers)
    assert await refused(app, ("cookie", f"sid=ann; {mallory}"), *headers)
    assert await refused(app, ("cookie", mallory), *headers)
    assert await refused(app, ("cookie", f"sid=mallory2; {mallory}"), *headers)


async def test_a_cookie_planted_by_a_sibling_domain_is_refused() -> None:
    """It can set csrf=... for the whole domain, also one that the site once gave it; not one with the prefix."""
    app = guarded()
    mallory = await visit(app, ("cookie", "sid=mallory"))
    planted = "csrf=" + token_of(mallory)
    assert await refused(app, ("cookie", f"sid=ann; {planted}"), ("x-csrf-token", token_of(mallory)))
    ann = await visit(app, ("cookie", "sid=ann"))
    assert not await refused(app, ("cookie", f"sid=ann; {ann}; {planted}"), ("x-csrf-token", token_of(ann)))
    both = f"sid=ann; {mallory}; {ann}"
    for token in (token_of(ann), token_of(mallory)):
        assert await refused(app, ("cookie", both), ("x-csrf-token", token))
    assert await refused(app, ("cookie", f"sid=ann; {ann}"), ("cookie", mallory), ("x-csrf-token", token_of(ann)))


@pytest.mark.parametrize(
    "made", ["", "x", "A" * 64, "A" * 63, "A" * 65, "\u00e9" * 64, "{}", "A" * 10_000, "A" * 62 + "=="]
)
async def test_an_invented_token_is_refused(made: str) -> None:
    app = guarded()
    assert await refused(app, ("cookie", f"__Host-csrf={made}"), ("x-csrf-token", made))
    assert await refused(app, FORM, ("cookie", f"__Host-csrf={made}"), body=f"csrf_token={quote(made)}".encode())


async def test_a_token_with_one_sign_changed_is_refused() -> None:
    app = guarded()
    token = token_of(await visit(app))
    for at in range(len(token)):
        other = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        assert await refused(app, ("cookie", f"__Host-csrf={other}"), ("x-csrf-token", other))


@pytest.mark.parametrize("body", [b"\xff\xfe&csrf_token=x", b"&".join([b"a=1"] * 2000), b"csrf_token", b"=", b"%zz=1"])
async def test_a_form_that_cannot_be_read_is_refused(body: bytes) -> None:
    app = guarded()
    cookie = await visit(app)
    assert await refused(app, FORM, ("cookie", cookie), body=body)


async def test_a_form_is_read_within_bounds() -> None:
    page = Page()
    app = guarded(page, max_body=1000)
    cookie = await visit(app)
    reply = await ask(app, SAME, FORM, ("cookie", cookie), body=b"a=" + b"x" * 2000, chunks=20)
    assert (reply.status, len(page.bodies)) == (413, 1)


async def test_a_client_that_goes_while_its_form_is_read_reaches_nobody() -> None:
    page = Page()
    app = guarded(page)
    cookie = await visit(app)
    inbox: list[Any] = [{"type": "http.request", "body": b"a=", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return inbox.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(a_scope(headers=[SAME, FORM, ("cookie", cookie)], method="POST", scheme="https"), receive, send)
    assert (sent, len(page.bodies)) == ([], 1)


async def test_other_scopes_pass_through() -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    for kind in ("lifespan", "websocket"):
        await CsrfMiddleware(app)({"type": kind}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan", "websocket"]


@pytest.mark.parametrize("origin", ["null", "*", "mcp.example.com", f"{SITE}/", "https://*.example.com", ""])
def test_an_origin_that_is_none_is_a_configuration_error(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="origins holds"):
        CsrfMiddleware(Page(), origins=[origin])


def test_a_short_secret_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="fewer than 32 bytes"):
        CsrfMiddleware(Page(), secret=bytes(31))


async def test_over_a_socket_a_browser_s_form_goes_through() -> None:
    page = Page()
    async with a_client(guarded(page, origins=[], session=None)) as client:
        loaded = await client.get("/form")
        token = loaded.cookies["csrf"]
        sent = await client.post("/form", data={"csrf_token": token, "title": "a"}, headers=dict([SAME]))
        forged = await client.post("/form", data={"title": "a"}, headers=dict([SAME]))
    assert (sent.status_code, forged.status_code) == (200, 403)
    assert page.bodies[-1] == f"csrf_token={token}&title=a".encode()


# The development identity provider: a web page in the developer's browser


@pytest.fixture
async def idp() -> Any:
    provider = DevIdp()
    async with provider.serve() as url, httpx.AsyncClient(base_url=url, trust_env=False) as client:
        yield provider, client


CONTROLS = [
    ("POST", "tokens"),
    ("POST", "revoke"),
    ("POST", "faults"),
    ("DELETE", "faults"),
    ("POST", "rotate"),
    ("DELETE", "calls"),
]
FAULT = {"provider": "google", "kind": "error"}


@pytest.mark.parametrize(("method", "path"), CONTROLS)
@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site", "origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3000"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
    ],
)
async def test_no_web_page_can_mint_a_token_or_set_a_fault(
    idp: Any, method: str, path: str, headers: dict[str, str]
) -> None:
    provider, client = idp
    provider.faults.set(**FAULT)
    await client.get("/user")
    before = (provider.auth0.keys.current.kid, provider.faults.listing(), len(provider.calls))
    body = {"provider": "auth0", "kind": "access_token", "person": "erin"}
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        answer = await client.request(method, f"/_devidp/{path}", json=body, headers={**headers, "content-type": kind})
        assert answer.status_code == 403
        assert "token" not in answer.json()
    assert (provider.auth0.keys.current.kid, provider.faults.listing(), len(provider.calls)) == before


async def test_programs_go_on_as_before(idp: Any) -> None:
    _, client = idp
    minted = await client.post("/_devidp/tokens", json={"provider": "google", "kind": "id_token", "person": "ann"})
    assert minted.status_code == 200
    assert minted.json()["token"].startswith("eyJ")
    assert (await client.post("/_devidp/faults", json=FAULT)).status_code == 200
    assert (await client.delete("/_devidp/faults")).json() == {"faults": []}
    assert (await client.get("/_devidp/people", headers={"sec-fetch-site": "none"})).status_code == 200


async def test_many_at_once_have_each_their_own_token() -> None:
    app = guarded()
    cookies = await asyncio.gather(*(visit(app) for _ in range(100)))
    assert len(set(cookies)) == 100
