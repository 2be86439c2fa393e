"""The end of a server's life, seen from its requests: whoever was let in is answered, and nobody is kept.

From ``stop`` on every answer closes its connection (RFC 9112 section 9.6), so that clients go to whoever serves next.
An event stream that a client opened with GET carries no answer he waits for and has no end of its own: it is ended at
once, in order, and clients open another. An event stream that answers a POST may last until ``end_streams``.
"""

from __future__ import annotations

import asyncio

from .adapters.expiry import App, Message, Receive, Scope, Send

_LAST: Message = {"type": "http.response.body", "body": b"", "more_body": False}


class Draining:
    """``app`` with its requests counted. Belongs to one event loop."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._answers: set[_Answer] = set()
        self._idle = asyncio.Event()
        self.stopping = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(self, send, listening=scope["method"] == "GET")
        self._answers.add(answer)
        try:
            await self._app(scope, receive, answer)
        finally:
            self.ended(answer)

    async def stop(self) -> None:
        self.stopping = True
        self._look()
        await self._end([answer for answer in self._answers if answer.listens])

    async def end_streams(self) -> None:
        """End in order what still streams."""
        await self._end([answer for answer in self._answers if answer.streams])

    async def idle(self) -> None:
        """Until every request has been answered, once ``stop`` has been called."""
        await self._idle.wait()

    def ended(self, answer: _Answer) -> None:
        self._answers.discard(answer)
        self._look()

    def _look(self) -> None:
        if self._answers or not self.stopping:
            self._idle.clear()
        else:
            self._idle.set()

    async def _end(self, answers: list[_Answer]) -> None:
        await asyncio.gather(*(answer.end() for answer in answers), return_exceptions=True)


class _Answer:
    """Is ``send`` for the app of one request. ``listening``: whether a client asked with GET, and waits for no answer
    to anything he said."""

    streams = False
    _over = False

    def __init__(self, draining: Draining, send: Send, *, listening: bool) -> None:
        self._draining, self._send, self._listening = draining, send, listening

    @property
    def listens(self) -> bool:
        return self.streams and self._listening

    async def __call__(self, message: Message) -> None:
        if self._over:
            return
        if message["type"] == "http.response.start":
            self.streams = _is_event_stream(message)
            if self._draining.stopping:
                message = _closing(message)
        await self._send(message)
        if self._draining.stopping and self.listens and message["type"] == "http.response.start":
            await self.end()  # it began after everything like it was ended

    async def end(self) -> None:
        """The last of the answer, after which the app hears that its client is gone."""
        if self._over:
            return
        self._over = True
        self._draining.ended(self)
        await self._send(_LAST)


def _is_event_stream(start: Message) -> bool:
    types = (value for name, value in start.get("headers", ()) if name.lower() == b"content-type")
    return any(value.lower().startswith(b"text/event-stream") for value in types)


def _closing(start: Message) -> Message:
    kept = [header for header in start.get("headers", ()) if header[0].lower() != b"connection"]
    return {**start, "headers": [*kept, (b"connection", b"close")]}
