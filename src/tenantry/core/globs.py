"""Name patterns: the whole name, case-sensitive; ``*`` is any run of characters (slashes too), ``?`` is any one, and a
backslash before ``*``, ``?`` or a backslash takes its meaning. Nothing else is special.

Ten thousand patterns cost what ten do: names without wildcards are looked up, the others by the literal text before
their first wildcard.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

MAX_PATTERN = 1024  # characters
MAX_ALIKE = 256  # patterns that only a comparison of each can tell apart
_MAX_KNOWN = 1024  # remembered names, of at most:
_MAX_KNOWN_NAME = 256  # characters

T = TypeVar("T")
_TOKEN = re.compile(r"\\[*?\\]|[^\\]", re.DOTALL)


class Glob(NamedTuple):
    """``literal`` is the text before the first wildcard, ``exact`` when there is none; ``matches`` is None when
    everything that begins with ``literal`` matches."""

    literal: str
    exact: bool
    matches: Callable[[str], object] | None


def parse_glob(pattern: str) -> Glob:
    """Raises ``ValueError`` with what is wrong with the pattern."""
    if not pattern or len(pattern) > MAX_PATTERN:
        raise ValueError(f"is empty or longer than {MAX_PATTERN} characters")
    if not pattern.isprintable():
        raise ValueError("holds a character that cannot be printed, which no name has")
    tokens = _TOKEN.findall(pattern)
    if sum(map(len, tokens)) != len(pattern):
        raise ValueError("holds a backslash before something else than *, ? or a backslash")
    if ("*", "*") in pairwise(tokens):
        raise ValueError("holds ** : write *, which crosses slashes as well")
    wild = next((place for place, token in enumerate(tokens) if token in ("*", "?")), len(tokens))
    literal = "".join(token[-1] for token in tokens[:wild])
    rest = tokens[wild:]
    if not rest or rest == ["*"]:
        return Glob(literal, not rest, None)
    return Glob(literal, False, re.compile(re.escape(literal) + _expression(rest), re.DOTALL).fullmatch)


def _expression(tokens: list[str]) -> str:
    """The first place where the text between two stars fits is as good as any other: what was found stays found, and
    no name makes it search again."""
    parts: list[str] = [""]
    for sign in tokens:
        if sign == "*":
            parts.append("")
        else:
            parts[-1] += "." if sign == "?" else re.escape(sign[-1])
    head, *middle = parts
    if not middle:
        return head
    return head + "".join(f"(?>.*?{part})" for part in middle[:-1]) + ".*" + middle[-1]


class _Entry(NamedTuple, Generic[T]):
    order: int
    matches: Callable[[str], object] | None
    value: T


class Globs(Generic[T]):
    """Values by pattern; the first that was added and matches is found."""

    def __init__(self) -> None:
        self._count = 0
        self._exact: dict[str, tuple[int, T]] = {}
        self._by_literal: dict[int, dict[str, list[_Entry[T]]]] = {}
        self._known: dict[str, T | None] = {}

    def add(self, pattern: str, value: T) -> None:
        """Raises ``ValueError`` for a malformed pattern, and for one that can never be reached."""
        glob = parse_glob(pattern)
        before = self._covering(glob)
        if before is not None:
            raise ValueError(f"never matches: {before} comes first")
        if glob.exact:
            self._exact[glob.literal] = (self._count, value)
        else:
            length = len(glob.literal)
            if length not in self._by_literal:
                self._by_literal = dict(sorted([*self._by_literal.items(), (length, {})]))
            alike = self._by_literal[length].setdefault(glob.literal, [])
            if len(alike) >= MAX_ALIKE:
                raise ValueError(f"is one of more than {MAX_ALIKE} with the same text before the first wildcard")
            alike.append(_Entry(self._count, glob.matches, value))
        self._count += 1
        self._known.clear()

    def _covering(self, glob: Glob) -> T | None:
        """An earlier value that takes everything ``glob`` could match, as far as that is easy to see."""
        if glob.exact:
            return self._find(glob.literal)
        for length, literals in self._by_literal.items():
            for entry in literals.get(glob.literal[:length], ()) if length <= len(glob.literal) else ():
                if entry.matches is None:
                    return entry.value
        return None

    def exactly(self, name: str) -> T | None:
        """The value whose pattern is the name itself."""
        found = self._exact.get(name)
        return None if found is None else found[1]

    def find(self, name: str) -> T | None:
        """The first value whose pattern matches; None when none does."""
        try:
            return self._known[name]
        except KeyError:
            found = self._find(name)
        if len(name) <= _MAX_KNOWN_NAME:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[name] = found
        return found

    def _find(self, name: str) -> T | None:
        order, best = self._exact.get(name, (self._count, None))
        size = len(name)
        for length, literals in self._by_literal.items():
            if length > size:
                break
            for entry in literals.get(name[:length], ()):
                if entry.order > order:
                    break
                if entry.matches is None or entry.matches(name):
                    order, best = entry.order, entry.value
                    break
        return best
