"""``python -m tests.fuzz --seconds N``: whatever arrives, every parser of ours answers, and means one thing by it.

Ends with 1 at the first input on which something is wrong, and prints it as Python writes it: put it into
``REGRESSIONS`` of ``tests/fuzz/targets.py``, where every run begins.
"""

from __future__ import annotations

import argparse
import secrets

from tests.fuzz.guided import fuzz, until
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together (60)")
    parser.add_argument("--seed", type=int, default=None, help="the same inputs again (default: others each time)")
    parser.add_argument("--target", choices=[target.name for target in TARGETS], action="append")
    arguments = parser.parse_args()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    chosen = [target for target in TARGETS if arguments.target is None or target.name in arguments.target]
    print(f"seed {seed}, {arguments.seconds:.0f} s", flush=True)
    for target in chosen:
        outcome = fuzz(target, seed, until(arguments.seconds / len(chosen)))
        kept = len(outcome.corpus)
        print(f"{target.name:<16} {outcome.runs:>9} inputs {kept:>6} kept {outcome.ways:>6} ways", flush=True)
        if outcome.finding is not None:
            print(f"{outcome.finding.trace}\n{target.name}: {outcome.finding.data!r}")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
