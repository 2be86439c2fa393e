"""A load generator: 32 keep-alive connections, each sending the next request as soon as the last was answered.

Sockets and a selector, no HTTP library and no event loop: faster than the server it
drives. ``busy`` says how much of its core it used; near 1.0 it would measure itself.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from dataclasses import dataclass, field
from statistics import quantiles

CONNECTIONS = 32
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Load:
    """What one run saw. Latencies in milliseconds; ``answered`` counts the warm-up too;
    ``cpu`` is the server's, in seconds a request."""

    rate: float
    p50: float
    p99: float
    busy: float
    answered: int
    cpu: float = 0.0


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    began: float = 0.0
    received: bytearray = field(default_factory=bytearray)


def drive(port: int, request: bytes, seconds: float, warm_up: float = 0.3) -> Load:
    """Send ``request`` over and over for ``seconds``; every answer must be a 200."""
    selector = selectors.DefaultSelector()
    for _ in range(CONNECTIONS):
        opened = socket.create_connection(("127.0.0.1", port), timeout=10)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(opened, selectors.EVENT_READ, _Connection(opened))
    connections = [key.data for key in selector.get_map().values()]
    try:
        for connection in connections:
            connection.began = time.perf_counter()
            connection.socket.sendall(request)
        first = _turn(selector, request, warm_up)
        began, used = time.perf_counter(), time.process_time()
        latencies = _turn(selector, request, seconds)
        spent, busy = time.perf_counter() - began, time.process_time() - used
    finally:
        for connection in connections:
            connection.socket.close()
        selector.close()
    cuts = quantiles(latencies, n=100)
    return Load(len(latencies) / spent, cuts[49] * 1e3, cuts[98] * 1e3, busy / spent, len(first) + len(latencies))


def _turn(selector: selectors.BaseSelector, request: bytes, seconds: float) -> list[float]:
    """Answer by answer until the time is over; returns the latencies."""
    latencies: list[float] = []
    clock, done, end = time.perf_counter, latencies.append, time.perf_counter() + seconds
    while (now := clock()) < end:
        for key, _ in selector.select(timeout=end - now):
            connection: _Connection = key.data
            data = connection.socket.recv(65536)
            if not data:
                raise RuntimeError("the server closed a connection")
            connection.received += data
            if not _whole(connection.received):
                continue
            connection.received.clear()
            now = clock()
            done(now - connection.began)
            connection.began = now
            connection.socket.send(request)
    return latencies


def _whole(answer: bytearray) -> bool:
    """Whether the answer is complete; raises when it is not a 200."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"not a 200: {bytes(answer[:400])!r}")
    length = _LENGTH.search(answer, 0, end + 2)
    if length is None:
        raise RuntimeError("an answer without Content-Length")
    return len(answer) >= end + 4 + int(length[1])
