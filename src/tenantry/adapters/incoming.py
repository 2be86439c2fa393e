"""What the app sees of a request: nothing that looks like a statement about who is calling and was not made by us.

``X-User-*`` and ``X-Tenant-*`` are dropped whoever sends them: an app that reads them from a gateway elsewhere must not
find a stranger's here. Forwarded headers are dropped unless a trusted proxy sent them. A bridge to WSGI or CGI writes
every sign but letters and digits as ``_`` (RFC 3875 section 4.1.18 and what servers make of it), so spellings that meet
there are one name here.
"""

from __future__ import annotations

from operator import itemgetter

from .expiry import Scope
from .forwarded import Peer

# Names that are never dropped, and that nearly every request consists of. Whatever else comes is looked at.
_PLAIN = frozenset(
    b"""
    accept accept-charset accept-encoding accept-language access-control-request-headers access-control-request-method
    authorization baggage cache-control connection content-encoding content-language content-length content-type cookie
    date dnt dpop expect host if-match if-modified-since if-none-match if-unmodified-since keep-alive last-event-id
    mcp-method mcp-name mcp-protocol-version mcp-session-id origin pragma priority range referer sec-fetch-dest
    sec-fetch-mode sec-fetch-site sec-fetch-user sec-websocket-extensions sec-websocket-key sec-websocket-protocol
    sec-websocket-version te traceparent tracestate transfer-encoding upgrade upgrade-insecure-requests user-agent via
    x-api-key x-request-id
    """.split()
)
# What a trusted proxy says, in the one spelling in which it is read here.
_FORWARDED = frozenset(
    {b"forwarded", b"x-real-ip", b"cf-connecting-ip", b"fly-client-ip", b"true-client-ip", b"x-client-ip"}
)
_FORWARDED_PREFIX = b"x-forwarded"
_IDENTITY = (b"x-user", b"x-tenant")
_FOLD = bytes(
    ord(chr(byte).lower()) if chr(byte).isascii() and chr(byte).isalnum() else ord("-") for byte in range(256)
)
_name = itemgetter(0)


def cleaned(scope: Scope, peer: Peer) -> Scope:
    """The scope for the app; the same object where there is nothing to change. The caller's own is not touched."""
    headers = scope["headers"]
    if not peer.trusted:
        if _PLAIN.issuperset(map(_name, headers)):
            return scope
        kept = [pair for pair in headers if pair[0] in _PLAIN or not _is_statement(pair[0])]
        return scope if len(kept) == len(headers) else {**scope, "headers": kept}
    kept = [pair for pair in headers if pair[0] in _PLAIN or _is_forwarded(pair[0]) or not _is_statement(pair[0])]
    client = None if peer.address is None else (peer.address, 0)  # the port is the proxy's secret
    return {**scope, "headers": kept, "client": client, "scheme": _scheme(scope, https=peer.https)}


def folded(name: bytes) -> bytes:
    """The one spelling of a header's name in which its readers may meet: small, and ``-`` for every other sign."""
    return name.translate(_FOLD)


def _is_forwarded(name: bytes) -> bool:
    """Whether a proxy tells of the client under this name, in the spelling in which it is read."""
    return name == folded(name) and (name in _FORWARDED or name.startswith(_FORWARDED_PREFIX))


def _is_statement(name: bytes) -> bool:
    """Any spelling of an identity header or of a forwarded one."""
    name = folded(name)
    return name.startswith(_IDENTITY) or name.startswith(_FORWARDED_PREFIX) or name in _FORWARDED


def _scheme(scope: Scope, *, https: bool) -> str:
    plain = "ws" if scope["type"] == "websocket" else "http"
    return plain + "s" if https else plain
