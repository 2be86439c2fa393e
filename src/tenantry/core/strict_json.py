"""JSON as one reading only (RFC 8259, RFC 7493): what two parsers could understand differently is refused.

UTF-8 without a BOM, no duplicate names at any depth, no NaN, no lone surrogates, and bounded depth and member counts.
Everything refused raises ``ValueError``. ``parse_object`` is for what a token says: it is small, and numbers in it
decide, so they must be finite and integers such that a double holds them. ``parse_message`` is for the body of a
request: it may be large, is not held to that (no number of it decides unless ``conditions.py`` says that it is sure of
it) and is read at the speed of ``json.loads`` (``bench/policy.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
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


# --- Messages ---------------------------------------------------------------------------------------------------------

MESSAGE_DEPTH = 64
MESSAGE_MEMBERS = 10_000  # of one object
MESSAGE_CONTAINERS = 100_000  # objects and arrays together: an empty one is two bytes here and sixty in memory

# What follows decides how a text is read, never what is accepted.
_SMALL = 4096  # bytes
_MEMBER_EVERY = 32  # bytes: more members than that, and looking at each object's pairs is dear
_LEVEL = 5  # bytes that a level of objects takes at least: {"":}
_SAMPLE = 512
_VALUE_EVERY = 64  # bytes: fewer values than that, and looking at each costs nothing

_BRACKET, _BACKSLASH = b"[\\"  # as numbers they are found five times as fast
_STRUCTURE = bytes.maketrans(b"{}", b"[]")  # which bracket closes which is the parser's business
_NO_STRUCTURE = bytes(set(range(256)) - set(b'[]{}":'))
_PLAIN_STRINGS = re.compile(rb'"[^"]*+"')
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE_PAIR = re.compile(rb"(?<!\\)\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def parse_message(text: bytes) -> Any:
    """The one value that ``text`` is, or ``ValueError``."""
    try:
        if len(text) <= _SMALL:
            value = _read(_scan_pairs, text)
            if (_BRACKET in text or len(text) > _LEVEL * MESSAGE_DEPTH) and _opened(text) > MESSAGE_DEPTH:
                _members_in(text)
        elif _is_dense(text):
            value = _read_dense(text)
        else:
            if len(text) > MESSAGE_CONTAINERS and _opened(text) > MESSAGE_CONTAINERS:
                _members_in(text)
            value = _read(_scan_pairs, text)
            if _check_values(value, min(len(text) // _VALUE_EVERY, MESSAGE_CONTAINERS)):
                return value
            if _opened(text) > MESSAGE_DEPTH:
                _members_in(text)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    if _BACKSLASH in text and _SURROGATE.search(text) and not _only_pairs(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # UnicodeEncodeError is a ValueError
    return value


def _opened(text: bytes) -> int:
    """How many objects and arrays there can be at most: brackets inside strings count as well."""
    return text.count(b"{") + text.count(b"[")


def _read(scan: Callable[[str, int], tuple[Any, int]], text: bytes) -> Any:
    """``JSONDecoder.decode`` without its two regular expressions, which are a fifth of the time of a small body."""
    characters = text.decode().strip(" \t\n\r")
    try:
        value, end = scan(characters, 0)
    except StopIteration:
        raise ValueError("JSON is malformed") from None
    if end != len(characters):
        raise ValueError("JSON is followed by something else")
    return value


def _is_dense(text: bytes) -> bool:
    """Judged by a sample from the middle: many members there, those of JSON inside a string not counted."""
    middle = len(text) // 2
    sample = text[middle : middle + _SAMPLE]
    keys = sample.count(b'":') * _MEMBER_EVERY
    return keys > len(sample) and keys - sample.count(b'\\":') * _MEMBER_EVERY > len(sample)


def _read_dense(text: bytes) -> Any:
    """Names are counted twice, in the text without its strings and in what the parser made of it: a duplicate is the
    difference. Looking at every object's pairs from Python would cost a third of the parser's time."""
    expected, found = _members_in(text), 0

    def count(members: dict[str, Any]) -> dict[str, Any]:
        nonlocal found
        found += len(members)
        if len(members) > MESSAGE_MEMBERS:
            raise ValueError("JSON object has too many members")
        return members

    # A decoder of its own: a counter that two threads share would be wrong for both.
    value = _read(_scanner(object_hook=count), text)
    if found != expected:
        raise ValueError("JSON object has a duplicate name")
    return value


def _members_in(text: bytes) -> int:
    """How many members all objects of ``text`` have together, repeated names included; ``ValueError`` when its depth
    or the number of its objects and arrays is out of bounds. Exact for JSON; of anything else the parser makes an end.
    """
    if _BACKSLASH in text:  # from the left: an escaped backslash, then an escaped quote
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Two adjacent quotes are a string, or the end of one and the beginning of the next: without them, what was
    # between quotes still is.
    structure = text.translate(_STRUCTURE, _NO_STRUCTURE).replace(b'""', b"")
    if b'"' in structure:
        structure = _PLAIN_STRINGS.sub(b"", structure)
    brackets = structure.translate(None, b":")
    if len(brackets) > 2 * MESSAGE_CONTAINERS:
        raise ValueError("JSON has too many objects and arrays")
    members = len(structure) - len(brackets)
    for _ in range(MESSAGE_DEPTH):
        if not brackets:
            break
        brackets = brackets.replace(b"[]", b"")  # the innermost of each branch
    if brackets:
        raise ValueError("JSON is nested too deeply")
    return members


def _check_values(value: Any, most: int) -> bool:
    """Look at each value: True when there are at most ``most``, False when there are more; ``ValueError`` for a lone
    surrogate and for too much depth."""
    level: list[Any] = [[value]]
    for _ in range(MESSAGE_DEPTH + 1):
        deeper = []
        for container in level:
            most -= len(container)
            if most < 0:
                return False
            children = container
            if type(container) is dict:
                "".join(container).encode()
                children = container.values()
            for child in children:
                kind = type(child)
                if kind is str:
                    child.encode()
                elif kind is dict or kind is list:
                    deeper.append(child)
        if not deeper:
            return True
        level = deeper
    raise ValueError("JSON is nested too deeply")


def _only_pairs(text: bytes) -> bool:
    """Whether every surrogate escape is certainly half of a pair, as in what clients that write ASCII send."""
    return len(_SURROGATE.findall(text)) == 2 * len(_SURROGATE_PAIR.findall(text))


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs) <= MESSAGE_MEMBERS:
        return members
    raise ValueError(f"JSON object has {'a duplicate name' if len(members) < len(pairs) else 'too many members'}")


def _scanner(**hooks: Any) -> Callable[[str, int], tuple[Any, int]]:
    decoder: Any = json.JSONDecoder(parse_constant=_refuse_constant, **hooks)
    scan: Callable[[str, int], tuple[Any, int]] = decoder.scan_once
    return scan


_scan_pairs = _scanner(object_pairs_hook=_pairs)
