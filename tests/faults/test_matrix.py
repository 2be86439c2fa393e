"""The fault matrix: every kind of credential x everything that goes wrong x four callers."""

from __future__ import annotations

import pytest

from .kinds import KINDS, Kind
from .matrix import play
from .stage import a_stage
from .subjects import SUBJECTS, Subject

pytestmark = pytest.mark.anyio

CELLS = [(subject, kind) for subject in SUBJECTS for kind in KINDS if kind.expected(subject) is not None]


@pytest.mark.parametrize(("subject", "kind"), CELLS, ids=lambda part: part.name)
async def test_each_caller_gets_the_status_of_the_table_and_is_let_in_as_soon_as_it_is_over(
    subject: Subject, kind: Kind
) -> None:
    expected = kind.expected(subject)
    async with a_stage() as stage:
        played = await play(stage, subject, kind)
    assert played.during == expected
    assert played.again == expected
    assert played.after == (200, 200, 200, 200)
    assert played.hidden == 0, "a known caller cost a call"
    assert played.redirected == 0, "a redirect was followed"
