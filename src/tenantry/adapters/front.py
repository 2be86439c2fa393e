"""What a request meets before and behind the gate, as one value: a reload puts another in its place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..core.credentials import single_headers
from ..errors import CredentialMissing, Forbidden, Refusal, UpgradeRequired
from ..gate import Gate
from ..model import Admission, Anonymous
from ..ports import Clock, Observer
from ..request import Request
from .answering import Refuse
from .body import Body
from .expiry import App, Receive, Scope, Send
from .forwarded import Peer, Proxies
from .health import LIVE, READY, Health
from .https import HttpsOnly
from .listings import filtering, uncompressed
from .request_ids import RequestIds
from .response_headers import SecurityHeaders
from .tracing import Tracing
from .traffic import Traffic
from .transport import Answer, Transport

if TYPE_CHECKING:
    from .metrics import Metrics

METRICS = "/metrics"
HEALTH = frozenset({LIVE, READY})
_AMBIGUOUS = ("//", "/.", "\\", ";", "%", " ")
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Front:
    """``health`` answers the health checks that are not exempt; ``check`` raises a ``Refusal`` while nothing may be let
    in (the audit cannot be written); ``resources`` maps context variables to what they hold during a request;
    ``mcp_paths`` are those whose bodies are read, None for all; ``endpoints`` are those that are served with a slash at
    their end and without; ``max_body`` in bytes; ``leeway`` is how many seconds after its end a token is still let in.
    """

    gate: Gate
    transport: Transport
    clock: Clock
    observe: Observer
    proxies: Proxies = field(default_factory=Proxies)
    https: HttpsOnly | None = None
    headers: SecurityHeaders = field(default_factory=SecurityHeaders)
    ids: RequestIds = field(default_factory=RequestIds)
    health: Health | None = None
    check: Callable[[], None] | None = None
    tracing: Tracing | None = None
    metrics: Metrics | None = None
    resources: Mapping[ContextVar[Any], Any] = field(default_factory=dict)
    mcp_paths: frozenset[str] | None = None
    endpoints: frozenset[str] = frozenset()
    max_body: int = 4 * 1024 * 1024
    leeway: float = 30.0
    traffic: Traffic = field(default_factory=Traffic)

    def request(self, scope: Scope, peer: Peer) -> Request:
        """What is known of a request before anything about it has been checked."""
        pairs = scope["headers"]
        name = self.ids.of(dict(pairs).get(b"x-request-id"), peer) if peer.trusted else self.ids.new()
        method = scope.get("method", "GET")  # a websocket's handshake is a GET
        return Request({}, scope["query_string"], name, peer.address, pairs, scope["path"], method)

    async def alive(self, scope: Scope, path: str) -> Answer | None:
        """The answer to a health check, which asks nobody who he is; None for what is none."""
        if self.health is None or scope.get("method") not in ("GET", "HEAD"):
            return None
        return await self.health.answer(path)

    def before(self, scope: Scope, path: str, peer: Peer, request: Request) -> Answer | None:
        """What needs no caller: resource metadata, a real CORS preflight, and what is refused to everybody."""
        try:
            request.headers = headers = single_headers(scope["headers"])
            if scope["type"] == "http":
                answer = self._open(scope, path, peer, headers)
                if answer is not None:
                    return answer
            else:
                self._check_websocket(scope, path, peer)
            self.transport.check(headers)
            if self.check is not None:
                self.check()
        except Refusal as refusal:
            return self.refused(refusal, request)
        return None

    def _open(self, scope: Scope, path: str, peer: Peer, headers: Mapping[bytes, bytes]) -> Answer | None:
        method = scope["method"]
        answer = None if self.https is None else self.https.check(scope, path, peer)
        if answer is None and path.startswith("/.well-known/"):
            answer = self.transport.well_known(path, method)
        if answer is None and method == "OPTIONS" and b"origin" in headers:
            asked = dict(scope["headers"])
            if b"access-control-request-method" in asked:
                names = asked.get(b"access-control-request-headers", b"").decode("latin-1")
                return self.transport.preflight(headers, names)
        return answer

    def _check_websocket(self, scope: Scope, path: str, peer: Peer) -> None:
        if self.https is not None and self.https.check(scope, path, peer) is not None:
            raise UpgradeRequired("https_required")
        if self.gate.calls.rules and self._speaks_mcp(scope, path):
            raise Forbidden("call_not_allowed")  # nobody here reads what is said inside

    def admit(self, request: Request) -> Awaitable[Admission | Anonymous]:
        """As the gate, traced and timed where somebody wants that."""
        admitting = self.gate.admit(request)
        if self.tracing is not None and self.tracing.records:
            admitting = self.tracing.around(admitting, request.pairs)
        return admitting if self.metrics is None else self._timed(admitting, self.metrics)

    async def _timed(self, admitting: Awaitable[Admission | Anonymous], metrics: Metrics) -> Admission | Anonymous:
        began = self.clock.monotonic()
        try:
            return await admitting
        finally:
            metrics.authenticated(self.clock.monotonic() - began)

    def page(self, path: str, admission: Admission | Anonymous) -> Answer | None:
        """The metrics, where they are served on this port. Raises ``InsufficientScope``."""
        if self.metrics is None or self.metrics.address is not None:
            return None
        if admission.user is None:
            raise CredentialMissing("credential_missing")
        admission.user.require_permission("metrics:read")
        page, kind = self.metrics.render()
        return Answer(200, [(b"content-type", kind.encode("ascii")), (b"cache-control", b"no-store")], page)

    def around(self, app: App, request: Request, refuse: Refuse) -> App:
        """The app, with what it says held against the rules; ``refuse`` makes the answer in place of one that cannot
        be read."""
        rules, user, calls = self.gate.calls.rules, request.user, request.calls

        async def filtered(scope: Scope, receive: Receive, send: Send) -> None:
            sending = filtering(send, rules, user, calls, oauth=self.transport.oauth, refuse=refuse)
            await app(uncompressed(scope, calls), receive, sending)

        return filtered

    def body(self, scope: Scope, path: str, receive: Receive, request: Request) -> Body | None:
        """The request's body, where something may depend on what it says."""
        calls = self.gate.calls
        if not calls.asks(request) or scope["type"] != "http" or not self._speaks_mcp(scope, path):
            return None
        without = scope["method"] in _WITHOUT_BODY
        if without and not calls.rules:
            return None
        body = Body(receive, request.headers, self.max_body, optional=without)
        request.read = body.calls
        return body

    def _speaks_mcp(self, scope: Scope, path: str) -> bool:
        """Whether MCP may be spoken at ``path``, below a mount or as clients see it. A path that some router may take
        for another counts: routes of Starlette match a line feed at the end, proxies and apps fold dots and slashes."""
        paths = self.mcp_paths
        if paths is None or not path.isprintable() or any(mark in path for mark in _AMBIGUOUS):
            return True
        return path.rstrip("/").lower() in paths or scope["path"].rstrip("/").lower() in paths

    def refused(self, error: Exception, request: Request) -> Answer:
        """The answer to what was raised outside of the gate."""
        return self.answer(self.gate.refusing.of(error, request), request)

    def answer(self, refusal: Refusal, request: Request) -> Answer:
        return self.transport.refusal(refusal, request.headers, request.id, request.path)

    async def aclose(self) -> None:
        if self.health is not None:
            await self.health.aclose()
