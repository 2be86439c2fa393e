"""Regular expressions in linear time: a caller's text can make none of them slow.

The syntax is the part of Python's that needs no backtracking: literals, ``.``, classes, escapes of classes and of
punctuation, groups (they capture nothing), ``|``, ``* + ? {m,n}``, and ``(?i)`` at the beginning. The whole text must
match; ``\\d``, ``\\w``, ``\\s`` and ``(?i)`` are about ASCII. Anchors at both ends are allowed and say nothing;
look-around, back-references, lazy and possessive quantifiers and ``\\b`` are refused.

An automaton reads each character once: after the first, the sets of places it can be in are remembered (Thompson 1968;
the method of RE2).
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_TEXT = 1024  # characters; longer text does not match
MAX_STATES = 256
_MAX_STEPS = 1024  # remembered transitions; then they are forgotten
_MAX_NESTING = 32

Matches = Callable[[str], object]
_QUANTIFIER = re.compile(r"\*|\+|\?|\{([0-9]{1,4})(,([0-9]{0,4}))?\}")
_ATOM = re.compile(r"\[\^?\]?(?:[^\[\]\\]|\\.)*\]|\\[dDwWsS]|\\[^A-Za-z0-9]|\\[nrtfv]|[^\\\[\]{}()*+?|^$]", re.DOTALL)
_SET_OPERATORS = re.compile(r"--|&&|\|\||~~")


class Expression:
    """``pattern``, compiled. Raises ``ValueError`` with what is wrong with it. ``expression.matches(text)`` is whether
    the whole of it matches."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._rest = pattern
        self._flags = re.DOTALL | re.ASCII
        if pattern.startswith("(?i)"):
            self._rest, self._flags = pattern[4:], self._flags | re.IGNORECASE
        self._rest = self._rest.removeprefix("^")
        if self._rest.endswith("$") and not self._rest.endswith("\\$"):
            self._rest = self._rest[:-1]
        # State -> what leads on with a character, and where to; and where to without one.
        self._takes: list[tuple[Matches, int] | None] = []
        self._skips: list[list[int]] = []
        start, self._end = self._alternatives(0)
        if self._rest:
            raise ValueError("has a ) too many")
        self._start = self._closed({start})
        self._steps: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def matches(self, text: str) -> bool:
        if len(text) > MAX_TEXT:
            return False
        states, steps = self._start, self._steps
        for character in text:
            key = (states, character)
            known = steps.get(key)
            states = self._step(key) if known is None else known
            if not states:
                return False
        return self._end in states

    def _step(self, key: tuple[frozenset[int], str]) -> frozenset[int]:
        states, character = key
        taken = (self._takes[state] for state in states)
        after = self._closed({take[1] for take in taken if take is not None and take[0](character)})
        if len(self._steps) >= _MAX_STEPS:
            self._steps.clear()
        self._steps[key] = after
        return after

    def _closed(self, states: set[int]) -> frozenset[int]:
        """With everything that can be reached without a character."""
        waiting = list(states)
        while waiting:
            for after in self._skips[waiting.pop()]:
                if after not in states:
                    states.add(after)
                    waiting.append(after)
        return frozenset(states)

    # --- Reading the pattern: each part becomes (first state, last state) ---

    def _state(self) -> int:
        if len(self._takes) >= MAX_STATES:
            raise ValueError("is too large")
        self._takes.append(None)
        self._skips.append([])
        return len(self._takes) - 1

    def _alternatives(self, depth: int) -> tuple[int, int]:
        if depth > _MAX_NESTING:
            raise ValueError("is nested too deeply")
        start, end = self._state(), self._state()
        while True:
            first, last = self._sequence(depth)
            self._skips[start].append(first)
            self._skips[last].append(end)
            if not self._rest.startswith("|"):
                return start, end
            self._rest = self._rest[1:]

    def _sequence(self, depth: int) -> tuple[int, int]:
        start = last = self._state()
        while self._rest and self._rest[0] not in "|)":
            before = self._rest
            part = self._part(depth)
            source = before[: len(before) - len(self._rest)]
            least, most = self._quantity()
            last = self._repeated(last, part, source, least, most, depth)
        return start, last

    def _part(self, depth: int) -> tuple[int, int]:
        rest = self._rest
        if rest[0] == "(":
            if rest.startswith("(?") and not rest.startswith("(?:"):
                raise ValueError("has a group of a kind that is not supported: ( ) and (?: ) are")
            self._rest = rest[3:] if rest.startswith("(?:") else rest[1:]
            part = self._alternatives(depth + 1)
            if not self._rest.startswith(")"):
                raise ValueError("has a ( without its )")
            self._rest = self._rest[1:]
            return part
        atom = _ATOM.match(rest)
        if atom is None:
            raise ValueError(f"has something that is not supported at {rest[:8]!r}")
        self._rest = rest[atom.end() :]
        if _SET_OPERATORS.search(atom[0]):
            raise ValueError("has --, &&, || or ~~ inside a class: escape them")
        try:
            matches = re.compile(atom[0], self._flags).fullmatch
        except re.error as error:
            raise ValueError(f"has a malformed class: {error.msg}") from None
        start, end = self._state(), self._state()
        self._takes[start] = (matches, end)
        return start, end

    def _quantity(self) -> tuple[int, int | None]:
        found = _QUANTIFIER.match(self._rest)
        if found is None:
            return 1, 1
        self._rest = self._rest[found.end() :]
        if self._rest[:1] in ("*", "+", "?") and self._rest:
            raise ValueError("has one quantifier after another: lazy and possessive ones are not supported")
        if found[0] in "*+?":
            return int(found[0] == "+"), 1 if found[0] == "?" else None
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else None
        if most is not None and most < least:
            raise ValueError(f"has a quantifier whose bounds are the wrong way round: {found[0]}")
        return least, most

    def _repeated(self, last: int, part: tuple[int, int], source: str, least: int, most: int | None, depth: int) -> int:
        """Append ``part`` after the state ``last``, as often as said; returns the new last state."""
        copies = max(least, 1) if most is None else most
        optional: list[int] = []
        for number in range(copies):
            first, end = part if number == 0 else self._again(source, depth)
            if number >= least:
                optional.append(last)
            self._skips[last].append(first)
            last = end
            if most is None and number == copies - 1:
                self._skips[end].append(first)
        for state in optional:
            self._skips[state].append(last)
        return last

    def _again(self, source: str, depth: int) -> tuple[int, int]:
        rest, self._rest = self._rest, source
        part = self._part(depth)
        self._rest = rest
        return part
