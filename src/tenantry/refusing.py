"""What an error is to the caller, and who hears of it."""

from __future__ import annotations

from .errors import ConfigurationError, InternalFailure, Refusal, Unavailable
from .observations import InternalError, Misconfigured, Refused
from .ports import Observer
from .request import Request
from .strangers import Strangers


class Refusing:
    """Turns whatever was raised into a ``Refusal``, holds it against the address of a stranger, and tells it once."""

    def __init__(self, strangers: Strangers, observe: Observer) -> None:
        self._strangers = strangers
        self._observe = observe

    def of(self, error: Exception, request: Request) -> Refusal:
        refusal = self._refusal(error)
        if request.user is None and refusal.status in (400, 401):
            refusal = self._strangers.counted(refusal, request)
        self._observe(Refused.of(refusal, request.about(), request.user))
        return refusal

    def _refusal(self, error: Exception) -> Refusal:
        if isinstance(error, Refusal):
            return error
        if isinstance(error, ConfigurationError):
            self._observe(Misconfigured("settings", str(error)))
            return Unavailable("server_misconfigured", retry_after=60)
        self._observe(InternalError.of(error))
        return InternalFailure("internal_failure")
