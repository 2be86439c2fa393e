"""The send side of the policy: lists of tools, prompts and resources go out with what the caller may use.

An event stream is read event by event, whatever its request asked for. Another answer is held until it is whole, where
its request was JSON-RPC. What cannot be read, compressed, malformed or too large, is not passed on where a list may be
in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..core.event_stream import EventStream
from ..core.jsonrpc import Call
from ..core.listing import METHODS, filtered_text, may_hold_list
from ..errors import InternalFailure, Refusal
from ..model import MCPUserContext
from .expiry import Message, Scope, Send
from .transport import Answer, Header

if TYPE_CHECKING:
    from ..core.rules import Rules

LIMIT = 16 * 1024 * 1024  # bytes of one answer or event: a list of 10,000 tools with their schemas is about 5 MiB
_BODILY = frozenset({b"content-length", b"etag", b"digest", b"content-digest", b"repr-digest", b"content-md5"})


def asks_for_list(calls: Sequence[Call] | None) -> bool:
    return bool(calls) and any(call.method in METHODS for call in calls or ())


def uncompressed(scope: Scope, calls: Sequence[Call] | None) -> Scope:
    """The scope for the app, so that the answer to a list, or to a GET, which may replay one, comes as it is."""
    if calls and not asks_for_list(calls):
        return scope
    return {**scope, "headers": [header for header in scope["headers"] if header[0] != b"accept-encoding"]}


def filtering(
    send: Send,
    rules: Rules | None,
    user: MCPUserContext | None,
    calls: Sequence[Call] | None,
    *,
    oauth: bool = True,
    refuse: Callable[[Refusal], Answer] | None = None,
) -> Send:
    """``send`` for an app whose lists are cut to what ``user`` (None: an anonymous caller) may use.

    ``calls`` are the messages of the request, empty or None where it has none. ``oauth``: callers can sign in by OAuth,
    and tools say the scopes they take. ``refuse`` makes the answer in place of one that cannot be read.
    """
    return _Filter(send, rules, user, calls, oauth, refuse or _plain_answer).send if rules else send


class _Filter:
    """One answer. What follows its start goes to ``_rest``."""

    __slots__ = (
        "_asked",
        "_calls",
        "_events",
        "_held",
        "_oauth",
        "_refuse",
        "_rest",
        "_rules",
        "_send",
        "_size",
        "_user",
    )

    def __init__(
        self,
        send: Send,
        rules: Rules,
        user: MCPUserContext | None,
        calls: Sequence[Call] | None,
        oauth: bool,
        refuse: Callable[[Refusal], Answer],
    ) -> None:
        self._send, self._rules, self._user = send, rules, user
        self._calls, self._asked = calls, asks_for_list(calls)
        self._oauth, self._refuse = oauth, refuse
        self._rest = send
        self._held: list[Message] = []
        self._size = 0

    async def send(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            await self._rest(message)
            return
        headers = {name.lower(): value for name, value in message.get("headers", ())}
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        plain = headers.get(b"content-encoding", b"identity").lower() == b"identity"
        if kind == b"text/event-stream":
            await self._begin_stream(message, plain)
        elif self._calls and (self._asked or (plain and kind == b"application/json")):
            self._held.append(message)
            self._rest = self._hold if plain else self._hold_compressed
        else:
            await self._send(message)

    # --- An event stream ----------------------------------------------------------------------------------------------

    async def _begin_stream(self, start: Message, plain: bool) -> None:
        if plain:
            self._events = EventStream(self._filtered, LIMIT)
            self._rest = self._pass_events
            await self._send({**start, "headers": _for_another_body(start)})
        elif self._asked or not self._calls:
            await self._fail("a compressed event stream")
        else:
            await self._send(start)

    async def _pass_events(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        more = message.get("more_body", False)
        try:
            out = self._events.feed(message.get("body", b""))
            if not more:
                out += self._events.end()
        except (ValueError, RecursionError):
            self._rest = _drop
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        if out or not more:
            await self._send({"type": "http.response.body", "body": out, "more_body": more})

    def _filtered(self, data: bytes) -> bytes | None:
        """In place of an event's data. Raises ``ValueError`` or ``RecursionError`` for what a client might read as a
        list and we cannot."""
        if not may_hold_list(data):
            return None
        try:
            return filtered_text(data.decode("utf-8", "replace").encode(), self._rules, self._user, oauth=self._oauth)
        except json.JSONDecodeError:
            if self._asked:
                raise
            return None  # no client reads JSON-RPC in it

    # --- Any other answer ---------------------------------------------------------------------------------------------

    async def _hold(self, message: Message) -> None:
        self._held.append(message)
        self._size += len(message.get("body", b""))
        if self._size > LIMIT:
            await (self._fail("a list larger than the limit") if self._asked else self._let_go())
        elif message["type"] != "http.response.body":
            await (self._fail("a list that is no body") if self._asked else self._let_go())
        elif not message.get("more_body"):
            await self._finish()

    async def _hold_compressed(self, message: Message) -> None:
        if message.get("body") or message["type"] != "http.response.body":
            await self._fail("a compressed list")
        elif not message.get("more_body"):
            self._held.append(message)
            await self._let_go()

    async def _finish(self) -> None:
        start, *parts = self._held
        body = b"".join([part.get("body", b"") for part in parts])
        if not body or not (self._asked or may_hold_list(body)):
            await self._let_go()
            return
        try:
            new = filtered_text(body, self._rules, self._user, oauth=self._oauth)
        except json.JSONDecodeError:
            if self._asked and start["status"] < 300:
                await self._fail("a list that is no JSON")
            else:
                await self._let_go()  # an error page
            return
        except (ValueError, RecursionError):
            await self._fail("an answer that cannot be read safely")
            return
        if new is None:
            await self._let_go()
            return
        length = (b"content-length", str(len(new)).encode())
        self._rest = self._send
        await self._send({**start, "headers": [*_for_another_body(start), length]})
        await self._send({"type": "http.response.body", "body": new, "more_body": False})

    async def _let_go(self) -> None:
        self._rest = self._send
        held, self._held = self._held, []
        for message in held:
            await self._send(message)

    async def _fail(self, detail: str) -> None:
        """Our own answer, in place of one of which nothing has gone out."""
        self._rest, self._held = _drop, []
        answer = self._refuse(InternalFailure("internal_failure", detail=f"The app answered with {detail}."))
        length = (b"content-length", str(len(answer.body)).encode())
        await self._send({"type": "http.response.start", "status": answer.status, "headers": [*answer.headers, length]})
        await self._send({"type": "http.response.body", "body": answer.body, "more_body": False})


async def _drop(message: Message) -> None:
    """What the app still has to say to an answer that has ended."""


def _for_another_body(start: Message) -> list[Header]:
    """The headers that are not about the very bytes of the body."""
    return [header for header in start.get("headers", ()) if header[0].lower() not in _BODILY]


def _plain_answer(refusal: Refusal) -> Answer:
    body = json.dumps({"error": refusal.error, "error_description": refusal.description}).encode()
    return Answer(refusal.status, [(b"content-type", b"application/json")], body)
