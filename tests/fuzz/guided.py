"""Fuzzing that follows coverage: an input on which the parsers take a way they have not taken yet is kept, and changed
further. In Python alone: it runs wherever the tests run."""

from __future__ import annotations

import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from tests.fuzz.mutations import mutated

import tenantry

PATIENCE = 10.0  # seconds for one input: a parser that takes longer hangs
_WATCHED = str(Path(tenantry.__file__).parent)


@dataclass(frozen=True)
class Target:
    """``run`` is given any bytes, and raises when something is wrong. ``seeds`` are what it is usually given."""

    name: str
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


@dataclass
class Finding:
    """An input on which something is wrong."""

    target: str
    data: bytes
    trace: str


@dataclass
class Outcome:
    """``corpus`` are the inputs that took a new way; ``ways`` how many were taken."""

    target: str
    runs: int = 0
    ways: int = 0
    corpus: list[bytes] = field(default_factory=list)
    finding: Finding | None = None


def fuzz(target: Target, seed: int, more: Callable[[int], bool], watched: str = _WATCHED) -> Outcome:
    """Run ``target`` until something is wrong, or as long as ``more`` says so of the number of runs. ``watched``: where
    the code is whose ways count."""
    rng, ways, outcome = random.Random(f"{seed}/{target.name}"), Ways(watched), Outcome(target.name)
    outcome.corpus = list(target.seeds)
    while outcome.runs < len(target.seeds) or more(outcome.runs):
        first = outcome.runs < len(target.seeds)
        data = target.seeds[outcome.runs] if first else mutated(rng, outcome.corpus)
        outcome.runs += 1
        before = len(ways.taken)
        try:
            with ways.followed(), in_time():
                target.run(data)
        except Exception:
            trace = traceback.format_exc()
            outcome.finding = Finding(target.name, smaller(target, data), trace)
            break
        if len(ways.taken) > before and not first:
            outcome.corpus.append(data)
    outcome.ways = len(ways.taken)
    return outcome


def smaller(target: Target, data: bytes) -> bytes:
    """``data`` without the pieces that are not needed for something to be wrong."""
    size = len(data) // 2
    while size:
        for start in range(0, len(data), size):
            shorter = data[:start] + data[start + size :]
            if _is_wrong(target, shorter):
                data = shorter
                break
        else:
            size //= 2
    return data


def _is_wrong(target: Target, data: bytes) -> bool:
    try:
        with in_time():
            target.run(data)
    except Exception:
        return True
    return False


class Ways:
    """From which line to which the code below a folder went."""

    def __init__(self, watched: str) -> None:
        self._watched = watched
        self.taken: set[tuple[CodeType, int, int]] = set()

    @contextmanager
    def followed(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._entered)
        try:
            yield
        finally:
            sys.settrace(before)

    def _entered(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(self._watched):
            return None
        last, taken = 0, self.taken

        def line(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                taken.add((code, last, frame.f_lineno))
                last = frame.f_lineno
            return line

        return line


@contextmanager
def in_time() -> Iterator[None]:
    """``TimeoutError`` for what hangs, where the system can tell."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def over(number: int, frame: Any) -> None:
        raise TimeoutError(f"not done after {PATIENCE:.0f} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def until(seconds: float) -> Callable[[int], bool]:
    end = time.monotonic() + seconds
    return lambda runs: time.monotonic() < end
