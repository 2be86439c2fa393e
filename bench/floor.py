"""The floor: the least that any gate in pure Python must do with a warm token, by hand in one function.

Walk the headers, hash the token, look it up, ask the clock, publish the caller, take him back. No host or origin
check, no tenant, no policy, no quota, no observation, no end of streams: not a gate, but what part of a target is
physics of this machine. Precedent: facts/performance.md section 2, "hand-written floor".
"""

from __future__ import annotations

import hashlib
import time
from typing import Any

from tenantry.adapters.expiry import App, Receive, Scope, Send
from tenantry.context import user_variable
from tenantry.model import MCPUserContext


class Floor:
    """``app`` behind the floor, which knows ``token`` only."""

    def __init__(self, app: App, token: str) -> None:
        user = MCPUserContext("google:1", "google", "1", "acme_example")
        self._app = app
        self._known: dict[bytes, Any] = {hashlib.sha256(token.encode()).digest(): (time.time() + 3600, user)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secret = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                secret = value[7:]
        expires_at, user = self._known[hashlib.sha256(secret).digest()]
        if time.time() >= expires_at:
            raise RuntimeError("the floor's token has expired")
        token = user_variable.set(user)
        try:
            await self._app({**scope, "state": {**scope["state"], "user": user}}, receive, send)
        finally:
            user_variable.reset(token)
