"""The leak storm, short: ``storm.py`` says what it is, ``make storm`` runs the long one."""

from __future__ import annotations

from typing import Any

import pytest
from tests.postgres.pgbouncer import PgBouncer
from tests.postgres.storm import DEEDS, Outcome, storm

pytestmark = pytest.mark.anyio

SCOPES = 2500


class OnItsOwnDatabase:
    """A server's connection strings, to the test's database."""

    def __init__(self, dsns: Any) -> None:
        self.dsn, self.admin_dsn, self.app_dsn = dsns.superuser, dsns.admin, dsns.app


def expect_calm(outcome: Outcome) -> None:
    assert (outcome.wrong, outcome.leaked, outcome.hung, outcome.connections) == ([], [], [], [])
    assert outcome.scopes == SCOPES
    happened = {end.partition(":")[0] for end in outcome.ends}
    assert happened >= {deed.__name__ for deed in DEEDS}, "not everything was tried"
    assert outcome.ends["hostile: committed"] > 0


async def test_nothing_leaks_between_tenants_in_a_storm(dsns: Any) -> None:
    expect_calm(await storm(OnItsOwnDatabase(dsns), scopes=SCOPES, tenants=40, workers=16, seed=1))


async def test_nothing_leaks_through_a_pooler_in_a_storm(dsns: Any, bouncer: PgBouncer) -> None:
    expect_calm(await storm(OnItsOwnDatabase(dsns), scopes=SCOPES, tenants=40, workers=16, seed=2, through=bouncer))
