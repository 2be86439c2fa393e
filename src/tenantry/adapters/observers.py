"""Sinks that interpret observations. The gate tells each once; what it means is decided here."""

from __future__ import annotations

import logging
from collections import Counter
from functools import singledispatch

from ..observations import (
    Admitted,
    InsecureSetting,
    InternalError,
    KeysRefreshed,
    KeysRefreshFailed,
    Misconfigured,
    Observation,
    ProviderCalled,
    ProviderFailed,
    Refused,
)

logger = logging.getLogger("tenantry")


class LogObserver:
    """Writes observations to the logger "tenantry" and counts them by type. Admissions only at DEBUG: they are many."""

    def __init__(self) -> None:
        self.admissions = logger.isEnabledFor(logging.DEBUG)
        self.counts: Counter[str] = Counter()

    def __call__(self, observation: Observation) -> None:
        self.counts[type(observation).__name__] += 1
        level, message = describe(observation)
        logger.log(level, message)


@singledispatch
def describe(observation: object) -> tuple[int, str]:
    """(level, sentence) of an observation. No sentence holds a credential: no observation does."""
    return logging.INFO, repr(observation)


@describe.register
def _(seen: Admitted) -> tuple[int, str]:
    return logging.DEBUG, f"admitted {seen.user_id} to {seen.tenant_id} (cached={seen.cached})"


@describe.register
def _(seen: Refused) -> tuple[int, str]:
    words = " ".join(filter(None, (seen.detail, seen.hint)))
    level = logging.WARNING if seen.status >= 500 else logging.INFO
    return level, f"refused {seen.status} {seen.reason}" + (f": {words}" if words else "")


@describe.register
def _(seen: ProviderCalled) -> tuple[int, str]:
    return logging.DEBUG, f"{seen.provider} {seen.endpoint} answered {seen.status}"


@describe.register
def _(seen: ProviderFailed) -> tuple[int, str]:
    return logging.WARNING, f"{seen.provider} {seen.endpoint} gave no usable answer ({seen.kind})"


@describe.register
def _(seen: Misconfigured) -> tuple[int, str]:
    return logging.ERROR, f"{seen.part}: {seen.hint}"


@describe.register
def _(seen: KeysRefreshed) -> tuple[int, str]:
    return logging.INFO, f"{seen.provider} keys refreshed: {seen.usable} usable, {seen.ignored} ignored"


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
