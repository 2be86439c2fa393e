"""Clients that count what becomes of each of their requests while a server stops: raw HTTP/1.1, because a library would
try again behind our back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

CALL = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait", "arguments": {}}})


@dataclass
class Tally:
    """``answered``: statuses of whole answers; ``lost``: what happened to requests without one; ``refused``: clients
    whose next connection was refused, which is how each of them ends."""

    answered: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    refused: int = 0


class Load:
    """``clients`` of them send one request after the other to ``port`` until nobody listens there any more; every other
    one takes a new connection for each request. ``busy`` is set after ``busy_after`` answers."""

    def __init__(
        self, port: int, headers: Sequence[str], *, body: str = CALL, clients: int = 16, busy_after: int = 200
    ) -> None:
        self._port, self._clients, self._busy_after = port, clients, busy_after
        self._head = ["POST /mcp HTTP/1.1", *headers, "Content-Type: application/json", f"Content-Length: {len(body)}"]
        self._body = body
        self.tally = Tally()
        self.busy = asyncio.Event()

    async def run(self) -> Tally:
        await asyncio.gather(*(self._client(keeps=number % 2 == 0) for number in range(self._clients)))
        return self.tally

    async def _client(self, *, keeps: bool) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionRefusedError:
                self.tally.refused += 1
                return
            try:
                while await self._ask(reader, writer, keeps=keeps):
                    pass
            except (OSError, EOFError) as error:
                self.tally.lost.append(repr(error))
            finally:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keeps: bool) -> bool:
        """One request; whether the connection is kept."""
        lines = [*self._head, f"Connection: {'keep-alive' if keeps else 'close'}", "", self._body]
        writer.write("\r\n".join(lines).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        if "transfer-encoding: chunked" in head:
            await reader.readuntil(b"0\r\n\r\n")
        else:
            await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
        self.tally.answered.append(int(head.split(" ")[1]))
        if len(self.tally.answered) >= self._busy_after:
            self.busy.set()
        return "connection: close" not in head
