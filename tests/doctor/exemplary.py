"""A protected MCP server that does everything right and is not tenantry, and what can be made wrong about it.

A fault is a function of the request and of the right answer, and gives the answer that is sent.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs

from tenantry.testing import TokenMint

GOOD_TOKEN = "good-token-of-the-tests-0123456789"
RESULT = {"jsonrpc": "2.0", "id": 1, "result": {"tools": []}}
_ALLOWED = (
    "Authorization, X-API-Key, Content-Type, Accept, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, "
    "Last-Event-ID, Mcp-Param-Doctor"
)
_EXPOSED = "WWW-Authenticate, Mcp-Session-Id, Retry-After, RateLimit"
_KEYS = TokenMint("exemplary").jwks()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def having(self, **headers: str | None) -> Answer:
        """With headers added, or taken away; ``_`` for ``-``."""
        merged = dict(self.headers)
        for name, value in headers.items():
            merged.pop(name.replace("_", "-"), None)
            if value is not None:
                merged[name.replace("_", "-")] = value
        return replace(self, headers=merged)

    def document(self, **members: Any) -> Answer:
        """With members of its JSON object changed, or taken away where None."""
        changed = json.loads(self.body.decode()) | members
        kept = {name: value for name, value in changed.items() if value is not None}
        return replace(self, body=json.dumps(kept).encode())


@dataclass(frozen=True)
class Asked:
    """A request. ``text`` reads its body."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    receive: Any
    base: str

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given == name]

    def get(self, name: str) -> str:
        return next(iter(self.all(name)), "")

    @property
    def mcp(self) -> bool:
        return self.path == "/mcp"

    @property
    def token(self) -> str | None:
        return self.get("authorization").removeprefix("Bearer ") if self.get("authorization") else None

    @property
    def preflight(self) -> bool:
        return self.method == "OPTIONS" and bool(self.get("access-control-request-method"))

    async def text(self) -> str:
        data, more = b"", True
        while more:
            message = await self.receive()
            data, more = data + message.get("body", b""), message.get("more_body", False)
        return data.decode()


Fault = Callable[[Asked, Answer], Awaitable[Answer] | Answer]


def as_json(status: int, document: Any, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/json", **named}, json.dumps(document).encode())


class Exemplary:
    """``base`` is set when it is served."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.base = ""
        self.fault = fault
        self.asked: list[Asked] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        query = scope["query_string"].decode()
        asked = Asked(scope["method"], scope["path"], query, headers, receive, self.base)
        self.asked.append(asked)
        answer = self._right(asked)
        if self.fault is not None:
            changed = self.fault(asked, answer)
            answer = await changed if isinstance(changed, Awaitable) else changed
        sent = {"date": formatdate(usegmt=True), "x-request-id": str(len(self.asked)), **answer.headers}
        if answer.status != 204:
            sent["content-length"] = str(len(answer.body))
        pairs = [(name.encode(), value.encode("latin-1")) for name, value in sent.items() if value]
        await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
        await send({"type": "http.response.body", "body": b"" if asked.method == "HEAD" else answer.body})

    def _right(self, asked: Asked) -> Answer:
        if asked.path.startswith("/.well-known/"):
            return self._well_known(asked)
        if asked.path == "/keys":
            return as_json(200, _KEYS)
        if asked.path == "/livez":
            return as_json(200, {"status": "ok"})
        if asked.get("host") != self.base.removeprefix("http://"):
            return as_json(421, {"error": "misdirected_request"})
        if asked.get("origin") not in ("", self.base):
            return as_json(403, {"error": "access_denied"})
        answer = self._mcp(asked) if asked.path.startswith("/mcp") else as_json(404, {"error": "not_found"})
        if asked.get("origin"):
            answer = answer.having(
                access_control_allow_origin=self.base, access_control_expose_headers=_EXPOSED, vary="Origin"
            )
        return answer

    def _mcp(self, asked: Asked) -> Answer:
        if asked.preflight:
            return Answer(
                204, {"access-control-allow-methods": "GET, POST, DELETE", "access-control-allow-headers": _ALLOWED}
            )
        if asked.method == "OPTIONS" and asked.token is None:
            return self._refused(asked)
        doubled = any(len(asked.all(name)) > 1 for name in ("authorization", "mcp-protocol-version"))
        both = bool(asked.get("x-api-key")) and asked.token is not None
        if doubled or both or "access_token" in parse_qs(asked.query):
            return as_json(400, {"error": "invalid_request"})
        if asked.token == GOOD_TOKEN:
            return as_json(200, RESULT)
        return self._refused(asked)

    def _refused(self, asked: Asked) -> Answer:
        words = f'Bearer resource_metadata="{self.base}/.well-known/oauth-protected-resource/mcp", scope="notes:read"'
        if asked.token is not None:
            words += ', error="invalid_token", error_description="The token is invalid"'
        return as_json(401, {"error": "unauthorized"}, www_authenticate=words)

    def _well_known(self, asked: Asked) -> Answer:
        name = asked.path.removeprefix("/.well-known/")
        open_to_all = {"access_control_allow_origin": "*", "cache_control": "public, max-age=3600"}
        if name in ("oauth-protected-resource", "oauth-protected-resource/mcp"):
            document: dict[str, Any] = {"resource": f"{self.base}/mcp", "authorization_servers": [f"{self.base}/as"]}
            return as_json(200, document | {"scopes_supported": ["notes:read"]}, **open_to_all)
        if name == "oauth-authorization-server/as":
            return as_json(
                200,
                {
                    "issuer": f"{self.base}/as",
                    "code_challenge_methods_supported": ["S256"],
                    "registration_endpoint": f"{self.base}/register",
                    "jwks_uri": f"{self.base}/keys",
                },
            )
        return as_json(404, {"error": "not_found"})
