"""What runs in the image: the Dockerfile's result as an engine would start it, with a platform's environment."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.dockerfile import Stage

PATIENCE = 60.0
READY = r"serving on http://[\d.]+:(\d+)"


@dataclass
class Image:
    """``stage`` with nothing in it that can be written."""

    stage: Stage
    _running: list[Process] = field(default_factory=list)

    def freeze(self) -> None:
        for folder, _, files in os.walk(self.stage.root):
            for path in (Path(folder), *(Path(folder) / name for name in files)):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode & ~0o222)

    def thaw(self) -> None:
        for folder, _, _ in os.walk(self.stage.root):
            os.chmod(folder, 0o755)

    def env(self, **platform: str) -> dict[str, str]:
        """The image's environment and the platform's, and nothing of this process's."""
        path = self.stage.placed(self.stage.env["PATH"]).replace("$PATH", "/usr/local/bin:/usr/bin:/bin")
        mine = {name: self.stage.placed(value) for name, value in self.stage.env.items()}
        return {**mine, "PATH": path, **{name: self.stage.placed(value) for name, value in platform.items()}}

    def run(self, command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._as_user(command), cwd=self.stage.directory, env=self.env(**env), capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip

    def start(self, command: list[str], **env: str) -> Process:
        process = subprocess.Popen(
            self._as_user(command), cwd=self.stage.directory, env=self.env(**env), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._running.append(Process(process))
        return self._running[-1]

    def end(self) -> None:
        while self._running:
            self._running.pop().end()

    def _as_user(self, command: list[str]) -> list[str]:
        """Under root as the image's USER; else as who we are, which is nobody special either."""
        program = str(self.stage.root / "opt/tenantry/bin" / command[0])
        if os.geteuid() != 0:
            return [program, *command[1:]]
        user, group = self.stage.user.split(":")
        # Where this interpreter lies in root's home, nobody else can run it: then, and only then, reading is free.
        caps = "-all" if _within_reach(int(user)) else "-all,+dac_read_search"
        keeping = [f"--{kind}-caps={caps}" for kind in ("inh", "ambient")] + [f"--bounding-set={caps}"]
        who = ["--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs", *keeping]
        return ["setpriv", *who, program, *command[1:]]


class Process:
    """A server in the image. ``heard``: its standard error."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.heard = ""
        self._there = threading.Condition()
        self._ended = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def port(self) -> int:
        """Where it serves, once it does."""
        return int(self.until(READY)[1])

    def until(self, pattern: str) -> re.Match[str]:
        """What it has said, or says within a while; the log is read by another thread than the answers."""
        with self._there:
            self._there.wait_for(lambda: self._ended or re.search(pattern, self.heard), PATIENCE)
        found = re.search(pattern, self.heard)
        assert found, self.heard
        return found

    def signal(self, name: str) -> None:
        self.process.send_signal(signal.Signals[name])

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._listener.join()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._there:
                self.heard += line
                self._there.notify_all()
        with self._there:
            self._ended = True
            self._there.notify_all()


def _within_reach(user: int) -> bool:
    try:
        done = subprocess.run(
            [os.path.realpath(sys.executable), "-c", ""],
            user=user,
            group=user,
            extra_groups=[],
            check=False,
            timeout=60,
        )
    except PermissionError:
        return False
    return done.returncode == 0
