"""What the attacks on bodies share: an app that believes what it reads, and clients that send what they like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.support import Pairs, Reply, World, a_scope

KEY = "a-key-of-our-own"  # may use ``safe``
ADMIN = "the-key-of-an-admin"  # may use everything
HERE = ("203.0.113.7", 50_000)
JSON = ("content-type", "application/json")
KEYS = {
    KEY: {"name": "ci", "tenant_id": "acme", "permissions": ["notes:read"]},
    ADMIN: {"name": "boss", "tenant_id": "acme", "permissions": ["notes:read", "notes:write", "admin:run"]},
}
POLICY = """
[[rule]]
tool = "admin"
permissions = ["admin:run", "notes:write"]

[[rule]]
tool = "safe"
permissions = ["notes:read"]

[[rule]]
tool = "heavy"
permissions = ["notes:read"]
weight = 4

[[rule]]
tool = "lead"
permissions = ["notes:read"]
roles = ["lead"]

[[rule]]
tool = "mine"
when = { "arguments.owner" = { eq = "$user.tenant_id" } }

[[rule]]
tool = "help"
public = true

[[rule]]
resource = "notes://*"
permissions = ["notes:read"]
"""
Policed = Callable[..., Any]


def policed(world: World, folder: Path, app: Any, *, policy: str = POLICY, **changes: Any) -> Any:
    """``app`` behind a gate with these rules, which the keys of this module open."""
    file = folder / "policy.toml"
    file.write_text(policy)
    return world.guard(app, **{"api_keys": KEYS, "policy_file": file, **changes})


class Host:
    """Reads the whole body as hosts do, runs what it asks for, and remembers all of it."""

    def __init__(self) -> None:
        self.scopes: list[Any] = []
        self.messages: list[Any] = []
        self.ran: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            self.messages.append(message)
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = json.loads(body) if body else []
        self.ran += [one.get("method") for one in (asked if isinstance(asked, list) else [asked])]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": b'{"jsonrpc": "2.0", "id": 1, "result": {}}'})

    @property
    def untouched(self) -> bool:
        return not self.scopes


class Upload:
    """A client's side of a request body: its pieces, and then either silence or the end of the connection."""

    def __init__(self, *pieces: bytes, whole: bool = True, gone: bool = False) -> None:
        self._pieces = list(pieces) or [b""]
        self._whole, self._gone = whole, gone
        self.taken = 0
        self.begun, self.left = asyncio.Event(), asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        self.begun.set()
        if self._pieces:
            piece = self._pieces.pop(0)
            self.taken += len(piece)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces) or not self._whole}
        if not self._gone:
            await self.left.wait()
        return {"type": "http.disconnect"}


def call(name: str, method: str = "tools/call", number: int = 1, **arguments: Any) -> bytes:
    """A request for a tool or prompt of this name."""
    return message(method, {"name": name, "arguments": arguments}, number)


def message(method: str, params: dict[str, Any] | None = None, number: int | None = 1) -> bytes:
    found: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
    if number is None:
        del found["id"]
    return json.dumps(found).encode()


def batch(*messages: bytes) -> bytes:
    return b"[" + b",".join(messages) + b"]"


async def post(
    guarded: Any, body: bytes | Upload, headers: Pairs = (), *, key: str | None = KEY, **scope: Any
) -> Reply:
    """One request with a body, by hand. It has a JSON content type unless ``headers`` say something about it."""
    upload = body if isinstance(body, Upload) else Upload(body)
    sent: Iterable[tuple[str, str]] = [*headers]
    sent = sent if any(name == "content-type" for name, _ in sent) else [*sent, JSON]
    if key is not None:
        sent = [("x-api-key", key), *sent]
    reply = Reply()

    async def send(event: Any) -> None:
        reply.messages.append(dict(event))

    await guarded(a_scope(**{"headers": sent, "client": HERE, **scope}), upload.receive, send)
    return reply
