"""START HERE: the way of a request.

    headers -> credential -> provider -> verified claims (cached) -> claims checked now -> identity
            -> tenant -> MCPUserContext -> possession -> quota -> calls -> policy -> Admission -> app -> audit

Each step returns the next value or raises a ``Refusal``; nothing returns None for "no", and a bad credential never
falls through to anonymous. What is known from an earlier request is the proof and what follows from it alone: the
clock, the proof of possession (DPoP), the tenant, the quota and the policy are asked every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from .calls import CallPolicy
from .core.credentials import read_credential
from .core.matching import Routes, match
from .core.policy import Policy
from .errors import CredentialMissing, Refusal
from .flights import SingleFlight
from .model import Admission, Anonymous, Credential, VerifiedClaims
from .observations import Admitted, AdmittedInOutage
from .ports import Observer, TenantDirectory
from .possession import Possession
from .providers.base import Provider
from .providers.budget import Budgets
from .quotas import Quotas
from .refusing import Refusing
from .request import Request
from .strangers import Strangers
from .verdicts import VerdictCache


class Gate:
    """Lets a request in, or says why not. Made by ``assemble``."""

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        routes: Routes,
        directory: TenantDirectory,
        policy: Policy,
        quotas: Quotas,
        strangers: Strangers,
        calls: CallPolicy,
        possession: Possession,
        budgets: Budgets,
        verdicts: VerdictCache,
        observe: Observer,
    ) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self._routes, self._directory, self._policy = routes, directory, policy
        self._quotas, self._strangers, self.calls, self.possession = quotas, strangers, calls, possession
        self._budgets, self._verdicts, self.observe = budgets, verdicts, observe
        self.refusing, self._flights = Refusing(strangers, observe), SingleFlight[VerifiedClaims]()

    async def admit(self, request: Request) -> Admission | Anonymous:
        """The caller of this request, inside a tenant. Raises a ``Refusal``, and nothing else."""
        try:
            try:
                credential = read_credential(request.headers, request.query)
            except CredentialMissing:
                return await self._without_credential(request)
            return await self._judge(request, credential, None)
        except Exception as error:
            raise self.refusing.of(error, request) from None

    async def validate(self, credential: Credential, provider_hint: str | None = None) -> Admission:
        """The same for one credential without a request. The hint may only choose among configured providers."""
        request = Request({}, counts=False)
        try:
            return await self._judge(request, credential, provider_hint)
        except Exception as error:
            raise self.refusing.of(error, request) from None

    async def _judge(self, request: Request, credential: Credential, hint: str | None) -> Admission:
        key = self._verdicts.key(credential, hint)
        admission = self._verdicts.admission(key) or await self._accept(request, credential, hint, key)
        user, tenant, cached, _, overdue = admission
        request.user = self.possession.proved(request, credential, user)
        await self._directory.admit(tenant)
        limits = await self._quotas.spend(user)
        if self.calls.reads and (weight := await self.calls.weigh(request, user)) > 1:
            limits = await self._quotas.spend(user, weight - 1, taken=1)
        if overdue:
            self.observe(AdmittedInOutage(user, request.about()))
        elif not cached and self.providers[user.provider].cacheable:
            self.observe(Admitted(user, request.about()))
        return Admission(user, tenant, cached, limits) if limits else admission

    async def _without_credential(self, request: Request) -> Anonymous:
        if not self.calls.anonymous:
            raise CredentialMissing("credential_missing")
        limits = self._strangers.charge(request)  # before the body is read, as for everybody
        try:
            weight = await self.calls.admit_anonymous(request)
        except Refusal as refusal:
            refusal.counted = True
            raise
        return Anonymous(limits=self._strangers.charge(request, weight - 1) if weight > 1 else limits)

    async def _prove(self, request: Request, credential: Credential, hint: str | None, key: bytes) -> VerifiedClaims:
        presented = match(credential, self._routes, hint)
        provider = self.providers[presented.provider]
        with self._strangers.reserved(request, provider):
            self._budgets.ask(provider.name, key, request.address)
            try:
                verified = await provider.verify(presented)
            except Refusal as refusal:
                refusal.provider = provider.name
                return self._verdicts.despite(refusal, key if provider.cacheable else None)
        if provider.cacheable:
            self._verdicts.remember(key, verified)
        return verified

    async def _accept(self, request: Request, credential: Credential, hint: str | None, key: bytes) -> Admission:
        known = self._verdicts.proof(key)
        verified = known or await self._flights.run(key, partial(self._prove, request, credential, hint, key))
        identity = self.providers[verified.provider].identify(verified)
        tenant = await self._directory.assign(identity)
        self._budgets.admitted(tenant.tenant_id, key, request.address)
        user = self._policy.context(verified, identity, tenant)
        self._verdicts.use(key, verified, Admission(user, tenant, cached=True))
        return Admission(user, tenant, cached=known is not None or verified.overdue, overdue=verified.overdue)

    async def aclose(self) -> None:
        await self._flights.aclose()
