"""One at a time at an audit file and what is beside it, and files that are replaced whole."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PATIENCE_SECONDS = 2.0  # what is done under it takes milliseconds; who takes longer hangs
_PAUSE_SECONDS = 0.005


@contextmanager
def locked(audit: Path) -> Iterator[None]:
    """Hold ``<audit>.lock``. Raises ``TimeoutError`` when somebody keeps it."""
    lock = os.open(audit.with_name(audit.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TimeoutError("another process keeps the lock of the audit file") from None
                time.sleep(_PAUSE_SECONDS)
        yield
    finally:
        os.close(lock)  # and so lets go


def replaced(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of a file, all of it or nothing. The caller holds the lock."""
    new = path.with_name(path.name + ".new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        written(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    os.replace(new, path)


def written(file: int, content: bytes) -> None:
    """All of it; the system may take less at a time."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]
