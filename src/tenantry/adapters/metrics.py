"""Observations as numbers for Prometheus.

Counting is a dictionary's work and costs about a microsecond a request; prometheus-client is asked only when somebody
scrapes. It all happens in the one event loop, so nothing is locked. Every label comes from a fixed list or from the
configuration: no user, no tenant, no token and no text of a caller's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import REASONS, ConfigurationError
from ..observations import (
    Admitted,
    AdmittedInOutage,
    BudgetLow,
    Called,
    CircuitClosed,
    CircuitOpened,
    ConfigurationLoaded,
    ConfigurationRefused,
    EventsDropped,
    InternalError,
    KeysRefreshed,
    KeysRefreshFailed,
    Misconfigured,
    Observation,
    ProviderCalled,
    ProviderFailed,
    QuotaUnchecked,
    Refused,
)
from ..ports import Clock
from .clock import SystemClock
from .metrics_server import MetricsServer, listen_on

if TYPE_CHECKING:
    from prometheus_client import Metric

NONE, OTHER = "none", "other"
# What a client may ask for (MCP 2025-03-26 to 2026-07-28).
METHODS = frozenset(
    """
    initialize ping server/discover tools/list tools/call prompts/list prompts/get resources/list resources/read
    resources/templates/list resources/subscribe resources/unsubscribe subscriptions/listen completion/complete
    logging/setLevel tasks/get tasks/list tasks/result tasks/cancel tasks/update notifications/initialized
    notifications/cancelled notifications/progress notifications/message notifications/roots/list_changed
    """.split()
)
_AUTH_BUCKETS = (10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 1e-3, 5e-3, 25e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds
_CALL_BUCKETS = (1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

Labels = tuple[str, ...]


class _Family(NamedTuple):
    meaning: str
    labels: Labels = ()


_COUNTERS: dict[str, _Family] = {
    "auth_requests": _Family("Requests let in and refused.", ("provider", "outcome", "reason")),
    "calls": _Family("Requests let in, by what they asked for and how they were answered.", ("method", "status")),
    "token_cache_events": _Family(
        "Tokens that were known already (hit) and that were verified anew (miss).", ("event",)
    ),
    "upstream_requests": _Family("Calls to identity providers.", ("provider", "status_class")),
    "outage_admissions": _Family("Callers let in on an old proof during an outage.", ("provider",)),
    "rate_limited": _Family("Requests refused for a quota.", ("limit",)),
    "quota_unchecked": _Family("Requests whose quota store could not be asked.", ("store", "outcome")),
    "key_refreshes": _Family("Fetches of key sets.", ("provider", "outcome")),
    "audit_dropped": _Family("Audit events that were not written."),
    "configurations": _Family("Configurations taken and refused.", ("outcome",)),
    "internal_errors": _Family("Mistakes of ours, failed closed."),
    "misconfigured": _Family("Settings found to be wrong while serving.", ("part",)),
}


class Metrics:
    """An ``Observer``. ``listen`` is "on" (whoever has this object asks ``render``) or "host:port" for a port of its
    own between ``start`` and ``aclose``.

    Raises ``ConfigurationError`` where prometheus-client is missing or ``listen`` is no address.
    """

    calls = True

    def __init__(self, listen: str = "on", clock: Clock | None = None) -> None:
        address = None if listen == "on" else listen_on(listen)
        self._client = _client()
        self._server = None if address is None else MetricsServer(*address, self.render)
        self._clock = clock or SystemClock()
        self._counts: dict[str, dict[Labels, int]] = {name: {} for name in _COUNTERS}
        self._requests, self._calls = self._counts["auth_requests"], self._counts["calls"]
        self._counts["audit_dropped"][()] = self._counts["internal_errors"][()] = 0
        self._auth, self._duration = _Histogram(_AUTH_BUCKETS), _Histogram(_CALL_BUCKETS)
        self._fetched: dict[str, float] = {}
        self._budgets: dict[str, int] = {}
        self._open: dict[Labels, float] = {}
        self._cacheable = 0
        self._registry = self._client.CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        self._client.ProcessCollector(registry=self._registry)

    def __call__(self, observation: Observation) -> None:
        handle = _HANDLERS.get(type(observation))
        if handle is not None:
            handle(self, observation)

    def authenticated(self, seconds: float) -> None:
        """The gate has taken so long to let somebody in or refuse him."""
        self._auth.observe(seconds)

    def render(self) -> tuple[bytes, str]:
        """(the page, its content type)."""
        return self._client.generate_latest(self._registry), self._client.CONTENT_TYPE_LATEST

    def start(self) -> None:
        """Listen, where a port of its own is configured. Raises ``ConfigurationError`` for one that cannot be had."""
        if self._server is not None:
            self._server.start()

    async def aclose(self) -> None:
        if self._server is not None:
            await self._server.aclose()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens, once it does."""
        return None if self._server is None else self._server.address

    def collect(self) -> Iterator[Metric]:
        """For the registry: everything as it is now."""
        families = self._client.metrics_core
        counts = {**self._counts, "token_cache_events": self._cache_events()}
        for name, (meaning, labels) in _COUNTERS.items():
            counter = families.CounterMetricFamily(f"tenantry_{name}", meaning, labels=labels)
            for values, number in counts[name].items():
                counter.add_metric(values, number)
            yield counter
        yield self._auth.family(families, "tenantry_auth_duration_seconds", "What the gate took.")
        yield self._duration.family(families, "tenantry_call_duration_seconds", "From arrival to the answer's end.")
        now = self._clock.monotonic()
        ages = {provider: now - moment for provider, moment in self._fetched.items()}
        yield _gauge(families, "tenantry_jwks_age_seconds", "Since the key set was fetched.", ages)
        yield _gauge(families, "tenantry_provider_budget", "Calls that a provider still grants.", self._budgets)
        circuits = families.GaugeMetricFamily(
            "tenantry_circuit_open", "1 while an endpoint is not asked.", labels=("provider", "endpoint")
        )
        for labels, value in self._open.items():
            circuits.add_metric(labels, value)
        yield circuits

    def _cache_events(self) -> dict[Labels, int]:
        """A request with a token was a hit unless the token was verified for it. Those under way are not known yet, and
        a counter never goes back."""
        events = self._counts["token_cache_events"]
        hits = self._cacheable - events.get(("miss",), 0)
        events["hit",] = max(events.get(("hit",), 0), hits)
        return events

    def _add(self, name: str, *labels: str, count: int = 1) -> None:
        counts = self._counts[name]
        counts[labels] = counts.get(labels, 0) + count

    # What each observation counts for

    def _called(self, seen: Called) -> None:
        user, method = seen.user, seen.about.method
        if user is None:
            let_in = _ANONYMOUS
        else:
            let_in = (user.provider, "admitted", NONE)
            if user.provider != "api_key":  # proofs of keys are not kept
                self._cacheable += 1
        self._requests[let_in] = self._requests.get(let_in, 0) + 1
        if method not in METHODS:
            method = NONE if method is None else OTHER
        call = (method, _STATUSES.get(seen.status, OTHER))
        self._calls[call] = self._calls.get(call, 0) + 1
        self._duration.observe(seen.seconds)

    def _admitted(self, seen: Admitted) -> None:
        if (
            seen.about is not None and seen.about.request_id != "-"
        ):  # a token without a request is no cache event of one
            self._add("token_cache_events", "miss")

    def _refused(self, seen: Refused) -> None:
        reason = seen.reason if seen.reason in REASONS else OTHER
        self._add("auth_requests", seen.provider or NONE, "refused", reason)
        if seen.status == 429:
            self._add("rate_limited", reason.removesuffix("_quota"))

    def _provider_called(self, seen: ProviderCalled) -> None:
        self._add("upstream_requests", seen.provider, f"{seen.status // 100}xx")

    def _provider_failed(self, seen: ProviderFailed) -> None:
        if seen.kind not in ("status", "body"):  # those answered, and have been counted
            self._add("upstream_requests", seen.provider, "failed")

    def _circuit_opened(self, seen: CircuitOpened) -> None:
        self._open[seen.provider, seen.endpoint] = 1.0

    def _circuit_closed(self, seen: CircuitClosed) -> None:
        self._open[seen.provider, seen.endpoint] = 0.0

    def _admitted_in_outage(self, seen: AdmittedInOutage) -> None:
        self._add("outage_admissions", seen.user.provider)

    def _keys_refreshed(self, seen: KeysRefreshed) -> None:
        self._fetched[seen.provider] = self._clock.monotonic()
        self._add("key_refreshes", seen.provider, "done")

    def _keys_refresh_failed(self, seen: KeysRefreshFailed) -> None:
        self._add("key_refreshes", seen.provider, "failed")

    def _quota_unchecked(self, seen: QuotaUnchecked) -> None:
        self._add("quota_unchecked", seen.store, "admitted" if seen.let_in else "refused")

    def _budget_low(self, seen: BudgetLow) -> None:
        self._budgets[seen.provider] = seen.remaining

    def _events_dropped(self, seen: EventsDropped) -> None:
        self._add("audit_dropped", count=seen.count)

    def _configuration_loaded(self, seen: ConfigurationLoaded) -> None:
        self._add("configurations", "taken")

    def _configuration_refused(self, seen: ConfigurationRefused) -> None:
        self._add("configurations", "refused")

    def _internal_error(self, seen: InternalError) -> None:
        self._add("internal_errors")

    def _misconfigured(self, seen: Misconfigured) -> None:
        self._add("misconfigured", seen.part)


_ANONYMOUS = ("anonymous", "admitted", NONE)
_STATUSES = {status: str(status) for status in range(100, 600)}
_HANDLERS: dict[type, Any] = {
    Called: Metrics._called,
    Admitted: Metrics._admitted,
    Refused: Metrics._refused,
    ProviderCalled: Metrics._provider_called,
    ProviderFailed: Metrics._provider_failed,
    CircuitOpened: Metrics._circuit_opened,
    CircuitClosed: Metrics._circuit_closed,
    AdmittedInOutage: Metrics._admitted_in_outage,
    KeysRefreshed: Metrics._keys_refreshed,
    KeysRefreshFailed: Metrics._keys_refresh_failed,
    QuotaUnchecked: Metrics._quota_unchecked,
    BudgetLow: Metrics._budget_low,
    EventsDropped: Metrics._events_dropped,
    ConfigurationLoaded: Metrics._configuration_loaded,
    ConfigurationRefused: Metrics._configuration_refused,
    InternalError: Metrics._internal_error,
    Misconfigured: Metrics._misconfigured,
}


class _Histogram:
    """How many took how long; ``bounds`` are upper ones, in seconds."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def family(self, families: Any, name: str, meaning: str) -> Metric:
        bounds = [*(f"{bound:g}" for bound in self._bounds), "+Inf"]
        found = families.HistogramMetricFamily(name, meaning)
        found.add_metric((), list(zip(bounds, accumulate(self._counts), strict=True)), self._sum)
        made: Metric = found
        return made


def _gauge(families: Any, name: str, meaning: str, values: Mapping[str, float]) -> Metric:
    gauge = families.GaugeMetricFamily(name, meaning, labels=("provider",))
    for provider, value in values.items():
        gauge.add_metric((provider,), value)
    made: Metric = gauge
    return made


def _client() -> Any:
    try:
        import prometheus_client
        import prometheus_client.metrics_core
    except ImportError:
        raise ConfigurationError(
            "MCP_HTTP_METRICS is set, but prometheus-client is not installed: pip install 'tenantry[metrics]'."
        ) from None
    return prometheus_client
