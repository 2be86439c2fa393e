"""One server for the session, and the whole again on each other server there is; every test has a database and
tenant names of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from tests.postgres.pgbouncer import PgBouncer, programs, version_of
from tests.postgres.servers import Server, Source, rewritten, sources

from tenantry.postgres import Database

NOTES = "create table notes (id bigint generated always as identity primary key, title text not null)"
SOURCES = sources()
PGBOUNCERS = {"pgbouncer{}.{}".format(*version_of(path)): path for path in programs()}


@dataclass(frozen=True)
class Dsns:
    """Connection strings to one empty database: the server's superuser, its owner, and the login for requests."""

    superuser: str
    admin: str
    app: str


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test on each server that is here (``test_parts.py`` says what is not), and through each PgBouncer. The
    supervisor's own tests, most of which start servers, run once.
    """
    if "source" in metafunc.fixturenames:
        chosen = SOURCES[:1] if metafunc.definition.path.name == "test_embedded.py" else SOURCES
        metafunc.parametrize("source", chosen, ids=[one.name for one in chosen], indirect=True, scope="session")
    if "pgbouncer" in metafunc.fixturenames and PGBOUNCERS:
        metafunc.parametrize("pgbouncer", PGBOUNCERS.values(), ids=PGBOUNCERS, indirect=True)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def source(request: pytest.FixtureRequest) -> Source:
    return request.param


@pytest.fixture(scope="session")
async def server(source: Source, anyio_backend: str) -> AsyncIterator[Server]:
    async with source.start() as running:
        yield running


@pytest.fixture
def pgbouncer(request: pytest.FixtureRequest) -> Path:
    """The program."""
    if not PGBOUNCERS:
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    return request.param


@pytest.fixture
def make_bouncer(server: Server, pgbouncer: Path) -> Callable[..., PgBouncer]:
    """``async with make_bouncer(pool_size=1) as bouncer:`` a PgBouncer in front of the server."""
    return partial(PgBouncer, server.dsn, program=pgbouncer)


@pytest.fixture
async def bouncer(make_bouncer: Callable[..., PgBouncer]) -> AsyncIterator[PgBouncer]:
    async with make_bouncer() as running:
        yield running


@pytest.fixture
def bounced_dsns(dsns: Dsns, bouncer: PgBouncer) -> Dsns:
    """The test's database with its requests' login through PgBouncer, and the others direct."""
    return replace(dsns, app=bouncer.dsn(dsns.app))


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
async def make_database(server: Server, numbers: Iterator[int]) -> AsyncIterator[Callable]:
    """Make an empty database that ``tenantry_admin`` owns."""
    made: list[str] = []
    root = await asyncpg.connect(server.dsn)

    async def make() -> Dsns:
        name = f"test_{next(numbers)}"
        await root.execute(f"create database {name} owner tenantry_admin template template0")
        made.append(name)
        return Dsns(*(rewritten(dsn, database=name) for dsn in (server.dsn, server.admin_dsn, server.app_dsn)))

    yield make
    for name in made:
        await root.execute(f"drop database {name} with (force)")
    await root.close()


@pytest.fixture
async def dsns(make_database: Callable) -> Dsns:
    return await make_database()


@pytest.fixture
async def root(dsns: Dsns) -> AsyncIterator[asyncpg.Connection]:
    """The superuser, looking at the test's database from outside."""
    connection = await asyncpg.connect(dsns.superuser)
    yield connection
    await connection.close()


@pytest.fixture
def tenant_ids(numbers: Iterator[int]) -> Iterator[str]:
    """Names that no other test uses: roles belong to the whole server."""
    return (f"t{number}_com" for number in numbers)


@pytest.fixture
def open_database(dsns: Dsns) -> Callable[..., Database]:
    def make(**options: object) -> Database:
        defaults = {"admin_dsn": dsns.admin, "create_tenants": True, "migrations": [NOTES], "pool_size": 4}
        return Database.open(options.pop("dsn", dsns.app), **{**defaults, **options})

    return make


@pytest.fixture
async def database(open_database: Callable[..., Database]) -> AsyncIterator[Database]:
    async with open_database() as opened:
        yield opened


@pytest.fixture
async def single(open_database: Callable[..., Database]) -> AsyncIterator[Database]:
    """A database with one connection, so that the next scope has the connection of the one before."""
    async with open_database(pool_size=1) as opened:
        yield opened
