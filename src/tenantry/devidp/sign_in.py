"""The page on which a person is chosen, and the page for a request that cannot be answered. Everything that came from
outside is escaped, and the pages run and load nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Final

from starlette.responses import HTMLResponse

from .clients import Client
from .oauth import OAuthError, Parameters
from .people import Person

_STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem}"
    "button{font:inherit;display:block;width:100%;text-align:left;margin:.4rem 0;padding:.5rem .8rem;cursor:pointer}"
    "small{color:#555}dt{font-weight:600}dd{margin:0 0 .5rem;overflow-wrap:anywhere}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "cache-control": "no-store",
    # No form-action: browsers apply it to where a form's answer redirects, which is the client's business.
    "content-security-policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def choice_page(client: Client, asked: Parameters, scope: str, people: Iterable[Person]) -> HTMLResponse:
    """One button a person: it repeats the request with that person as ``login_hint``."""
    kept = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in asked.without("login_hint", "prompt", "decision")
    )
    buttons = "".join(
        f'<button name="login_hint" value="{escape(person.key)}">{escape(person.name)}'
        f"<br><small>{escape(person.why)}</small></button>"
        for person in people
    )
    facts = {
        "Client": client.name or client.id,
        "It will be sent to": asked.required("redirect_uri"),
        "It may use": " ".join(asked.all("resource")) or asked.one("audience") or "the default audience",
        "It asks for": scope,
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    deny = '<button name="decision" value="deny">Refuse</button>'
    return _page("Sign in", f'<dl>{listed}</dl><form method="get" action="/authorize">{kept}{buttons}{deny}</form>')


def error_page(wrong: OAuthError) -> HTMLResponse:
    """For a request without a redirect URI that could be trusted (RFC 6749 section 4.1.2.1)."""
    return _page("This request cannot be answered", f"<p>{escape(wrong.error)}: {escape(wrong.description)}.</p>", 400)


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    note = "<p><small>Development identity provider: made-up people, no password.</small></p>"
    return HTMLResponse(f"{head}<h1>{title}</h1>{body}{note}", status, _HEADERS)
