"""The calls that a provider still grants this server, from the headers of its answers.

Sources: docs.github.com "Rate limits for the REST API"; auth0.com/docs "Rate Limit Configurations" (the same header
names). What is missing or absurd is not believed: the guard is never stricter than the provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from ..core.budget import KEPT_AT_MOST, Budget, Origins, Shares, newer, read_budget
from ..errors import Unavailable
from ..observations import BudgetLow
from ..ports import Clock, Observer

_RESOURCES = 8
_LONGEST_PAUSE = 3600.0  # seconds; also the longest wait that a client is told


@dataclass(frozen=True, slots=True)
class BudgetState:
    """For health checks and ``doctor``: of the scarcest resource, None before the first answer that told."""

    low: bool
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


class ProviderBudget:
    """One provider's. ``heard`` what it said; ``ask`` before a call that it need not be bothered with now."""

    def __init__(self, provider: str, clock: Clock, observe: Observer) -> None:
        self.provider, self._clock, self._observe = provider, clock, observe
        self._budgets: dict[str, Budget] = {}  # by resource: GitHub counts some kinds of calls apart
        self._told: set[str] = set()
        self._granted = 0  # calls since the provider last told
        self._paused_until = float("-inf")
        self._shares = Shares()

    @property
    def low(self) -> bool:
        """Whether calls are being saved: identities that are known are believed for longer meanwhile."""
        now = self._clock.monotonic()
        return now < self._paused_until or any(budget.low(now) for budget in self._budgets.values())

    def heard(self, headers: Mapping[str, str], status: int) -> None:
        """Take in an answer to a call that counts against this server (and not against the user of a token)."""
        now = self._clock.monotonic()
        if status in (403, 429):  # GitHub's secondary limits: who goes on asking is locked out for longer
            self._pause(headers.get("retry-after"), now)
        found = read_budget(headers, self._providers_time(headers), now)
        if found is None:
            return
        resource, heard = found
        self._budgets = {name: budget for name, budget in self._budgets.items() if now < budget.until}
        if resource not in self._budgets and len(self._budgets) >= _RESOURCES:
            return
        self._budgets[resource] = budget = newer(self._budgets.get(resource), heard)
        self._granted = 0
        self._tell(resource, budget, now)

    def ask(self, key: str) -> None:
        """Raise ``Unavailable`` when the call is not to be made now. ``key``: whose share it would come from."""
        now = self._clock.monotonic()
        if now < self._paused_until:
            raise Unavailable("provider_rate_limited", retry_after=self._paused_until - now)
        scarce = [budget for budget in self._budgets.values() if budget.low(now)]
        if not scarce:
            return
        budget = min(scarce, key=lambda one: one.remaining)
        wait = self._shares.wait(key, budget.remaining - self._granted, budget.until - now, now)
        if wait:
            raise Unavailable("provider_budget", retry_after=min(wait, _LONGEST_PAUSE))
        self._granted += 1

    def state(self) -> BudgetState:
        now = self._clock.monotonic()
        alive = [budget for budget in self._budgets.values() if now < budget.until]
        if not alive:
            return BudgetState(self.low)
        scarcest = min(alive, key=lambda one: one.remaining / one.limit)
        return BudgetState(self.low, scarcest.limit, scarcest.remaining, scarcest.reset)

    def _pause(self, retry_after: str | None, now: float) -> None:
        if retry_after is not None and retry_after.isascii() and retry_after.isdecimal() and len(retry_after) < 6:
            self._paused_until = max(self._paused_until, now + min(float(retry_after), _LONGEST_PAUSE))

    def _providers_time(self, headers: Mapping[str, str]) -> float:
        """Seconds since the epoch: a reset is a moment of the provider's clock."""
        try:
            return parsedate_to_datetime(headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError, OverflowError):
            return self._clock.now()

    def _tell(self, resource: str, budget: Budget, now: float) -> None:
        if not budget.low(now):
            self._told.discard(resource)
        elif resource not in self._told:
            self._told.add(resource)
            self._observe(BudgetLow(self.provider, budget.remaining, budget.limit, budget.reset))


class Budgets:
    """Those of all providers, as the gate asks for them. A provider has one (``budget``) when it calls for every
    credential that it verifies."""

    def __init__(self, budgets: Mapping[str, ProviderBudget]) -> None:
        self._budgets = budgets
        self._origins = Origins()

    @classmethod
    def of(cls, providers: Iterable[object]) -> Budgets:
        found = (getattr(provider, "budget", None) for provider in providers)
        return cls({budget.provider: budget for budget in found if isinstance(budget, ProviderBudget)})

    def ask(self, provider: str, digest: bytes, address: str | None) -> None:
        """Before an unknown credential is shown to its provider. Raises ``Unavailable``.

        Its tenant is not known yet: it comes out of the share of the tenant that the same credential, or else the same
        address, was last let in to, and where that is nobody's out of the one that all newcomers have.
        """
        budget = self._budgets.get(provider)
        if budget is not None and budget.low:
            budget.ask(self._origins.of(digest, address))

    def admitted(self, tenant_id: str, digest: bytes, address: str | None) -> None:
        """Somebody was let in with a credential that has just been proved or looked at anew."""
        if self._budgets:
            self._origins.saw(tenant_id, digest, address)

    def kept_longer(self, provider: str, ttl: float) -> float:
        """Seconds beyond ``ttl`` that a proof is believed now."""
        budget = self._budgets.get(provider)
        return max(0.0, KEPT_AT_MOST - ttl) if budget is not None and budget.low else 0.0

    def states(self) -> dict[str, BudgetState]:
        """By provider."""
        return {name: budget.state() for name, budget in self._budgets.items()}
