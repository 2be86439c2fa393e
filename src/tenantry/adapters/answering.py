"""A refusal that is raised while the app runs is answered as one that the gate raises.

The host's answer is replaced as a whole while nothing of it has gone out: a server error, a JSON-RPC error, a tool's
error, or no answer at all. On a stream that has begun the host's error says why. A handler that catches the refusal
and answers otherwise is left alone.

So that there is something to replace, the head of the answer to a POST waits for the first of its body, a second at
most: a stream may have nothing to say for hours. A server error waits until the app has ended or waits for something
itself: Starlette sends one and raises the reason again at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from ..core.event_stream import EventStream, EventTooLarge
from ..core.tool_errors import explained, failed
from ..errors import Refusal
from ..in_request import RefusalSlot
from .expiry import Message, Send
from .transport import Answer

HEAD_SECONDS = 1.0  # a tool that may not be used says so early; a stream may have nothing to say for hours
_LIMIT = 1024 * 1024  # bytes of an error
_EVENT_LIMIT = 16 * 1024 * 1024
Refuse = Callable[[Refusal], Answer]


class Answering:
    """Is ``send`` for the app of one HTTP request. ``refuse`` makes the answer to a refusal and may observe it, it is
    called once for each that is answered.

    ``_held``: what has not gone out; ``_rest``: where the app's messages go once it is clear what becomes of them.
    """

    # Most requests never change these.
    _rest: Send | None = None
    _held: list[Message] | None = None
    _sent = _seen = _replaced = _decided = False
    _size = 0
    _deciding: asyncio.Task[None] | None = None
    _timer: asyncio.TimerHandle | None = None
    _letting_go: asyncio.Task[None] | None = None
    _events: EventStream
    _head: Message

    def __init__(self, send: Send, slot: RefusalSlot, refuse: Refuse, method: str) -> None:
        self._send, self._slot, self._refuse, self._method = send, slot, refuse, method

    async def ended(self, error: BaseException | None) -> None:
        """The app has ended. ``error`` is raised again, unless it is answered."""
        try:
            if error is None:
                if self._held is not None or self._deciding is not None:
                    await self._settle(None)
            elif not isinstance(error, Exception):  # cancelled: nobody listens any more
                if self._deciding is not None:
                    self._deciding.cancel()
                raise error
            elif not await self._settle(error):
                raise error
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def send(self, message: Message) -> None:
        if self._letting_go is not None:
            await self._letting_go
        if self._rest is not None:
            await self._rest(message)
        elif message["type"] == "http.response.start":
            self._head = message
            if message["status"] == 500 or self._slot.refusal is not None:
                self._hold(message)
            elif self._method == "POST":
                self._held = [message]
                if all(name.lower() != b"content-length" for name, _ in message.get("headers", ())):
                    self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._wait_no_longer)
            else:
                self._sent = True
                await self._send(message)
        elif self._slot.refusal is not None:
            await self._meet_refusal(message)
        else:
            if self._held is not None:
                head, self._held, self._sent = self._head, None, True
                await self._send(head)
            await self._send(message)

    def _hold(self, start: Message) -> None:
        self._held = [start]
        if start["status"] >= 500:
            self._rest = self._hold_server_error

    def _wait_no_longer(self) -> None:
        if self._held is not None and self._rest is None:
            self._letting_go = asyncio.ensure_future(self._flush())

    async def _settle(self, error: Exception | None) -> bool:
        """True when ``error`` has been answered, or is by now."""
        if self._letting_go is not None:
            await self._letting_go
        await self._stop_deciding()
        escaped = None if error is None else _refusal_in(error)
        if self._replaced:
            return escaped is not None
        if escaped is not None and not self._sent:
            await self._replace(escaped)
            return True
        if self._held is not None and (error is None or self._rest is not None):
            await (self._let_go() if error is not None else self._decide())
        return False

    async def _meet_refusal(self, message: Message) -> None:
        """Something has been refused, and there is more of the answer: see what it is."""
        headers = {name.lower(): value for name, value in self._head.get("headers", ())}
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        legible = headers.get(b"content-encoding", b"identity").lower() == b"identity"
        if legible and kind == b"text/event-stream" and b"content-length" not in headers:
            self._events = EventStream(self._explained, _EVENT_LIMIT)
            self._rest = self._pass_events
        elif legible and kind == b"application/json" and not self._sent:
            self._rest = self._hold_until_whole
        else:
            await self._flush()
            self._rest = self._send
        await self._rest(message)

    async def _hold_server_error(self, message: Message) -> None:
        if not self._holds(message):
            await self._decide()
        elif not message.get("more_body"):
            self._deciding = asyncio.create_task(self._decide())

    async def _stop_deciding(self) -> None:
        if self._deciding is not None:
            if not self._decided:
                self._deciding.cancel()
            await asyncio.wait((self._deciding,))
            if not self._deciding.cancelled():
                self._deciding.result()

    async def _decide(self) -> None:
        """Nobody will say any more why the app failed."""
        self._decided = True
        if self._rest == self._hold_server_error and self._slot.refusal is not None:
            await self._replace(self._slot.refusal)
        else:
            await self._let_go()

    async def _hold_until_whole(self, message: Message) -> None:
        if self._holds(message) and message.get("more_body"):
            return
        body = b"".join([part.get("body", b"") for part in self._held or ()])
        if self._slot.refusal is not None and not message.get("more_body") and failed(_json(body)):
            await self._replace(self._slot.refusal)
        else:
            await self._let_go()

    def _holds(self, message: Message) -> bool:
        """Whether there is room for it."""
        if self._held is not None:
            self._held.append(message)
        self._size += len(message.get("body", b""))
        return self._size <= _LIMIT

    async def _pass_events(self, message: Message) -> None:
        more = message.get("more_body", False)
        try:
            out = self._events.feed(message.get("body", b""))
            if not more:
                out += self._events.end()
        except EventTooLarge:
            out, more, self._rest = b"", False, _drop
        event = {"type": "http.response.body", "body": out, "more_body": more}
        if self._replaced and self._slot.refusal is not None:
            await self._replace(self._slot.refusal)
        elif self._sent or self._seen or not more:
            await self._flush()
            if out or not more:
                await self._send(event)
        elif not self._holds(event):
            await self._flush()

    def _explained(self, data: bytes) -> bytes | None:
        """In place of an event's data. The first event of all is not explained but replaced, with all that follows."""
        self._seen = True
        message, refusal = _json(data), self._slot.refusal
        if refusal is None or not failed(message):
            return None
        if not self._sent:
            self._replaced = True
            return None
        challenges = [value for name, value in self._refuse(refusal).headers if name == b"www-authenticate"]
        challenge = challenges[0].decode("ascii") if challenges else None
        self._slot.refusal = None
        return json.dumps(explained(message, refusal, challenge), separators=(",", ":")).encode()

    async def _flush(self) -> None:
        held, self._held, self._sent = self._held or (), None, True
        for message in held:
            await self._send(message)

    async def _let_go(self) -> None:
        await self._flush()
        self._rest = self._send

    async def _replace(self, refusal: Refusal) -> None:
        self._replaced, self._held, self._rest = True, None, _drop
        answer = self._refuse(refusal)
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if self._method == "HEAD" else answer.body
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def _drop(message: Message) -> None:
    """What the app still has to say to an answer that has ended."""


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _refusal_in(error: BaseException) -> Refusal | None:
    """The refusal that ``error`` is, was raised from, or holds in a group."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop()
        if one is None or id(one) in seen:
            continue
        if isinstance(one, Refusal):
            return one
        seen.add(id(one))
        left.append(one.__cause__)
        if isinstance(one, BaseExceptionGroup):
            left.extend(one.exceptions)
    return None
