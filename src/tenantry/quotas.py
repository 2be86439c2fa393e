"""How much a tenant, a user and a key may ask for. The arithmetic is ``core/quota.py``, the state a ``QuotaStore``."""

from __future__ import annotations

from collections.abc import Sequence

from .core.quota import Charge, Quota, Standing
from .errors import OverQuota, Unavailable
from .limits import Limit
from .model import MCPUserContext
from .observations import QuotaUnchecked
from .ports import Observer, QuotaStore

_new = tuple.__new__  # a NamedTuple's own constructor takes twice as long, and each request makes several


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
        # (whose, the quota, what of a caller names his bucket), in the order in which they are asked.
        whose = (("api_key", api_key, "user_id"), ("user", user, "user_id"), ("tenant", tenant, "tenant_id"))
        self._of_keys = [(name, quota, owner) for name, quota, owner in whose if quota is not None]
        self._of_people = [kind for kind in self._of_keys if kind[0] != "api_key"]
        self._open = on_error == "open"
        self._observe = observe
        self.smallest = min((quota.limit for quota in (tenant, user, api_key) if quota), default=None)

    async def spend(self, user: MCPUserContext, weight: int = 1, *, taken: int = 0) -> Sequence[Limit]:
        """Take ``weight`` units from each of the caller's quotas, beside those that the request has ``taken`` already.
        Raises ``OverQuota`` with the seconds until all of them could be taken when a quota is spent, and
        ``Unavailable`` when nobody can say."""
        kinds = self._of_keys if user.provider == "api_key" else self._of_people
        if not kinds:
            return ()
        charges: list[Charge] = []
        for name, quota, owner in kinds:
            charges.append(_new(Charge, (f"{name}:{getattr(user, owner)}", quota, weight)))
        try:
            standings = await self.store.spend(charges)
        except Unavailable:
            if self._observe is not None:
                self._observe(QuotaUnchecked(type(self.store).__name__, self._open))
            if self._open:
                return ()
            raise
        if standings[-1].wait and taken:  # they are gone, and a request that comes again takes them again
            quota, last = kinds[len(standings) - 1][1], standings[-1]
            standings = [*standings[:-1], last._replace(wait=last.wait + taken * quota.window / quota.limit)]
        limits: list[Limit] = []
        for (name, quota, _), standing in zip(kinds, standings, strict=False):
            limits.append(limit_of(name, quota, standing))
        if standings[-1].wait:
            raise over_quota(limits[-1].name, standings[-1], limits)
        return limits


def limit_of(name: str, quota: Quota, standing: Standing) -> Limit:
    """Who was refused hears when something is left again, everybody else when all is."""
    wait, remaining, reset = standing
    return _new(Limit, (name, quota.limit, quota.window, remaining, wait or reset))


def over_quota(name: str, standing: Standing, limits: Sequence[Limit]) -> OverQuota:
    refusal = OverQuota(f"{name}_quota", retry_after=standing.wait)
    refusal.limits = tuple(limits)
    return refusal
