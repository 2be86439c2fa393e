"""The authorization server behind Auth0's face: enough of OAuth 2.1 and OpenID Connect that an MCP client, which has
never heard of it, discovers it, registers, lets somebody sign in and comes back with a token.

Google's and GitHub's faces have no such thing on purpose: neither offers registration to clients they do not know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import PlainTextResponse, Response

from .authorize import Authorize
from .calls import LOOPBACK_NAMES, Call
from .client_documents import fetch_document
from .clients import GRANTS, METHODS, Client, Clients
from .clock import Clock
from .endpoints import Endpoint
from .grants import Grants
from .oauth import OAuthError, stored_nowhere
from .people import People, Person
from .possession import ALGORITHMS
from .tokens import Tokens

if TYPE_CHECKING:
    from .auth0 import Auth0

OIDC_SCOPES: Final = ("openid", "profile", "email", "offline_access")
CALLBACKS: Final = tuple(
    f"http://{host}{path}" for host in ("127.0.0.1", "localhost") for path in ("/callback", "/oauth/callback")
)


class AuthorizationServer:
    """``clients`` are those it knows; ``tokens.lifetime`` is how long an access token lives.

    ``rbac`` limits the scopes of our API to what the directory says of a person, and writes them into the token as
    ``permissions``, as Auth0 does when an API turns RBAC on. Off, whoever asks for a scope gets it.
    """

    def __init__(self, auth0: Auth0, *, clock: Clock, people: People) -> None:
        grants = Grants(clock, auth0.forget)
        self.rbac = False
        self.clients = Clients(clock, fetch_document)
        self.clients.add(Client(auth0.client_id, CALLBACKS, GRANTS, METHODS[1:], auth0.client_secret, "devidp"))
        self.tokens = Tokens(auth0, self.clients, grants, clock)
        self._people = people
        self._authorize = Authorize(
            self.clients,
            grants,
            people,
            issuer=lambda: auth0.issuer,
            audience=lambda: auth0.audience,
            granted=self.granted,
        )

    @property
    def sign_in(self) -> Person | None:
        """Who signs in at once, without a page; None shows the page."""
        return self._authorize.sign_in

    @sign_in.setter
    def sign_in(self, person: Person | str | None) -> None:
        found = None if person is None else self._people.find(person)
        if found is not None:
            found.at_auth0()
        self._authorize.sign_in = found

    def endpoints(self) -> list[Endpoint]:
        """What is served beside discovery and keys."""
        return [
            Endpoint("authorize", ("/authorize",), _here(self._authorize.answer)),
            Endpoint("token", ("/oauth/token",), _here(self.tokens.token), ("POST",), browsers=True),
            Endpoint("revoke", ("/oauth/revoke",), _here(self.tokens.revoke), ("POST",), browsers=True),
            Endpoint("register", ("/oidc/register",), _here(self._register), ("POST",), browsers=True),
        ]

    def metadata(self, base_url: str) -> dict[str, Any]:
        """The members of RFC 8414 section 2 that tell a client what it can do here."""
        registration = {"registration_endpoint": f"{base_url}/oidc/register"} if self.clients.registration else {}
        return {
            "authorization_endpoint": f"{base_url}/authorize",
            "token_endpoint": f"{base_url}/oauth/token",
            "revocation_endpoint": f"{base_url}/oauth/revoke",
            **registration,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": list(GRANTS),
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": list(METHODS),
            "revocation_endpoint_auth_methods_supported": list(METHODS),
            "scopes_supported": list(OIDC_SCOPES),
            "authorization_response_iss_parameter_supported": True,
            "client_id_metadata_document_supported": True,
            "dpop_signing_alg_values_supported": list(ALGORITHMS),
        }

    def granted(self, person: Person, asked: str | None) -> str:
        """The scopes that a person who asks for these gets; all there are for one who asks for none."""
        own = person.at_auth0().permissions
        wanted = [*OIDC_SCOPES, *own] if asked is None else asked.split()
        allowed = {*OIDC_SCOPES, *own} if self.rbac else set(wanted)
        return " ".join(dict.fromkeys(scope for scope in wanted if scope in allowed))

    async def _register(self, call: Call) -> Response:
        try:
            return stored_nowhere(self.clients.register(call.json()), 201)
        except OAuthError as wrong:
            return wrong.answer()


def _here(answer: Callable[[Call], Awaitable[Response]]) -> Callable[[Call], Awaitable[Response]]:
    """A web page that rebinds a name of its own to 127.0.0.1 signs nobody in."""

    async def answering(call: Call) -> Response:
        if call.host not in LOOPBACK_NAMES:
            return PlainTextResponse("served under loopback names only", 403)
        return await answer(call)

    return answering
