"""The official clients with somebody at a browser who does what he is asked."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

CALLBACK = "http://127.0.0.1:3000/callback"


class Memory:
    """Where the client keeps tokens and its registration."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """Opens what it is told to, as one person, and stops where the redirect leads to the client. ``asked`` are the
    authorization requests."""

    def __init__(self, person: str) -> None:
        self.asked: list[dict[str, str]] = []
        self._person = person
        self._came_back: dict[str, str] = {}

    async def open(self, url: str) -> None:
        self.asked.append(_query(url))
        async with httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{url}&login_hint={self._person}")
        location = answer.headers["location"]
        assert location.startswith(f"{CALLBACK}?")
        self._came_back = _query(location)

    async def callback(self) -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate(self._came_back)


class Signed:
    """A client with its browser and its memory. ``seen`` are the answers of every server, in their order."""

    def __init__(self, url: str, person: str) -> None:
        self.url = url
        self.browser = Browser(person)
        self.memory = Memory()
        self.seen: list[httpx2.Response] = []
        self.when_answered: Callable[[httpx2.Response], None] = lambda response: None

    @contextlib.asynccontextmanager
    async def http(self, auth: Any = None) -> AsyncIterator[httpx2.AsyncClient]:
        """An HTTP client that signs in when it is told to."""
        wish = OAuthClientMetadata(redirect_uris=[CALLBACK], client_name="Notes")  # type: ignore[list-item]
        auth = auth or OAuthClientProvider(self.url, wish, self.memory, self.browser.open, self.browser.callback)
        hooks = {"response": [self._note]}
        async with httpx2.AsyncClient(auth=auth, event_hooks=hooks, trust_env=False, timeout=20) as http:
            yield http

    @contextlib.asynccontextmanager
    async def client(self, mode: str = "2026-07-28", auth: Any = None) -> AsyncIterator[Client]:
        async with (
            self.http(auth) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=mode) as client,
        ):
            yield client

    async def _note(self, response: httpx2.Response) -> None:
        self.seen.append(response)
        self.when_answered(response)


def _query(url: str) -> dict[str, str]:
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
