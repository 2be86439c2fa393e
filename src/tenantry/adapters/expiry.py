"""A stream that outlives its token is closed when the token ends: an HTTP body cleanly, a websocket with 4401."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ..ports import Clock

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# What opens a stream, and what ends it. 4401 is in the private range (RFC 6455 section 7.4.2), by custom "401".
_OPENS: dict[str, Message] = {
    "http.response.start": {"type": "http.response.body", "body": b"", "more_body": False},
    "websocket.accept": {"type": "websocket.close", "code": 4401, "reason": "token expired"},
}


async def run_until(expires_at: float, clock: Clock, app: App, scope: Scope, receive: Receive, send: Send) -> None:
    """Run the app, and end what it streams at ``expires_at`` (seconds since the epoch).

    Only what may be a stream costs more than a look at two messages.
    """
    stream: _Stream | None = None
    task = asyncio.current_task()

    async def watched(message: Message) -> None:
        nonlocal stream
        if stream is not None:
            await stream.send(message)
            return
        last_word = _OPENS.get(message["type"])
        if last_word is not None and b"content-length" not in dict(message.get("headers", ())):
            stream = _Stream(expires_at, clock, send, task, last_word, endless=_is_endless(message))
        await send(message)

    async def hearing() -> Message:
        message = await receive()
        if message["type"] == "websocket.disconnect" and stream is not None:
            stream.finished()
        return message

    try:
        await app(scope, hearing if scope["type"] == "websocket" else receive, watched)
        if stream is not None and stream.expired:
            await asyncio.sleep(0)  # the app ended by itself in the moment in which it was cancelled
    except asyncio.CancelledError:
        if stream is None or not stream.cancelled_by_us():
            raise
    finally:
        if stream is not None:
            stream.close()
    if stream is not None:
        await stream.say_the_last_word()


class _Stream:
    """An open stream and the timer that ends it.

    Whatever task the app sends from, it is the one that runs the app which is cancelled: task groups then end in
    order. Nothing reaches the client after the end.
    """

    def __init__(
        self,
        expires_at: float,
        clock: Clock,
        send: Send,
        task: asyncio.Task[Any] | None,
        last_word: Message,
        *,
        endless: bool,
    ) -> None:
        self._expires_at = expires_at
        self._clock = clock
        self._send = send
        self._task = task
        self._others = task.cancelling() if task else 0
        self._last_word: Message | None = last_word  # what ends it; None once it has ended by itself
        self._timer: asyncio.TimerHandle | None = None
        self.expired = False
        delay = expires_at - clock.now()
        if delay > 0 or endless:  # an answer that begins late but is whole is let through
            self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._expire)

    async def send(self, message: Message) -> None:
        if self.expired:
            return
        kind = message["type"]
        if kind == "websocket.close" or (kind == "http.response.body" and not message.get("more_body")):
            self.finished()
        elif self._last_word is not None and self._clock.now() >= self._expires_at:
            self._expire()
            await asyncio.sleep(0)  # where the cancellation arrives
            return
        await self._send(message)

    def finished(self) -> None:
        """It has ended by itself."""
        self._last_word = None
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        if self._task is not None:
            self._task.cancel()

    def cancelled_by_us(self) -> bool:
        """Whether the cancellation that arrived is ours alone."""
        return self.expired and not (self._task is not None and self._task.cancelling() > self._others + 1)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self.expired and self._task is not None:
            self._task.uncancel()

    async def say_the_last_word(self) -> None:
        if self.expired and self._last_word is not None:
            await self._send(self._last_word)


def _is_endless(start: Message) -> bool:
    """A websocket or an event stream: not the rest of one answer."""
    types = (value for name, value in start.get("headers", ()) if name.lower() == b"content-type")
    return start["type"] == "websocket.accept" or any(v.lower().startswith(b"text/event-stream") for v in types)
