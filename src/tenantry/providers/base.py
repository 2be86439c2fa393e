"""What an identity source is, and how one is asked.

To write your own: name it; verify a credential that was routed to you (raise ``TokenInvalid`` when it is
definitively bad, ``Unavailable`` when you cannot know); say who it is, with the tenant evidence you are
authoritative for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn, Protocol
from urllib.parse import quote

from ..core.matching import Presented
from ..core.strict_json import parse_object
from ..errors import Unavailable
from ..model import Identity, VerifiedClaims
from ..observations import Misconfigured, ProviderCalled, ProviderFailed
from ..ports import Clock, Fetch, FetchFailed, HttpRequest, HttpResponse, Observer
from .breaker import Breaker, BreakerState
from .budget import ProviderBudget

DEADLINE = 5.0  # seconds for one call, the wait for its turn included
CALLS_AT_ONCE = 20  # a provider that hangs holds so many connections at most; the others have theirs
RETRY_AFTER = 5.0  # seconds; what a client is told when the provider named no time
MAX_RETRY_AFTER = 3600.0
_UNSAID_HOLD = 1.0  # seconds that a limit without a time keeps calls back


class Provider(Protocol):
    """One identity source. ``issuers`` are the exact ``iss`` values it answers for; ``cacheable`` is False when
    verifying is cheaper than remembering; ``authorization_servers`` go into the resource metadata."""

    @property
    def name(self) -> str: ...
    @property
    def issuers(self) -> tuple[str, ...]: ...
    @property
    def authorization_servers(self) -> tuple[str, ...]: ...
    @property
    def cacheable(self) -> bool: ...

    async def verify(self, presented: Presented) -> VerifiedClaims:
        """Authentic and for us, or a ``Refusal``."""
        ...

    def identify(self, verified: VerifiedClaims) -> Identity:
        """Who that is. Pure: the same claims give the same identity."""
        ...

    def start(self) -> None:
        """Begin in the background what the first caller would wait for. Does not fail and does not wait."""
        ...

    async def aclose(self) -> None: ...


class ProviderClient:
    """Asks one provider over HTTP and turns everything but an answer into ``Unavailable``: at once, while it is known
    to be down (``breaker.py``), else within ``deadline`` seconds."""

    def __init__(
        self, provider: str, fetch: Fetch, clock: Clock, observe: Observer, *, deadline: float = DEADLINE
    ) -> None:
        self._provider = provider
        self._fetch = fetch
        self._clock = clock
        self._observe = observe
        self._deadline = deadline
        self._turns = asyncio.Semaphore(CALLS_AT_ONCE)
        self._breakers: dict[str, Breaker] = {}
        self.budget = ProviderBudget(provider, clock, observe)

    async def ask(self, endpoint: str, request: HttpRequest, *, ours: bool = True) -> HttpResponse:
        """The provider's answer, whatever its status. ``endpoint`` is our short name for the log; ``ours`` is false
        where the call counts against the user of a token, whose budget says nothing about the next one's."""
        breaker = self._breaker(endpoint)
        breaker.check()
        try:
            response = await self._call(breaker, request)
        except FetchFailed as failure:
            self._observe(ProviderFailed(self._provider, endpoint, failure.kind))
            raise Unavailable("provider_unavailable", retry_after=RETRY_AFTER, outage=failure.unanswered) from None
        self._observe(ProviderCalled(self._provider, endpoint, response.status))
        if ours:
            self.budget.heard(response.headers, response.status)
            if _is_limit(response):
                breaker.hold(_told(response.headers, self._clock.now()) or _UNSAID_HOLD)
        if response.status >= 500 or 300 <= response.status < 400:
            breaker.failed("status", outage=response.status >= 500)
        elif response.status != 200:  # one that is, is judged by who reads it
            breaker.answered()
        return response

    async def _call(self, breaker: Breaker, request: HttpRequest) -> HttpResponse:
        called = False
        try:
            async with asyncio.timeout(self._deadline), self._turns:
                with breaker.call():  # it may have opened while this waited for its turn
                    called = True
                    return await self._fetch(request)
        except FetchFailed as failure:
            breaker.failed(failure.kind, outage=failure.unanswered)
            raise
        except TimeoutError:
            if called:
                breaker.failed("timeout", outage=True)
            raise FetchFailed("timeout") from None

    def states(self) -> dict[str, BreakerState]:
        """For health checks and ``doctor``: by endpoint, those that have been asked."""
        return {endpoint: breaker.state() for endpoint, breaker in self._breakers.items()}

    def _breaker(self, endpoint: str) -> Breaker:
        breaker = self._breakers.get(endpoint)
        if breaker is None:
            breaker = self._breakers[endpoint] = Breaker(self._provider, endpoint, self._clock, self._observe)
        return breaker

    def object(self, endpoint: str, response: HttpResponse) -> dict[str, Any]:
        """The JSON object of a 200, else ``Unavailable``: a broken answer says nothing about the token."""
        try:
            found = parse_object(response.body)
        except ValueError:
            self.unusable(endpoint, "body")
        self._breaker(endpoint).answered()
        return found

    def unusable(self, endpoint: str, kind: str) -> NoReturn:
        """Raise for a 200 that is not what the provider says there."""
        self._breaker(endpoint).failed(kind, outage=False)
        self._observe(ProviderFailed(self._provider, endpoint, kind))
        raise Unavailable("provider_unavailable", retry_after=RETRY_AFTER)

    def unavailable(self, endpoint: str, response: HttpResponse) -> NoReturn:
        """Raise for a status that says nothing about the token: 429, 5xx, redirects and whatever else."""
        self._observe(ProviderFailed(self._provider, endpoint, "status"))
        reason = "provider_rate_limited" if response.status in (403, 429) else "provider_unavailable"
        wait = retry_after(response.headers, self._clock.now())
        raise Unavailable(reason, retry_after=wait, outage=response.status >= 500)

    def misconfigured(self, hint: str) -> NoReturn:
        """Raise because the provider refuses *us*: that is never the caller's fault."""
        self.suspect(hint)
        raise Unavailable("provider_misconfigured", detail=hint, retry_after=60)

    def suspect(self, hint: str) -> None:
        """Tell the operator that our own settings look wrong."""
        self._observe(Misconfigured(self._provider, hint))


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Seconds from Retry-After (RFC 9110 section 10.2.3, the delta form) or ``x-ratelimit-reset``, bounded."""
    told = _told(headers, now)
    return RETRY_AFTER if told is None else told


def _told(headers: Mapping[str, str], now: float) -> float | None:
    delta = _number(headers.get("retry-after"))
    if delta is None:
        reset = _number(headers.get("x-ratelimit-reset"))
        delta = None if reset is None else reset - now
    return None if delta is None else min(max(delta, 1.0), MAX_RETRY_AFTER)


def _is_limit(response: HttpResponse) -> bool:
    """429, or 403 that names a time: GitHub's way. Any other 403 may be about the token."""
    if response.status == 429:
        return True
    headers = response.headers
    return response.status == 403 and ("retry-after" in headers or headers.get("x-ratelimit-remaining") == "0")


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdecimal() and len(text) < 16 else None


def user_id(provider: str, subject: str) -> str:
    """``<provider>:<subject>``, with ``%`` and ``:`` of the subject escaped so that no two pairs are equal."""
    return f"{provider}:{subject}" if subject.isalnum() else f"{provider}:{quote(subject, safe='|@._-~+=,/')}"


def text_of(claims: Mapping[str, Any], name: str, limit: int = 512) -> str | None:
    """A string claim for people to read, None when absent, of another type, too long or unprintable."""
    value = claims.get(name)
    return value if type(value) is str and 0 < len(value) <= limit and value.isprintable() else None
