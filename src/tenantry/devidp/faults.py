"""The fault switch: what goes wrong, for a provider or for one endpoint of it, and for how many calls.

    idp.faults.set("google", error())                         # until cleared
    idp.faults.set("github", rate_limited(30), times=1)        # once, then well again
    with idp.faults.during("auth0", slow(), endpoint="jwks") as fault:
        ...
        fault.release.set()                                    # let the held calls go on

A fault changes the answer on the wire only: the call is recorded and answered as usual before.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from .catalog import Catalog
from .loopback import Receive, Scope, Send, connection_of

REDIRECTED: Final = "/_devidp/redirected"
"""Where the redirect fault points. A call that arrives there was sent by somebody who follows redirects."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. Made by the functions below, each named as its kind."""

    kind: str
    seconds: float = 0.0
    status: int = 0
    retry_after: int | None = None
    secondary: bool = False
    size: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event, compare=False, repr=False)


def slow(seconds: float = 30.0) -> Fault:
    """The right answer, after ``seconds`` or when ``fault.release`` is set; never, when the caller hangs up."""
    return Fault("slow", seconds=seconds)


def drip(seconds: float = 0.05) -> Fault:
    """The right answer, one byte every ``seconds``: never idle, and hardly ever done."""
    return Fault("drip", seconds=seconds)


def status(code: int, retry_after: int | None = None) -> Fault:
    """An empty-handed answer with that status code."""
    return Fault("status", status=code, retry_after=retry_after)


def error() -> Fault:
    """500 with a page of HTML, as a crashed front end sends it."""
    return Fault("error", status=500)


def rate_limited(retry_after: int | None = None, *, secondary: bool = False, code: int = 0) -> Fault:
    """Over the limit, in the provider's own words: 429 at Google and Auth0, at GitHub 403 with
    ``x-ratelimit-remaining: 0`` (or, ``secondary``, the text about secondary limits). ``code`` says another status."""
    return Fault("rate_limited", retry_after=retry_after, secondary=secondary, status=code)


def reset() -> Fault:
    """The TCP connection is reset before any byte of the answer."""
    return Fault("reset")


def truncated() -> Fault:
    """The right status, headers and Content-Length; half of the body; then the connection closes."""
    return Fault("truncated")


def html() -> Fault:
    """200 with a page of HTML: a captive portal, a login wall."""
    return Fault("html")


def wrong_content_type() -> Fault:
    """The right status and body, called text/plain."""
    return Fault("wrong_content_type")


def huge(size: int = 8 * 1024 * 1024) -> Fault:
    """200 and JSON with ``size`` bytes of padding, chunked: no Content-Length warns the reader."""
    return Fault("huge", size=size)


def redirect(code: int = 302) -> Fault:
    """To another path of the same server, with its own record of calls (``REDIRECTED``)."""
    return Fault("redirect", status=code)


def empty_keys() -> Fault:
    """200 and ``{"keys": []}``."""
    return Fault("empty_keys")


def unusable_keys() -> Fault:
    """200 and keys that no signature may be verified with: for encryption, symmetric, too short."""
    return Fault("unusable_keys")


def not_json() -> Fault:
    """200, called application/json, and not JSON."""
    return Fault("not_json")


MAKERS: Final[dict[str, Callable[..., Fault]]] = {
    maker.__name__: maker
    for maker in (
        slow,
        drip,
        status,
        error,
        rate_limited,
        reset,
        truncated,
        html,
        wrong_content_type,
        huge,
        redirect,
        empty_keys,
        unusable_keys,
        not_json,
    )
}


def fault_of(kind: Fault | str, **options: Any) -> Fault:
    """A fault by its kind's name: ``fault_of("slow", seconds=2)``; ``LookupError`` for a kind that is none."""
    if isinstance(kind, Fault):
        return kind
    if kind not in MAKERS:
        raise LookupError(f"no fault is called {kind!r}; there are ok, {', '.join(MAKERS)}")
    return MAKERS[kind](**options)


@dataclass(slots=True)
class _Set:
    fault: Fault
    left: int | None


class Faults:
    """The switch. A fault of one endpoint comes before a fault of its whole provider."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._set: dict[tuple[str, str | None], _Set] = {}

    def set(
        self,
        provider: str,
        kind: Fault | str,
        *,
        endpoint: str | None = None,
        times: int | None = None,
        **options: Any,
    ) -> Fault:
        """Let ``kind`` (a fault, its name with ``options``, or "ok") happen at a provider or at one endpoint of it,
        for the next ``times`` calls or until cleared. ``LookupError`` for a name that is not served."""
        self._catalog.check(provider, endpoint)
        if kind == "ok":
            self.clear(provider, endpoint)
            return Fault("ok")
        fault = fault_of(kind, **options)
        self._set[provider, endpoint] = _Set(fault, times)
        return fault

    def clear(self, provider: str | None = None, endpoint: str | None = None) -> None:
        """Heal one endpoint, all of a provider, or everything; calls that are being held go on."""
        for place in list(self._set):
            if provider in {None, place[0]} and endpoint in {None, place[1]}:
                self._set.pop(place).fault.release.set()

    @contextlib.contextmanager
    def during(
        self, provider: str, kind: Fault | str, *, endpoint: str | None = None, **options: Any
    ) -> Iterator[Fault]:
        """``set`` for the length of a block."""
        try:
            yield self.set(provider, kind, endpoint=endpoint, **options)
        finally:
            self.clear(provider, endpoint)

    def next(self, provider: str, endpoint: str) -> Fault | None:
        """The fault of the call that is being answered now, counted down; None when all is well."""
        for place in ((provider, endpoint), (provider, None)):
            if place not in self._set:
                continue
            current = self._set[place]
            if current.left is not None:
                current.left -= 1
                if current.left <= 0:
                    del self._set[place]
            return current.fault
        return None

    def listing(self) -> list[dict[str, Any]]:
        """What is set: ``[{"provider", "endpoint", "kind", "times"}]``."""
        return [
            {"provider": provider, "endpoint": endpoint, "kind": current.fault.kind, "times": current.left}
            for (provider, endpoint), current in self._set.items()
        ]


Limited = Callable[[Fault], Response]


async def play(fault: Fault, right: Response, limited: Limited, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with ``fault`` in place of the ``right`` answer; ``limited`` is the provider's way of
    saying that there were too many requests."""
    if fault.kind in _ACTS:
        await _ACTS[fault.kind](fault, right, scope, receive, send)
        return
    answer = limited(fault) if fault.kind == "rate_limited" else _ANSWERS[fault.kind](fault, right)
    await answer(scope, receive, send)


async def _slow(fault: Fault, right: Response, scope: Scope, receive: Receive, send: Send) -> None:
    waits = [asyncio.ensure_future(fault.release.wait()), asyncio.ensure_future(_hung_up(receive))]
    try:
        await asyncio.wait(waits, timeout=fault.seconds, return_when=asyncio.FIRST_COMPLETED)
        if not waits[1].done():
            await right(scope, receive, send)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


async def _drip(fault: Fault, right: Response, scope: Scope, receive: Receive, send: Send) -> None:
    gone = asyncio.ensure_future(_hung_up(receive))
    try:
        await send({"type": "http.response.start", "status": right.status_code, "headers": right.raw_headers})
        for byte in bytes(right.body):
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            await asyncio.wait({gone}, timeout=fault.seconds)
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b""})
    finally:
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)


async def _hung_up(receive: Receive) -> bool:
    while (await receive())["type"] != "http.disconnect":
        pass
    return True


async def _reset(fault: Fault, right: Response, scope: Scope, receive: Receive, send: Send) -> None:
    connection_of(scope).reset()
    await _hung_up(receive)


async def _truncated(fault: Fault, right: Response, scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": right.status_code, "headers": right.raw_headers})
    half = bytes(right.body)[: len(right.body) // 2]
    await send({"type": "http.response.body", "body": half, "more_body": True})
    connection_of(scope).close()
    await _hung_up(receive)


async def _huge(fault: Fault, right: Response, scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"padding":"', "more_body": True})
    for _ in range(fault.size // 65536):
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
    await send({"type": "http.response.body", "body": b"x" * (fault.size % 65536) + b'"}'})


_Act = Callable[[Fault, Response, Scope, Receive, Send], Awaitable[None]]
_ACTS: Final[dict[str, _Act]] = {
    "slow": _slow,
    "drip": _drip,
    "reset": _reset,
    "truncated": _truncated,
    "huge": _huge,
}


def _status(fault: Fault, right: Response) -> Response:
    headers = {} if fault.retry_after is None else {"retry-after": str(fault.retry_after)}
    return Response(f"status {fault.status}", fault.status, headers, "text/plain")


def _error(fault: Fault, right: Response) -> Response:
    return Response("<!doctype html><title>Error 500</title><p>Something broke.", fault.status, None, "text/html")


def _html(fault: Fault, right: Response) -> Response:
    return Response("<!doctype html><title>Welcome</title><p>Sign in to the network.", 200, None, "text/html")


def _wrong_content_type(fault: Fault, right: Response) -> Response:
    return Response(bytes(right.body), right.status_code, None, "text/plain")


def _redirect(fault: Fault, right: Response) -> Response:
    return Response(b"", fault.status, {"location": REDIRECTED})


def _empty_keys(fault: Fault, right: Response) -> Response:
    return JSONResponse({"keys": []})


def _unusable_keys(fault: Fault, right: Response) -> Response:
    number = base64.urlsafe_b64encode(b"\xc3" * 64).rstrip(b"=").decode()  # 512 bits
    short = {"kty": "RSA", "kid": "short", "use": "sig", "n": number, "e": "AQAB"}
    mac = {"kty": "oct", "kid": "mac", "k": number}
    encryption = {"kty": "RSA", "kid": "enc", "use": "enc", "n": number * 4, "e": "AQAB"}
    return JSONResponse({"keys": [short, mac, encryption]})


def _not_json(fault: Fault, right: Response) -> Response:
    return Response('{"keys": [upstream connect error', 200, None, "application/json")


_ANSWERS: Final[dict[str, Callable[[Fault, Response], Response]]] = {
    "status": _status,
    "error": _error,
    "html": _html,
    "wrong_content_type": _wrong_content_type,
    "redirect": _redirect,
    "empty_keys": _empty_keys,
    "unusable_keys": _unusable_keys,
    "not_json": _not_json,
}
