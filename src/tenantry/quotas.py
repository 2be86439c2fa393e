"""How much a tenant and a user may ask for. The arithmetic is ``core/quota.py``; the state is a ``QuotaStore``."""

from __future__ import annotations

from .core.quota import Quota
from .errors import OverQuota
from .model import MCPUserContext
from .ports import QuotaStore


class Quotas:
    """Spends one unit per request of the tenant's and of the user's quota; None is no limit."""

    def __init__(self, store: QuotaStore, *, tenant: Quota | None, user: Quota | None) -> None:
        self._store = store
        self._tenant = tenant
        self._user = user

    async def spend(self, user: MCPUserContext) -> None:
        """Raise ``OverQuota`` with the seconds to wait when either is spent. The user's is asked first, so that
        one user who floods does not spend what his tenant shares."""
        if self._user is not None:
            await self._spend("user", user.user_id, self._user)
        if self._tenant is not None:
            await self._spend("tenant", user.tenant_id, self._tenant)

    async def _spend(self, whose: str, name: str, quota: Quota) -> None:
        wait = await self._store.spend(f"{whose}:{name}", quota)
        if wait:
            refusal = OverQuota(f"{whose}_quota", retry_after=wait)
            refusal.quota = (whose, quota.limit, quota.window)
            raise refusal
