"""What a credential looks like in a text, so that none is written anywhere.

The last line of defence: nothing of ours writes one on purpose, but an exception, an HTTP library or somebody else's
log record may quote what it was given. A rule is tried only where one of its words occurs: log lines are many.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MARK = "[redacted]"

# Names under which secrets travel: in queries, forms, JSON, reprs of dicts and header lists, connection strings.
_NAME = (
    r"(?<![a-z0-9])(?:(?:access|id|refresh|csrf)_token|token|assertion|api[-_]?key|x[-_]api[-_]key|(?:client_)?secret|"
    r"password|passwd|pwd|(?:proxy-)?authorization|(?:set-)?cookie|x-csrf-token|code_verifier)"
)


class _Rule(NamedTuple):
    """Where one of ``words`` occurs in the lower-case text, what follows the first group of ``form`` is a secret."""

    words: tuple[str, ...]
    form: re.Pattern[str]


def _rule(words: str, form: str) -> _Rule:
    return _Rule(tuple(words.split()), re.compile(form, re.IGNORECASE))


_RULES = (
    # A plain word is none ("only the Bearer scheme is supported"), nor is a place for one ("Bearer <token>").
    _rule(
        "bearer basic dpop digest",
        r"(\b(?:bearer|basic|dpop|digest)\s+)(?!(?-i:[a-z]{1,15})[.,;:)]?(?:\s|$)|<)[^\s\"',;)\]}]+",
    ),
    _rule("cookie: x-api-key:", r"(\b(?:set-cookie|cookie|x-api-key):[ \t]*)[^\s][^\r\n]*"),
    _rule("' \"", rf"({_NAME}[\"']\s*[:=,]\s*b?[\"'])[^\"'\r\n]+"),
    _rule("=", rf"({_NAME}\s*=\s*[\"']?)(?:(?:bearer|basic)\s+)?[^\s\"'&,;)}}]+"),
    _rule("://", r"([a-z][a-z0-9+.-]{0,30}://[^\s:/@\"']*:)(?![0-9]{1,5}[/?#])[^\s\"']+(?=@)"),
    _rule("eyj", r"(\b)(?-i:eyJ)[\w-]{4,}(?:\.[\w-]*){1,4}"),
    _rule(
        "gh github_pat_ ya29. 1// gocspx- mcpk_ sk- sk_live_ xox akia aiza glpat-",
        r"(\b)(?:gh[a-z]_|github_pat_|ya29\.|1//|GOCSPX-|mcpk_|sk-|sk_live_|xox[a-z]-|AKIA|AIza|glpat-)[\w.-]{4,}",
    ),
)
# Base64, base64url and hexadecimal of 192 bits and more; API keys have 32 characters at least.
_RUN = re.compile(r"[A-Za-z0-9+/_=-]{32,}")
_LONGEST_WORD = 16  # characters without a break: what is longer and mixed is more likely a secret than a name
_CHANGES = re.compile(r"(?<=[a-z])(?=[^a-z])|(?<=[^a-z])(?=[a-z])")
# Our own names of people and organisations without a domain (core/tenancy.py): digests, and what a log is about.
_OURS = re.compile(r"(?:tenant_)?(?:u|org)___[a-z2-7]{26}")


def redact(text: str) -> str:
    """``text`` with ``MARK`` in place of whatever could be a credential; the words around it stay."""
    lower = text.lower()
    for words, form in _RULES:
        for word in words:
            if word in lower:
                text = form.sub(rf"\1{MARK}", text)
                break
    return _RUN.sub(_marked, text) if len(text) >= 32 else text


def is_suspect(text: str) -> bool:
    """Whether ``text`` holds anything that ``redact`` takes out."""
    return redact(text) != text


def _marked(found: re.Match[str]) -> str:
    return MARK if _is_secretive(found[0]) else found[0]


def _is_secretive(run: str) -> bool:
    """Whether it is rather a secret than a path or a name."""
    if _OURS.fullmatch(run):
        return False
    if "/" in run and "+" not in run and "=" not in run:
        return any(_is_no_word(part) for part in run.split("/"))
    if _kinds(run) == 2:
        longest = max(map(len, re.split("[_-]", run)))
        return longest >= _LONGEST_WORD or (run.lower() != run and _is_jumbled(run))
    return _kinds(run) == 3


def _is_no_word(part: str) -> bool:
    """Whether a part of a path is rather a secret than a name."""
    return (len(part) >= _LONGEST_WORD and _kinds(part) == 3) or (len(part) >= 32 and _is_secretive(part))


def _is_jumbled(text: str) -> bool:
    """Whether small letters and others change places more often than in words."""
    return 3 * len(_CHANGES.findall(text)) > len(text)


def _kinds(text: str) -> int:
    """How many of digits, small and capital letters are in it."""
    return any(map(str.isdigit, text)) + any(map(str.islower, text)) + any(map(str.isupper, text))


_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {10: "\\n", 13: "\\r", 9: "\\t"}
# Line ends of Unicode, and the marks that hide or turn the direction of a line; halves of a surrogate pair.
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x200B, 0x2010), *range(0x2028, 0x202F), 0xFEFF)}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x2066, 0x206A), *range(0xD800, 0xE000))}


def one_line(text: str) -> str:
    """``text`` without a sign that could end the line, colour a terminal or hide: escaped as in Python."""
    return text if text.isascii() and text.isprintable() else text.translate(_CONTROLS)
