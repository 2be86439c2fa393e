"""Every outside need of the gate, as a Protocol. Adapters implement them; ``tenantry.testing`` ships fakes that
pass the same contract suites (``tests/contracts``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .core.quota import Charge, Standing
from .model import ApiKeyRecord, Identity, Tenant
from .observations import Observation


class Clock(Protocol):
    """Both clocks: ``now()`` seconds since the epoch (exp, nbf, iat), ``monotonic()`` for durations. ``sleep`` is for
    short waits between two attempts; where time stands still it is over at once."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One call to a provider. ``body`` and the Authorization header may hold a token: hidden in repr."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    max_bytes: int = 512 * 1024


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """``headers`` have lower-case names; ``body`` is whole and within the request's ``max_bytes``."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class FetchFailed(Exception):
    """No complete answer came: ``kind`` is "dns", "connect", "tls", "timeout", "protocol", "too_large" or
    "insecure_url".

    A redirect is not a failure: it comes back as the 3xx response it is, and nobody follows it.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

    @property
    def unanswered(self) -> bool:
        """Whether nobody answered, or not to the end. False where somebody did whom we do not believe ("tls")."""
        return self.kind in ("dns", "connect", "timeout", "protocol")


class Fetch(Protocol):
    """Ask a provider. Raises ``FetchFailed``; never follows a redirect, never waits past its deadline."""

    async def __call__(self, request: HttpRequest) -> HttpResponse: ...


class ApiKeyStore(Protocol):
    """Look a key up by its public id, or by its digest where the store has only that.

    Returns None for an unknown key; raises ``Unavailable`` on an outage. The caller compares the digests.
    """

    async def find(self, key_id: str, digest: bytes) -> ApiKeyRecord | None: ...


class TenantDirectory(Protocol):
    """Which tenant an identity belongs to, and whether it may be served here. Both raise ``Forbidden`` or
    ``Unavailable``; ``admit`` is asked on every request, so an implementation that needs I/O caches."""

    async def assign(self, identity: Identity) -> Tenant: ...
    async def admit(self, tenant: Tenant) -> None: ...


class QuotaStore(Protocol):
    """Take units from buckets, in order, as long as none refuses: who floods must not spend what he shares with others.

    The charges name different keys, the narrowest first. The standings come in their order and end with the one that
    refused. Raises ``Unavailable`` on an outage, having waited no longer than a request may.
    """

    async def spend(self, charges: Sequence[Charge]) -> Sequence[Standing]: ...


class Observer(Protocol):
    """Told of everything that happens. Must not block and must not raise. An attribute ``calls`` that is false says
    that it has no use for ``Called``, the one observation of which there is one a request."""

    def __call__(self, observation: Observation) -> None: ...
