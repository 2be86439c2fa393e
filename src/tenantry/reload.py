"""New settings, policy and keys while requests go on: a good configuration takes the place of the old one, a bad one is
refused and the old one goes on.

Read anew when a file that holds them changes (``MCP_HTTP_CONFIG_FILE``, ``MCP_HTTP_POLICY_FILE``, those in
``MCP_HTTP_SECRETS_DIR``), or when ``now`` is called (``tenantry serve``: SIGHUP). What did not change keeps its
connections, fetched keys and counters (``parts.py``); what the old configuration alone used is closed when its last
request has been answered. The address that is served, TLS files, the log, the time to end in and the environment stay
as they were at start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .adapters.asgi import GateMiddleware
from .assemble import Assembly, assemble
from .errors import ConfigurationError
from .observations import ConfigurationRefused
from .settings import PREFIX, Settings, setting_files

if TYPE_CHECKING:
    from .core.rules import Rules

LOOK_SECONDS = 1.0  # a file is looked at so often
_AT_START_ONLY = (
    "environment",
    "host",
    "port",
    "shutdown_grace",
    "tls_cert_path",
    "tls_key_path",
    "log_level",
    "log_format",
)


class Reloader:
    """Keeps ``middleware`` at what ``read`` says. ``first`` is what it was made from."""

    def __init__(
        self,
        middleware: GateMiddleware,
        first: Assembly,
        read: Callable[[], Settings],
        rules: Rules | None = None,
    ) -> None:
        self._middleware = middleware
        self._current = first
        self._read = read
        self._rules = rules
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self._seen = self._stamps()

    def start(self) -> None:
        """Belongs to the event loop that serves requests."""
        self._current.start()
        if self._files() or os.environ.get(PREFIX + "SECRETS_DIR"):
            self._spawn(self._watch())

    async def aclose(self) -> None:
        """A second time does nothing: both a server and its app's lifespan may close."""
        if self._closed:
            return
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._current.aclose()

    def now(self) -> bool:
        """Read everything anew; false when it was refused, which has been told then."""
        before = self._current
        try:
            settings = self._read()
            _refuse_at_start_only(before.settings, settings)
            made = assemble(settings, rules=self._rules, before=before)
        except (ConfigurationError, OSError) as error:
            before.outside.observe(ConfigurationRefused(str(error)))
            return False
        made.start()
        self._current, self._middleware.front = made, made.front
        self._spawn(_retire(before, made))
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            stamps = self._stamps()
            if stamps != self._seen:
                self._seen = stamps
                self.now()

    def _files(self) -> list[Path]:
        policy = self._current.settings.policy_file
        files = [] if policy is None else [policy]
        with contextlib.suppress(ConfigurationError):  # a directory that is gone is noticed as files that are
            files += setting_files()
        return files

    def _stamps(self) -> list[tuple[str, int, int] | None]:
        """What tells one content of the files from the next, also where a file is put in the place of another."""
        return [_stamp(path) for path in self._files()]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _stamp(path: Path) -> tuple[str, int, int] | None:
    try:
        found = path.stat()
    except OSError:  # for the moment in which an editor has moved it away
        return None
    return str(path), found.st_mtime_ns, found.st_ino


def _refuse_at_start_only(before: Settings, after: Settings) -> None:
    for name in _AT_START_ONLY:
        if name != "port" and getattr(before, name) != getattr(after, name):
            raise ConfigurationError(f"{PREFIX}{name.upper()} has changed, which takes a restart.")


async def _retire(before: Assembly, after: Assembly) -> None:
    """Close what only the old configuration used, when nobody uses it any more."""
    try:
        await before.front.traffic.idle()
    finally:
        await before.aclose(after)
