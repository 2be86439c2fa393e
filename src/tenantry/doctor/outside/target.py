"""The URL under examination, and the URLs that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from ...core.metadata import WELL_KNOWN
from ...errors import ConfigurationError
from ...settings.rules import LOOPBACK_HOSTS

Header = tuple[str, str]


def parts_of(url: str) -> SplitResult:
    """The parts of a URL that somebody else wrote; all empty for what cannot be read as one."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return SplitResult("", "", "", "", "")
    return parts


@dataclass(frozen=True, slots=True)
class Target:
    """``url``: where requests go. ``headers`` go with each of them (a proxy's, in its place). ``public``: the URL as
    users type it, which differs where we ask behind the proxy that ends TLS."""

    url: str
    public: str
    headers: tuple[Header, ...] = ()

    @classmethod
    def of(cls, url: str, headers: Sequence[Header] = ()) -> Target:
        """Raises ``ConfigurationError`` for what is no http(s) URL."""
        parts, problem = parts_of(url), _problem(url)
        if problem:
            raise ConfigurationError(f"The URL {problem}: give the MCP endpoint, like https://mcp.example.com/mcp.")
        told = {name.lower(): value for name, value in headers}
        scheme = told.get("x-forwarded-proto", parts.scheme)
        public = parts._replace(scheme=scheme, netloc=told.get("host", parts.netloc)).geturl()
        return cls(url, public, tuple(headers))

    @property
    def https(self) -> bool:
        """Whether users come over TLS, here or at the proxy in front."""
        return urlsplit(self.public).scheme == "https"

    @property
    def local(self) -> bool:
        """Plain http to this machine: development, where https would protect nothing."""
        return not self.https and urlsplit(self.url).hostname in LOOPBACK_HOSTS

    @property
    def origin(self) -> str:
        """The public origin: what a page of the server's own would send."""
        parts = urlsplit(self.public)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path(self) -> str:
        return urlsplit(self.url).path or "/"

    def at(self, path: str, query: str = "") -> str:
        """Another path of the same server."""
        return urlsplit(self.url)._replace(path=path, query=query, fragment="").geturl()

    @property
    def metadata_urls(self) -> tuple[str, str]:
        """The path-inserted and the root URL (RFC 9728 section 3.1); the same for an endpoint at the root."""
        return self.at(WELL_KNOWN + self.path.rstrip("/")), self.at(WELL_KNOWN)


def _problem(url: str) -> str | None:
    parts = parts_of(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is not one of http or https"
    if parts.username is not None or parts.password is not None:
        return "holds a user name: a credential has no place in it"
    if parts.query or parts.fragment:
        return "has a query or a fragment"
    return None if url.isascii() and url.isprintable() and " " not in url else "has signs that a URL cannot have"
