"""Stores that live in this process."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from ..core.quota import Quota, spend
from ..core.tenancy import TenantRules
from ..model import ApiKeyRecord, Identity, Tenant
from ..ports import Clock

QUOTA_KEYS = 100_000


class StaticKeyStore:
    """The API keys of the configuration, by digest. Two keys may serve one owner at a time (rotation)."""

    def __init__(self, records: Iterable[ApiKeyRecord]) -> None:
        self._records = {record.digest: record for record in records}

    async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None:
        return self._records.get(digest)


class MemoryQuotaStore:
    """Quotas of one replica. Bounded: past ``QUOTA_KEYS`` the bucket least lately used starts anew."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._arrivals: OrderedDict[str, float] = OrderedDict()

    async def spend(self, key: str, quota: Quota) -> float:
        arrival, wait = spend(self._arrivals.get(key), quota, self._clock.monotonic())
        self._arrivals[key] = arrival
        self._arrivals.move_to_end(key)
        if len(self._arrivals) > QUOTA_KEYS:
            self._arrivals.popitem(last=False)
        return wait


class OpenDirectory:
    """Every tenant that the rules assign is served."""

    def __init__(self, rules: TenantRules) -> None:
        self._rules = rules

    async def assign(self, identity: Identity) -> Tenant:
        return self._rules.assign(identity)

    async def admit(self, tenant: Tenant) -> None:
        return None
