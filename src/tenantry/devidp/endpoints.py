"""One endpoint of a provider: record the call, compute the answer, let the fault switch spoil it, send it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .calls import Call, Calls
from .faults import Faults, Limited, play
from .loopback import Receive, Scope, Send

Answer = Callable[[Call], Response]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``name`` is our own short name ("tokeninfo"): what calls are counted and faults are set by."""

    name: str
    paths: Sequence[str]
    answer: Answer
    methods: Sequence[str] = ("GET",)


def routes(provider: str, endpoints: Sequence[Endpoint], limited: Limited, calls: Calls, faults: Faults) -> list[Route]:
    """The routes of one provider."""
    return [
        Route(path, Answering(provider, endpoint, limited, calls, faults), methods=list(endpoint.methods))
        for endpoint in endpoints
        for path in endpoint.paths
    ]


class Answering:
    """The ASGI application behind one endpoint."""

    def __init__(self, provider: str, endpoint: Endpoint, limited: Limited, calls: Calls, faults: Faults) -> None:
        self._provider = provider
        self._endpoint = endpoint
        self._limited = limited
        self._calls = calls
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = await self._arrived(Request(scope, receive))
        self._calls.add(call)
        right = self._endpoint.answer(call)
        sending = _noting_status(call, send)
        fault = self._faults.next(self._provider, self._endpoint.name)
        if fault is None:
            await right(scope, receive, sending)
        else:
            await play(fault, right, self._limited, scope, receive, sending)

    async def _arrived(self, request: Request) -> Call:
        return Call(
            provider=self._provider,
            endpoint=self._endpoint.name,
            method=request.method,
            path=request.url.path,
            query=dict(request.query_params),
            headers=dict(request.headers),
            body=await request.body(),
            params=dict(request.path_params),
        )


def _noting_status(call: Call, send: Send) -> Send:
    async def noting(message: Any) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
        await send(message)

    return noting
