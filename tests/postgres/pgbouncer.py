"""A real PgBouncer of our own, in transaction mode, in front of one server, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from tests.postgres.servers import rewritten

from tenantry.adapters.postgres.embedded.binaries import choose_account

# As adapters/postgres/embedded/server.py watches over PostgreSQL: "read" fails when we are gone, whichever way.
# The folder goes first, so that whoever sees the process end finds nothing. SIGKILL: PgBouncer has nothing to save,
# and what its gentler signals mean has changed with its versions.
_WATCHED = """
exec 3<&0 </dev/null
home=$1; shift
{ read -r _ <&3 || { rm -rf -- "$home"; kill -KILL $$; } } >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""
# PgBouncer learns a client's keys when the client proves its password against this verifier, and logs in to the
# server with them: so every login of the server's is let in, those included that were made a moment ago.
_AUTH_QUERY = (
    "SELECT usename, CASE WHEN valuntil < now() THEN NULL ELSE passwd END FROM pg_catalog.pg_shadow WHERE usename = $1"
)
_START_SECONDS = 20.0
_KEEPS_PREPARED_STATEMENTS = (1, 21)


class PgBouncer:
    """``async with PgBouncer(server.dsn, pool_size=2) as bouncer:`` then connect to ``bouncer.dsn(dsn)``.

    ``superuser_dsn`` is the server's; PgBouncer looks up the other logins with it, over a connection of its own in
    each database. ``pool_size`` is the number of server connections for each pair of database and login,
    ``settings`` are more lines of its configuration. It listens on 127.0.0.1, and under root runs under another
    account. Raises ``RuntimeError`` with its own last words when it does not start.
    """

    def __init__(
        self, superuser_dsn: str, *, program: Path | None = None, pool_size: int = 4, **settings: object
    ) -> None:
        self._server = urlsplit(superuser_dsn)
        found = program or find_pgbouncer()
        if found is None:
            raise RuntimeError("PgBouncer is not installed (Debian: pgbouncer).")
        self._program = found
        self.version = version_of(found)
        self._settings = {"default_pool_size": pool_size, **self._of_this_version(), **settings}
        self._account = choose_account(Path("/nonexistent"))
        self._home: Path | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._leash: int | None = None
        self.port = 0
        self.log: list[str] = []

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while not await self._starts():
                    await self._stop()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    def dsn(self, dsn: str) -> str:
        """The way through PgBouncer to where ``dsn`` goes directly. Raises ``ValueError`` for another server's."""
        there = urlsplit(dsn)
        if (there.hostname, there.port) != (self._server.hostname, self._server.port):
            raise ValueError("this connection string goes to another server than the one behind PgBouncer")
        return rewritten(dsn, address=f"127.0.0.1:{self.port}")

    @property
    def pid(self) -> int | None:
        """Its process id, None when it does not run."""
        return None if self._process is None else self._process.pid

    @property
    def keeps_prepared_statements(self) -> bool:
        """Whether a client's prepared statement follows the client from one server connection to the next."""
        return bool(self._settings.get("max_prepared_statements"))

    def _of_this_version(self) -> dict[str, object]:
        return {"max_prepared_statements": 200} if self.version >= _KEEPS_PREPARED_STATEMENTS else {}

    async def _starts(self) -> bool:
        """False when somebody else took the port first."""
        self.port, self.log = _free_port(), []
        self._home = home = self._make_home()
        watchdogs_end, self._leash = os.pipe()  # asyncio closes a pipe that it made as soon as the process ends
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", _WATCHED, "tenantry-pgbouncer", home, self._program, home / "pgbouncer.ini",
                stdin=watchdogs_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us: we stop it after its last user
                **self._account.process_options(),
            )  # fmt: skip
        finally:
            os.close(watchdogs_end)
        up: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read_log(process, up))
        if await up:
            return True
        if any("Address already in use" in line for line in self.log):
            return False
        raise RuntimeError(f"PgBouncer did not start: {' '.join(self.log[-2:]) or 'it said nothing'}")

    async def _read_log(self, process: asyncio.subprocess.Process, up: asyncio.Future[bool]) -> None:
        """To its end, so that the pipe is never full."""
        async for line in process.stderr:
            self.log.append(line.decode(errors="replace").rstrip())
            if " process up: " in self.log[-1] and not up.done():
                up.set_result(True)
        if not up.done():
            up.set_result(False)

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading is not None:
            await self._reading
        if self._leash is not None:
            with suppress(BrokenPipeError):
                os.write(self._leash, b"\n")  # a line dismisses the watchdog
            os.close(self._leash)
        if self._home is not None:
            shutil.rmtree(self._home)
        self._reading = self._leash = self._home = None

    def _make_home(self) -> Path:
        """The configuration, for the eyes of the account that runs PgBouncer: it holds the superuser's password."""
        home = Path(tempfile.mkdtemp(prefix="tenantry-pgbouncer-", dir="/tmp"))  # within reach of every account
        name, password = (unquote(text or "") for text in (self._server.username, self._server.password))
        users = home / "users.txt"
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": users,
            "auth_user": name,
            "auth_query": _AUTH_QUERY,
            "pool_mode": "transaction",
            "server_login_retry": 1,  # seconds; 15 by default, which a test of a database that comes back would wait
            "log_connections": 0,
            "log_disconnections": 0,
            "log_stats": 0,
            **self._settings,
        }
        lines = [
            "[databases]",
            f"* = host={self._server.hostname} port={self._server.port}",
            "[pgbouncer]",
            *(f"{key} = {value}" for key, value in settings.items()),
        ]
        (home / "pgbouncer.ini").write_text("\n".join([*lines, ""]))
        users.write_text('"{}" "{}"\n'.format(*(text.replace('"', '""') for text in (name, password))))
        for path in (*home.iterdir(), home):  # the folder last: nobody else could write in it so far
            path.chmod(0o700 if path is home else 0o600)
            self._account.own(path)
        return home


def programs() -> list[Path]:
    """Those that are here: the distribution's, and the one of another version that TENANTRY_PGBOUNCER names."""
    named = os.environ.get("TENANTRY_PGBOUNCER")
    return [path for path in (find_pgbouncer(), Path(named) if named else None) if path]


def find_pgbouncer() -> Path | None:
    """The distribution's. Debian keeps it in sbin, which is on root's PATH only."""
    found = shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin")))
    return Path(found) if found else None


def version_of(program: Path) -> tuple[int, int]:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    if found is None:
        raise RuntimeError(f"{program} does not say that it is PgBouncer.")
    return int(found[1]), int(found[2])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
