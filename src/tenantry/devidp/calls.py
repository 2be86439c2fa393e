"""Every call that arrived, kept whole, so that a test can count them and prove who was shown which token.

A ``Call`` is both the record and what an endpoint answers from: nothing an endpoint sees is missing here.
This is a test tool: it keeps secrets in the clear, and it lives on loopback only.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl

from .catalog import Catalog

LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""What ``Call.host`` may be where a web page's rebound name must not do."""

CredentialKind = Literal["bearer", "query", "form", "json", "basic", "none"]


@dataclass(slots=True, eq=False)
class Call:
    """One request. ``headers`` have lower-case names; ``query`` has the last value of each name, ``query_string`` is
    what was sent. ``status`` is None until it was answered (and stays None when the connection was cut)."""

    provider: str
    endpoint: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    params: Mapping[str, str] = field(default_factory=dict)
    query_string: str = ""
    status: int | None = None

    @property
    def host(self) -> str:
        """The Host header without its port."""
        return self.headers.get("host", "").rsplit(":", 1)[0].lower()

    @property
    def authorization(self) -> str | None:
        """The Authorization header as it arrived."""
        return self.headers.get("authorization")

    @property
    def credential(self) -> CredentialKind:
        """How the caller showed the token (or, where there is none, whether it showed Basic credentials)."""
        return self._shown()[0]

    @property
    def token(self) -> str | None:
        """The token that was shown, whichever way."""
        return self._shown()[1]

    def basic(self) -> tuple[str, str] | None:
        """Name and secret of HTTP Basic (RFC 7617), None where absent or malformed."""
        scheme, _, value = (self.authorization or "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (name, secret) if colon else None

    def form(self) -> dict[str, str]:
        """The members of an application/x-www-form-urlencoded body."""
        if not self.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            return {}
        return dict(parse_qsl(self.body.decode("latin-1"), keep_blank_values=True))

    def json(self) -> dict[str, Any] | None:
        """The JSON object of the body, None where it is none."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def _shown(self) -> tuple[CredentialKind, str | None]:
        scheme, _, value = (self.authorization or "").partition(" ")
        if scheme.lower() in {"bearer", "token"}:  # "token" is GitHub's older spelling
            return "bearer", value.strip()
        places: tuple[tuple[CredentialKind, Mapping[str, Any]], ...] = (
            ("query", self.query),
            ("form", self.form()),
            ("json", self.json() or {}),
        )
        for kind, members in places:
            token = members.get("access_token")
            if isinstance(token, str):
                return kind, token
        return ("basic" if scheme.lower() == "basic" else "none"), None


class Calls:
    """The calls in the order of their arrival: iterate, ``len()``, or ask by provider and endpoint."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._calls: list[Call] = []
        self._arrived = asyncio.Event()

    def add(self, call: Call) -> None:
        """Record one call, before it is answered."""
        self._calls.append(call)
        self._arrived.set()
        self._arrived = asyncio.Event()

    def of(self, provider: str | None = None, endpoint: str | None = None) -> list[Call]:
        """The calls to one provider, or to one endpoint of it; ``LookupError`` for a name that is not served."""
        self._catalog.check(provider, endpoint)
        return [call for call in self._calls if provider in {None, call.provider} and endpoint in {None, call.endpoint}]

    def count(self, provider: str | None = None, endpoint: str | None = None) -> int:
        """How many calls ``of(provider, endpoint)`` returns."""
        return len(self.of(provider, endpoint))

    def shown(self, token: str) -> set[str]:
        """The providers that were shown ``token`` anywhere in a request: path, query, headers or body."""
        return {call.provider for call in self._calls if _holds(call, token)}

    def clear(self) -> None:
        """Forget every call."""
        self._calls.clear()

    async def reached(self, count: int, provider: str | None = None, endpoint: str | None = None) -> list[Call]:
        """Wait until ``count`` such calls arrived (answered or not) and return them: no test needs to sleep."""
        while self.count(provider, endpoint) < count:
            await self._arrived.wait()
        return self.of(provider, endpoint)

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._calls))

    def __len__(self) -> int:
        return len(self._calls)


def _holds(call: Call, token: str) -> bool:
    places = [call.path, *call.query.values(), *call.headers.values(), *call.form().values()]
    return any(token in place for place in places) or token.encode() in call.body
