"""Everything that can happen, as types. The gate emits each once; sinks (log, metrics, audit) interpret them.

No field ever holds a credential, and none holds text taken from a token that was not verified.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .errors import Refusal
from .model import MCPUserContext


class About(NamedTuple):
    """Which request it was. ``address``: the client's, as far as it can be trusted; ``trace_id``: 32 hex digits of
    ``traceparent``; ``method`` and ``name``: what was asked for ("tools/call", the tool), where somebody read it."""

    request_id: str
    address: str | None = None
    trace_id: str | None = None
    method: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Admitted:
    """A credential that was not known here yet was verified and let in. Later requests with it are only ``Called``."""

    user: MCPUserContext
    about: About | None


@dataclass(frozen=True, slots=True)
class Called:
    """A request that was let in has been answered. ``user`` is None for an anonymous method; ``seconds`` is the time
    from its arrival to the end of its answer. There is one for each such request."""

    user: MCPUserContext | None
    about: About
    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A request was not let in. ``provider`` and ``user`` as far as they were known by then."""

    status: int
    reason: str
    detail: str | None
    hint: str | None
    about: About | None = None
    provider: str | None = None
    user: MCPUserContext | None = None

    @classmethod
    def of(cls, refusal: Refusal, about: About | None = None, user: MCPUserContext | None = None) -> Refused:
        provider = refusal.provider if user is None else user.provider
        return cls(refusal.status, refusal.reason, refusal.detail, refusal.hint, about, provider, user)


@dataclass(frozen=True, slots=True)
class QuotaUnchecked:
    """The quota store could not be asked; ``let_in`` says what became of the request."""

    store: str
    let_in: bool


@dataclass(frozen=True, slots=True)
class BudgetLow:
    """Of the requests that a provider grants this server, few are left until ``reset`` (seconds since the epoch)."""

    provider: str
    remaining: int
    limit: int
    reset: float


@dataclass(frozen=True, slots=True)
class ConfigurationLoaded:
    """Settings are in force: at start, or anew. ``version`` is 16 hex digits of a digest of all of them."""

    version: str
    reloaded: bool


@dataclass(frozen=True, slots=True)
class ConfigurationRefused:
    """A new configuration was not taken; the old one goes on. ``problem`` is the operator's sentence."""

    problem: str


@dataclass(frozen=True, slots=True)
class EventsDropped:
    """A sink could not keep up or failed: ``count`` events have not been written to it."""

    sink: str
    count: int


@dataclass(frozen=True, slots=True)
class ProviderCalled:
    """A provider answered. ``endpoint`` is our own short name for it ("tokeninfo"), not a URL."""

    provider: str
    endpoint: str
    status: int


@dataclass(frozen=True, slots=True)
class ProviderFailed:
    """A provider gave no usable answer. ``kind``: a FetchFailed kind, "status" or "body"."""

    provider: str
    endpoint: str
    kind: str


@dataclass(frozen=True, slots=True)
class CircuitOpened:
    """One endpoint of a provider failed too often: for ``seconds``, and then until one call succeeds, it is not asked.
    ``kind``: how it failed last."""

    provider: str
    endpoint: str
    kind: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CircuitClosed:
    """It is asked again, after ``seconds`` without an answer."""

    provider: str
    endpoint: str
    seconds: float


@dataclass(frozen=True, slots=True)
class AdmittedInOutage:
    """A caller whose proof was due to be made anew was let in with the old one, because its provider cannot be asked:
    it is out of reach (MCP_HTTP_OUTAGE_GRACE) or grants few calls."""

    user: MCPUserContext
    about: About | None


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Our own settings are wrong, found out while serving: a provider refuses our client credentials (or,
    suspiciously, every token shown to it), or the database is not what the settings say. ``part`` is the
    provider's name or "settings"."""

    part: str
    hint: str


@dataclass(frozen=True, slots=True)
class KeysRefreshed:
    """A key set was fetched and is in use. ``ignored`` keys were not usable for signatures; ``fallback``: the issuer's
    own URL failed, and the set is that of the second one."""

    provider: str
    usable: int
    ignored: int
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class KeysRefreshFailed:
    """A key set could not be fetched or was not usable; the last good one stays."""

    provider: str
    kind: str
    age: float | None


@dataclass(frozen=True, slots=True)
class InsecureSetting:
    """A setting that weakens a check is on."""

    variable: str
    meaning: str


@dataclass(frozen=True, slots=True)
class InternalError:
    """A mistake of ours was caught and failed closed. ``error`` is the exception's type, ``place`` where it was
    raised; never its message, which may quote a token."""

    error: str
    place: str

    @classmethod
    def of(cls, error: BaseException) -> InternalError:
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame is not None else "unknown"
        return cls(type(error).__name__, place)


Observation = (
    Admitted
    | Called
    | Refused
    | QuotaUnchecked
    | BudgetLow
    | ConfigurationLoaded
    | ConfigurationRefused
    | EventsDropped
    | ProviderCalled
    | ProviderFailed
    | CircuitOpened
    | CircuitClosed
    | AdmittedInOutage
    | Misconfigured
    | KeysRefreshed
    | KeysRefreshFailed
    | InsecureSetting
    | InternalError
)
