"""What a charge costs in each store, and whether a quiet tenant notices that a thousand others flood.

In memory CPU time is read, as everywhere; of a server on this machine the wall time of one charge after the other, most
of which is the way there and back. Precedents: facts/performance.md section 1 (0.22 us for a step on a dict),
facts/ecosystem.md section 4 (0.5 ms for an upsert).

The flood: one worker, a real ``tools/call`` on the MCP SDK behind the gate. A thousand tenants that have used up their
quota send on, ``FLOOD`` requests a second in all, while tenants that keep within theirs make a call now and then; the
time of these calls with and without the flood, by turns. The row without a target says what it is when 32 connections
send as fast as they are refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import uvicorn
from tests.redis_server import RedisServer, find_redis

from tenantry.adapters.clock import SystemClock
from tenantry.adapters.memory import MemoryQuotaStore
from tenantry.adapters.postgres.quota_store import PostgresQuotaStore
from tenantry.adapters.redis_quotas import RedisQuotaStore
from tenantry.core.quota import Charge, Quota
from tenantry.ports import QuotaStore
from tenantry.postgres import Database, EmbeddedPostgres
from tenantry.testing import DevIdp

from .measure import Row, clean_environment, pin, rounds
from .serve import CLIENT_CORE, SERVER_CORE
from .stack import id_token, raw_request, stack, tool_server
from .tools_call import CALL

LARGE = Quota(10**6, 60.0)
CHARGES = (Charge("user:google:123456789", LARGE), Charge("tenant:acme_com", LARGE))
CALLS, ROUNDS = 20_000, 9
ASKED, AT_ONCE = 2000, 100

FLOODING, QUIET = 1000, 400
LIMIT = 6
FLOOD = 1000  # requests a second: one of each tenant, about a fifth of what uvicorn can take with its slower parser
CONNECTIONS = 32
PAIRS, CALLS_A_TURN, PAUSE = 5, 150, 0.012


def run(*, profile: bool = False) -> list[Row]:
    return [*asyncio.run(_stores()), *_flood()]


# --- Stores -----------------------------------------------------------------------------------------------------------


async def _stores() -> list[Row]:
    memory = MemoryQuotaStore(SystemClock())
    seen = await rounds({"two": lambda: memory.spend(CHARGES)}, calls=CALLS, count=ROUNDS)
    rows = [Row("quotas in memory: two charges", seen.of("two"), "us", "CPU; 0.25 us of it the call", "<=", 2.5)]
    async with AsyncExitStack() as closing:
        server = await closing.enter_async_context(EmbeddedPostgres())
        database = Database.open(server.app_dsn, admin_dsn=server.admin_dsn, create_tenants=False)
        await closing.enter_async_context(database)
        postgres = PostgresQuotaStore(database, patience=5.0)
        closing.push_async_callback(postgres.aclose)
        rows += await _asked("PostgreSQL", postgres)
    if find_redis() is None:
        print("note: no Redis here: its rows are missing", file=sys.stderr)
        return rows
    async with RedisServer() as running:
        redis = RedisQuotaStore(running.url, patience=5.0)
        rows += await _asked("Redis", redis)
        await redis.aclose()
    return rows


async def _asked(name: str, store: QuotaStore) -> list[Row]:
    one = await _p50(lambda _: store.spend(CHARGES[:1]))
    two = await _p50(lambda _: store.spend(CHARGES))
    began = time.perf_counter()
    for turn in range(20):
        await asyncio.gather(*(store.spend(_own(turn, number)) for number in range(AT_ONCE)))
    each = (time.perf_counter() - began) / 20 / AT_ONCE * 1e6
    return [
        Row(f"quotas in {name}: one charge", one, "us", f"p50, loopback, one after the other; two: {two:,.0f} us"),
        Row(f"quotas in {name}: two charges, {AT_ONCE} callers at once", each, "us", "each; users of one tenant"),
    ]


def _own(turn: int, number: int) -> Sequence[Charge]:
    return (Charge(f"user:{turn}:{number}", LARGE), CHARGES[1])


async def _p50(ask: Callable[[int], Awaitable[Any]]) -> float:
    spent = []
    for number in range(ASKED):
        began = time.perf_counter()
        await ask(number)
        spent.append(time.perf_counter() - began)
    return median(spent) * 1e6


# --- The flood --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    began: float = 0.0
    received: bytearray = field(default_factory=bytearray)


class Load:
    """Quiet calls on a connection of their own, one each ``PAUSE``; flooding requests on others, ``rate`` a second."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._quiet = self._open()
        self._free = deque(self._open() for _ in range(CONNECTIONS))
        self.answers: Counter[int] = Counter()  # of the flood, by status

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()
        self._selector.close()

    def warm(self, requests: Sequence[bytes]) -> None:
        """Each once, as fast as they are answered."""
        left = deque(requests)
        busy = 0
        while left or busy:
            while left and self._free:
                self._send(self._free.popleft(), left.popleft())
                busy += 1
            for connection, _ in self._answered(1.0):
                self._free.append(connection)
                busy -= 1

    def turn(self, quiet: Sequence[bytes], flood: Iterator[bytes] | None, rate: float | None) -> list[float]:
        """Milliseconds of each of the quiet calls; ``rate`` None: as fast as connections are free."""
        spent: list[float] = []
        began = time.perf_counter()
        sent = flooded = 0
        while len(spent) < len(quiet):
            now = time.perf_counter()
            if sent == len(spent) and now >= began + sent * PAUSE:
                self._send(self._quiet, quiet[sent])
                sent += 1
            while flood is not None and self._free and (rate is None or now >= began + flooded / rate):
                self._send(self._free.popleft(), next(flood))
                flooded += 1
            for connection, status in self._answered(0.0005):
                if connection is self._quiet:
                    if status != 200:
                        raise RuntimeError(f"a quiet tenant was answered {status}")
                    spent.append((time.perf_counter() - connection.began) * 1e3)
                else:
                    self._free.append(connection)
                    self.answers[status] += 1
        self._drain()
        return spent

    def _drain(self) -> None:
        while len(self._free) < CONNECTIONS:
            self._free.extend(connection for connection, _ in self._answered(1.0))

    def _open(self) -> _Connection:
        opened = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection(opened)
        self._selector.register(opened, selectors.EVENT_READ, connection)
        return connection

    def _send(self, connection: _Connection, request: bytes) -> None:
        connection.began = time.perf_counter()
        connection.socket.sendall(request)

    def _answered(self, seconds: float) -> Iterator[tuple[_Connection, int]]:
        for key, _ in self._selector.select(timeout=seconds):
            connection: _Connection = key.data
            data = connection.socket.recv(65536)
            if not data:
                raise RuntimeError("the server closed a connection")
            connection.received += data
            head, end, body = bytes(connection.received).partition(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if end and len(body) >= int(length):
                connection.received.clear()
                yield connection, int(head[9:12])


def _flood() -> list[Row]:
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with _served() as (port, tokens):
        pin(CLIENT_CORE)
        requests = [raw_request(token, CALL) for token in tokens]
        load = Load(port)
        try:
            return _measure(load, requests[:FLOODING], requests[FLOODING:])
        finally:
            load.close()
            if before is not None:
                os.sched_setaffinity(0, before)


def _measure(load: Load, flooding: Sequence[bytes], quiet: Sequence[bytes]) -> list[Row]:
    load.warm([*quiet, *(request for request in flooding for _ in range(LIMIT))])  # known, and used up
    calls, flood = _repeated(quiet), _repeated(flooding)
    alone, steady, full = list[float](), list[float](), list[float]()
    for _ in range(PAIRS):
        alone += load.turn([next(calls) for _ in range(CALLS_A_TURN)], None, None)
        steady += load.turn([next(calls) for _ in range(CALLS_A_TURN)], flood, FLOOD)
    refused, others = load.answers[429], load.answers.total() - load.answers[429]
    if others:
        raise RuntimeError(f"{others} requests of the flood were not refused")
    seconds = PAIRS * CALLS_A_TURN * PAUSE
    load.answers.clear()
    full += load.turn([next(calls) for _ in range(CALLS_A_TURN)], flood, None)
    unloaded, flooded, most = (_p99(one) for one in (alone, steady, full))
    what = f"quiet tenants' p99 while {FLOODING:,} flood"
    told = f"{unloaded:.1f} -> {flooded:.1f} ms; tools/call; {refused / seconds:,.0f} refused a second"
    most_told = f"{most:.1f} ms; {CONNECTIONS} connections, {load.answers[429] / (CALLS_A_TURN * PAUSE):,.0f} a second"
    return [
        Row(what, flooded / unloaded, "x", told, "<=", 2.0),
        Row(f"{what} as fast as they are refused", most / unloaded, "x", most_told),
    ]


def _repeated(requests: Sequence[bytes]) -> Iterator[bytes]:
    while True:
        yield from requests


def _p99(spent: Sequence[float]) -> float:
    return quantiles(spent, n=100)[98]


@contextmanager
def _served() -> Iterator[tuple[int, list[str]]]:
    """A child with the gate, and the tokens of all tenants."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.quotas"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("no way to hear from the child")
            said = json.loads(process.stdout.readline())
            yield said["port"], said["tokens"]
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(timeout=10)


def _token(idp: DevIdp, number: int) -> str:
    domain = f"company{number:04}.example"
    return id_token(idp, sub=f"{number:021}", hd=domain, email=f"ann@{domain}")


async def _serve() -> None:
    pin(SERVER_CORE)
    gated = stack(tool_server(), rate_limit_tenant=f"{LIMIT}/86400", require_https=False)
    tokens = [_token(gated.idp, number) for number in range(FLOODING + QUIET)]
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    config = uvicorn.Config(
        gated.app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)

    def end_with_stdin() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=end_with_stdin, daemon=True).start()
    print(json.dumps({"port": listener.getsockname()[1], "tokens": tokens}), flush=True)
    await server.serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(_serve())
