"""Which tenants are served, as the registry says: suspended ones are not, and mapped domains come from it too."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from ...core.tenancy import TenantRules
from ...errors import Forbidden, Unavailable
from ...model import Identity, Tenant
from .database import Database

_REMEMBERED = 50_000  # tenants admitted and refused; past it, all are looked up anew
_CHANGED_SECONDS = 1.0


class RegistryDirectory:
    """``rules`` are the settings'; where both map a source, the settings' word holds.

    Nothing older than ``watch.GOOD_FOR_SECONDS`` is believed: while the registry cannot be reached that long,
    callers get 503, because one of them may have been suspended.
    """

    def __init__(
        self, database: Database, rules: TenantRules, provisioning: Literal["auto", "mapped", "manual"]
    ) -> None:
        self._database, self._configured, self._provisioning = database, rules, provisioning
        self._rules = rules
        self._admitted: dict[bool, set[str]] = {True: set(), False: set()}  # by whether the operator named it
        self._refused: dict[tuple[str, bool], str] = {}
        self._generation = 0
        database.on_change.append(self._changed)

    async def assign(self, identity: Identity) -> Tenant:
        if not self._database.confirmed:
            await self._database.confirm()
        return self._rules.assign(identity)

    async def admit(self, tenant: Tenant) -> None:
        if tenant.tenant_id in self._admitted[tenant.named] and self._database.confirmed:
            self._database.marks.tenants.add(tenant.tenant_id)
            return
        assigned_under = self._generation
        await self._database.confirm()
        if assigned_under != self._generation:  # the caller may belong to another tenant by now
            raise Unavailable("store_unavailable", retry_after=_CHANGED_SECONDS, detail="the registry has changed")
        await self._look_up(tenant)

    async def _changed(self) -> None:
        mapped = await self._database.registry.mappings()
        self._rules = replace(self._configured, mapping={**mapped, **self._configured.mapping})
        self._forget()
        self._generation += 1

    def _forget(self) -> None:
        self._admitted = {True: set(), False: set()}
        self._refused = {}

    async def _look_up(self, tenant: Tenant) -> None:
        reason = self._refused.get((tenant.tenant_id, tenant.named))
        if reason is None:
            generation = self._generation
            reason = await self._judge(tenant)
            if generation == self._generation:  # else: something changed while we asked
                self._remember(tenant, reason)
        if reason:
            raise Forbidden(reason)

    async def _judge(self, tenant: Tenant) -> str:
        """The reason to refuse the tenant, or nothing. Raises ``Unavailable`` for one that cannot be served yet: said
        here, it is the answer to the request, and not an error in the middle of a tool."""
        entry = await self._database.registry.find(tenant.tenant_id)
        if entry is None or entry.state == "creating":
            if self._provisioning == "manual" or (self._provisioning == "mapped" and not tenant.named):
                return "tenant_unknown"
            if tenant.evidence is not None:
                self._database.sources[tenant.tenant_id] = tenant.evidence
            return ""
        try:
            self._database.check_served(entry)
        except Forbidden as refusal:
            return refusal.reason
        return ""

    def _remember(self, tenant: Tenant, reason: str) -> None:
        if sum(map(len, self._admitted.values())) + len(self._refused) >= _REMEMBERED:
            self._forget()
        if reason:
            self._refused[tenant.tenant_id, tenant.named] = reason
        else:
            self._admitted[tenant.named].add(tenant.tenant_id)
