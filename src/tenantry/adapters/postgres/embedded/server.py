"""One PostgreSQL server process: initialise its data, start it, stop it, and never leave it behind.

Why a pipe and not PR_SET_PDEATHSIG: the kernel sends that signal when the *thread* that started the child
ends, which a worker thread does all the time; it needs ``preexec_fn``, which is unsafe beside threads; and it
is Linux only. The end of a pipe is seen whichever way we die, SIGKILL included, on every Unix. A shell holds
the other end: initdb needs one anyway, and it costs a millisecond. A process forked from ours without exec
keeps the pipe open.
"""

# ruff: noqa: S603 - the programs we run are our own choice, no part of them is input

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from ....errors import ConfigurationError
from .binaries import Account

# The watchdog is a child of the shell; the shell then becomes the server, so $$ is the server's process id.
# "read" fails at the end of the pipe: we are gone. A line means that the server has been stopped in good
# order. A zombie answers kill -0 for ever where nobody reaps, hence the bound. Under root the watchdog has
# the server's account: it empties pgdata and leaves the folder around it, with a log and passwords to
# nothing.
_WATCHED = """
exec 3<&0 </dev/null
scratch=$1; shift
{ read -r _ <&3 || {
    kill -INT $$; n=0
    while kill -0 $$ && [ $n -lt 200 ]; do sleep 0.05; n=$((n+1)); done
    [ -z "$scratch" ] || rm -rf -- "$scratch/pgdata" "$scratch"
  } 2>/dev/null
} &
exec 3<&-
exec "$@"
"""
_START_SECONDS = 30.0  # recovery after a crash takes a while; a cold start takes 0.1
_STOP_SECONDS = 10.0
_ORPHAN_SECONDS = 10.0  # the watchdog's own patience

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # no file system path to guard, and none longer than 107 bytes
    "max_connections": "100",
    "max_locks_per_transaction": "1024",  # a dump or a sweep over 1,000 schemas locks every table at once
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "jit": "off",
}
_THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def initialise(programs: Path, data: Path, superuser: str, password_file: Path, account: Account) -> None:
    """Run initdb. Raises ``ConfigurationError`` with what it says."""
    command = [
        str(programs / "initdb"), "-D", str(data), "-U", superuser, f"--pwfile={password_file}",
        "--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, **account.process_options())
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise ConfigurationError(f"initdb could not make {data}: {reason[0]}")


class Server:
    """A running server over ``data``. ``scratch`` is removed with it when this process dies without
    ``stop()``.
    """

    def __init__(self, programs: Path, data: Path, account: Account, log: Path, *, scratch: Path | None) -> None:
        self._programs, self._data, self._account = programs, data, account
        self._log, self._scratch = log, scratch
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Start and wait until connections are accepted. Raises ``ConfigurationError`` with the server's
        reason.
        """
        _wait_for_orphan(self._data)
        for attempt in (1, 2, 3):
            self.port = _free_port()
            self._process = self._spawn()
            if self._becomes_ready(self._process):
                return
            self.stop()
            if attempt == 3 or "Address already in use" not in self._log.read_text(errors="replace"):
                raise ConfigurationError(f"The embedded PostgreSQL server did not start: {self._last_words()}")

    def stop(self) -> None:
        """Fast shutdown, then harder ones. Does nothing when the server is not running."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            process.send_signal(how)
            try:
                process.wait(_STOP_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
        _dismiss_watchdog(process)

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it was not started."""
        return None if self._process is None else self._process.pid

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {**_SETTINGS, **(_THROW_AWAY if self._scratch else {}), "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = ["/bin/sh", "-c", _WATCHED, "tenantry-postgres", str(self._scratch or ""),
                   str(self._programs / "postgres"), "-D", str(self._data), *options]  # fmt: skip
        with self._log.open("wb") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us: we stop the server after its last user
                **self._account.process_options(),
            )

    def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            lines = _pid_file(self._data)
            if lines[:1] == [str(process.pid)] and lines[7:] and lines[7].strip() == "ready":
                return True
            time.sleep(0.005)  # in a thread; the server tells of itself in this file and nowhere else
        return False

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        telling = [line for line in lines if "FATAL" in line or "DETAIL" in line] or lines[-1:]
        return " ".join(line.strip() for line in telling) or "it said nothing"


def _dismiss_watchdog(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is None:
        return
    try:
        with process.stdin as pipe:
            pipe.write(b"\n")
    except BrokenPipeError:
        return  # it is gone already


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _pid_file(data: Path) -> list[str]:
    """The lines of postmaster.pid (utils/pidfile.h): 1 is the process id, 8 the status."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _wait_for_orphan(data: Path) -> None:
    """A server whose owner was killed a moment ago is still shutting down; anything else is not ours to wait
    for.
    """
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while (lines := _pid_file(data)) and _alive(data, int(lines[0])):
        if time.monotonic() > deadline:
            raise ConfigurationError(f"A PostgreSQL server (process {lines[0]}) already uses {data}.")
        time.sleep(0.02)  # in a thread; nobody can wait for a process that is not a child


def _alive(data: Path, pid: int) -> bool:
    """Whether ``pid`` is a server over ``data``: after a restart of the machine the number may be anybody's."""
    if not Path("/proc/self").exists():  # macOS: the number must do
        return _exists(pid)
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == data.resolve()
    except OSError:
        return False  # gone, or of another account: PostgreSQL's own check takes it the same way


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
