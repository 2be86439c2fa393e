"""The control API below ``/_devidp/``: what tests do by attribute, another process does with curl. JSON in
and out.

    GET    /_devidp/         base URL, settings, people, what can be minted
    GET    /_devidp/people   who there is, and why
    POST   /_devidp/tokens   {"provider": "google", "kind": "id_token", "person": "ann"} -> {"token"}; takes
                             every option of the mint; "omit": ["exp"] leaves claims out
    POST   /_devidp/revoke   {"token": "ya29..."}
    POST   /_devidp/faults   {"provider": "google", "kind": "slow", "seconds": 5, "endpoint": "certs"};
                             GET lists them, DELETE clears them
    POST   /_devidp/rotate   {"provider": "auth0", "keep_previous": true}
    GET    /_devidp/calls    every call that arrived, with its secrets; DELETE forgets them

It mints tokens for whoever asks, so it listens to loopback names only: a web page that rebinds its own name to
127.0.0.1 is refused, and so is what any web page in the developer's browser sends to change something. Programs, which
send no ``Origin``, are served; a body that is not application/json is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tenantry.csrf import CsrfMiddleware

from .calls import LOOPBACK_NAMES, Call
from .github import GitHub
from .introspection import PREFIX as OPAQUE
from .keyring import OMIT
from .people import Person

if TYPE_CHECKING:
    from .app import DevIdp

_NO_WEB_PAGES: Final = Middleware(CsrfMiddleware, tokens=False, programs=True)
# What may be minted, by provider: the names of the provider's own methods.
_KINDS: Final = {
    "google": ("id_token", "access_token", "service_account_id_token", "service_account_access_token"),
    "auth0": ("access_token", "machine_token", "opaque_token", "hs256_token"),
    "github": ("token", "installation_token"),
}


class _Mistake(Exception):
    """The caller's: 400, with these words."""


_Handler = Callable[[dict[str, Any]], Any]


class Control:
    """The routes; every handler takes the JSON body and returns what is answered as JSON."""

    def __init__(self, idp: DevIdp) -> None:
        self._idp = idp
        others: dict[str, Any] = {**idp.issuers, idp.introspection.name: idp.introspection}
        self._kinds = {**_KINDS, **{name: other.kinds for name, other in others.items()}}

    def routes(self) -> list[Route]:
        return [
            self._route("/_devidp/", GET=self.summary),
            self._route("/_devidp/people", GET=self.people),
            self._route("/_devidp/tokens", POST=self.mint),
            self._route("/_devidp/revoke", POST=self.revoke),
            self._route("/_devidp/faults", GET=self.faults, POST=self.set_fault, DELETE=self.clear_faults),
            self._route("/_devidp/rotate", POST=self.rotate),
            self._route("/_devidp/calls", GET=self.calls, DELETE=self.clear_calls),
        ]

    def summary(self, body: dict[str, Any]) -> Any:
        return {
            "base_url": self._idp.base_url,
            "settings": self._idp.settings(),
            "people": list(self._idp.people),
            "kinds": {provider: list(kinds) for provider, kinds in self._kinds.items()},
        }

    def people(self, body: dict[str, Any]) -> Any:
        return [_described(person) for person in self._idp.people.values()]

    def mint(self, body: dict[str, Any]) -> Any:
        provider = body.pop("provider", "")
        kind = body.pop("kind", "token" if provider == GitHub.name else "access_token")
        if kind not in self._kinds.get(provider, ()):
            raise _Mistake(f"nothing to mint: provider and kind are one of {self._kinds}")
        body |= dict.fromkeys(body.pop("omit", ()), OMIT)
        return {"provider": provider, "kind": kind, "token": getattr(self._provider(provider), kind)(**body)}

    def revoke(self, body: dict[str, Any]) -> Any:
        token = str(body.get("token", ""))
        if token.startswith("ya29."):
            self._idp.google.revoke(token)
        elif token.startswith(OPAQUE):
            self._idp.introspection.revoke(token)
        else:
            self._idp.github.revoke(token)
        return {"revoked": True}

    def faults(self, body: dict[str, Any]) -> Any:
        return {"faults": self._idp.faults.listing()}

    def set_fault(self, body: dict[str, Any]) -> Any:
        self._idp.faults.set(**body)
        return self.faults({})

    def clear_faults(self, body: dict[str, Any]) -> Any:
        self._idp.faults.clear(body.get("provider"), body.get("endpoint"))
        return self.faults({})

    def rotate(self, body: dict[str, Any]) -> Any:
        provider = self._provider(body.get("provider", ""))
        if isinstance(provider, GitHub):
            raise _Mistake("GitHub signs nothing: there are no keys to rotate")
        key = provider.keys.rotate(keep_previous=bool(body.get("keep_previous", True)))
        return {"kid": key.kid}

    def calls(self, body: dict[str, Any]) -> Any:
        return {"calls": [_recorded(call) for call in self._idp.calls]}

    def clear_calls(self, body: dict[str, Any]) -> Any:
        self._idp.calls.clear()
        return {"calls": []}

    def _provider(self, name: str) -> Any:
        if name not in self._kinds:
            raise LookupError(f"no provider is called {name!r}; there are {', '.join(self._kinds)}")
        return self._idp.issuers.get(name) or getattr(self._idp, name)

    def _route(self, path: str, **handlers: _Handler) -> Route:
        return Route(path, _answering(handlers), methods=list(handlers), middleware=[_NO_WEB_PAGES])


def _answering(handlers: dict[str, _Handler]) -> Callable[[Request], Awaitable[Response]]:
    async def answering(request: Request) -> Response:
        if request.headers.get("host", "").rsplit(":", 1)[0] not in LOOPBACK_NAMES:
            return JSONResponse({"error": "the control API answers to loopback names only"}, 403)
        handler = handlers.get(request.method, handlers.get("GET"))
        try:
            body = await _json_of(request)
            return JSONResponse(None if handler is None else handler(body))
        except (_Mistake, LookupError, ValueError, TypeError) as mistake:
            return JSONResponse({"error": str(mistake)}, 400)

    return answering


async def _json_of(request: Request) -> dict[str, Any]:
    raw = await request.body()
    if not raw:
        return {}
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
        raise _Mistake("send the body as application/json")
    body = await request.json()
    if not isinstance(body, dict):
        raise _Mistake("send a JSON object")
    return body


def _described(person: Person) -> dict[str, Any]:
    accounts = [provider for provider in _KINDS if getattr(person, provider) is not None]
    return {"person": person.key, "name": person.name, "why": person.why, "accounts": accounts}


def _recorded(call: Call) -> dict[str, Any]:
    plain = {field.name: getattr(call, field.name) for field in fields(call) if field.name != "body"}
    shown = {"credential": call.credential, "token": call.token, "body": call.body.decode("latin-1")}
    return {**plain, **shown}
