"""What a bad hour costs, in calls: on a clock that a test moves, so that the numbers are the same on every machine."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support import Door, together

from tenantry.core.base64url import encode
from tenantry.errors import Refusal

from .stage import Stage

MINUTES, EACH_SECOND = 10, 10


@dataclass(frozen=True)
class Flood:
    """``callers`` came, ``calls`` were made for them, all were answered with one of ``statuses``."""

    name: str
    callers: int
    calls: int
    statuses: frozenset[int]

    @property
    def ratio(self) -> str:
        return (
            f"1 call for {self.callers / self.calls:.0f} callers"
            if self.calls < self.callers
            else (f"{self.calls / self.callers:.0f} calls for a caller")
        )


async def outage_of_calls(stage: Stage) -> Flood:
    """Ten minutes in which Google's tokeninfo is down and ten unknown callers come every second."""
    door = _door(stage)
    tokens = [f"ya29.{'x' * 40}{number}" for number in range(MINUTES * 60 * EACH_SECOND)]
    return await _flood(stage, door, "opaque tokens, new ones, provider down", tokens)


async def outage_of_keys(stage: Stage) -> Flood:
    """The same of a server that has just started and could not fetch Auth0's keys."""
    door = _door(stage)
    tokens = [stage.idp.auth0.access_token("erin")] * (MINUTES * 60 * EACH_SECOND)
    return await _flood(stage, door, "JWTs, no keys yet, provider down", tokens)


async def outage_with_keys(stage: Stage) -> Flood:
    """The same of a server that has keys, which go stale meanwhile: everybody is let in."""
    door = _door(stage)
    await door.admit(stage.idp.auth0.access_token("fay"))
    tokens = [stage.idp.auth0.access_token("erin")] * (MINUTES * 60 * EACH_SECOND)
    return await _flood(stage, door, "JWTs, keys at hand, provider down", tokens)


async def unknown_keys(stage: Stage) -> Flood:
    """Ten minutes of tokens with invented key ids."""
    door = _door(stage)
    await door.admit(stage.idp.auth0.access_token("fay"))
    _, payload, signature = stage.idp.auth0.access_token("erin").split(".")
    headers = (f'{{"alg":"RS256","kid":"invented-{number}"}}' for number in range(MINUTES * 60 * EACH_SECOND))
    tokens = [f"{encode(header.encode()).decode()}.{payload}.{signature}" for header in headers]
    return await _flood(stage, door, "JWTs with invented key ids", tokens, blocked=False)


async def stampede(stage: Stage) -> Flood:
    """A thousand requests at once with one token that is not known yet."""
    door, token = _door(stage), stage.idp.google.access_token("ann")
    before = stage.road.calls
    admitted = await together(1000, lambda: door.admit(token))
    statuses = frozenset(500 if isinstance(one, Exception) else 200 for one in admitted)
    return Flood("one new opaque token, 1,000 requests at once", 1000, stage.road.calls - before, statuses)


FLOODS = (stampede, outage_of_calls, outage_of_keys, outage_with_keys, unknown_keys)


async def _flood(stage: Stage, door: Door, name: str, tokens: list[str], *, blocked: bool = True) -> Flood:
    stage.road.block = "refused" if blocked else None
    before, statuses = stage.road.calls, set()
    for number, token in enumerate(tokens):
        if number % EACH_SECOND == 0:
            stage.clock.advance(1)
        statuses.add(await _status(door, token))
    stage.road.block = None
    return Flood(name, len(tokens), stage.road.calls - before, frozenset(statuses))


async def _status(door: Door, token: str) -> int:
    try:
        await door.admit(token)
    except Refusal as refusal:
        return refusal.status
    return 200


def _door(stage: Stage) -> Door:
    return stage.door(rate_limit_anonymous="off", rate_limit_tenant="off", token_cache_ttl=1)
