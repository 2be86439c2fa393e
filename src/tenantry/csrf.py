"""Protection against forged form posts, for pages of your own beside the MCP endpoint.

    app = CsrfMiddleware(pages, origins=["https://mcp.example.com"], secret=..., session=lambda scope: ...)
    <input type="hidden" name="csrf_token" value="{{ request.state.csrf_token }}">

Two things must hold for a request that may change something (any method but GET, HEAD, OPTIONS and TRACE):

* It comes from this site. The browser says so in ``Sec-Fetch-Site``, which no page can set; ``same-origin`` and
  ``none`` (the user himself) will do. Where it says otherwise, or nothing, ``Origin`` must be one of ``origins``.
  ``Referer`` is no substitute: pages and proxies leave it out, ours do (Referrer-Policy), and a check that holds only
  where the header happens to come is none. ``Origin: null`` beside ``same-origin`` is a page of this site with that
  policy; alone it is anybody's sandboxed frame.
* It repeats a token that only a page of this site has read: in the field ``csrf_token`` of a form
  (application/x-www-form-urlencoded) or in ``X-CSRF-Token``, equal to the cookie and made with our key for this
  session. A sibling domain can plant a cookie of its own; it cannot give it the prefix ``__Host-``, nor make one that
  fits somebody else's session.

What carries ``Authorization: Bearer`` or ``X-API-Key`` is exempt: browsers add neither by themselves, and a script of
another site cannot without a CORS preflight.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Collection
from urllib.parse import parse_qsl

from .adapters.expiry import App, Message, Receive, Scope, Send
from .adapters.response_headers import SecurityHeaders
from .core.challenge import body as refusal_body
from .errors import ConfigurationError, Forbidden, PayloadTooLarge, Refusal

FIELD = "csrf_token"
HEADER = b"x-csrf-token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})  # RFC 9110 section 9.2.1
_SAME_SITE = frozenset({b"same-origin", b"none"})
_FORM = b"application/x-www-form-urlencoded"
_NONCE, _MAC = 16, 32  # bytes
_FIELDS = 1000
_MAX_BODY = 64 * 1024

Session = Callable[[Scope], bytes]


class CsrfMiddleware:
    """Guards ``app``, a pure ASGI application; ``scope["state"]["csrf_token"]`` is the token for its pages.

    ``origins`` are the exact origins of this site ("https://mcp.example.com"). ``secret`` are 32 random bytes or more,
    the same in every replica; without one each process makes its own. ``session`` gives what a token is bound to, the
    value of the page's session cookie for instance, and b"" before there is one. ``tokens=False`` leaves out the second
    check; ``programs=True`` lets requests pass the first that no browser sends, with neither ``Origin`` nor
    ``Sec-Fetch-Site``. ``max_body``: bytes of a form. Raises ``ConfigurationError`` for a short secret and for an
    origin that is none.
    """

    def __init__(
        self,
        app: App,
        *,
        origins: Collection[str] = (),
        secret: bytes | None = None,
        session: Session | None = None,
        tokens: bool = True,
        programs: bool = False,
        max_body: int = _MAX_BODY,
    ) -> None:
        if secret is not None and len(secret) < 32:
            raise ConfigurationError("CsrfMiddleware: secret has fewer than 32 bytes: use secrets.token_bytes(32).")
        self._app = app
        self._origins = frozenset(map(_origin, origins))
        self._secret = secret or secrets.token_bytes(32)
        self._session = session or _no_session
        self._tokens, self._programs, self._max_body = tokens, programs, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_exempt(scope):
            await self._app(scope, receive, send)
            return
        sent = self._presented(scope) if self._tokens else None
        try:
            if scope["method"] not in _SAFE:
                self._check_site(scope)
                if self._tokens:
                    receive = await self._check_token(scope, receive, sent)
        except _Gone:
            return
        except Refusal as refusal:
            await _refuse(refusal, scope, send)
            return
        if self._tokens:
            token = sent or self._new(scope)
            scope = {**scope, "state": {**(scope.get("state") or {}), FIELD: token}}
            send = send if sent else _planting(send, _cookie(scope, token))
        await self._app(scope, receive, send)

    def _check_site(self, scope: Scope) -> None:
        site, origin = _values(scope, b"sec-fetch-site"), _values(scope, b"origin")
        if len(site) > 1 or len(origin) > 1:
            raise Forbidden("csrf_refused", detail="A header that may come once came twice.")
        if site and site[0] in _SAME_SITE:
            return
        if origin and origin[0].lower() in self._origins:
            return
        if not (site or origin) and self._programs:
            return
        raise Forbidden("csrf_refused", detail="Neither Sec-Fetch-Site nor Origin says that it was sent from here.")

    async def _check_token(self, scope: Scope, receive: Receive, cookie: str | None) -> Receive:
        """Raise ``Forbidden`` unless the request repeats the token; what gives the app the body it then reads."""
        told = _values(scope, HEADER)
        if not told and _is_form(scope):
            body = await _read(receive, self._max_body)
            told = [value.encode() for value in _fields(body)]
            receive = _replaying(body, receive)
        if cookie is None or len(told) != 1 or not hmac.compare_digest(told[0], cookie.encode()):
            raise Forbidden("csrf_refused", detail="The token is missing, or belongs to another session.")
        return receive

    def _presented(self, scope: Scope) -> str | None:
        """The token in the cookie, where there is one and it was made here for this session."""
        found = _cookies(scope, _cookie_name(scope))
        if len(found) != 1:  # two are somebody's attempt to plant one
            return None
        try:
            raw = base64.b64decode(found[0], altchars=b"-_", validate=True)
        except binascii.Error:
            return None
        made = len(raw) == _NONCE + _MAC and hmac.compare_digest(raw[_NONCE:], self._mac(raw[:_NONCE], scope))
        return found[0].decode("ascii") if made else None

    def _new(self, scope: Scope) -> str:
        nonce = secrets.token_bytes(_NONCE)
        return base64.urlsafe_b64encode(nonce + self._mac(nonce, scope)).decode()  # 64 characters, no padding

    def _mac(self, nonce: bytes, scope: Scope) -> bytes:
        # The nonce has a fixed length, so that nothing can move between it and the session.
        return hmac.digest(self._secret, b"tenantry csrf\0" + nonce + self._session(scope), hashlib.sha256)


class _Gone(Exception):
    """The client went away while its form was read."""


def _origin(text: str) -> bytes:
    """``null`` and ``*`` are everybody's."""
    if not re.fullmatch(r"https?://[a-z0-9.:\[\]-]+", text.lower()):
        raise ConfigurationError(f"CsrfMiddleware: origins holds {text!r}: an origin is https://host, without a path.")
    return text.lower().encode("ascii")


def _no_session(scope: Scope) -> bytes:
    return b""


def _values(scope: Scope, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == wanted]


def _is_exempt(scope: Scope) -> bool:
    authorization = _values(scope, b"authorization")
    return bool(_values(scope, b"x-api-key")) or any(value[:7].lower() == b"bearer " for value in authorization)


def _is_form(scope: Scope) -> bool:
    kinds = _values(scope, b"content-type")
    return len(kinds) == 1 and kinds[0].partition(b";")[0].strip().lower() == _FORM


def _fields(body: bytes) -> list[str]:
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:  # not UTF-8, or a thousand fields
        return []
    return [value for name, value in pairs if name == FIELD]


def _cookie_name(scope: Scope) -> bytes:
    """The prefix works over https only: browsers accept such a cookie from this very host alone (RFC 6265bis)."""
    return b"__Host-csrf" if scope.get("scheme") == "https" else b"csrf"


def _cookies(scope: Scope, wanted: bytes) -> list[bytes]:
    pairs = (pair.strip().partition(b"=") for line in _values(scope, b"cookie") for pair in line.split(b";"))
    return [value for name, _, value in pairs if name == wanted]


def _cookie(scope: Scope, token: str) -> bytes:
    secure = b"; Secure" if scope.get("scheme") == "https" else b""
    return _cookie_name(scope) + b"=" + token.encode() + b"; Path=/; HttpOnly; SameSite=Strict" + secure


def _planting(send: Send, cookie: bytes) -> Send:
    """Sets the cookie with the pages, where forms are, and with nothing else."""

    async def planting(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            kinds = [value.lower() for name, value in headers if name.lower() == b"content-type"]
            if kinds and kinds[0].startswith(b"text/html"):
                message = {**message, "headers": [*headers, (b"set-cookie", cookie), (b"vary", b"Cookie")]}
        await send(message)

    return planting


async def _read(receive: Receive, limit: int) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise _Gone
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            raise PayloadTooLarge("body_too_large")
        more = message.get("more_body", False)
    return b"".join(chunks)


def _replaying(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def replaying() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replaying


async def _refuse(refusal: Refusal, scope: Scope, send: Send) -> None:
    answer = refusal_body(refusal, secrets.token_hex(8), development=False)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer)).encode()),
        (b"cache-control", b"no-store"),
    ]
    headers = SecurityHeaders().add(headers, https=scope.get("scheme") == "https")
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
