"""OAuth protected resource metadata (RFC 9728): where a client learns whom to ask for a token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

WELL_KNOWN = "/.well-known/oauth-protected-resource"


def metadata_paths(resource: str) -> tuple[str, ...]:
    """Both places clients look: with the resource's path inserted (RFC 9728 section 3.1), and the root."""
    path = urlsplit(resource).path.rstrip("/")
    return tuple(dict.fromkeys((WELL_KNOWN + path, WELL_KNOWN)))


def metadata_url(resource: str) -> str:
    """The URL of the metadata, for ``resource_metadata`` in challenges."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{metadata_paths(resource)[0]}"


def metadata_document(resource: str, authorization_servers: Sequence[str], scopes: Sequence[str]) -> bytes:
    """The document, as JSON. ``resource`` is character for character what the operator configured: clients
    compare it with what their user typed. Never advertises ``offline_access`` (MCP authorization)."""
    document: dict[str, object] = {
        "resource": resource,
        "authorization_servers": list(authorization_servers),
        "bearer_methods_supported": ["header"],
    }
    if scopes:
        document["scopes_supported"] = list(scopes)
    return json.dumps(document).encode()
