"""How everything here is measured: baseline and subject by turns, in one process or on one core; medians of rounds.

A difference or a ratio is taken inside each round and the median of these is reported: a slow second of the
machine then hits both sides. In process, CPU time is read, so that other people's processes do not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

Call = Callable[[], Awaitable[Any]]
CHILD_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. Without a target it is only reported."""

    what: str
    value: float
    unit: str
    against: str
    relation: Literal["<=", ">=", "=="] | None = None
    target: float | None = None

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        kept = {
            "<=": self.value <= self.target,
            ">=": self.value >= self.target,
            "==": self.value == self.target,
        }[self.relation or "=="]
        return "ok" if kept else "SHORT"


@dataclass(frozen=True, slots=True)
class Rounds:
    """Microseconds per call of each subject, one entry a round."""

    us: Mapping[str, list[float]]

    def of(self, name: str) -> float:
        return median(self.us[name])

    def added(self, name: str, baseline: str) -> float:
        return median(ours - bare for ours, bare in zip(self.us[name], self.us[baseline], strict=True))

    def ratio(self, name: str, baseline: str) -> float:
        return median(ours / bare for ours, bare in zip(self.us[name], self.us[baseline], strict=True))


async def rounds(subjects: Mapping[str, Call], *, calls: int, count: int) -> Rounds:
    """``count`` rounds of ``calls`` calls of each subject, by turns. The garbage collector stays on, as in life."""
    for call in subjects.values():
        await _timed(call, max(1, calls // 10))
    us: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(count):
        for name, call in subjects.items():
            us[name].append(await _timed(call, calls))
    return Rounds(us)


async def _timed(call: Call, calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - began) / calls * 1e6


def plain_rounds(subjects: Mapping[str, Callable[[], Any]], *, calls: int, count: int) -> Rounds:
    """The same for plain functions, without the cost of the loop around them."""
    us: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(count + 1):
        empty = _plain_timed(lambda: None, calls)
        for name, call in subjects.items():
            spent = _plain_timed(call, calls) - empty
            if turn:  # the first round warms up
                us[name].append(spent)
    return Rounds(us)


def _plain_timed(call: Callable[[], Any], calls: int) -> float:
    began = time.process_time()
    for _ in range(calls):
        call()
    return (time.process_time() - began) / calls * 1e6


def child(module: str, *arguments: str) -> Any:
    """Run ``python -m module arguments`` and return the JSON of its last line: a fresh process, nobody's imports."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=CHILD_SECONDS,
        env=clean_environment(),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {arguments} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def clean_environment() -> dict[str, str]:
    """Without the operator's own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MCP_HTTP_")}


def pin(core: int) -> None:
    """Stay on one core, where the system can: server and load generator must not take turns on one."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {core})
