"""A short run of every target with the same inputs each time; ``make fuzz`` runs for as long as it is given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.guided import Target, fuzz
from tests.fuzz.targets import REGRESSIONS, TARGETS

RUNS = 600
every = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@every
def test_nothing_is_wrong_with_what_a_parser_says(target: Target) -> None:
    outcome = fuzz(target, 1, lambda runs: runs < RUNS)
    assert outcome.finding is None, f"{outcome.finding.data!r}\n{outcome.finding.trace}"
    assert outcome.runs == RUNS
    assert outcome.ways > 0


def test_what_was_found_once_stays_mended() -> None:
    targets = {target.name: target for target in TARGETS}
    for name, data in REGRESSIONS:
        targets[name].run(data)


def test_inputs_that_go_a_new_way_lead_further() -> None:
    """Three bytes that no single change brings together: each that is right is a way of its own."""

    def run(data: bytes) -> None:
        if data[:1] == b"f":
            if data[1:2] == b"u":
                if data[2:3] == b"z":
                    raise ValueError("found")
                return
            return

    target = Target("letters", run, (b"___",))
    assert fuzz(target, 1, lambda runs: runs < 60_000, watched=__file__).finding is not None
    assert fuzz(target, 1, lambda runs: runs < 20_000).finding is None  # with nothing to follow


def test_a_finding_is_made_small() -> None:
    def run(data: bytes) -> None:
        assert b"\x00" not in data

    outcome = fuzz(Target("zero", run, (b"a long and quiet beginning",)), 1, lambda runs: runs < 5000)
    assert outcome.finding is not None
    assert outcome.finding.data == b"\x00"


def test_the_command_runs_for_as_long_as_it_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--seconds", "1", "--seed", "7", "--target", "jws"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("seed 7, 1 s\njws ")
