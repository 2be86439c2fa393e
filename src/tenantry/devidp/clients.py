"""The clients that people sign in with: one that is known from the start, those that register themselves (RFC 7591),
and those whose identifier is the URL of their metadata (draft-ietf-oauth-client-id-metadata-document).

A redirect URI is compared character by character, except that the port of a loopback address is free (RFC 8252
section 7.3).
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from .clock import Clock
from .oauth import OAuthError

GRANTS: Final = ("authorization_code", "refresh_token", "client_credentials")
METHODS: Final = ("none", "client_secret_basic", "client_secret_post")
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
# A browser that is sent to one of these runs or shows what the sender wrote.
_SCRIPTS: Final = frozenset({"javascript", "data", "vbscript", "file", "blob", "about", "filesystem", "view-source"})
_LONGEST: Final = 2000


@dataclass(frozen=True, slots=True)
class Client:
    """``secret`` is None for a public client: PKCE is all that proves who comes back with a code."""

    id: str
    redirect_uris: Sequence[str]
    grants: Sequence[str] = ("authorization_code", "refresh_token")
    methods: Sequence[str] = ("none",)
    secret: str | None = field(default=None, repr=False)
    name: str | None = None

    def accepted(self, redirect_uri: str) -> str:
        """The redirect URI, where it is one of the client's; else ``OAuthError``."""
        if not any(_same_place(registered, redirect_uri) for registered in self.redirect_uris):
            raise OAuthError("invalid_request", "the redirect_uri is not one that this client registered")
        return redirect_uri


class Clients:
    """The clients by their identifiers. ``registration`` off refuses new ones, as a tenant of Auth0 does by default."""

    def __init__(self, clock: Clock, fetch_document: Callable[[str], Awaitable[Mapping[str, Any]]]) -> None:
        self.registration = True
        self._clock = clock
        self._fetch_document = fetch_document
        self._known: dict[str, Client] = {}

    def add(self, client: Client) -> Client:
        """Make a client known, as an administrator would."""
        self._known[client.id] = client
        return client

    async def find(self, client_id: str) -> Client:
        """The client of that identifier; ``OAuthError`` where there is none."""
        if client_id in self._known:
            return self._known[client_id]
        if client_id.startswith(("https://", "http://")):
            return _described(client_id, await self._fetch_document(client_id))
        raise OAuthError("invalid_client", "no client has this client_id: register it again", 401)

    def register(self, wish: Mapping[str, Any] | None) -> dict[str, Any]:
        """RFC 7591 section 3: the client's metadata, as registered, with its new identifier and secret."""
        if not self.registration:
            raise OAuthError("access_denied", "dynamic registration is off", 403)
        if wish is None:
            raise OAuthError("invalid_client_metadata", "send a JSON object")
        client = self.add(_client(secrets.token_urlsafe(24), wish, METHODS))
        metadata = {
            "client_id": client.id,
            "client_id_issued_at": int(self._clock.now()),
            "redirect_uris": list(client.redirect_uris),
            "grant_types": list(client.grants),
            "response_types": ["code"] if "authorization_code" in client.grants else [],
            "token_endpoint_auth_method": client.methods[0],
        }
        if client.secret is not None:
            metadata |= {"client_secret": client.secret, "client_secret_expires_at": 0}
        echoed = {name: wish[name] for name in ("client_name", "application_type", "scope") if name in wish}
        return echoed | metadata


def _described(url: str, document: Mapping[str, Any]) -> Client:
    """A client of a metadata document: it names itself by the URL, and it cannot have a shared secret."""
    if document.get("client_id") != url:
        raise OAuthError("invalid_client", "the client's metadata document names another client_id", 401)
    if "client_secret" in document:
        raise OAuthError("invalid_client", "a metadata document is public: it cannot hold a secret", 401)
    return _client(url, {"token_endpoint_auth_method": "none", **document}, ("none",))


def _client(client_id: str, wish: Mapping[str, Any], methods: Sequence[str]) -> Client:
    method = wish.get("token_endpoint_auth_method") or "client_secret_basic"  # the default of RFC 7591 section 2
    if method not in methods:
        raise OAuthError("invalid_client_metadata", f"token_endpoint_auth_method is one of {', '.join(methods)}")
    grants = _texts(wish, "grant_types", ("authorization_code",))
    name = wish.get("client_name")
    return Client(
        client_id,
        _redirect_uris(_texts(wish, "redirect_uris", ()), grants),
        # What nobody here can grant is left out, and the answer says so (RFC 7591 section 3.2.1).
        [grant for grant in GRANTS if grant in grants],
        (method,),
        None if method == "none" else secrets.token_urlsafe(32),
        name if isinstance(name, str) else None,
    )


def _texts(wish: Mapping[str, Any], name: str, default: Sequence[str]) -> Sequence[str]:
    values = wish.get(name, default)
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise OAuthError("invalid_client_metadata", f"{name} must be a list of strings")
    return values


def _redirect_uris(uris: Sequence[str], grants: Sequence[str]) -> Sequence[str]:
    if not uris and "authorization_code" in grants:
        raise OAuthError("invalid_redirect_uri", "redirect_uris is missing")
    for uri in uris:
        if not is_redirect_uri(uri):
            raise OAuthError(
                "invalid_redirect_uri",
                "a redirect URI is https, http to this machine, or of the client's own scheme; it has no fragment",
            )
    return uris


def is_redirect_uri(uri: str) -> bool:
    """RFC 6749 section 3.1.2 and RFC 8252 section 7: absolute, no fragment, and nothing that a browser would run."""
    if len(uri) > _LONGEST or not uri.isascii() or any(character <= " " for character in uri) or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return False
    if "\\" in uri or parts.username is not None or port == 0:
        return False
    if parts.scheme == "http":
        return parts.hostname in LOOPBACK
    if parts.scheme == "https":
        return bool(parts.hostname)
    return bool(parts.scheme) and parts.scheme not in _SCRIPTS


def _same_place(registered: str, asked: str) -> bool:
    if registered == asked:
        return True
    free = _without_port(registered)
    return free is not None and free == _without_port(asked)


def _without_port(uri: str) -> tuple[str, str, str] | None:
    """Host, path and query of a loopback redirect URI; None for every other."""
    if not is_redirect_uri(uri) or not uri.startswith("http://"):
        return None
    parts = urlsplit(uri)
    return parts.hostname or "", parts.path, parts.query
