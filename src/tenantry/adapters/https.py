"""Only https, in production: a token that was sent in the clear once is anybody's.

A safe request is told where to come instead (308, RFC 9110 section 15.4.9). Every other gets 426 (section 15.5.22),
for a client that follows a redirect would send the token and the body in the clear again the next time. So does a CORS
preflight: browsers do not follow its redirects, and where it fails the token is never sent.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

from ..core.redaction import is_suspect
from ..errors import UpgradeRequired
from .expiry import Scope
from .forwarded import Peer
from .incoming import folded
from .transport import Answer, Header

_TARGET = re.compile(rb"/[!-~]*")  # RFC 9112 section 3.2.1, origin-form
_LOOPBACK = re.compile(rb"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_PROXIES_SAY = frozenset({b"via", b"forwarded"})
# HTTP/2 has no such fields and a message with them is malformed (RFC 9113 section 8.2.2), nor has HTTP/1.0.
_UPGRADE: list[Header] = [(b"upgrade", b"TLS/1.2, HTTP/1.1"), (b"connection", b"Upgrade")]


class HttpsOnly:
    """``public_url`` says where https is served, None when nobody knows; ``exempt`` are paths that are served anyhow
    (health checks come from inside), and so is everything below ``/.well-known/``, which is public."""

    def __init__(self, public_url: str | None, exempt: Collection[str] = ()) -> None:
        self._base = None if public_url is None else f"https://{urlsplit(public_url).netloc}".encode("ascii")
        self._exempt = frozenset(exempt)

    def check(self, scope: Scope, path: str, peer: Peer) -> Answer | None:
        """None for a request that may go on; a redirect, or ``UpgradeRequired``, for one that may not. ``scope`` is as
        the server made it (what ``cleaned`` drops is looked at), ``path`` the local path."""
        if peer.https or path in self._exempt or path.startswith("/.well-known/"):
            return None
        if _stays_here(scope, peer):
            return None
        location = self._location(scope) if scope.get("method") in ("GET", "HEAD") else None
        if location is None:
            raise UpgradeRequired("https_required")
        return Answer(308, [(b"location", location), (b"cache-control", b"no-store")])

    def _location(self, scope: Scope) -> bytes | None:
        """The same target under https; None where that is not known, or would repeat a secret."""
        target = scope.get("raw_path") or b""
        if scope.get("query_string"):
            target += b"?" + scope["query_string"]
        if self._base is None or not _TARGET.fullmatch(target):
            return None
        text = target.decode("ascii")
        if is_suspect(text) or is_suspect(unquote(text)):
            return None
        return self._base + target


def upgrade_headers(scope: Scope) -> list[Header]:
    """What a 426 carries beside its body."""
    return _UPGRADE if scope.get("http_version") == "1.1" else []


def _stays_here(scope: Scope, peer: Peer) -> bool:
    """Whether nothing travels over a network: this machine asks itself, by its own name, for nobody else."""
    address = peer.address
    if address is None or not (address == "::1" or address.startswith("127.")):
        return False
    names = [folded(name) for name, _ in scope["headers"]]
    if any(name in _PROXIES_SAY or name.startswith(b"x-forwarded") or name.endswith(b"-ip") for name in names):
        return False
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    return len(hosts) == 1 and _LOOPBACK.fullmatch(hosts[0]) is not None
