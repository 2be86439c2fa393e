"""One image for the session, and a database with a real PgBouncer before it."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tests.deploy.dockerfile import ROOT, performed
from tests.deploy.image import Image
from tests.postgres.pgbouncer import PgBouncer, find_pgbouncer
from tests.postgres.servers import rewritten

from tenantry.postgres import EmbeddedPostgres


@dataclass(frozen=True)
class Databases:
    """``direct``: the login that makes tenants; ``pooled``: the requests' login, through PgBouncer; ``root``: the
    server's superuser."""

    direct: str
    pooled: str
    root: str


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    clean = Path(tempfile.mkdtemp(prefix="tenantry-image-", dir="/tmp"))  # where other accounts may go
    clean.chmod(0o755)
    made: Image | None = None
    try:
        made = Image(performed(ROOT / "deploy/Dockerfile", ROOT, clean))
        made.freeze()
        yield made
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error.cmd[-1]}\n{error.stdout}\n{error.stderr}", pytrace=False)
    finally:
        if made is not None:
            made.thaw()
        shutil.rmtree(clean)


@pytest.fixture(autouse=True)
def _nothing_left_running(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "image" in request.fixturenames:
        request.getfixturevalue("image").end()


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def make_databases(portal: BlockingPortal) -> Iterator[Callable[[str], Databases]]:
    """An empty database of that name, and the ways in."""
    if find_pgbouncer() is None:
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    with portal.wrap_async_context_manager(EmbeddedPostgres()) as server:
        bouncer = portal.start_task_soon(_entered, server.dsn).result()

        def make(name: str) -> Databases:
            login, password = f"{name}_app", secrets.token_urlsafe(24)
            portal.call(_create, server.dsn, name, login, password)
            direct, root = (rewritten(dsn, database=name) for dsn in (server.admin_dsn, server.dsn))
            return Databases(direct, bouncer.dsn(rewritten(root, login=f"{login}:{password}")), root)

        try:
            yield make
        finally:
            portal.call(bouncer.__aexit__, None, None, None)


async def _entered(dsn: str) -> PgBouncer:
    return await PgBouncer(dsn, pool_size=4).__aenter__()


async def _create(dsn: str, name: str, login: str, password: str) -> None:
    root = await asyncpg.connect(dsn)
    try:
        await root.execute(f"create database {name} owner tenantry_admin template template0")
        await root.execute(f"create role {login} login noinherit password '{password}'")
    finally:
        await root.close()
