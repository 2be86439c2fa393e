"""One endpoint of a provider: record the call, compute the answer, let the fault switch spoil it, send it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from .calls import Call, Calls
from .faults import Faults, Limited, play
from .loopback import Receive, Scope, Send

Answer = Callable[[Call], Response | Awaitable[Response]]

# Browser clients (the MCP inspector) run on this machine; any other page has no business here.
_BROWSERS = Middleware(
    CORSMiddleware,
    allow_origin_regex=r"https?://(?:127\.0\.0\.1|localhost|\[::1\])(?::[0-9]{1,5})?",
    allow_methods=["GET", "POST"],
    allow_headers=["*"],
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``name`` is our own short name ("tokeninfo"): what calls are counted and faults are set by. ``browsers`` may read
    the answer from a page on this machine; their preflights are not calls."""

    name: str
    paths: Sequence[str]
    answer: Answer
    methods: Sequence[str] = ("GET",)
    browsers: bool = False


def routes(provider: str, endpoints: Sequence[Endpoint], limited: Limited, calls: Calls, faults: Faults) -> list[Route]:
    """The routes of one provider."""
    return [
        route(path, endpoint, Answering(provider, endpoint, limited, calls, faults))
        for endpoint in endpoints
        for path in endpoint.paths
    ]


def route(path: str, endpoint: Endpoint, app: ASGIApp) -> Route:
    """One path of an endpoint, answered by ``app``."""
    if not endpoint.browsers:
        return Route(path, app, methods=list(endpoint.methods))
    return Route(path, app, methods=[*endpoint.methods, "OPTIONS"], middleware=[_BROWSERS])


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
        answer = self._endpoint.answer(call)
        right = answer if isinstance(answer, Response) else await answer
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
            query_string=request.url.query,
        )


def _noting_status(call: Call, send: Send) -> Send:
    async def noting(message: Any) -> None:
        if message["type"] == "http.response.start":
            call.status = message["status"]
        await send(message)

    return noting
