"""The body of a request that something depends on: read whole, within bounds, and given to the app byte for byte."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from ..core import jsonrpc
from ..core.jsonrpc import Call
from ..errors import PayloadTooLarge, RequestInvalid, UnsupportedMediaType
from .expiry import Message, Receive

SECONDS = 30.0  # for the whole body: a client that drips must not hold what it has sent for ever
STRANGERS_BYTES = 64 * 1024  # whoever has shown no credential is not worth more memory

# RFC 8259 section 8.1 knows UTF-8 only; some clients say so.
_CHARSETS = frozenset({b"", b"charset=utf-8", b'charset="utf-8"', b"charset=utf8"})


class Body:
    """``receive`` and the headers of one request; ``limit`` in bytes. ``optional``: there may be none, as of a GET, and
    then it asks for nothing. Nothing is read before ``calls`` asks."""

    __slots__ = ("_headers", "_limit", "_optional", "_receive", "_whole")

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes], limit: int, *, optional: bool = False) -> None:
        self._receive = receive
        self._headers = headers
        known = b"authorization" in headers or b"x-api-key" in headers
        self._limit = limit if known else min(limit, STRANGERS_BYTES)
        self._optional = optional
        self._whole: bytes | None = None

    async def calls(self) -> Sequence[Call]:
        """The messages in the body. Raises ``RequestInvalid``, ``PayloadTooLarge``, ``UnsupportedMediaType``."""
        if not self._optional:
            self._check_type()
        announced = self._announced()
        try:
            async with asyncio.timeout(SECONDS):
                body = await self._read()
        except TimeoutError:
            raise RequestInvalid("body_incomplete") from None
        if announced is not None and announced != len(body):
            raise RequestInvalid("body_incomplete")
        self._whole = body
        if self._optional:
            if not body:
                return ()
            self._check_type()
        calls = jsonrpc.read_calls(body)
        jsonrpc.agree(self._headers, calls)
        return calls

    async def receive(self) -> Message:
        """For the app: what was read, as one message, and whatever comes after it."""
        if self._whole is None:
            return await self._receive()
        body, self._whole = self._whole, None
        return {"type": "http.request", "body": body, "more_body": False}

    def _check_type(self) -> None:
        media_type, _, parameters = self._headers.get(b"content-type", b"").lower().partition(b";")
        if media_type.strip() != b"application/json" or parameters.strip() not in _CHARSETS:
            raise UnsupportedMediaType("body_type_refused")
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("body_encoding_refused")

    def _announced(self) -> int | None:
        """The length that the client has announced."""
        announced = self._headers.get(b"content-length")
        if announced is None:
            return None
        if not announced.isdigit() or len(announced) > 18:
            raise RequestInvalid("body_incomplete")
        length = int(announced)
        if length > self._limit:
            raise PayloadTooLarge("body_too_large")
        return length

    async def _read(self) -> bytes:
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] != "http.request":  # the client has gone
                raise RequestInvalid("body_incomplete")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._limit:
                raise PayloadTooLarge("body_too_large")
            chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks)
