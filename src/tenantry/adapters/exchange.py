"""One answer on its way out: what every answer carries, and its status for whoever writes it down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ..limits import Limit
from .expiry import Message, Send
from .transport import Header, limit_headers

if TYPE_CHECKING:
    from ..request import Request
    from .front import Front


class Exchange:
    """Is ``send`` for whatever is inside. ``status`` is the answer's, 0 while there is none (of a websocket 101 once it
    is accepted); ``limits`` are told to the caller. An answer that has its own word on something keeps it."""

    __slots__ = ("_exempt", "_front", "_https", "_request", "_send", "limits", "status")

    def __init__(self, front: Front, request: Request, send: Send, *, https: bool) -> None:
        self._front = front
        self._request = request
        self._send = send
        self._https = https
        self._exempt = False
        self.limits: Sequence[Limit] = ()
        self.status = 0

    async def __call__(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._complete(message.get("headers", ()))}
        elif kind == "websocket.accept":
            self.status = 101
        await self._send(message)

    def of_the_app(self) -> Exchange:
        """For an answer that the gate has no part in."""
        self._exempt = True
        return self

    def _complete(self, headers: Iterable[Header]) -> list[Header]:
        front, complete = self._front, list(headers)
        if not self._exempt:
            request = self._request
            complete += limit_headers(self.limits)
            complete.append((b"x-request-id", request.id.encode("ascii")))
            if b"origin" in request.headers and all(
                name.lower() != b"access-control-allow-origin" for name, _ in complete
            ):
                complete += front.transport.cors(request.headers)
        return front.headers.add(complete, https=self._https, exempt=self._exempt)
