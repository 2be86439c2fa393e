"""Where the keys of an issuer come from: its JWKS URL, asked once more when it failed in passing, then another URL
where there is one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from secrets import SystemRandom

from ..core.keys import KeySet, parse_key_set
from ..core.strict_json import parse_object
from ..ports import Clock, Fetch, FetchFailed, HttpRequest, HttpResponse

SHORTEST, LONGEST = 300.0, 86_400.0  # seconds a set is fresh at least and at most
UNSAID = 600.0  # when the answer has no max-age: the lower end of what providers advise
AGAIN_WITHIN = 0.25  # seconds: longer than a front end takes to drop a dead backend, shorter than a caller notices
LONGEST_HOLD = 60.0  # seconds; a provider may ask to be left alone, but not for longer than an operator waits

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])", re.IGNORECASE)

Jitter = Callable[[], float]
"""From 0 to 1, anew with each call."""

random: Jitter = SystemRandom().random


@dataclass(frozen=True, slots=True)
class Fetched:
    """A usable set, fresh for ``lifetime`` seconds; ``fallback`` when it is the other URL's."""

    keys: KeySet
    lifetime: float
    fallback: bool


class NoKeys(Exception):
    """No usable set came. ``kind``: a ``FetchFailed`` kind, "status" or "body"; ``passing``: it may be over in a
    moment; ``outage``: the issuer did not answer, or said that it cannot; ``hold``: seconds to leave it in peace."""

    def __init__(self, kind: str, *, passing: bool = False, outage: bool = False, hold: float = 0.0) -> None:
        super().__init__(kind)
        self.kind, self.passing, self.outage, self.hold = kind, passing, outage, hold


class KeySource:
    """One URL or two. The second must follow the first one's rotations: it is believed as much."""

    def __init__(self, url: str, fallback: str | None, fetch: Fetch, clock: Clock, jitter: Jitter) -> None:
        self._url, self._fallback = url, fallback
        self._fetch, self._clock, self._jitter = fetch, clock, jitter

    async def ask(self) -> Fetched:
        """What the first URL has. Raises ``NoKeys``."""
        keys, response = await self._keys_at(self._url)
        return Fetched(keys, lifetime(response.headers), fallback=False)

    async def ask_otherwise(self, failure: NoKeys, *, again: bool) -> Fetched:
        """After ``failure`` of the first URL: that once more, where it is worth it and ``again`` allows it, then the
        other one. Raises the first URL's ``NoKeys``."""
        if again and failure.passing:
            # Replicas that failed together do not come back together.
            await self._clock.sleep(AGAIN_WITHIN * self._jitter())
            try:
                return await self.ask()
            except NoKeys as second:
                failure = second
        if self._fallback is not None:
            try:
                keys, _ = await self._keys_at(self._fallback)
            except NoKeys:
                raise failure from None
            # Whatever it says of itself: the first URL is asked again soon.
            return Fetched(keys, SHORTEST, fallback=True)
        raise failure

    async def _keys_at(self, url: str) -> tuple[KeySet, HttpResponse]:
        try:
            response = await self._fetch(HttpRequest("GET", url, {"accept": "application/json"}))
        except FetchFailed as failure:
            passing = failure.unanswered and failure.kind != "timeout"  # that one has had its time
            raise NoKeys(failure.kind, passing=passing, outage=failure.unanswered) from None
        if response.status != 200:
            hold, broken = _hold(response.headers), response.status >= 500
            raise NoKeys("status", passing=broken and not hold, outage=broken, hold=hold)
        try:
            return parse_key_set(parse_object(response.body)), response
        except ValueError:
            raise NoKeys("body") from None


def _hold(headers: Mapping[str, str]) -> float:
    """Seconds of Retry-After (RFC 9110 section 10.2.3, the delta form), bounded."""
    said = headers.get("retry-after", "")
    return min(float(said), LONGEST_HOLD) if said.isascii() and said.isdecimal() and len(said) < 10 else 0.0


def lifetime(headers: Mapping[str, str]) -> float:
    """Seconds of freshness: max-age minus Age (RFC 9111 section 4.2), within bounds."""
    found = _MAX_AGE.search(headers.get("cache-control", ""))
    if found is None:
        return UNSAID
    age = headers.get("age", "0").strip()
    return min(max(float(found[1]) - (float(age) if age.isdecimal() else 0.0), SHORTEST), LONGEST)
