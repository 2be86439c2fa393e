"""One cell of the matrix, played: what each caller gets while something is wrong, and after it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from tests.support import Door

from tenantry.errors import Refusal
from tenantry.model import Credential

from .kinds import FIVE_MINUTES, Kind, Statuses, end
from .stage import Stage
from .subjects import Subject

TTL, GRACE = 300.0, 900.0
FOREVER = 30.0  # seconds after which a request that never ends fails the test: six times the longest deadline


@dataclass(frozen=True)
class Played:
    """``during`` are the statuses of ``COLUMNS``, ``again`` those of the same requests a second time, ``after`` those
    when a client comes back as it was told to. ``hidden`` calls were made for a caller who was known."""

    during: Statuses
    again: Statuses
    after: Statuses
    hidden: int
    redirected: int


async def play(stage: Stage, subject: Subject, kind: Kind) -> Played:
    """All four callers, each as the table describes."""
    cold = await _cold(stage, subject, kind)
    warm, hidden = await _warm(stage, subject, kind)
    during, again, after = ((one, *three) for one, three in zip(cold, warm, strict=True))
    return Played(during, again, after, hidden, stage.idp.calls.count("devidp", "redirected"))


async def _cold(stage: Stage, subject: Subject, kind: Kind) -> tuple[int, int, int]:
    door = _door(stage, subject)
    kind.begin(stage, subject)
    token = subject.token(stage.idp, subject.people[0])
    during, wait = await _ask(door, token)
    again, _ = await _ask(door, token)
    end(stage)
    stage.clock.advance(wait)
    after, _ = await _ask(door, token)
    return during, again, after


async def _warm(stage: Stage, subject: Subject, kind: Kind) -> tuple[tuple[tuple[int, int, int], ...], int]:
    """(during, again, after) of the new, the known and the overdue caller."""
    door = _door(stage, subject)
    known = subject.token(stage.idp, subject.people[0])
    await _ask(door, known)
    stage.clock.advance(2)  # a set that was asked for in this very moment has nothing newer
    kind.begin(stage, subject)
    new = subject.token(stage.idp, subject.people[1])
    news = [await _ask(door, new) for _ in range(2)]
    before = stage.road.calls
    knowns = [await _ask(door, known) for _ in range(2)]
    hidden = stage.road.calls - before
    stage.clock.advance(TTL + 1)
    overdues = [await _ask(door, known) for _ in range(2)]
    end(stage)
    stage.clock.advance(max(wait for _, wait in (*news, *overdues)))
    afters = [await _ask(door, token) for token in (new, known, known)]
    pairs = ([status for status, _ in asked] for asked in (news, knowns, overdues, afters))
    new_pair, known_pair, overdue_pair, after = pairs
    during, again = zip(new_pair, known_pair, overdue_pair, strict=True)
    return (during, again, tuple(after)), hidden


def _door(stage: Stage, subject: Subject) -> Door:
    settings = subject.settings(stage.idp)
    return stage.door(only=(), token_cache_ttl=TTL, outage_grace=GRACE, rate_limit_anonymous="off", **settings)


async def _ask(door: Door, token: str) -> tuple[int, float]:
    """(status, seconds until the client should come back)."""
    try:
        async with asyncio.timeout(FOREVER):
            await door.gate.validate(Credential(token.encode()))
    except Refusal as refusal:
        if refusal.status == 401:  # a token from the future; its holder comes back when his clock and ours agree
            return 401, FIVE_MINUTES
        if refusal.retry_after is None:
            raise AssertionError("an outage must say when to come back") from refusal
        return refusal.status, refusal.retry_after
    return 200, 0.0
