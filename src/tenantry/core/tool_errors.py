"""A host's own error in place of a refusal: how it is known, and what is said in it where it is on its way already."""

from __future__ import annotations

from typing import Any

from ..errors import Refusal

# OpenAI Apps SDK, "Authentication": the client begins to sign in where a tool's error holds a list of challenges.
CHALLENGES = "mcp/www_authenticate"


def failed(message: Any) -> bool:
    """Whether it is a JSON-RPC error, or the result of a tool that failed (MCP tools, "Error handling")."""
    if not isinstance(message, dict) or "jsonrpc" not in message:
        return False
    result = message.get("result")
    return "error" in message or (isinstance(result, dict) and result.get("isError") is True)


def explained(message: dict[str, Any], refusal: Refusal, challenge: str | None) -> dict[str, Any]:
    """A failed message that says why, and with ``challenge`` how to get further."""
    words = ": ".join(filter(None, (refusal.description, " ".join(refusal.scopes))))
    result, error = message.get("result"), message.get("error")
    if isinstance(result, dict):
        told = {**result, "content": [{"type": "text", "text": words}]}
        if challenge is not None:
            told["_meta"] = {**(result.get("_meta") or {}), CHALLENGES: [challenge]}
        return {**message, "result": told}
    return {**message, "error": {**error, "message": words}} if isinstance(error, dict) else message
