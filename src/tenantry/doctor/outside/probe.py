"""Requests to the server under examination: few, one after the other, each remembered, none without a bound.

Checks that look at the same answer ask for the same request and share it. Redirects are not followed, bodies are read
to a bound, and when the server says 429 we wait where it asks for little, and otherwise stop asking. No answer is a
``NoReply``; not being allowed to ask any more is ``Stopped``.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ... import __version__
from ...adapters.http import http_library
from ...core.redaction import MARK, one_line, redact
from .target import Header, Target

MOST_REQUESTS = 60
MOST_SECONDS = 20.0
MOST_WAITING = 10.0  # seconds, where the server limits us and says for how long
REQUEST_SECONDS = 5.0
MOST_BYTES = 256 * 1024
_STREAM_SECONDS = 1.0  # of a body that goes on and on
_SHOWN = 160  # characters of the server's own words in a finding
USER_AGENT = f"tenantry-doctor/{__version__}"


class NoReply(Exception):
    """No answer came. ``kind``: "connect", "tls", "timeout", "protocol"."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind = kind


class Stopped(Exception):
    """We may not ask any more: ``why``, for people."""


@dataclass(frozen=True, slots=True)
class Reply:
    """``headers`` in the order of the wire with lower-case names; ``body`` up to ``MOST_BYTES``, ``whole`` when that
    was all; ``seconds`` until the head came, at ``moment`` (since the epoch)."""

    status: int
    headers: tuple[Header, ...]
    body: bytes = field(repr=False)
    whole: bool
    seconds: float
    moment: float

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given == name]

    def get(self, name: str) -> str:
        """The values joined as HTTP joins them; "" for none."""
        return ", ".join(self.all(name))

    def words(self, name: str) -> set[str]:
        """The members of a comma list, in lower case."""
        return {word.strip().lower() for word in self.get(name).split(",") if word.strip()}

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def message(self) -> dict[str, Any] | None:
        """The JSON object of the body, also as the first event of a stream; None for anything else."""
        text = self.text
        if "text/event-stream" in self.get("content-type"):
            text = next((line[5:] for line in text.splitlines() if line.startswith("data:") and "{" in line), "")
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    @property
    def success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def redirect(self) -> bool:
        return 300 <= self.status < 400


@dataclass(frozen=True, slots=True)
class _Sent:
    method: str
    url: str
    headers: tuple[Header, ...]
    body: bytes


class Probe:
    """``token`` is the user's own good one, None without; it goes to ``target.url`` alone. ``ca_file`` holds further
    certificates to trust. ``others`` says whether other servers may be asked, which the server names. ``failures`` are
    the requests to the server that got no answer, and why. Use as ``async with``."""

    def __init__(
        self, target: Target, *, token: str | None = None, ca_file: str | None = None, others: bool = True
    ) -> None:
        self.target = target
        self.token = token
        self.others = others
        self.tls = ssl.create_default_context(cafile=ca_file) if ca_file else None
        self.replies: list[Reply] = []
        self.failures: dict[str, str] = {}
        self.tokens: dict[str, str] = {}  # the bad ones that were sent, by kind
        self.requests = 0
        self._answers: dict[_Sent, Reply | NoReply] = {}
        self._began = time.monotonic()
        self._waited = 0.0
        self._stopped: Stopped | None = None
        self._client: Any = None

    async def __aenter__(self) -> Probe:
        library = http_library()
        self._client = library.AsyncClient(
            timeout=REQUEST_SECONDS, verify=self.tls or True, follow_redirects=False, trust_env=False
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._client.aclose()

    @property
    def stopped(self) -> str | None:
        """Why not everything could be asked; None when it could."""
        return None if self._stopped is None else str(self._stopped)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    async def ask(
        self,
        method: str,
        url: str | None = None,
        *,
        headers: Sequence[Header] = (),
        message: Mapping[str, Any] | None = None,
        without: str = "",
    ) -> Reply:
        """One request to the server: to the endpoint, or to ``url`` at the same server. ``message`` is sent as JSON;
        ``without`` names one of the target's own headers to leave out. Raises ``NoReply``, ``Stopped``."""
        own = [header for header in self.target.headers if header[0].lower() != without]
        told = {name.lower() for name, _ in headers}
        own = [header for header in own if header[0].lower() not in told]
        common: list[Header] = [("user-agent", USER_AGENT)]
        if message is not None:
            common.append(("content-type", "application/json"))
        if "accept" not in told:
            common.append(("accept", "application/json, text/event-stream"))
        body = b"" if message is None else json.dumps(message).encode()
        return await self._remembered(_Sent(method, url or self.target.url, (*own, *common, *headers), body))

    async def elsewhere(self, url: str) -> Reply:
        """A plain GET of a public document, at any server: nothing of the target's goes with it."""
        headers = (("user-agent", USER_AGENT), ("accept", "application/json"))
        return await self._remembered(_Sent("GET", url, headers, b""))

    async def _remembered(self, sent: _Sent) -> Reply:
        known = self._answers.get(sent)
        if known is None:
            try:
                known = await self._allowed(sent)
            except NoReply as failure:
                known = failure
                if sent.url.startswith(self.target.at("/")):
                    self.failures[f"{sent.method} {sent.url.partition('?')[0]}"] = str(failure)
            self._answers[sent] = known
        if isinstance(known, NoReply):
            raise known
        return known

    async def _allowed(self, sent: _Sent) -> Reply:
        reply = await self._counted(sent)
        if reply.status == 429 and (pause := self._pause(reply)) is not None:
            self._waited += pause
            await asyncio.sleep(pause)
            reply = await self._counted(sent)
        if reply.status == 429:
            self._stopped = Stopped(f"the server answers 429 ({self._told(reply)})")
            raise self._stopped
        return reply

    def _pause(self, reply: Reply) -> float | None:
        """How long the server asks us to wait; None when that is too long, or not said."""
        told = reply.get("retry-after").strip()
        if not told.isascii() or not told.isdigit() or len(told) > 4:
            return None
        return float(told) if self._waited + float(told) <= MOST_WAITING else None

    def _told(self, reply: Reply) -> str:
        told = reply.get("retry-after")
        return f"Retry-After: {self.shown(told)}" if told else "without Retry-After"

    async def _counted(self, sent: _Sent) -> Reply:
        self.check_budget()
        reply = await self._send(sent)
        self.replies.append(reply)
        return reply

    def check_budget(self) -> None:
        """Count one more request. Raises ``Stopped``."""
        if self._stopped is None and self.requests >= MOST_REQUESTS:
            self._stopped = Stopped(f"{MOST_REQUESTS} requests were enough")
        if self._stopped is None and self.seconds > MOST_SECONDS:
            self._stopped = Stopped(f"{MOST_SECONDS:.0f} seconds were over: the server answers slowly")
        if self._stopped is not None:
            raise self._stopped
        self.requests += 1

    async def _send(self, sent: _Sent) -> Reply:
        library = importlib.import_module(type(self._client).__module__.partition(".")[0])
        began = time.monotonic()
        try:
            request = self._client.build_request(sent.method, sent.url, headers=list(sent.headers), content=sent.body)
            async with asyncio.timeout(REQUEST_SECONDS):
                response = await self._client.send(request, stream=True)
        except (TimeoutError, library.TimeoutException):
            raise NoReply("timeout", f"no answer within {REQUEST_SECONDS:.0f} s") from None
        except library.ConnectError as error:
            raise _unconnected(error) from None
        except (library.HTTPError, library.InvalidURL, UnicodeError, ValueError) as error:
            raise NoReply("protocol", f"what came is no HTTP answer ({type(error).__name__})") from None
        seconds, moment = time.monotonic() - began, time.time()
        try:
            body, whole = await _read(response)
        except (library.HTTPError, library.StreamError):
            body, whole = b"", False
        finally:
            with suppress(Exception):
                await response.aclose()
        headers = tuple((name.lower(), value) for name, value in response.headers.multi_items())
        return Reply(response.status_code, headers, body, whole, seconds, moment)

    def shown(self, text: str) -> str:
        """The server's own words as they may be printed: one line, without a credential, not long."""
        if self.token:
            text = text.replace(self.token, MARK)
        text = one_line(redact(text))
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


async def _read(response: Any) -> tuple[bytes, bool]:
    """(the body up to its bound, whether that was all). What never ends is read for a moment."""
    body = bytearray()
    try:
        async with asyncio.timeout(_STREAM_SECONDS if _streams(response) else REQUEST_SECONDS):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MOST_BYTES:
                    return bytes(body[:MOST_BYTES]), False
    except TimeoutError:
        return bytes(body), False
    return bytes(body), True


def _streams(response: Any) -> bool:
    return "text/event-stream" in response.headers.get("content-type", "")


def _unconnected(error: BaseException) -> NoReply:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NoReply("tls", f"its certificate is not good: {cause.verify_message}")
        if isinstance(cause, ssl.SSLError):
            return NoReply("tls", "no TLS connection comes about")
    return NoReply("connect", "no connection: nobody listens there, or the name leads nowhere")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
