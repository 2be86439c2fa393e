"""The sink that writes observations to the log. The gate tells each once; what it means is decided here."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime
from functools import singledispatch
from typing import Any

from ..core.redaction import one_line, redact
from ..model import MCPUserContext
from ..observations import (
    About,
    Admitted,
    AdmittedInOutage,
    BudgetLow,
    Called,
    CircuitClosed,
    CircuitOpened,
    ConfigurationLoaded,
    ConfigurationRefused,
    EventsDropped,
    InsecureSetting,
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

logger = logging.getLogger("tenantry")

# What a record of ours may carry in ``extra``, for logs that are read by programs.
FIELDS = tuple("request_id trace_id address tenant provider user reason status seconds mcp_method mcp_name".split())
_LONGEST_NAME = 128  # characters of a tool's or a resource's name, which are the caller's own


class LogObserver:
    """Writes observations to the logger "tenantry" and counts them by type. ``calls`` is true only where DEBUG is on:
    the requests that are let in are many."""

    def __init__(self) -> None:
        self.calls = logger.isEnabledFor(logging.DEBUG)
        self.counts: Counter[str] = Counter()

    def __call__(self, observation: Observation) -> None:
        self.counts[type(observation).__name__] += 1
        level, message = describe(observation)
        if logger.isEnabledFor(level):
            logger.log(level, redact(one_line(message)), extra=fields(observation))


@singledispatch
def describe(observation: object) -> tuple[int, str]:
    """(level, sentence) of an observation. No sentence holds a credential: no observation does."""
    return logging.INFO, repr(observation)


@describe.register
def _(seen: Admitted) -> tuple[int, str]:
    return logging.DEBUG, f"admitted {seen.user.user_id} to {seen.user.tenant_id}"


@describe.register
def _(seen: Called) -> tuple[int, str]:
    who = "nobody in particular" if seen.user is None else f"{seen.user.user_id} of {seen.user.tenant_id}"
    what = " ".join(_asked(seen.about).values()) or "a request"
    return logging.DEBUG, f"{what} by {who}: {seen.status} after {seen.seconds * 1000:.1f} ms"


@describe.register
def _(seen: Refused) -> tuple[int, str]:
    words = " ".join(filter(None, (seen.detail, seen.hint)))
    level = logging.WARNING if seen.status >= 500 else logging.INFO
    return level, f"refused {seen.status} {seen.reason}" + (f": {words}" if words else "")


@describe.register
def _(seen: QuotaUnchecked) -> tuple[int, str]:
    fate = "let in unchecked" if seen.let_in else "refused"
    return logging.WARNING, f"the {seen.store} quota store could not be asked; a request was {fate}"


@describe.register
def _(seen: BudgetLow) -> tuple[int, str]:
    until = datetime.fromtimestamp(seen.reset, UTC).isoformat(timespec="seconds")
    return logging.WARNING, f"{seen.provider} grants {seen.remaining} of {seen.limit} requests until {until}"


@describe.register
def _(seen: ConfigurationLoaded) -> tuple[int, str]:
    return logging.INFO, f"configuration {seen.version} is in force{' (reloaded)' if seen.reloaded else ''}"


@describe.register
def _(seen: ConfigurationRefused) -> tuple[int, str]:
    return logging.ERROR, f"the new configuration was not taken, the old one goes on: {seen.problem}"


@describe.register
def _(seen: EventsDropped) -> tuple[int, str]:
    return logging.ERROR, f"{seen.count} events were not written to {seen.sink}"


@describe.register
def _(seen: ProviderCalled) -> tuple[int, str]:
    return logging.DEBUG, f"{seen.provider} {seen.endpoint} answered {seen.status}"


@describe.register
def _(seen: ProviderFailed) -> tuple[int, str]:
    return logging.WARNING, f"{seen.provider} {seen.endpoint} gave no usable answer ({seen.kind})"


@describe.register
def _(seen: CircuitOpened) -> tuple[int, str]:
    what = f"{seen.provider} {seen.endpoint}"
    return logging.WARNING, f"{what} is not asked for {seen.seconds:.0f} s, then with one call at a time ({seen.kind})"


@describe.register
def _(seen: CircuitClosed) -> tuple[int, str]:
    return logging.INFO, f"{seen.provider} {seen.endpoint} answers again after {seen.seconds:.0f} s"


@describe.register
def _(seen: AdmittedInOutage) -> tuple[int, str]:
    who = f"{seen.user.user_id} to {seen.user.tenant_id}"
    return logging.WARNING, f"admitted {who} on an old proof: {seen.user.provider} cannot be asked"


@describe.register
def _(seen: Misconfigured) -> tuple[int, str]:
    return logging.ERROR, f"{seen.part}: {seen.hint}"


@describe.register
def _(seen: KeysRefreshed) -> tuple[int, str]:
    level, where = (logging.WARNING, " from the fallback URL") if seen.fallback else (logging.INFO, "")
    return level, f"{seen.provider} keys refreshed{where}: {seen.usable} usable, {seen.ignored} ignored"


@describe.register
def _(seen: KeysRefreshFailed) -> tuple[int, str]:
    age = "no keys yet" if seen.age is None else f"going on with keys {seen.age:.0f} s old"
    return logging.WARNING, f"{seen.provider} keys could not be refreshed ({seen.kind}); {age}"


@describe.register
def _(seen: InsecureSetting) -> tuple[int, str]:
    return logging.WARNING, f"INSECURE {seen.variable}: {seen.meaning}"


@describe.register
def _(seen: InternalError) -> tuple[int, str]:
    return logging.ERROR, f"internal error {seen.error} at {seen.place}; the request was refused"


def fields(observation: Observation) -> dict[str, Any]:
    """Those of ``FIELDS`` that an observation has something to say on."""
    if isinstance(observation, Refused):
        found = {"reason": observation.reason, "status": observation.status, "provider": observation.provider}
        return _known(found | _who(observation.user) | _which(observation.about))
    if isinstance(observation, Admitted | AdmittedInOutage):
        return _known(_who(observation.user) | _which(observation.about))
    if isinstance(observation, Called):
        found = {"status": observation.status, "seconds": round(observation.seconds, 6)}
        return _known(found | _who(observation.user) | _which(observation.about))
    return _known({"provider": getattr(observation, "provider", None)})


def _known(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not None}


def _who(user: MCPUserContext | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"tenant": user.tenant_id, "provider": user.provider, "user": redact(one_line(user.user_id))}


def _which(about: About | None) -> dict[str, Any]:
    if about is None:
        return {}
    told = {"request_id": about.request_id, "trace_id": about.trace_id, "address": about.address}
    asked = _asked(about)
    return told | {f"mcp_{name}": text for name, text in asked.items()}


def _asked(about: About) -> dict[str, str]:
    """Method and name are the caller's own words."""
    asked = {"method": about.method, "name": about.name}
    return {name: redact(one_line(text))[:_LONGEST_NAME] for name, text in asked.items() if text is not None}
