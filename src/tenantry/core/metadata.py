"""OAuth protected resource metadata (RFC 9728): where a client learns whom to ask for a token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import urlsplit

WELL_KNOWN = "/.well-known/oauth-protected-resource"
# None of them registers clients that it does not know, or takes the URL of a client's metadata for its identifier.
_KNOWN_CLIENTS_ONLY = frozenset({"accounts.google.com", "github.com", "login.microsoftonline.com"})
_KNOWN_CLIENTS_BELOW = (".amazonaws.com",)  # user pools of Amazon Cognito


def metadata_paths(resource: str) -> tuple[str, ...]:
    """Both places clients look: with the resource's path inserted (RFC 9728 section 3.1), and the root."""
    path = urlsplit(resource).path.rstrip("/")
    return tuple(dict.fromkeys((WELL_KNOWN + path, WELL_KNOWN)))


def metadata_url(resource: str) -> str:
    """The URL of the metadata, for ``resource_metadata`` in challenges."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{metadata_paths(resource)[0]}"


def resources(resource: str, paths: Sequence[str]) -> dict[str, str]:
    """The resource identifier of each further endpoint, by the path that a request for it has: below the same prefix as
    ``resource``, which is one of ``paths`` (none ends in a slash). Empty where it is none of them: nobody said what the
    others are called."""
    whole = resource.rstrip("/")
    own = max((path for path in paths if urlsplit(whole).path.endswith(path)), key=len, default=None)
    if own is None:
        return {}
    others = {path: whole.removesuffix(own) + path for path in paths if path != own}
    return others | {urlsplit(other).path: other for other in others.values()}


def in_order(authorization_servers: Sequence[str]) -> list[str]:
    """Those that any client can sign in with first, in the order given."""
    return sorted(authorization_servers, key=_only_known_clients)


def _only_known_clients(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    return host in _KNOWN_CLIENTS_ONLY or host.endswith(_KNOWN_CLIENTS_BELOW)


def metadata_document(
    resource: str,
    authorization_servers: Sequence[str],
    scopes: Sequence[str],
    dpop: Sequence[str] = (),
    *,
    dpop_required: bool = False,
) -> bytes:
    """The document, as JSON. ``resource`` is character for character what the operator configured: clients
    compare it with what their user typed. Never advertises ``offline_access`` (MCP authorization).

    Of several authorization servers most clients take the first and no other: those that any client can sign in with
    come first, in the order given. ``dpop`` are the algorithms of DPoP proofs, if any are taken.
    """
    document: dict[str, object] = {
        "resource": resource,
        "authorization_servers": in_order(authorization_servers),
        "bearer_methods_supported": ["header"],
    }
    if scopes:
        document["scopes_supported"] = list(scopes)
    if dpop:
        document["dpop_signing_alg_values_supported"] = list(dpop)
        document["dpop_bound_access_tokens_required"] = dpop_required
    return json.dumps(document).encode()
