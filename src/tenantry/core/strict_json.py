"""JSON as one reading only (RFC 8259, RFC 7493): what two parsers could understand differently is refused.

UTF-8 without a BOM, no duplicate names at any depth, finite numbers, integers that a double holds, no lone
surrogates, and bounded depth and member counts. Everything refused raises ``ValueError``.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 16
MAX_MEMBERS = 200
_MAX_INTEGER = 2**53 - 1  # beyond it readers disagree (RFC 7493 section 2.2)
_MAX_DIGITS = 16  # of it; converting more is work for nothing

# Matches at every quote, closed or not: a search that fails at one quote would start again at the next, which is
# half a second for 16 KiB of them. (JSON with an unclosed string is refused by the parser anyway.)
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


def parse_object(text: bytes) -> dict[str, Any]:
    """The one object that ``text`` is, or ``ValueError``."""
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise ValueError("JSON is nested too deeply")
    try:
        value = _DECODER.decode(text.decode("utf-8"))
    except RecursionError:  # unreachable while MAX_DEPTH holds; kept because the price of a mistake is a 500
        raise ValueError("JSON is nested too deeply") from None
    if type(value) is not dict:
        raise ValueError("JSON is not an object")
    if b"\\ud" in text or b"\\uD" in text:
        _refuse_lone_surrogates(value)
    return value


def _depth(text: bytes) -> int:
    deepest = depth = 0
    for bracket in re.findall(rb"[{}\[\]]", _STRINGS.sub(b"", text)):
        depth += 1 if bracket in b"{[" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse_lone_surrogates(value: dict[str, Any]) -> None:
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # UnicodeEncodeError is a ValueError


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("JSON object has a duplicate name")
    if len(members) > MAX_MEMBERS:
        raise ValueError("JSON object has too many members")
    return members


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0.0:
        raise ValueError("JSON number is not finite")
    return number


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS + 1:
        raise ValueError("JSON integer is too large")
    number = int(text)
    if abs(number) > _MAX_INTEGER:
        raise ValueError("JSON integer is too large")
    return number


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError("JSON number is not finite")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_int=_integer, parse_constant=_refuse_constant
)
