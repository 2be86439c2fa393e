"""``python -m tests.faults``: play the matrix and the floods, print them, and write them into docs/reliability.md.

Exits with 1, and writes nothing, when a cell is not as the tests expect it.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime

from .floods import FLOODS
from .kinds import KINDS, Statuses
from .matrix import play
from .page import expected_cells, floods_table, matrix_table, write
from .stage import a_stage
from .subjects import SUBJECTS


async def main() -> int:
    expected = expected_cells()
    played: dict[tuple[str, str], Statuses | None] = {}
    for subject in SUBJECTS:
        for kind in KINDS:
            played[subject.name, kind.name] = None
            if kind.expected(subject) is not None:
                async with a_stage() as stage:
                    played[subject.name, kind.name] = (await play(stage, subject, kind)).during
    floods = []
    for flood in FLOODS:
        async with a_stage() as stage:
            floods.append(await flood(stage))
    print(matrix_table(played), floods_table(floods), sep="\n\n")
    wrong = {place: statuses for place, statuses in played.items() if statuses != expected[place]}
    for (subject_name, kind_name), statuses in wrong.items():
        print(f"{subject_name}, {kind_name}: {statuses} in place of {expected[subject_name, kind_name]}")
    if not wrong:
        write(played, floods, datetime.now(UTC).date())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
