"""One answer on its way out: what every answer carries, its status for whoever writes it down, and who looks at it.

Nearly every answer of an app is plain: its head says how long it is, and nothing was refused while it was made. Such a
one gets its headers and goes. Any other is handed over to those who watch what is in it: ``answering.py``, then
``expiry.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import Refusal
from ..in_request import RefusalSlot
from ..limits import Limit
from .answering import Answering
from .expiry import App, Expiry, Message, Receive, Scope, Send
from .transport import Answer, limit_headers

if TYPE_CHECKING:
    from ..request import Request
    from .front import Front


class Exchange:
    """Is ``send`` for whatever is answered. ``status`` is the answer's, 0 while there is none (of a websocket 101 once
    it is accepted); ``limits`` are told to the caller; ``slot`` takes what is refused while the app runs. An answer
    that has its own word on something keeps it."""

    # Most requests change few of these.
    limits: Sequence[Limit] = ()
    status = 0
    _exempt = False
    _head: Message | None = None  # of a plain answer, while it waits for the first of its body
    _rest: Send | None = None  # where the app's messages go once it is clear what kind of answer it is
    _answering: Answering | None = None
    _expiry: Expiry | None = None
    _expires_at: float | None = None
    _task: asyncio.Task[Any] | None = None
    _method = ""

    def __init__(self, front: Front, request: Request, send: Send, *, https: bool) -> None:
        self.slot = RefusalSlot()
        self._front, self.request, self._send, self._https = front, request, send, https

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            message = self._completed(message)
        elif kind == "websocket.accept":
            self.status = 101
        await self._send(message)

    def of_the_app(self) -> Exchange:
        """For an answer that the gate has no part in."""
        self._exempt = True
        return self

    def refuse(self, refusal: Refusal) -> Answer:
        """The answer to what is refused while the app runs."""
        return self._front.refused(refusal, self.request)

    async def run(self, app: App, scope: Scope, receive: Receive, expires_at: float | None) -> None:
        """Run the app for one HTTP request. A stream ends at ``expires_at`` (seconds since the epoch)."""
        self._method, self._expires_at, self._task = scope["method"], expires_at, asyncio.current_task()
        try:
            await app(scope, receive, self._watch)
        except BaseException as error:
            if self._answering is None and (self._rest is not None or not isinstance(error, Exception)):
                raise  # a plain answer has begun, or nobody listens any more
            await self._ended(error)
        else:
            if self._head is not None or self._answering is not None:
                await self._ended(None)
        finally:
            self.slot.close()

    async def _watch(self, message: Message) -> None:
        """Is ``send`` for the app."""
        if self._rest is not None:
            await self._rest(message)
        elif message["type"] == "http.response.start":
            if (
                self.slot.refusal is not None
                or message["status"] >= 500
                or b"content-length" not in dict(message.get("headers", ()))
            ):
                await (await self._handed_over()).send(message)
            elif self._method == "POST":
                self._head = message
            else:
                self._rest = self._send
                await self._send(self._completed(message))
        elif self._head is None:  # an extension's, like an early hint: the answer has yet to begin
            await self._send(message)
        elif self.slot.refusal is not None:
            await (await self._handed_over()).send(message)
        else:
            head, self._head, self._rest = self._head, None, self._send
            await self._send(self._completed(head))
            await self._send(message)

    async def _handed_over(self) -> Answering:
        """Those who watch an answer that is not plain, or does not come."""
        if self._answering is None:
            send: Send = self
            if self._expires_at is not None:
                self._expiry = Expiry(self._expires_at, self._front.clock, self, self._task)
                send = self._expiry.send
            self._answering = Answering(send, self.slot, self.refuse, self._method)
            self._rest = self._answering.send
            if self._head is not None:
                head, self._head = self._head, None
                await self._answering.send(head)
        return self._answering

    async def _ended(self, error: BaseException | None) -> None:
        ended = (await self._handed_over()).ended(error)
        await (ended if self._expiry is None else self._expiry.over(ended))

    def _completed(self, start: Message) -> Message:
        """The head of an answer with what every answer carries."""
        front, self.status = self._front, start["status"]
        headers = front.headers.add(list(start.get("headers", ())), https=self._https, exempt=self._exempt)
        if not self._exempt:
            request = self.request
            if self.limits:
                headers += limit_headers(self.limits)
            headers.append((b"x-request-id", request.id.encode("ascii")))
            if request.nonce is not None:
                headers.append((b"dpop-nonce", request.nonce.encode("ascii")))
            if b"origin" in request.headers and all(
                name.lower() != b"access-control-allow-origin" for name, _ in headers
            ):
                headers += front.transport.cors(request.headers)
        return {**start, "headers": headers}
