"""Conditions of a rule: claim rules on dotted paths, joined by ``all`` and ``any``.

    {"all": [{"user.tenant_id": {"eq": "acme_com"}},
             {"any": [{"arguments.owner": {"eq": "$user.email"}}, {"user.roles": {"contains": "lead"}}]}]}

The rules this file lives by:

* What is missing fulfils nothing but ``exists = false``: not ``ne`` either, and neither does a value of another type
  than the one it is held against. JSON ``null`` is missing.
* Types are compared strictly: 1 is not true and not "1". A number that two readers may understand differently (beyond
  2^53, not finite) is missing.
* ``user.email`` is there only when it is verified.
* Whatever a caller sends, an answer takes linear time (``linear.py``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..model import MCPUserContext
from .jsonrpc import Call
from .linear import Expression

MAX_DEPTH = 8
MAX_LEAVES = 100
_MAX_SEGMENTS = 16
_MAX_INTEGER = 2**53 - 1  # as in strict_json.py


class _Missing:
    """Neither equal to anything nor true."""

    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()
_SEGMENT = re.compile(r"""(?P<plain>[^.'"\s]+)|'(?P<single>[^']+)'|"(?P<double>[^"]+)\"""")
_ROOTS = ("user", "claims", "arguments", "call")
_USER = frozenset("user_id provider subject tenant_id email email_verified name roles permissions client_id".split())
_CALL = frozenset({"method", "name"})
_OPERATORS = ("eq", "ne", "contains", "in", "regex", "exists")


class Facts(NamedTuple):
    """What a condition may ask about."""

    user: MCPUserContext
    call: Call
    name: str | None  # of the call, the one that is being decided


@dataclass(frozen=True, slots=True)
class Path:
    """A place in the facts, like ``user.email`` or ``claims.'https://example.com/plan'``."""

    text: str
    segments: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Path:
        """Raises ``ValueError``: quote a segment that holds a dot or a blank."""
        segments: list[str] = []
        end = 0
        while True:
            found = _SEGMENT.match(text, end)
            if found is None:
                raise ValueError(f"{text!r} is not a path: like user.email, or claims.'https://example.com/plan'")
            segments.append(found["plain"] or found["single"] or found["double"])
            end = found.end()
            if end == len(text):
                break
            if text[end] != ".":
                raise ValueError(f"{text!r} is not a path: a dot is missing after a quote")
            end += 1
        root, *rest = segments
        names = {"user": _USER, "call": _CALL}.get(root)
        if root not in _ROOTS or not rest or len(segments) > _MAX_SEGMENTS:
            raise ValueError(f"{text!r} is not a path: one begins with {'., '.join(_ROOTS)}.")
        if names is not None and (rest[0] not in names or len(rest) > 1):
            raise ValueError(f"{text!r} is unknown: {root} has {', '.join(sorted(names))}")
        return cls(text, tuple(segments))

    def find(self, facts: Facts) -> Any:
        """The value there, or ``MISSING``."""
        root, first, *rest = self.segments
        if root == "user":
            return _of_user(facts.user, first)
        if root == "call":
            value: Any = facts.name if first == "name" else facts.call.method
            return MISSING if value is None else value
        value = facts.user.claims if root == "claims" else facts.call.arguments
        for name in (first, *rest):
            if not isinstance(value, Mapping):
                return MISSING
            value = value.get(name, MISSING)
        return _certain(value)


def _of_user(user: MCPUserContext, name: str) -> Any:
    value = getattr(user, name)
    if value is None or (name == "email" and not user.email_verified):
        return MISSING
    return sorted(value) if type(value) is frozenset else value


def _certain(value: Any) -> Any:
    if value is None or (type(value) is int and abs(value) > _MAX_INTEGER):
        return MISSING
    if type(value) is float and not abs(value) <= _MAX_INTEGER:
        return MISSING
    return value


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one type at every depth; 1 and 1.0 are one number."""
    one, other = _certain(one), _certain(other)
    if one is MISSING or other is MISSING or _type(one) is not _type(other):
        return False
    if type(one) is dict:
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if type(one) is list:
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _type(value: Any) -> type:
    return float if type(value) is int else type(value)


class Leaf(NamedTuple):
    """One comparison. ``test`` takes the value at ``path`` and what it is held against."""

    path: Path
    operator: str
    wanted: Any
    test: Callable[[Any, Any], bool]

    def holds(self, facts: Facts) -> bool:
        value = self.path.find(facts)
        if self.operator == "exists":
            return (value is not MISSING) is self.wanted
        if value is MISSING:
            return False
        wanted = _resolved(self.wanted, facts)
        return wanted is not MISSING and self.test(value, wanted)

    def __str__(self) -> str:
        return f"{self.path.text} {self.operator} {_shown(self.wanted)}"


@dataclass(frozen=True, slots=True)
class Condition:
    """``join`` is ``all`` or ``any`` of ``parts``."""

    join: Callable[[Sequence[bool]], bool]
    parts: tuple[Condition | Leaf, ...]

    @property
    def word(self) -> str:
        return "all" if self.join is all else "any"

    def holds(self, facts: Facts) -> bool:
        if self.join is all:
            return all(part.holds(facts) for part in self.parts)
        return any(part.holds(facts) for part in self.parts)

    def may_hold(self, facts: Facts) -> bool:
        """The same when what reads the arguments counts as fulfilled: nothing has been called yet."""
        found = (part.may_hold(facts) if isinstance(part, Condition) else _may_hold(part, facts) for part in self.parts)
        return all(found) if self.join is all else any(found)


def _may_hold(leaf: Leaf, facts: Facts) -> bool:
    return _reads_call(leaf) or leaf.holds(facts)


def _reads_call(leaf: Leaf) -> bool:
    return any(
        path.segments[0] == "arguments" or path.text == "call.method" for path in (leaf.path, *_paths(leaf.wanted))
    )


def _paths(wanted: Any) -> list[Path]:
    if isinstance(wanted, Path):
        return [wanted]
    return [path for entry in wanted for path in _paths(entry)] if isinstance(wanted, list) else []


def _resolved(wanted: Any, facts: Facts) -> Any:
    if isinstance(wanted, Path):
        return wanted.find(facts)
    if type(wanted) is list:
        return [_resolved(entry, facts) for entry in wanted]
    return wanted


def _shown(wanted: Any) -> str:
    if isinstance(wanted, Path):
        return f"${wanted.text}"
    if isinstance(wanted, Expression):
        return repr(wanted.pattern)
    if type(wanted) is list:
        return f"[{', '.join(map(_shown, wanted))}]"
    return {True: "true", False: "false"}[wanted] if type(wanted) is bool else repr(wanted)


# --- The tests: value found, value wanted -----------------------------------------------------------------------------


def _differs(value: Any, wanted: Any) -> bool:
    return _type(value) is _type(wanted) and not _same(value, wanted)


def _contains(value: Any, wanted: Any) -> bool:
    if type(value) is list:
        return any(_same(entry, wanted) for entry in value)
    return type(value) is str and type(wanted) is str and wanted != "" and wanted in value


def _in(value: Any, wanted: Any) -> bool:
    return type(wanted) is list and any(_same(value, entry) for entry in wanted)


def _matches(value: Any, wanted: Any) -> bool:
    return type(value) is str and wanted.matches(value)


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": _same,
    "ne": _differs,
    "contains": _contains,
    "in": _in,
    "regex": _matches,
    "exists": _same,
}


# --- Reading ----------------------------------------------------------------------------------------------------------


def parse_condition(value: Any) -> Condition:
    """The condition that a rule's ``when`` is. Raises ``ValueError`` with what is wrong with it."""
    condition = _condition(value, 1)
    if _leaves(condition) > MAX_LEAVES:
        raise ValueError(f"compares more than {MAX_LEAVES} times")
    return condition


def _leaves(part: Condition | Leaf) -> int:
    return sum(map(_leaves, part.parts)) if isinstance(part, Condition) else 1


def _condition(value: Any, depth: int) -> Condition:
    """Everything in one table must hold."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError('is not a table with something in it, like {"user.provider" = {eq = "google"}}')
    if depth > MAX_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_DEPTH}")
    parts: list[Condition | Leaf] = []
    for key, entry in value.items():
        if key not in ("all", "any"):
            parts += _leaves_of(key, entry)
            continue
        if not isinstance(entry, (list, tuple)) or not entry:
            raise ValueError(f"{key} is not a list with something in it")
        parts.append(Condition(all if key == "all" else any, tuple(_condition(each, depth + 1) for each in entry)))
    if len(parts) == 1 and isinstance(parts[0], Condition):
        return parts[0]
    return Condition(all, tuple(parts))


def _leaves_of(key: Any, tests: Any) -> list[Leaf]:
    if key in _ROOTS:
        raise ValueError(f'{key!r} is not a path: write the whole path in quotes, like "user.email" = {{...}}')
    path = Path.of(str(key))
    if not isinstance(tests, Mapping) or not tests:
        raise ValueError(f'{key!r} says nothing: write like {{eq = "..."}}')
    return [_leaf(path, operator, wanted) for operator, wanted in tests.items()]


def _leaf(path: Path, operator: Any, wanted: Any) -> Leaf:
    if operator not in _TESTS:
        raise ValueError(f"{path.text!r}: {operator!r} is not an operator: {', '.join(_OPERATORS)} are")
    place = f"{path.text!r}: {operator}"
    if operator == "exists":
        if type(wanted) is not bool:
            raise ValueError(f"{place} takes true or false")
    elif operator == "regex":
        if type(wanted) is not str:
            raise ValueError(f"{place} takes a string")
        try:
            wanted = Expression(wanted)
        except ValueError as error:
            raise ValueError(f"{place} {error}") from None
    else:
        wanted = _wanted(wanted, place)
        if operator == "in" and (not isinstance(wanted, (list, Path)) or wanted == []):
            raise ValueError(f"{place} takes a list with something in it, or a reference to one")
        if operator == "contains" and wanted == "":
            raise ValueError(f"{place} takes something: everything contains nothing")
    return Leaf(path, str(operator), wanted, _TESTS[operator])


def _wanted(value: Any, place: str) -> Any:
    """A value as written, its references as paths: "$user.email" is one, "$$5" is "$5"."""
    if type(value) is str:
        if not value.startswith("$"):
            return value
        return value[1:] if value.startswith("$$") else Path.of(value[1:])
    if isinstance(value, (list, tuple)):
        return [_wanted(entry, place) for entry in value]
    if type(value) in (bool, int, float) and _certain(value) is not MISSING:
        return value
    raise ValueError(f"{place} takes strings, numbers, true, false and lists of these")
