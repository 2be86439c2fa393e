"""What every answer carries for the browser that may read it. An app that has set one of them keeps its own."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from operator import itemgetter

from ..errors import ConfigurationError
from .transport import Header

# By the names of MCP_HTTP_SECURITY_HEADERS. An API's answers load nothing, are framed by nobody and open no window.
HEADERS: dict[str, Header] = {
    "csp": (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    "nosniff": (b"x-content-type-options", b"nosniff"),
    "frame": (b"x-frame-options", b"DENY"),
    "referrer": (b"referrer-policy", b"no-referrer"),
    "coop": (b"cross-origin-opener-policy", b"same-origin"),
}
OFF = "off"
_name = itemgetter(0)
_PRELOAD_FROM = 31_536_000  # seconds: below one year no browser's list takes a host (hstspreload.org)


class SecurityHeaders:
    """``names`` are those of ``HEADERS`` that are sent, or ("off",). ``hsts_max_age`` in seconds, 0 for no HSTS;
    ``hsts_preload`` adds includeSubDomains and preload. Raises ``ConfigurationError`` for a name that is none."""

    def __init__(self, names: Sequence[str] = tuple(HEADERS), *, hsts_max_age: int = 0, hsts_preload: bool = True):
        plain = [] if tuple(names) == (OFF,) else [HEADERS[_known(name)] for name in names]
        hsts = [(b"strict-transport-security", _hsts(hsts_max_age, preload=hsts_preload))] if hsts_max_age else []
        # By whether the client came over https (HSTS means nothing over http: RFC 6797 section 7.2).
        self._plain = {False: plain, True: [*hsts, *plain]}
        self._exempt: dict[bool, list[Header]] = {False: [], True: hsts}
        self._names = frozenset(name for name, _ in self._plain[True])

    def add(self, headers: list[Header], *, https: bool, exempt: bool = False) -> list[Header]:
        """Appends what is missing to the headers of one answer and returns them. ``exempt``: a page of the app's own,
        outside of what is guarded here."""
        ours = (self._exempt if exempt else self._plain)[https]
        if self._names.isdisjoint(map(bytes.lower, map(_name, headers))):
            headers += ours
        else:
            present = {name.lower() for name, _ in headers}
            headers += [header for header in ours if header[0] not in present]
        return headers


def _hsts(max_age: int, *, preload: bool) -> bytes:
    words = [f"max-age={max_age}"]
    if preload:
        words.append("includeSubDomains")
        if max_age >= _PRELOAD_FROM:
            words.append("preload")
    return "; ".join(words).encode()


def _known(name: str) -> str:
    if name in HEADERS:
        return name
    if name == OFF:
        problem = ": `off` stands alone"
    else:
        close = difflib.get_close_matches(name.lower(), HEADERS, 1)
        problem = f": did you mean {close[0]}?" if close else f"; they are {', '.join(HEADERS)}, or off for none"
    raise ConfigurationError(f"MCP_HTTP_SECURITY_HEADERS holds {name!r}, which is none of them{problem}.")
