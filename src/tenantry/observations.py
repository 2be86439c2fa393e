"""Everything that can happen, as types. The gate emits each once; sinks (log, metrics, audit) interpret them.

No field ever holds a credential, and none holds text taken from a token that was not verified.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request was let in; ``cached`` says whether the proof came from the cache."""

    user_id: str
    tenant_id: str
    provider: str
    cached: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A request was not let in."""

    status: int
    reason: str
    detail: str | None
    hint: str | None


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
class Misconfigured:
    """Our own settings are wrong, found out while serving: a provider refuses our client credentials (or,
    suspiciously, every token shown to it), or the database is not what the settings say. ``part`` is the
    provider's name or "settings"."""

    part: str
    hint: str


@dataclass(frozen=True, slots=True)
class KeysRefreshed:
    """A key set was fetched and is in use. ``ignored`` keys were not usable for signatures."""

    provider: str
    usable: int
    ignored: int


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
    | Refused
    | ProviderCalled
    | ProviderFailed
    | Misconfigured
    | KeysRefreshed
    | KeysRefreshFailed
    | InsecureSetting
    | InternalError
)
