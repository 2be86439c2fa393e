"""Work that ends in good order at Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Coroutine
from typing import Any

INTERRUPTED = 130  # 128 + SIGINT, as shells count


async def interruptible(work: Coroutine[Any, Any, int]) -> int:
    """Run ``work`` and cancel it at the first SIGINT or SIGTERM; its clean-up is bounded and not to be hurried."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: asyncio.run cancels us at SIGINT
            loop.add_signal_handler(number, _cancel_once, task)
    try:
        return await task
    except asyncio.CancelledError:
        return INTERRUPTED


def _cancel_once(task: asyncio.Task[int]) -> None:
    if not task.cancelling():
        task.cancel()
