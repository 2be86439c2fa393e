"""A PostgreSQL server of our own, for development, demonstrations and tests.

It lives in one folder: ``pgdata`` (the cluster), ``passwords.json`` (mode 0600), ``server.log`` and ``lock``.
The folder is kept when the caller names it, otherwise it is a temporary one. Nothing outside it is changed,
except that root may keep a copy of the programs (``binaries.py``).
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from ....errors import ConfigurationError
from ..statements import identifier, literal, load, render
from .binaries import Account, choose_account, find_binaries
from .server import Server, initialise

DATABASE = "tenantry"
SUPERUSER, ADMIN, APP = "postgres", "tenantry_admin", "tenantry_app"


class EmbeddedPostgres:
    """``async with EmbeddedPostgres() as server:`` a running server, stopped (and, unless ``data_dir`` is
    given, forgotten) at the end.

    ``dsn`` is the superuser's, ``admin_dsn`` belongs to the login that owns database ``tenantry`` and may
    create roles, ``app_dsn`` to the one that serves requests and has no rights of its own. All are
    scram-sha-256 logins over 127.0.0.1. ``programs`` is the directory of ``initdb`` and ``postgres`` to use in
    place of the wheel's or the system's, for another major version. Raises ``ConfigurationError`` when there is
    nothing to run, or the data is in use.
    """

    def __init__(self, data_dir: Path | None = None, *, programs: Path | None = None) -> None:
        self._cluster = _Cluster(data_dir, programs)

    async def __aenter__(self) -> Self:
        if os.name != "posix":
            raise ConfigurationError(
                "The embedded PostgreSQL runs on Linux and macOS: set MCP_HTTP_DATABASE_CONNECTION_STRING."
            )
        # A future and no task: asyncio.run cancels every task at its end, and the thread would go on unseen.
        starting = asyncio.get_running_loop().run_in_executor(None, self._cluster.start)
        try:
            await asyncio.shield(starting)
            await _bootstrap(self._cluster)
        except BaseException:
            # A thread cannot be cancelled: whatever it started is stopped when it is through.
            starting.add_done_callback(self._give_up)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(self._cluster.stop)))

    def _give_up(self, starting: asyncio.Future[None]) -> None:
        starting.exception()  # seen; the caller has had it, or was cancelled
        self._cluster.stop()

    @property
    def dsn(self) -> str:
        """The superuser's."""
        return self._cluster.dsn(SUPERUSER, DATABASE)

    @property
    def admin_dsn(self) -> str:
        """The provisioning login's: CREATEROLE, owner of the database."""
        return self._cluster.dsn(ADMIN, DATABASE)

    @property
    def app_dsn(self) -> str:
        """The login that serves requests: NOINHERIT and without rights, so that no scope means no access."""
        return self._cluster.dsn(APP, DATABASE)

    @property
    def pid(self) -> int | None:
        """The process id of the server."""
        return self._cluster.pid


class _Cluster:
    """The folder and the server in it; blocking, for a thread."""

    def __init__(self, data_dir: Path | None, programs: Path | None) -> None:
        self._kept = data_dir.absolute() if data_dir else None
        self._programs = programs
        self._home: Path | None = None
        self._lock: int | None = None
        self._server: Server | None = None
        self._passwords: dict[str, str] = {}

    def start(self) -> None:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        account = choose_account(self._kept / "pgdata" if self._kept else Path("/nonexistent"))
        self._home = home = _make_home(self._kept, account)
        self._lock = _lock(home)
        programs = find_binaries(account, home, self._programs)
        data = home / "pgdata"
        self._passwords = _passwords(home, fresh=not data.exists())
        if not data.exists():
            self._initialise(programs, home, account)
        scratch = None if self._kept else home
        self._server = Server(programs, data, account, home / "server.log", scratch=scratch)
        self._server.start()

    def _initialise(self, programs: Path, home: Path, account: Account) -> None:
        """Into another name first: a crash in the middle leaves nothing that looks like a cluster."""
        partial = home / "pgdata.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        account.own(partial)
        password_file = home / "password"
        _write_private(password_file, self._passwords[SUPERUSER])
        account.own(password_file)
        try:
            initialise(programs, partial, SUPERUSER, password_file, account)
        finally:
            password_file.unlink()
        partial.rename(home / "pgdata")

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
        if self._lock is not None:
            os.close(self._lock)
        if self._home is not None and self._kept is None:
            shutil.rmtree(self._home, ignore_errors=True)
        self._server = self._lock = self._home = None

    @property
    def pid(self) -> int | None:
        return None if self._server is None else self._server.pid

    def password(self, login: str) -> str:
        return self._passwords[login]

    def dsn(self, login: str, database: str) -> str:
        if self._server is None:
            raise ConfigurationError("The embedded PostgreSQL server is not running.")
        # sslmode: loopback, and a PGSSLMODE of the environment is meant for another server.
        return f"postgresql://{login}:{self._passwords[login]}@127.0.0.1:{self._server.port}/{database}?sslmode=disable"


async def _bootstrap(cluster: _Cluster) -> None:
    """Make the logins and the database once, and close it to PUBLIC."""
    connection = await asyncpg.connect(cluster.dsn(SUPERUSER, "postgres"))
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1", DATABASE):
            await _make_database(connection, cluster)
    finally:
        await connection.close()
    connection = await asyncpg.connect(cluster.dsn(SUPERUSER, DATABASE))
    try:
        await _harden(connection)
    finally:
        await connection.close()


async def _make_database(connection: Any, cluster: _Cluster) -> None:
    """The database comes last: where it is, all is there."""
    for statement in render(
        "embedded",
        database=identifier(DATABASE),
        admin=identifier(ADMIN),
        app=identifier(APP),
        admin_password=literal(cluster.password(ADMIN)),
        app_password=literal(cluster.password(APP)),
    ):
        await connection.execute(statement)


async def _harden(connection: Any) -> None:
    """What only a superuser can, and the provisioning login is none."""
    if not (await connection.fetchrow(load("inspect")))["anyone_may_set_config"]:
        return
    async with connection.transaction():
        for statement in (*render("embedded_harden", admin=identifier(ADMIN)), *render("harden_superuser")):
            await connection.execute(statement)


def _make_home(kept: Path | None, account: Account) -> Path:
    """The folder, passable for ``account``. Raises ``ConfigurationError`` where it cannot be reached."""
    if kept is None:
        return _temporary_home(account)
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not any(kept.iterdir()):  # new, or given to us empty: ours
        account.opens(kept)
    if not account.can_enter(kept):
        raise ConfigurationError(
            f"The data directory {kept} cannot be entered by the account that runs PostgreSQL, which does not run "
            "as root: choose one outside private homes, such as /var/lib/tenantry."
        )
    return kept


def _temporary_home(account: Account) -> Path:
    for parent in (None, "/tmp", "/var/tmp"):  # noqa: S108 - mkdtemp makes a private directory; TMPDIR may be root's own
        try:
            home = Path(tempfile.mkdtemp(prefix="tenantry-pg-", dir=parent))
        except OSError:
            continue
        account.opens(home)
        if account.can_enter(home):
            return home
        home.rmdir()
    raise ConfigurationError("No temporary directory that an unprivileged account can enter: name a data directory.")


def _lock(home: Path) -> int:
    """Hold the folder while this process lives. Raises ``ConfigurationError`` when another holds it."""
    import fcntl  # not on Windows, where this module must still import

    held = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        raise ConfigurationError(
            f"Another process already runs the embedded PostgreSQL in {home}: use its connection string, or "
            "another directory."
        ) from None
    return held


def _passwords(home: Path, *, fresh: bool) -> dict[str, str]:
    """The logins' passwords: new ones beside a new cluster, else the kept ones."""
    path = home / "passwords.json"
    if fresh:
        passwords = {login: secrets.token_urlsafe(32) for login in (SUPERUSER, ADMIN, APP)}
        _write_private(path, json.dumps(passwords))
        return passwords
    try:
        kept: dict[str, str] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        raise ConfigurationError(f"{path} is missing or damaged: nobody can log in to the cluster beside it.") from None
    return kept


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
