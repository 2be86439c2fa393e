"""What the gate reads of a request, and what it finds out about it on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from .core.jsonrpc import Call
from .core.traces import trace_id
from .model import MCPUserContext
from .observations import About

Pairs = Iterable[tuple[bytes, bytes]]
ReadCalls = Callable[[], Awaitable[Sequence[Call]]]


class Request:
    """``headers`` are those that may come once, with lower-case names, ``pairs`` all as they came; ``address`` is the
    client's, as far as it can be trusted; ``path`` as it came, decoded; ``method``; ``read`` reads the body's messages
    (raises a ``Refusal``), None where there is no body to be read; ``counts`` is false for what can be held against no
    stranger's address.

    What is found out: ``calls``, ``user`` and ``nonce`` (which the client is to put into its next DPoP proof), each
    None until then.
    """

    __slots__ = (
        "address",
        "calls",
        "counts",
        "headers",
        "id",
        "method",
        "nonce",
        "pairs",
        "path",
        "query",
        "read",
        "user",
    )

    def __init__(
        self,
        headers: dict[bytes, bytes],
        query: bytes = b"",
        id: str = "-",
        address: str | None = None,
        pairs: Pairs = (),
        path: str = "",
        method: str = "",
        *,
        read: ReadCalls | None = None,
        counts: bool = True,
    ) -> None:
        self.headers, self.query = headers, query
        self.id, self.address, self.pairs, self.path, self.method = id, address, pairs, path, method
        self.read, self.counts = read, counts
        self.calls: Sequence[Call] | None = None
        self.user: MCPUserContext | None = None
        self.nonce: str | None = None

    def about(self) -> About:
        """Which request it was, for observations."""
        method, name = self._asked()
        return About(self.id, self.address, trace_id(self.pairs), method, name)

    def _asked(self) -> tuple[str | None, str | None]:
        """What was asked for: from the body where it was read. Else the headers' word is taken, which revision
        2026-07-28 obliges the host to hold against the body; it names the request here and decides nothing."""
        if self.calls:
            first = self.calls[0]
            return first.method, first.name
        headers = self.headers
        if headers.get(b"mcp-protocol-version") == REVISION and b"mcp-method" in headers:
            name = headers.get(b"mcp-name")
            return headers[b"mcp-method"].decode("latin-1"), None if name is None else name.decode("latin-1")
        return None, None


REVISION = b"2026-07-28"
