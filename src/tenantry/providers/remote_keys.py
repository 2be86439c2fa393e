"""The keys of one issuer, fetched from its JWKS URL and kept fresh: a thin layer of time on ``core/keys.py``.

* One fetch is in flight at most; everybody who needs it waits for the same one, and nobody longer than ``PATIENCE``.
* A set is fresh for its Cache-Control lifetime, within 5 minutes and 24 hours; after four fifths of it a request
  starts a refresh in the background; after all of it a request waits for one.
* A fetch that fails is tried once more, then another URL is asked where there is one (``key_source.py``).
* A fetch that fails, or brings nothing usable, never replaces good keys: the last good ones serve for 24 hours, and
  while the issuer is down the attempts go on in the background: nobody waits for a provider that hangs.
* A key id that is not in the set may have the set fetched anew, within the budget of ``refetches.py``.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ..core.jws import UnverifiedToken
from ..core.keys import KeySet, VerificationKey
from ..errors import TokenInvalid, Unavailable
from ..observations import KeysRefreshed, KeysRefreshFailed
from ..ports import Clock, Fetch, Observer
from . import key_source
from .key_source import Fetched, Jitter, KeySource, NoKeys
from .refetches import SPACING, Refetches

BACKGROUND_FROM = 0.8  # of the lifetime
LAST_GOOD = 86_400.0  # seconds that keys may outlive their last successful fetch during an outage
COLD_PAUSE, WARM_PAUSE = 1.0, 5.0  # seconds between attempts during an outage, without and with keys to go on
ABSENT_FOR = 30.0  # seconds that a fetched set proves an id absent
PATIENCE = 6.0  # seconds that a request waits for keys: a second more than one call may take


@dataclass(frozen=True, slots=True)
class KeyState:
    """For health checks and ``doctor``: times in seconds, None before the first success; ``failing`` names the
    kind of the last failure since then, ``failing_for`` how long that has gone on, ``last_good_for`` how much longer
    the keys at hand would serve. ``fallback``: they are the second URL's."""

    usable: int
    age: float | None
    fresh_for: float | None
    failing: str | None
    refetches: int
    failing_for: float | None = None
    last_good_for: float | None = None
    fallback: bool = False


class RemoteKeys:
    """The verification keys behind one JWKS URL, or behind ``fallback`` while that fails."""

    def __init__(
        self,
        provider: str,
        url: str,
        fetch: Fetch,
        clock: Clock,
        observe: Observer,
        *,
        fallback: str | None = None,
        jitter: Jitter = key_source.random,
        patience: float = PATIENCE,
    ) -> None:
        self._provider = provider
        self._source = KeySource(url, fallback, fetch, clock, jitter)
        self._clock = clock
        self._observe = observe
        self._patience = patience
        self._keys: KeySet | None = None
        self._of_fallback = False
        self._asked_at = self._fetched_at = self._fresh_until = self._lifetime = 0.0
        self._set_asked_at = float("-inf")  # when the set at hand was asked for: a failed fetch proves no id absent
        self._absent_until = self._retry_at = float("-inf")
        self._failing: NoKeys | None = None
        self._failing_since = 0.0
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
            failing=self._failing.kind if self._failing else None,
            refetches=self._refetches.count,
            failing_for=now - self._failing_since if self._failing else None,
            last_good_for=max(0.0, self._fetched_at + LAST_GOOD - now) if known else None,
            fallback=self._of_fallback,
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
            raise self._none(outage=self._failing is not None and self._failing.outage)
        return self._keys

    def _none(self, *, outage: bool = False) -> Unavailable:
        wait = max(COLD_PAUSE, self._retry_at - self._clock.monotonic())
        return Unavailable("keys_unavailable", retry_after=wait, outage=outage)

    def _has_good(self, now: float) -> bool:
        return self._keys is not None and now < self._fetched_at + LAST_GOOD

    async def _refetch_for(self, token: UnverifiedToken, kid: str) -> VerificationKey | None:
        """Look again for a key id that the current set does not have.

        None is definitive: a set that was asked for after the id was first heard of does not have it.
        """
        now = self._clock.monotonic()
        heard, again = self._refetches.hear(kid, now)
        if self._set_asked_at >= heard and now < self._absent_until:
            return None
        if self._failing is not None and self._failing.hold and now < self._retry_at:
            raise self._none()
        joined = self._task is not None and not self._task.done() and self._asked_at >= heard
        if not joined and not self._refetches.grant(again=again, asked_at=self._asked_at, now=now):
            raise Unavailable("keys_unconfirmed", retry_after=SPACING)
        await self._refresh()
        if self._keys is not None and self._keys.has(kid):
            return self._keys.choose(kid, token.algorithm)
        if self._set_asked_at < heard:
            if not joined:
                self._refetches.refund()
            raise self._none()  # no outage: the key may have been taken away
        return None

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
        """Wait for the fetch in flight, or a new one, as long as a request may; whoever stops waiting does not stop
        it."""
        task = self._begin()
        await asyncio.wait({task}, timeout=self._patience)
        if task.done():
            task.result()

    async def _load(self) -> None:
        asked_at = self._asked_at
        try:
            try:
                found = await self._source.ask()
            except NoKeys as failure:
                again = self._failing is None
                self._fails(failure)  # from here on nobody who has keys waits
                found = await self._source.ask_otherwise(failure, again=again)
        except NoKeys as failure:
            self._failed(failure)
        else:
            self._replace(found, asked_at)

    def _fails(self, failure: NoKeys) -> None:
        if self._failing is None:
            self._failing_since = self._clock.monotonic()
        self._failing = failure

    def _failed(self, failure: NoKeys) -> None:
        self._fails(failure)
        now = self._clock.monotonic()
        pause = COLD_PAUSE if self._keys is None else WARM_PAUSE
        self._retry_at = now + max(pause, failure.hold)
        age = None if self._keys is None else now - self._fetched_at
        self._observe(KeysRefreshFailed(self._provider, failure.kind, age))

    def _replace(self, found: Fetched, asked_at: float) -> None:
        self._keys, self._of_fallback, self._failing = found.keys, found.fallback, None
        self._fetched_at = max(asked_at, self._clock.monotonic())
        if not found.fallback:  # which may be behind: only the issuer's own set proves an id absent
            self._set_asked_at, self._absent_until = asked_at, self._fetched_at + ABSENT_FOR
        self._lifetime = found.lifetime
        self._fresh_until = self._fetched_at + self._lifetime
        self._retry_at = float("-inf")
        self._observe(KeysRefreshed(self._provider, len(found.keys.keys), found.keys.ignored, found.fallback))
