"""The HTTP around the gate: which hosts and origins are served, CORS, resource metadata, and how a refusal looks.

Sources: RFC 6750, RFC 9728, the Fetch standard's CORS protocol, MCP authorization and transports 2026-07-28.
Everything here is decided once, at start; a request only looks things up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import ceil

from ..core.challenge import body, challenge, dpop_challenge
from ..core.metadata import metadata_document, metadata_paths, metadata_url
from ..errors import Forbidden, Misdirected, OverQuota, Refusal
from ..limits import Limit

Header = tuple[bytes, bytes]

_LOOPBACK_HOST = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?")
_LOOPBACK_ORIGIN = re.compile(r"https?://" + _LOOPBACK_HOST.pattern)
_ALLOW_HEADERS = (
    b"Authorization, DPoP, X-API-Key, Content-Type, Accept, MCP-Protocol-Version, Mcp-Method, Mcp-Name, "
    b"Mcp-Session-Id, Last-Event-ID"
)
# Mcp-Param-*: named by the tool, so allowed by prefix; a token (RFC 9110 section 5.6.2), for it is echoed.
_PARAMETER = re.compile(r"mcp-param-[!#$%&'*+.^_`|~0-9a-z-]+")
_EXPOSE = b"WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, Retry-After, RateLimit, RateLimit-Policy, X-Request-ID"
_PREFLIGHT_AGE = b"600"
_METADATA_AGE = b"public, max-age=3600"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response of ours."""

    status: int
    headers: list[Header]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Transport:
    """``resource`` is None when nobody can sign in by OAuth: clients ignore a configured key once OAuth is
    advertised. ``resources`` are those of further endpoints, by their paths. ``dpop`` are the algorithms of proofs
    where some provider takes bound tokens, ``dpop_required`` when none takes others. ``hosts`` and ``origins`` are
    lower-case; None for ``hosts`` serves any, ``"*"`` among ``origins`` any. ``loopback`` also serves this machine's
    own names and origins (development)."""

    resource: str | None = None
    resources: Mapping[str, str] = field(default_factory=dict)
    authorization_servers: Sequence[str] = ()
    scopes: Sequence[str] = ()
    dpop: Sequence[str] = ()
    dpop_required: bool = False
    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()
    exempt_paths: frozenset[str] = frozenset()
    loopback: bool = False
    development: bool = False
    metadata: Mapping[str, bytes] = field(init=False)
    _metadata_url: str | None = field(init=False)
    _metadata_urls: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        metadata: dict[str, bytes] = {}
        url, urls = None, {}
        if self.resource is not None:
            metadata = dict.fromkeys(metadata_paths(self.resource), self._document(self.resource))
            url, urls = metadata_url(self.resource), {path: metadata_url(one) for path, one in self.resources.items()}
            metadata |= {metadata_paths(one)[0]: self._document(one) for one in self.resources.values()}
        object.__setattr__(self, "metadata", metadata)
        object.__setattr__(self, "_metadata_url", url)
        object.__setattr__(self, "_metadata_urls", urls)

    def _document(self, resource: str) -> bytes:
        return metadata_document(
            resource, self.authorization_servers, self.scopes, self.dpop, dpop_required=self.dpop_required
        )

    @property
    def oauth(self) -> bool:
        """Whether a client can get a token by signing in."""
        return self.resource is not None

    def check(self, headers: Mapping[bytes, bytes]) -> None:
        """Raise ``Misdirected`` or ``Forbidden`` for a Host or Origin that is not ours (DNS rebinding)."""
        if self.hosts is not None:
            host = headers.get(b"host", b"").decode("latin-1").lower()
            if host not in self.hosts and not (self.loopback and _LOOPBACK_HOST.fullmatch(host)):
                raise Misdirected("host_not_allowed")
        origin = headers.get(b"origin")
        if origin is not None and not self._allows(origin):
            raise Forbidden("origin_not_allowed")

    def _allows(self, origin: bytes) -> bool:
        text = origin.decode("latin-1").lower()
        if text in self.origins or "*" in self.origins:
            return True
        return self.loopback and _LOOPBACK_ORIGIN.fullmatch(text) is not None

    def cors(self, headers: Mapping[bytes, bytes]) -> list[Header]:
        """CORS headers for a response to an allowed origin; none for a request without Origin."""
        origin = headers.get(b"origin")
        if origin is None or not self._allows(origin):
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _EXPOSE),
            (b"vary", b"Origin"),
        ]

    def preflight(self, headers: Mapping[bytes, bytes], asked: str) -> Answer:
        """The answer to a CORS preflight, which never carries a credential; ``asked`` are the header names."""
        self.check(headers)
        parameters = [name for name in map(str.strip, asked.lower().split(",")) if _PARAMETER.fullmatch(name)]
        allowed = ", ".join([_ALLOW_HEADERS.decode(), *parameters]).encode("ascii")
        return Answer(
            204,
            [
                *self.cors(headers),
                (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
                (b"access-control-allow-headers", allowed),
                (b"access-control-max-age", _PREFLIGHT_AGE),
            ],
        )

    def well_known(self, path: str, method: str) -> Answer | None:
        """The resource metadata, a clean 404 for its neighbours, None for every other path (RFC 8615)."""
        if not path.startswith("/.well-known/"):
            return None
        headers: list[Header] = [(b"access-control-allow-origin", b"*"), (b"content-type", b"application/json")]
        document = self.metadata.get(path.rstrip("/"))
        if document is None:
            return Answer(404, headers, b'{"error": "not_found"}')
        if method == "OPTIONS":
            return Answer(204, [*headers, (b"access-control-allow-methods", b"GET, HEAD, OPTIONS")])
        if method not in ("GET", "HEAD"):
            return Answer(405, [*headers, (b"allow", b"GET, HEAD, OPTIONS")], b'{"error": "method_not_allowed"}')
        return Answer(200, [*headers, (b"cache-control", _METADATA_AGE)], document)

    def refusal(self, refusal: Refusal, headers: Mapping[bytes, bytes], request_id: str, path: str = "") -> Answer:
        """What a refused caller at ``path`` sees (design: "Answers"). Never a word taken from a token."""
        answer = body(refusal, request_id, development=self.development)
        media_type = b"application/json"
        fields: list[Header] = [(b"cache-control", b"no-store"), *self.cors(headers)]
        words = challenge(refusal, self._metadata_urls.get(path.rstrip("/"), self._metadata_url), self.scopes)
        if words is not None:
            fields.append((b"www-authenticate", words.encode("ascii")))
            if self.dpop:
                fields.append((b"www-authenticate", dpop_challenge(refusal, self.dpop).encode("ascii")))
        if refusal.retry_after is not None:
            fields.append((b"retry-after", str(refusal.retry_after).encode()))
        if isinstance(refusal, OverQuota):
            media_type = b"application/problem+json"
            answer = _problem(refusal, answer)
            fields += limit_headers(refusal.limits)
        return Answer(refusal.status, [(b"content-type", media_type), *fields], answer)


def _problem(refusal: Refusal, answer: bytes) -> bytes:
    """RFC 9457, beside the members every refusal has."""
    members = {"type": "about:blank", "title": refusal.description, "status": refusal.status}
    return json.dumps(members | json.loads(answer)).encode()


def limit_headers(limits: Sequence[Limit]) -> list[Header]:
    """What a caller may ask for and what is left of it (draft-ietf-httpapi-ratelimit-headers-11)."""
    if not limits:
        return []
    policies, left = [], []
    for name, units, window, remaining, reset in limits:
        policies.append(_limit_policy(name, units, window))
        left.append(f'"{name}";r={remaining};t={ceil(reset)}')
    return [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(left).encode())]


@lru_cache(maxsize=64)
def _limit_policy(name: str, units: int, window: float) -> str:
    return f'"{name}";q={units};w={window:.0f}'
