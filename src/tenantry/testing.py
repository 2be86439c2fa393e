"""Public fakes for tests of servers that use tenantry, and of tenantry itself. They pass the contract suites of
the real things (``tests/contracts``); nothing here signs anybody in outside of a test.

    idp = DevIdp(); async with idp.serve(): settings = Settings(**..., environment="development")
    clock = FrozenClock(NOW); made = assemble(settings, Outside(clock, HttpFetch(...), Recorder()))
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

from .adapters.memory import MemoryQuotaStore, OpenDirectory, StaticKeyStore
from .devidp import DevIdp, KeyRing, serve_on_loopback
from .observations import Observation
from .ports import FetchFailed, HttpRequest, HttpResponse

__all__ = [
    "NOW",
    "DevIdp",
    "FakeFetch",
    "FrozenClock",
    "MemoryQuotaStore",
    "OpenDirectory",
    "Recorder",
    "StaticKeyStore",
    "TokenMint",
    "serve_on_loopback",
]

NOW = 1_795_000_000.0  # 18 November 2026; the one frozen moment of the tests
T = TypeVar("T")


class FrozenClock:
    """Both clocks, standing still until ``advance(seconds)``. ``slept`` are the waits that were over at once."""

    def __init__(self, now: float = NOW) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds


class Recorder:
    """An observer that keeps what it is told: ``recorder.of(Refused)``."""

    def __init__(self) -> None:
        self.seen: list[Observation] = []

    def __call__(self, observation: Observation) -> None:
        self.seen.append(observation)

    def of(self, kind: type[T]) -> list[T]:
        return [observation for observation in self.seen if isinstance(observation, kind)]


class FakeFetch:
    """``ports.Fetch`` without a network: ``answer`` maps a URL to a response, a failure, or a function of the
    request that gives one. ``requests`` keeps what was asked. An unknown URL is a refused connection."""

    def __init__(self, answer: Mapping[str, Any] | None = None) -> None:
        self.answer: dict[str, Any] = dict(answer or {})
        self.requests: list[HttpRequest] = []

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        self.requests.append(request)
        answer = self.answer.get(request.url.partition("?")[0], FetchFailed("connect"))
        if callable(answer):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        if len(answer.body) > request.max_bytes:
            raise FetchFailed("too_large")
        response: HttpResponse = answer
        return response


class TokenMint:
    """Signs whatever a test wants to see refused: a key ring of its own, apart from every provider's.

    ``sign(claims, header=..., alg=...)`` for well-formed tokens, ``raw(header, payload)`` for bytes of your own.
    """

    def __init__(self, name: str = "mint") -> None:
        self.keys = KeyRing(name)

    def sign(self, claims: Mapping[str, Any], **options: Any) -> str:
        return self.keys.sign(dict(claims), **options)

    def raw(self, header: bytes, payload: bytes, **options: Any) -> str:
        return self.keys.sign_raw(header, payload, **options)

    def jwks(self) -> dict[str, Any]:
        return self.keys.jwks()
