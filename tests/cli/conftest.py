"""The command as its users have it: a process of its own, with its output and its exit code."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tenantry

COMMAND = [sys.executable, "-m", "tenantry"]
SOURCES = str(Path(tenantry.__file__).parents[1])
PATIENCE = 60.0  # seconds for a loaded machine; nothing here waits for time to pass


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, in which ``-m tenantry`` finds the package from any directory."""
    path = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **changes}


class Running:
    """A command that goes on. ``heard`` is its standard error so far; ``stdout`` and ``code`` come with the end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.heard = ""
        self.stdout = ""
        self._deadline = threading.Timer(PATIENCE, process.kill)
        self._deadline.start()

    def until(self, pattern: str) -> re.Match[str]:
        """Wait for a line of standard error that matches."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.heard += line
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"{pattern!r} never came; it said:\n{self.heard}")

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        self.stdout, rest = self.process.communicate(timeout=PATIENCE)
        self.heard += rest
        return self.process.returncode

    def end(self) -> None:
        """Whatever the test did, leave nothing running; the deadline stands for a command that will not stop."""
        self.process.terminate()
        self.process.communicate()
        self._deadline.cancel()


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``tenantry`` to its end: ``run("version", cwd=..., MCP_HTTP_PORT="1")``."""

    def command(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            cwd=cwd,
            env=environment(**env),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    return command


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    """Start ``tenantry`` and leave it running until the test is over."""
    started: list[Running] = []

    def command(*arguments: str, cwd: Path | None = None, **env: str) -> Running:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=cwd,
            env=environment(**env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(Running(process))
        return started[-1]

    yield command
    for running in started:
        running.end()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that every account can enter; pytest's own is closed to the one that runs PostgreSQL under root."""
    path = Path(tempfile.mkdtemp(prefix="tenantry-test-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)
