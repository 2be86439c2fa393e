"""How much a tenant, a user and a key may ask for. The arithmetic is ``core/quota.py``, the state a ``QuotaStore``."""

from __future__ import annotations

from collections.abc import Sequence

from .core.quota import Charge, Quota, Standing
from .errors import OverQuota, Unavailable
from .limits import Limit
from .model import MCPUserContext
from .observations import QuotaUnchecked
from .ports import Observer, QuotaStore


class Quotas:
    """What each caller may ask for; None is no limit. ``on_error`` "open" lets everybody in while the store is out of
    reach, "closed" nobody."""

    def __init__(
        self,
        store: QuotaStore,
        *,
        tenant: Quota | None = None,
        user: Quota | None = None,
        api_key: Quota | None = None,
        on_error: str = "closed",
        observe: Observer | None = None,
    ) -> None:
        self.store = store
        self._tenant, self._user, self._api_key = tenant, user, api_key
        self._open = on_error == "open"
        self._observe = observe
        self.smallest = min((quota.limit for quota in (tenant, user, api_key) if quota), default=None)

    async def spend(self, user: MCPUserContext, weight: int = 1, *, taken: int = 0) -> Sequence[Limit]:
        """Take ``weight`` units from each of the caller's quotas, beside those that the request has ``taken`` already.
        Raises ``OverQuota`` with the seconds until all of them could be taken when a quota is spent, and
        ``Unavailable`` when nobody can say."""
        limits = self._limits(user)
        if not limits:
            return ()
        try:
            standings = await self.store.spend([Charge(key, quota, weight) for _, key, quota in limits])
        except Unavailable:
            if self._observe is not None:
                self._observe(QuotaUnchecked(type(self.store).__name__, self._open))
            if self._open:
                return ()
            raise
        if standings[-1].wait and taken:  # they are gone, and a request that comes again takes them again
            quota, last = limits[len(standings) - 1][2], standings[-1]
            standings = [*standings[:-1], last._replace(wait=last.wait + taken * quota.window / quota.limit)]
        found = [limit_of(name, quota, at) for (name, _, quota), at in zip(limits, standings, strict=False)]
        if standings[-1].wait:
            raise over_quota(found[-1].name, standings[-1], found)
        return found

    def _limits(self, user: MCPUserContext) -> list[tuple[str, str, Quota]]:
        limits = []
        if self._api_key is not None and user.provider == "api_key":
            limits.append(("api_key", f"api_key:{user.user_id}", self._api_key))
        if self._user is not None:
            limits.append(("user", f"user:{user.user_id}", self._user))
        if self._tenant is not None:
            limits.append(("tenant", f"tenant:{user.tenant_id}", self._tenant))
        return limits


def limit_of(name: str, quota: Quota, standing: Standing) -> Limit:
    """Who was refused hears when something is left again, everybody else when all is."""
    return Limit(name, quota.limit, quota.window, standing.remaining, standing.wait or standing.reset)


def over_quota(name: str, standing: Standing, limits: Sequence[Limit]) -> OverQuota:
    refusal = OverQuota(f"{name}_quota", retry_after=standing.wait)
    refusal.limits = tuple(limits)
    return refusal
