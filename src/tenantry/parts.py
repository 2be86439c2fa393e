"""What outlives a change of settings: connections, key sets, counters. A part is made anew only when what it is made
from has changed, so that a reload forgets nothing that it need not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Parts:
    """The parts of one assembly, each under a name with what it was made from; ``before`` are those of the assembly it
    takes the place of."""

    def __init__(self, before: Parts | None = None) -> None:
        self._before: dict[str, tuple[object, Any]] = before._made if before else {}
        self._made: dict[str, tuple[object, Any]] = {}

    def get(self, name: str, made_from: object, make: Callable[[], T]) -> T:
        """The part called ``name``: the one there is, when it was made from the same, else a new one."""
        known = self._before.get(name)
        part: T = known[1] if known is not None and known[0] == made_from else make()
        self._made[name] = (made_from, part)
        return part

    def __getitem__(self, name: str) -> Any:
        return self._made[name][1]

    def start(self) -> None:
        """Start those that are new and have something to start."""
        for name, (_, part) in self._made.items():
            if not self._shares(name, self._before) and hasattr(part, "start"):
                part.start()

    async def aclose(self, after: Parts | None = None) -> None:
        """Close those that ``after`` has not taken over, the latest first."""
        for name, (_, part) in reversed(self._made.items()):
            closing = getattr(part, "aclose", None) or getattr(part, "close", None)
            if closing is not None and not self._shares(name, after._made if after else {}):
                await closing()

    def _shares(self, name: str, others: dict[str, tuple[object, Any]]) -> bool:
        return name in others and others[name][1] is self._made[name][1]
