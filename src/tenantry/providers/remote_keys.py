"""The keys of one issuer, fetched from its JWKS URL and kept fresh: a thin layer of time on ``core/keys.py``.

* One fetch is in flight at most; everybody who needs it waits for the same one.
* A set is fresh for its Cache-Control lifetime, within 5 minutes and 24 hours; after four fifths of it a request
  starts a refresh in the background; after all of it a request waits for one.
* A fetch that fails, or brings nothing usable, never replaces good keys: the last good ones serve for 24 hours, and
  while the issuer is down the attempts go on in the background: nobody waits for a provider that hangs.
* A key id that is not in the set may have the set fetched anew, within the budget of ``refetches.py``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.jws import UnverifiedToken
from ..core.keys import KeySet, VerificationKey, parse_key_set
from ..core.strict_json import parse_object
from ..errors import TokenInvalid, Unavailable
from ..observations import KeysRefreshed, KeysRefreshFailed
from ..ports import Clock, Fetch, FetchFailed, HttpRequest, HttpResponse, Observer
from .refetches import SPACING, Refetches

SHORTEST, LONGEST = 300.0, 86_400.0  # seconds a set is fresh at least and at most
UNSAID = 600.0  # when the answer has no max-age: the lower end of what providers advise
BACKGROUND_FROM = 0.8  # of the lifetime
LAST_GOOD = 86_400.0  # seconds that keys may outlive their last successful fetch during an outage
COLD_PAUSE, WARM_PAUSE = 1.0, 5.0  # seconds between attempts during an outage, without and with keys to go on
ABSENT_FOR = 30.0  # seconds that a fetched set proves an id absent

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class KeyState:
    """For health checks and ``doctor``: ages in seconds, None before the first success; ``failing`` names the
    kind of the last failure since then."""

    usable: int
    age: float | None
    fresh_for: float | None
    failing: str | None
    refetches: int


class RemoteKeys:
    """The verification keys behind one JWKS URL."""

    def __init__(self, provider: str, url: str, fetch: Fetch, clock: Clock, observe: Observer) -> None:
        self._provider = provider
        self._request = HttpRequest("GET", url, {"accept": "application/json"})
        self._fetch = fetch
        self._clock = clock
        self._observe = observe
        self._keys: KeySet | None = None
        self._asked_at = self._fetched_at = self._fresh_until = self._lifetime = 0.0
        self._set_asked_at = float("-inf")  # when the set at hand was asked for: a failed fetch proves no id absent
        self._retry_at = float("-inf")
        self._failing: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._refetches = Refetches()

    async def key_for(self, token: UnverifiedToken) -> VerificationKey:
        """The one key that may have signed ``token``. Raises ``TokenInvalid`` or ``Unavailable``."""
        keys = await self._usable()
        key = keys.choose(token.kid, token.algorithm)
        if key is None and token.kid is not None and not keys.has(token.kid):
            key = await self._refetch_for(token, token.kid)
        if key is None:
            raise TokenInvalid("key_unknown")
        return key

    def state(self) -> KeyState:
        now = self._clock.monotonic()
        known = self._keys is not None
        return KeyState(
            usable=len(self._keys.keys) if self._keys else 0,
            age=now - self._fetched_at if known else None,
            fresh_for=max(0.0, self._fresh_until - now) if known else None,
            failing=self._failing,
            refetches=self._refetches.count,
        )

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _usable(self) -> KeySet:
        """The current set: fresh, or the last good one while its issuer is down."""
        now = self._clock.monotonic()
        if now >= self._retry_at:
            if not self._has_good(now) or (now >= self._fresh_until and self._failing is None):
                await self._refresh()
            elif now >= self._fresh_until - (1 - BACKGROUND_FROM) * self._lifetime:
                self._begin()
        if self._keys is None or not self._has_good(self._clock.monotonic()):
            raise Unavailable("keys_unavailable", retry_after=COLD_PAUSE)
        return self._keys

    def _has_good(self, now: float) -> bool:
        return self._keys is not None and now < self._fetched_at + LAST_GOOD

    async def _refetch_for(self, token: UnverifiedToken, kid: str) -> VerificationKey | None:
        """Look again for a key id that the current set does not have.

        None is definitive: a set that was asked for after the id was first heard of does not have it.
        """
        now = self._clock.monotonic()
        heard, again = self._refetches.hear(kid, now)
        if self._set_asked_at >= heard and now < self._fetched_at + ABSENT_FOR:
            return None
        joined = self._task is not None and not self._task.done() and self._asked_at >= heard
        if not joined and not self._refetches.grant(again=again, asked_at=self._asked_at, now=now):
            raise Unavailable("keys_unconfirmed", retry_after=SPACING)
        await self._refresh()
        if self._set_asked_at < heard:
            if not joined:
                self._refetches.refund()
            raise Unavailable("keys_unavailable", retry_after=COLD_PAUSE)
        return self._keys.choose(kid, token.algorithm) if self._keys else None

    def start(self) -> None:
        """Begin the first fetch, so that the first caller need not wait for all of it."""
        if self._keys is None:
            self._begin()

    def _begin(self) -> asyncio.Task[None]:
        if self._task is None or self._task.done():
            self._asked_at = self._clock.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._load())
        return self._task

    async def _refresh(self) -> None:
        """Wait for the fetch in flight, or a new one; whoever stops waiting does not stop it."""
        await asyncio.shield(self._begin())

    async def _load(self) -> None:
        asked_at = self._asked_at
        try:
            response = await self._fetch(self._request)
            keys = _read(response)
        except FetchFailed as failure:
            self._failed(failure.kind)
        except ValueError:
            self._failed("body")
        else:
            self._replace(keys, response, asked_at)

    def _failed(self, kind: str) -> None:
        now = self._clock.monotonic()
        self._failing = kind
        self._retry_at = now + (COLD_PAUSE if self._keys is None else WARM_PAUSE)
        self._observe(KeysRefreshFailed(self._provider, kind, None if self._keys is None else now - self._fetched_at))

    def _replace(self, keys: KeySet, response: HttpResponse, asked_at: float) -> None:
        self._keys, self._failing = keys, None
        self._set_asked_at = asked_at
        self._fetched_at = max(asked_at, self._clock.monotonic())
        self._lifetime = lifetime(response.headers)
        self._fresh_until = self._fetched_at + self._lifetime
        self._retry_at = float("-inf")
        self._observe(KeysRefreshed(self._provider, len(keys.keys), keys.ignored))


def _read(response: HttpResponse) -> KeySet:
    if response.status != 200:
        raise ValueError("not a 200")
    return parse_key_set(parse_object(response.body))


def lifetime(headers: Mapping[str, str]) -> float:
    """Seconds of freshness: max-age minus Age (RFC 9111 section 4.2), within bounds."""
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    if found is None:
        return UNSAID
    age = headers.get("age", "0").strip()
    return min(max(float(found[1]) - (float(age) if age.isdecimal() else 0.0), SHORTEST), LONGEST)
