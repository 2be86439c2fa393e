"""The words of a refusal on the wire: WWW-Authenticate (RFC 6750 section 3, RFC 9728 section 5.1) and the body."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..errors import HeadersDisagree, ProofInvalid, Refusal


def challenge(refusal: Refusal, metadata_url: str | None, scopes: Sequence[str]) -> str | None:
    """The value of WWW-Authenticate, or None when this answer carries none.

    Every value is quoted and ``error_description`` comes last: MCP clients pick fields with unanchored regular
    expressions, and some read only quoted values. What is wrong with a DPoP proof is said in its own challenge.
    """
    if refusal.challenge == "none":
        return None
    asked = refusal.scopes or tuple(scopes)
    fields = {"resource_metadata": metadata_url, "scope": " ".join(asked)}
    if refusal.challenge == "error" and not isinstance(refusal, ProofInvalid):
        fields |= {"error": refusal.error, "error_description": refusal.description}
    quoted = ", ".join(f'{name}="{value}"' for name, value in fields.items() if value)
    return f"Bearer {quoted}" if quoted else 'Bearer realm="mcp"'


def dpop_challenge(refusal: Refusal, algorithms: Sequence[str]) -> str:
    """The value of a second WWW-Authenticate, behind Bearer's (RFC 9449 section 7.1)."""
    fields = {"algs": " ".join(algorithms)}
    if refusal.challenge == "error":
        fields = {"error": refusal.error, "error_description": refusal.description, **fields}
    return "DPoP " + ", ".join(f'{name}="{value}"' for name, value in fields.items())


def body(refusal: Refusal, request_id: str, *, development: bool) -> bytes:
    """``{"error", "error_description", "request_id"}``; in development also ``reason`` and ``hint``. A JSON-RPC error
    where MCP asks for one."""
    if isinstance(refusal, HeadersDisagree):
        error = {"code": refusal.rpc_code, "message": refusal.description, "data": {"request_id": request_id}}
        return json.dumps({"jsonrpc": "2.0", "id": refusal.rpc_id, "error": error}).encode()
    words = {"error": refusal.error, "error_description": refusal.description, "request_id": request_id}
    if development:
        words["reason"] = refusal.reason
        hint = " ".join(filter(None, (refusal.hint, refusal.detail)))
        if hint:
            words["hint"] = hint
    return json.dumps(words).encode()
