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

_END_OF_BODY: Message = {"type": "http.response.body", "body": b"", "more_body": False}
# A close code in the private range (RFC 6455 section 7.4.2), by custom "401".
_END_OF_SOCKET: Message = {"type": "websocket.close", "code": 4401, "reason": "token expired"}


class Expiry:
    """Runs the app once, and ends what it streams at ``expires_at`` (seconds since the epoch).

    Whatever task the app sends from, it is the one that runs the app which is cancelled: task groups then end in
    order. Only what may be a stream costs a timer, and nothing reaches the client after the end.
    """

    __slots__ = ("_clock", "_expired", "_expires_at", "_last_word", "_send", "_task", "_timer")

    def __init__(self, expires_at: float, clock: Clock, send: Send) -> None:
        self._expires_at = expires_at
        self._clock = clock
        self._send = send
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False
        self._last_word: Message | None = None  # what ends the stream that is open, if one is

    async def run(self, app: App, scope: Scope, receive: Receive) -> None:
        self._task = task = asyncio.current_task()
        others = task.cancelling() if task else 0
        if scope["type"] == "websocket":
            receive = self._hearing(receive)
        try:
            await app(scope, receive, self._watched)
            if self._expired:
                await asyncio.sleep(0)  # the app ended by itself in the moment in which it was cancelled
        except asyncio.CancelledError:
            if not self._expired or (task is not None and task.cancelling() > others + 1):
                raise  # somebody else's cancellation
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._expired and task is not None:
                task.uncancel()
        if self._expired and self._last_word is not None:
            await self._send(self._last_word)

    async def _watched(self, message: Message) -> None:
        if self._expired:
            return
        kind = message["type"]
        if kind == "http.response.start":
            if _may_be_stream(message):
                self._opened(_END_OF_BODY, endless=_is_event_stream(message))
        elif kind == "websocket.accept":
            self._opened(_END_OF_SOCKET, endless=True)
        elif self._last_word is not None:
            if kind == "websocket.close" or (kind == "http.response.body" and not message.get("more_body")):
                self._finished()
            elif self._clock.now() >= self._expires_at:
                self._expire()
                await asyncio.sleep(0)  # where the cancellation arrives
                return
        await self._send(message)

    def _hearing(self, receive: Receive) -> Receive:
        async def heard() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self._finished()
            return message

        return heard

    def _opened(self, last_word: Message, *, endless: bool) -> None:
        self._last_word = last_word
        delay = self._expires_at - self._clock.now()
        if delay > 0 or endless:  # an answer that begins late but is whole is let through
            self._timer = asyncio.get_running_loop().call_later(max(0.0, delay), self._expire)

    def _finished(self) -> None:
        self._last_word = None
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()


def _may_be_stream(start: Message) -> bool:
    """A response that does not say how long it is."""
    return all(name.lower() != b"content-length" for name, _ in start.get("headers", ()))


def _is_event_stream(start: Message) -> bool:
    types = (value for name, value in start.get("headers", ()) if name.lower() == b"content-type")
    return any(value.lower().startswith(b"text/event-stream") for value in types)
