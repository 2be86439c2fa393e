"""Clients ask for an endpoint with a slash at its end or without; an app serves one form and redirects the other.

The redirect is followed in here. A client that followed it would have to send its token and its body again, behind a
TLS proxy to a URL that begins with ``http://``, and many do not.
"""

from __future__ import annotations

from functools import partial
from urllib.parse import urlsplit

from .expiry import App, Message, Receive, Scope, Send

_REDIRECTS = (307, 308)  # method and body are kept: RFC 9110 sections 15.4.8 and 15.4.9


class EitherSlash:
    """Which form the app serves is found out at the first request for each; from then on nothing is looked at."""

    def __init__(self) -> None:
        self._served: dict[str, str] = {}  # asked for -> the form that the app serves; two for each endpoint at most

    def app_for(self, path: str, endpoints: frozenset[str], app: App) -> App:
        """``app``, as it serves a request for ``path``, which is one of the ``endpoints`` with a slash at its end or
        without, or anything else. They have none."""
        served = self._served.get(path)
        if served == path or (served is None and path.removesuffix("/") not in endpoints):
            return app
        return partial(self._find_out if served is None else _at_the_other, app)

    async def _find_out(self, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        first = _First(receive, send, _other(path))
        await app(scope, first.receive, first.send)
        if first.redirected:
            self._served[path] = _other(path)
            await _at_the_other(app, scope, receive, send)
        elif first.answered:
            self._served[path] = path


async def _at_the_other(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    path = _other(scope["path"])
    await app({**scope, "path": path, "raw_path": path.encode()}, receive, send)


class _First:
    """The first request: a redirect to the ``other`` form is kept back, unless the body has been read by then."""

    def __init__(self, receive: Receive, send: Send, other: str) -> None:
        self._receive, self._send, self._other = receive, send, other
        self._read = False
        self.redirected = self.answered = False

    async def receive(self) -> Message:
        self._read = True
        return await self._receive()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.redirected = not self._read and self._leads_to_the_other(message)
            self.answered = not self.redirected and message["status"] < 300
        if not self.redirected:
            await self._send(message)

    def _leads_to_the_other(self, start: Message) -> bool:
        if start["status"] not in _REDIRECTS:
            return False
        places = [value for name, value in start.get("headers", ()) if name.lower() == b"location"]
        return len(places) == 1 and urlsplit(places[0].decode("latin-1")).path == self._other


def _other(path: str) -> str:
    return path[:-1] if path.endswith("/") else path + "/"
