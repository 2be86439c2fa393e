"""What the gate needs of the world."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .adapters.clock import SystemClock
from .adapters.http import HttpFetch
from .adapters.observers import LogObserver
from .observations import Called, Observation
from .ports import Clock, Fetch, Observer
from .settings import Settings


class Sinks:
    """An observer that tells others: the same one for as long as the process lives, however often they change."""

    def __init__(self, first: Observer) -> None:
        self._first = first
        self.are(())

    def are(self, others: Iterable[Observer]) -> None:
        """Who is told from now on, beside the first."""
        self._all = (self._first, *others)
        self._of_calls = tuple(sink for sink in self._all if getattr(sink, "calls", True))
        self.calls = bool(self._of_calls)

    def __call__(self, observation: Observation) -> None:
        for sink in self._of_calls if type(observation) is Called else self._all:
            sink(observation)


@dataclass(frozen=True, slots=True)
class Outside:
    """Time, the network, and who is told; tests hand in their own."""

    clock: Clock
    fetch: Fetch
    observe: Observer

    def shared(self) -> Outside:
        """The same, with an observer that others can join (``tell``)."""
        return Outside(self.clock, self.fetch, Sinks(self.observe))

    def tell(self, *others: Observer | None) -> None:
        """Who is told beside the observer that was handed in."""
        if isinstance(self.observe, Sinks):
            self.observe.are([observer for observer in others if observer is not None])

    @classmethod
    def real(cls, settings: Settings) -> Outside:
        return cls(SystemClock(), HttpFetch(allow_loopback_http=settings.development), LogObserver())
