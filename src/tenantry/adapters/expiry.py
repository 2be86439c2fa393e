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
    """Run the app for one websocket, and end that at ``expires_at`` (seconds since the epoch)."""
    expiry = Expiry(expires_at, clock, send, asyncio.current_task())

    async def hearing() -> Message:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            expiry.finished()
        return message

    await expiry.over(app(scope, hearing, expiry.send))


class Expiry:
    """Is ``send`` for the app of one request, and ends what that streams at ``expires_at``.

    Whatever task the app sends from, it is ``task``, which runs the app, that is cancelled: task groups then end in
    order. Nothing reaches the client after the end.
    """

    expired = False
    _streams = False
    _others = 0  # cancellations that are not ours
    _last_word: Message | None = None  # what ends the stream; None while there is none, and when it has ended by itself
    _timer: asyncio.TimerHandle | None = None

    def __init__(self, expires_at: float, clock: Clock, send: Send, task: asyncio.Task[Any] | None) -> None:
        self._expires_at, self._clock, self._send, self._task = expires_at, clock, send, task

    async def send(self, message: Message) -> None:
        if not self._streams:
            last_word = _OPENS.get(message["type"])
            if last_word is not None and b"content-length" not in dict(message.get("headers", ())):
                self._begin(last_word, endless=_is_endless(message))
        elif self.expired:
            return
        elif _is_last(message):
            self.finished()
        elif self._last_word is not None and self._clock.now() >= self._expires_at:
            self._expire()
            await asyncio.sleep(0)  # where the cancellation arrives
            return
        await self._send(message)

    async def over(self, work: Awaitable[None]) -> None:
        """Await the app, or what is left to do after it, and say the last word."""
        try:
            await work
            if self.expired:
                await asyncio.sleep(0)  # it ended by itself in the moment in which it was cancelled
        except asyncio.CancelledError:
            if not self._cancelled_by_us():
                raise
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self.expired and self._task is not None:
                self._task.uncancel()
        if self.expired and self._last_word is not None:
            await self._send(self._last_word)

    def finished(self) -> None:
        """The stream, if there is one, has ended by itself."""
        self._last_word = None
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self, last_word: Message, *, endless: bool) -> None:
        self._streams, self._last_word = True, last_word
        self._others = self._task.cancelling() if self._task else 0
        delay = self._expires_at - self._clock.now()
        if delay > 0 or endless:  # an answer that begins late but is whole is let through
            self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._expire)

    def _expire(self) -> None:
        self.expired = True
        if self._task is not None:
            self._task.cancel()

    def _cancelled_by_us(self) -> bool:
        """Whether the cancellation that arrived is ours alone."""
        return self.expired and not (self._task is not None and self._task.cancelling() > self._others + 1)


def _is_last(message: Message) -> bool:
    kind = message["type"]
    return kind == "websocket.close" or (kind == "http.response.body" and not message.get("more_body"))


def _is_endless(start: Message) -> bool:
    """A websocket or an event stream: not the rest of one answer."""
    types = (value for name, value in start.get("headers", ()) if name.lower() == b"content-type")
    return start["type"] == "websocket.accept" or any(v.lower().startswith(b"text/event-stream") for v in types)
