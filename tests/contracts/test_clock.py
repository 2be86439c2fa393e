"""ports.Clock and ports.Observer: the two that everything holds in its hand."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Any, get_args

import pytest

from tenantry import observations
from tenantry.adapters.clock import SystemClock
from tenantry.adapters.observers import LogObserver, describe
from tenantry.model import MCPUserContext
from tenantry.observations import About, InternalError, Misconfigured, Observation
from tenantry.ports import Clock, Observer
from tenantry.testing import FrozenClock, Recorder


@pytest.fixture(params=[SystemClock, FrozenClock], ids=["system", "frozen"])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


def test_now_is_in_seconds_since_the_epoch(clock: Clock) -> None:
    assert isinstance(clock.now(), float)
    assert 1_700_000_000 < clock.now() < 10_000_000_000


def test_monotonic_never_goes_back(clock: Clock) -> None:
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)


def test_the_system_s_clock_is_the_system_s() -> None:
    before = time.time()
    assert before <= SystemClock().now() <= time.time()


@pytest.mark.anyio
async def test_a_sleep_ends(clock: Clock) -> None:
    before = clock.monotonic()
    await clock.sleep(0.001)
    assert clock.monotonic() >= before


@pytest.mark.anyio
async def test_where_time_stands_still_a_sleep_is_over_at_once_and_on_record() -> None:
    clock = FrozenClock()
    before = clock.monotonic()
    await clock.sleep(3600)
    assert (clock.monotonic(), clock.slept) == (before, [3600])


def test_the_frozen_one_moves_only_when_told_and_both_hands_together() -> None:
    clock = FrozenClock(100.0)
    now, monotonic = clock.now(), clock.monotonic()
    assert (clock.now(), clock.monotonic()) == (now, monotonic)
    clock.advance(2.5)
    assert (clock.now() - now, clock.monotonic() - monotonic) == (2.5, 2.5)


def _example(kind: str) -> Any:
    if "MCPUserContext" in kind:
        return MCPUserContext("google:1", "google", "1", "acme_example")
    if "About" in kind:
        return About("r-1", method="tools/call", name="add")
    return 1 if "int" in kind or "float" in kind else "word"


def examples() -> list[Any]:
    """One of each thing that can happen, with made-up fields."""
    kinds = get_args(Observation)
    return [kind(*(_example(str(field.type)) for field in dataclasses.fields(kind))) for kind in kinds]


@pytest.mark.parametrize("observer", [LogObserver(), Recorder()])
@pytest.mark.parametrize("seen", examples(), ids=lambda seen: type(seen).__name__)
def test_an_observer_takes_everything_that_can_happen(observer: Observer, seen: Any) -> None:
    observer(seen)


@pytest.mark.parametrize("seen", examples(), ids=lambda seen: type(seen).__name__)
def test_the_log_has_a_sentence_of_its_own_for_everything_that_can_happen(seen: Any) -> None:
    _, words = describe(seen)
    assert words != repr(seen)
    assert "\n" not in words


def _is_one(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) and kind.__module__ == observations.__name__  # type: ignore[union-attr]


def test_every_type_of_the_module_is_in_the_union() -> None:
    types = {kind for kind in vars(observations).values() if _is_one(kind)}
    assert types == set(get_args(Observation))


def test_mistakes_and_misconfigurations_are_errors(caplog: pytest.LogCaptureFixture) -> None:
    for seen in (InternalError("TypeError", "x.py:1"), Misconfigured("github", "check the secret")):
        LogObserver()(seen)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_the_log_counts_what_it_is_told() -> None:
    log = LogObserver()
    for _ in range(2):
        log(InternalError("RuntimeError", "gate.py:1"))
    log(Misconfigured("github", "check the secret"))
    assert log.counts == {"InternalError": 2, "Misconfigured": 1}
