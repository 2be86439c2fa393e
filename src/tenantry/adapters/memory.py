"""Stores that live in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from ..core.quota import Charge, Standing, spend
from ..core.tenancy import TenantRules
from ..model import ApiKeyRecord, Identity, Tenant
from ..ports import Clock

QUOTA_KEYS = 100_000  # about 15 MB
LOOKED_AT = 8  # buckets, when there is one too many: a few microseconds


class StaticKeyStore:
    """The API keys of the configuration, by digest. Two keys may serve one owner at a time (rotation)."""

    def __init__(self, records: Iterable[ApiKeyRecord]) -> None:
        self._records = {record.digest: record for record in records}

    async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
        return self._records.get(digest)


class MemoryQuotaStore:
    """Quotas of one replica, in ``QUOTA_KEYS`` buckets at most.

    For a new one beyond that, full buckets are forgotten, which changes nothing; where none is at hand, the one that
    would have been full soonest. So it takes a flood on each of ``QUOTA_KEYS`` keys to have a flooded one forgotten.
    """

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._arrivals: dict[str, float] = {}
        self._looked_at: deque[str] = deque()  # every key once, the one to be looked at next in front

    async def spend(self, charges: Sequence[Charge]) -> list[Standing]:
        """Never waits."""
        now, arrivals, standings = self._monotonic(), self._arrivals, []
        for key, quota, weight in charges:
            arrival = arrivals.get(key)
            if arrival is None:
                self._make_room(key, now)
            arrivals[key], standing = spend(arrival, quota, now, weight)
            standings.append(standing)
            if standing.wait:
                break
        return standings

    def _make_room(self, key: str, now: float) -> None:
        self._looked_at.append(key)
        if len(self._looked_at) <= QUOTA_KEYS:
            return
        some = [self._looked_at.popleft() for _ in range(min(LOOKED_AT, QUOTA_KEYS))]
        soonest = min(some, key=self._arrivals.__getitem__)
        for other in some:
            if other is soonest or self._arrivals[other] <= now:
                del self._arrivals[other]
            else:
                self._looked_at.append(other)


class OpenDirectory:
    """Every tenant that the rules assign is served."""

    def __init__(self, rules: TenantRules) -> None:
        self._rules = rules

    async def assign(self, identity: Identity) -> Tenant:
        return self._rules.assign(identity)

    async def admit(self, tenant: Tenant) -> None:
        return None
