"""One embedded server for the session; every test has a database and tenant names of its own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

import asyncpg
import pytest

from tenantry.postgres import Database, EmbeddedPostgres

NOTES = "create table notes (id bigint generated always as identity primary key, title text not null)"


@dataclass(frozen=True)
class Dsns:
    """Connection strings to one empty database: the server's superuser, its owner, and the login for requests."""

    superuser: str
    admin: str
    app: str


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
async def server(anyio_backend: str) -> AsyncIterator[EmbeddedPostgres]:
    async with EmbeddedPostgres() as running:
        yield running


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count(1)


@pytest.fixture
async def make_database(server: EmbeddedPostgres, numbers: Iterator[int]) -> AsyncIterator[Callable]:
    """Make an empty database that ``tenantry_admin`` owns."""
    made: list[str] = []
    root = await asyncpg.connect(server.dsn)

    async def make() -> Dsns:
        name = f"test_{next(numbers)}"
        await root.execute(f"create database {name} owner tenantry_admin template template0")
        made.append(name)
        return Dsns(*(dsn.replace("/tenantry?", f"/{name}?") for dsn in (server.dsn, server.admin_dsn, server.app_dsn)))

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
