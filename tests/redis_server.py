"""A real Redis or Valkey of our own, on a free port of the loopback, for as long as a block lasts."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

# As tests/postgres/pgbouncer.py: "read" fails when we are gone, whichever way.
_WATCHED = """
exec 3<&0 </dev/null
home=$1; shift
{ read -r _ <&3 || { rm -rf -- "$home"; kill -KILL $$; } } >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""
_START_SECONDS = 20.0
MISSING = "Redis or Valkey is not installed (Debian: redis-tools)"


def find_redis() -> tuple[str, Path] | None:
    """The server's name and program. Debian's packages of the tools have the program under another name, the packages
    of the server a service that would be started: what the program does depends on the name it is called by."""
    for name in ("redis-server", "valkey-server"):
        for there in (name, name.replace("server", "check-rdb")):
            found = shutil.which(there, path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/bin")))
            if found:
                return name, Path(found)
    return None


def needed_redis() -> tuple[str, Path]:
    """As above; without one the test is skipped, or fails where it should have been installed."""
    found = find_redis()
    if found is None:
        missing = os.environ.get("TENANTRY_TEST_MISSING") or ("fail" if os.environ.get("CI") else "skip")
        (pytest.skip if missing == "skip" else pytest.fail)(MISSING)
    return found


class RedisServer:
    """``async with RedisServer() as server:`` then connect to ``server.url``. It has a password and keeps nothing.

    ``settings`` are more of its own, with ``_`` for ``-``. ``kill`` and ``start`` are a crash and what follows it,
    ``freeze`` and ``thaw`` a machine that hangs.
    """

    def __init__(self, **settings: object) -> None:
        self._name, self._program = needed_redis()
        self._settings = {name.replace("_", "-"): value for name, value in settings.items()}
        self._home = Path(tempfile.mkdtemp(prefix="tenantry-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.password = secrets.token_urlsafe(24)
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    async def start(self) -> None:
        """Until it answers."""
        program = self._home / self._name
        program.unlink(missing_ok=True)
        program.symlink_to(self._program)
        settings = {
            "bind": "127.0.0.1",
            "port": self.port,
            "dir": self._home,
            "save": "",
            "appendonly": "no",
            "requirepass": self.password,
            **self._settings,
        }
        lines = [f'{name} "{value}"' for name, value in settings.items()]
        (self._home / "server.conf").write_text("\n".join([*lines, ""]))  # not in the arguments, which all can read
        self._process = subprocess.Popen(  # noqa: ASYNC220 - for ``kill``, which waits for the end of it
            ["/bin/sh", "-c", _WATCHED, "tenantry-redis", self._home, program, self._home / "server.conf"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        async with asyncio.timeout(_START_SECONDS), self.client() as client:
            while not await _answers(client):
                assert self._process.poll() is None, "the server ended while it was starting"
                await asyncio.sleep(0.01)

    def client(self) -> Redis:
        """Somebody else, who looks at the server from outside."""
        return Redis(host="127.0.0.1", port=self.port, password=self.password, retry=Retry(NoBackoff(), 0))

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(BrokenPipeError):
                process.communicate(b"\n")  # a line dismisses the watchdog

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _stop(self) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)


async def _answers(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except (OSError, RedisError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
