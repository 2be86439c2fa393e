"""``/authorize``: the front door of a sign-in (OAuth 2.1 section 4.1, RFC 7636, RFC 8707, RFC 9207)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.responses import RedirectResponse, Response

from .calls import Call
from .clients import Client, Clients
from .grants import Grant, Grants
from .oauth import OAuthError, Parameters, resources_of
from .people import People, Person
from .sign_in import choice_page, error_page

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of a SHA-256 digest
_HEADERS: Final = {"cache-control": "no-store", "referrer-policy": "no-referrer"}

Granted = Callable[[Person, str | None], str]


class Authorize:
    """The endpoint. ``granted`` says which scopes a person gets who asks for these, or for none. ``sign_in`` is the
    person who signs in without being asked."""

    def __init__(
        self,
        clients: Clients,
        grants: Grants,
        people: People,
        *,
        issuer: Callable[[], str],
        audience: Callable[[], str],
        granted: Granted,
    ) -> None:
        self.sign_in: Person | None = None
        self._clients = clients
        self._grants = grants
        self._people = people
        self._issuer = issuer
        self._audience = audience
        self._granted = granted

    async def answer(self, call: Call) -> Response:
        """A redirect with a code or an error, or the page with the people. An error before the redirect URI is known
        to be the client's is a page: a redirect would make this server anybody's (RFC 9700 section 4.11)."""
        asked = Parameters(call.query_string)
        try:
            client = await self._clients.find(asked.required("client_id"))
            redirect_uri = client.accepted(asked.required("redirect_uri"))
        except OAuthError as wrong:
            return error_page(wrong)
        try:
            return self._asked(client, redirect_uri, asked)
        except OAuthError as wrong:
            return self._back(redirect_uri, asked, {"error": wrong.error, "error_description": wrong.description})

    def _asked(self, client: Client, redirect_uri: str, asked: Parameters) -> Response:
        challenge = _checked(client, asked)
        resources = resources_of(asked) or (self._audience(),)
        asked.one("state"), asked.one("scope")
        if asked.one("decision") == "deny":
            raise OAuthError("access_denied", "the person refused")
        person = self.sign_in or self._hinted(asked.one("login_hint"))
        if person is None and asked.one("prompt") == "none":
            raise OAuthError("login_required", "nobody is signed in, and no page may be shown")
        if person is None:
            with_account = [person for person in self._people.values() if person.auth0 is not None]
            return choice_page(client, asked, asked.one("scope") or "the usual scopes", with_account)
        grant = Grant(person, client.id, self._granted(person, asked.one("scope")), resources)
        code = self._grants.new_code(grant, redirect_uri, challenge, asked.one("nonce"))
        return self._back(redirect_uri, asked, {"code": code})

    def _hinted(self, hint: str | None) -> Person | None:
        """Whoever has that short name or that address at this provider (OpenID Connect Core section 3.1.2.1)."""
        for person in self._people.values():
            if person.auth0 is not None and hint in (person.key, person.auth0.email):
                return person
        return None

    def _back(self, redirect_uri: str, asked: Parameters, words: Mapping[str, str]) -> Response:
        """To the client, with ``state`` as it came and with our name (RFC 9207 section 2)."""
        state = [("state", state) for state in asked.all("state")[:1]]
        query = urlencode([*words.items(), *state, ("iss", self._issuer())])
        return RedirectResponse(f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}", 302, _HEADERS)


def _checked(client: Client, asked: Parameters) -> str:
    """What this server asks of every request; the code challenge."""
    if asked.required("response_type") != "code":
        raise OAuthError("unsupported_response_type", "response_type must be code")
    if asked.one("response_mode") not in (None, "query"):
        raise OAuthError("invalid_request", "response_mode must be query")
    if "authorization_code" not in client.grants:
        raise OAuthError("unauthorized_client", "this client registered without authorization_code")
    for name in ("request", "request_uri"):
        if asked.all(name):
            raise OAuthError(f"{name}_not_supported", f"{name} is not supported")
    challenge = asked.required("code_challenge")
    # Left out, the method would be "plain" (RFC 7636 section 4.3), which whoever sees the request can answer.
    if asked.one("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise OAuthError("invalid_request", "PKCE is required: code_challenge_method=S256 and its challenge")
    return challenge
