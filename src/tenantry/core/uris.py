"""One spelling of a resource only (RFC 3986 section 6.2; WHATWG URL, which pydantic's ``AnyUrl`` applies).

Rules are about the text of a URI; the host may read the resource by another text that means the same to it
(``notes://a/../b``, ``notes://%61``, ``FILE:///b``). So that no second spelling gets past a rule, only one is let in:
this file says what is wrong with the others.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

_SCHEME = re.compile(r"[a-z][a-z0-9+.\-]*:")
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/?@!$&'()*+,;=%\[\]]*")  # RFC 3986 section 2 without "#"
_BAD_ESCAPE = re.compile(r"%(?![0-9A-F]{2})")
# Escapes of what needs none (RFC 3986 section 6.2.2.2), of control characters, and an escaped escape.
_NEEDLESS = re.compile(r"%(?:2[DE]|3[0-9]|4[1-9A-F]|5[0-9AF]|6[1-9A-F]|7[0-9AEF]|[01][0-9A-F]|25[0-9A-Fa-f]{2})")
_TEMPLATE = re.compile(r"\{[^{}]*\}")

_DEFAULT_PORTS = {"http": "80", "ws": "80", "https": "443", "wss": "443", "ftp": "21"}
_LABEL = r"[a-z0-9](?:[a-z0-9_\-]*[a-z0-9])?"
# The last label of a name begins with a letter: "0x7f.1" and "2130706433" are addresses to some.
_HOST = re.compile(rf"(?:(?:{_LABEL}\.)*[a-z](?:[a-z0-9\-]*[a-z0-9])?|(?P<address>[0-9]+(?:\.[0-9]+){{3}}))")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_OCTET = re.compile(r"0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]")


def misspelt(uri: str) -> str | None:
    """What makes ``uri`` another spelling than the one that is let in; None when nothing does."""
    scheme = _SCHEME.match(uri)
    if scheme is None:
        return "it does not begin with a scheme in lower case"
    if not _CHARACTERS.fullmatch(uri):
        return "it holds a fragment or characters that a URI cannot have"
    rest = uri[scheme.end() :]
    problem = _escapes(rest) if "%" in rest else None
    return problem or _segments(rest) or _port(rest) or _authority(scheme[0][:-1], rest)


def misspelt_template(template: str) -> str | None:
    """The same of a URI template (RFC 6570), whose expressions stand for anything."""
    return misspelt(_TEMPLATE.sub("x", template))


def _escapes(rest: str) -> str | None:
    if _BAD_ESCAPE.search(rest):
        return "it holds a % without two digits or capital letters A to F behind it"
    if _NEEDLESS.search(rest):
        return "it escapes what needs no escape, a control character or an escape"
    try:
        unquote(rest, errors="strict")
    except UnicodeDecodeError:
        return "its escapes are not UTF-8"
    return None


def _segments(rest: str) -> str | None:
    """Escaped separators count: hosts decode before they split, or after."""
    if "%" not in rest and "/." not in rest and "//" not in rest[1:] and rest[:1] != ".":
        return None
    rest = rest.removeprefix("//")
    if not {".", ".."}.isdisjoint(re.split(r"[/\\?]", unquote(rest))):
        return "it holds a . or .. segment"
    # A URI inside a URI ("proxy://get/https://example.com") has an empty segment behind a colon.
    path = unquote(rest.partition("?")[0]).replace("\\", "/").replace("://", ":/")
    return "it holds an empty segment" if "//" in path else None


def _port(rest: str) -> str | None:
    """Whatever the scheme: an empty user or port, and one with more digits than it needs, is written otherwise by
    some."""
    if not rest.startswith("//"):
        return None
    authority = re.split(r"[/?]", rest[2:], maxsplit=1)[0]
    if "@" in authority:
        return "it holds a user before its host"
    _, colon, port = authority.rpartition(":")
    if not colon or "]" in port or _PORT.fullmatch(port):
        return None
    return "its port is empty or malformed"


def _authority(scheme: str, rest: str) -> str | None:
    """Schemes that every URL library normalises on its own."""
    if scheme == "file":
        plain = rest.startswith("///") and "?" not in rest
        return None if plain else "a file is written file:///path, without host or query"
    default = _DEFAULT_PORTS.get(scheme)
    if default is None:
        return None
    authority, slash, _ = rest[2:].partition("/") if rest.startswith("//") else ("", "", "")
    name, colon, port = authority.partition(":")
    host = _HOST.fullmatch(name)
    if host is None or not slash or (host["address"] and not all(map(_OCTET.fullmatch, name.split(".")))):
        return "its host is not a plain name in lower case with a path behind it"
    if colon and (port == default or not _PORT.fullmatch(port)):
        return "its port is the usual one or malformed"
    return None
