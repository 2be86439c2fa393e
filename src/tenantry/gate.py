"""START HERE: the way of a request.

    headers -> credential -> provider -> verified claims (cached) -> claims checked now
            -> identity -> tenant -> MCPUserContext -> policy -> quota -> Admission -> app -> audit

Each step returns the next value or raises a ``Refusal``; nothing returns None for "no", and a bad credential never
falls through to anonymous. What is known from an earlier request is the proof and what follows from it alone: the
clock, the tenant and the quota are asked every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from .core.credentials import read_credential
from .core.matching import Routes, match
from .core.policy import Policy
from .errors import ConfigurationError, InternalFailure, Refusal, Unavailable
from .flights import SingleFlight
from .model import Admission, Credential, VerifiedClaims
from .observations import Admitted, InternalError, Misconfigured, Refused
from .ports import Observer, TenantDirectory
from .providers.base import Provider
from .quotas import Quotas
from .verdicts import VerdictCache


class Request(NamedTuple):
    """What the gate reads of a request: the headers that may come once (lower-case names), and the query."""

    headers: dict[bytes, bytes]
    query: bytes = b""


class Gate:
    """Lets a request in, or says why not. Made by ``assemble.py``."""

    def __init__(
        self,
        providers: Sequence[Provider],
        *,
        routes: Routes,
        directory: TenantDirectory,
        policy: Policy,
        quotas: Quotas,
        verdicts: VerdictCache,
        observe: Observer,
    ) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self._routes, self._directory = routes, directory
        self._policy, self._quotas, self._verdicts = policy, quotas, verdicts
        self._observe = observe
        self._tell_admissions: bool = getattr(observe, "admissions", True)
        self._flights: SingleFlight[VerifiedClaims] = SingleFlight()

    async def admit(self, request: Request) -> Admission:
        """The caller of this request, inside a tenant. Raises a ``Refusal``, and nothing else."""
        try:
            return await self._judge(read_credential(request.headers, request.query), None)
        except Exception as error:
            raise self._refused(error) from None

    async def validate(self, credential: Credential, provider_hint: str | None = None) -> Admission:
        """The same for one credential without a request. The hint may only choose among configured providers."""
        try:
            return await self._judge(credential, provider_hint)
        except Exception as error:
            raise self._refused(error) from None

    async def _judge(self, credential: Credential, hint: str | None) -> Admission:
        key = self._verdicts.key(credential, hint)
        admission = self._verdicts.admission(key) or await self._accept(credential, hint, key)
        user = admission.user
        await self._directory.admit(admission.tenant)
        await self._quotas.spend(user)
        if self._tell_admissions:
            self._observe(Admitted(user.user_id, user.tenant_id, user.provider, admission.cached))
        return admission

    async def _prove(self, credential: Credential, hint: str | None, key: bytes) -> VerifiedClaims:
        presented = match(credential, self._routes, hint)
        provider = self.providers[presented.provider]
        try:
            verified = await provider.verify(presented)
        except Refusal as refusal:
            if provider.cacheable:
                self._verdicts.remember_refusal(key, refusal)
            raise
        if provider.cacheable:
            self._verdicts.remember(key, verified)
        return verified

    async def _accept(self, credential: Credential, hint: str | None, key: bytes) -> Admission:
        known = self._verdicts.proof(key)
        verified = known or await self._flights.run(key, partial(self._prove, credential, hint, key))
        identity = self.providers[verified.provider].identify(verified)
        tenant = await self._directory.assign(identity)
        user = self._policy.context(verified, identity, tenant)
        self._verdicts.use(key, verified, Admission(user, tenant, cached=True))
        return Admission(user, tenant, cached=known is not None)

    def _refused(self, error: Exception) -> Refusal:
        if isinstance(error, Refusal):
            self._observe(Refused(error.status, error.reason, error.detail, error.hint))
            return error
        if isinstance(error, ConfigurationError):
            self._observe(Misconfigured("settings", str(error)))
            return Unavailable("server_misconfigured", retry_after=60)
        self._observe(InternalError.of(error))
        return InternalFailure("internal_failure")

    def start(self) -> None:
        for provider in self.providers.values():
            provider.start()

    async def aclose(self) -> None:
        await self._flights.aclose()
        for provider in self.providers.values():
            await provider.aclose()
