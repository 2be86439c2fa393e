"""The MCP requests that checks send, and what an answer to one means."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from ... import __version__
from .probe import NoReply, Probe, Reply
from .target import Header

VERSION: Header = ("mcp-protocol-version", "2025-06-18")
METHODS = ("GET", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS")
_REFUSING = re.compile(r"unauth|not auth|authenticat|credential|token|log ?in|sign ?in|forbidden|denied", re.IGNORECASE)
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "tenantry-doctor", "version": __version__},
    },
}
LIST: dict[str, Any] = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
# A tool that nobody has: a server that lets the call in does no more than say so.
CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 3,
    "method": "tools/call",
    "params": {"name": "tenantry_doctor_no_such_tool", "arguments": {}},
}
INITIALIZED: dict[str, Any] = {"jsonrpc": "2.0", "method": "notifications/initialized"}


async def initialize(probe: Probe, *headers: Header) -> Reply:
    """The first request of every client, without a token unless ``headers`` hold one."""
    return await probe.ask("POST", headers=headers, message=INITIALIZE)


async def with_token(probe: Probe, token: str, *headers: Header) -> Reply:
    return await initialize(probe, ("authorization", f"Bearer {token}"), *headers)


async def refusal(probe: Probe) -> Reply | None:
    """The first 401 to a request without a token; None where there is none."""
    reply = await initialize(probe)
    if reply.status == 401:
        return reply
    reply = await probe.ask("POST", headers=[VERSION], message=CALL)
    if reply.status == 401:
        return reply
    reply = await probe.ask("GET")
    return reply if reply.status == 401 else None


async def every_method(probe: Probe) -> dict[str, Reply]:
    """What each method answers to a request without a token, if it does."""
    replies = {"POST": await initialize(probe)}
    for method in METHODS:
        with suppress(NoReply):
            replies[method] = await probe.ask(method)
    return replies


def refuses_inside(reply: Reply) -> bool:
    """Whether a 2xx is a refusal in MCP's clothes: a JSON-RPC error or a tool's error that speaks of credentials."""
    message = reply.message()
    if message is None:
        return False
    result = message.get("result")
    failed = "error" in message or (isinstance(result, dict) and result.get("isError") is True)
    return failed and _REFUSING.search(reply.text) is not None


def let_in(reply: Reply) -> bool:
    """Whether MCP was reached: a 2xx that is not a refusal inside."""
    return reply.success and not refuses_inside(reply)


def listed(names: list[str]) -> str:
    """ "GET", "GET and PUT", "GET, PUT and PATCH"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
