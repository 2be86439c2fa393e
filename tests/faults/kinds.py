"""What goes wrong in the matrix, and what then has to come of it.

Four callers: ``cold``, the first of a server that has just started; ``new``, an unknown one of a server that has been
running; ``known``, who was let in a moment ago; ``overdue``, whose proof is older than MCP_HTTP_TOKEN_CACHE_TTL, under
MCP_HTTP_OUTAGE_GRACE=900.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenantry.devidp.faults import fault_of

from .stage import Block, Stage
from .subjects import CALLS, KEYS, Subject

Statuses = tuple[int, int, int, int]
COLUMNS = ("cold", "new", "known", "overdue")
FINE: Statuses = (200, 200, 200, 200)
OF_KEYS: Statuses = (503, 200, 200, 200)  # the last good keys serve on
OUT_OF_REACH: Statuses = (503, 503, 200, 200)
NO_ANSWER: Statuses = (503, 503, 200, 503)  # somebody answered: no grace
FIVE_MINUTES = 300.0


@dataclass(frozen=True)
class Kind:
    """One thing that goes wrong. ``keys`` and ``calls`` are what comes of it where credentials are proved so; None
    where it cannot happen there."""

    name: str
    begin: Callable[[Stage, Subject], None]
    keys: Statuses | None
    calls: Statuses | None
    limit: bool = False

    def expected(self, subject: Subject) -> Statuses | None:
        if subject.source == KEYS:
            return self.keys
        if subject.source != CALLS:
            return FINE
        if self.calls == OUT_OF_REACH and not subject.expires:
            return NO_ANSWER  # a proof without an end gets no grace
        if self.limit and subject.counts:
            return OUT_OF_REACH  # the guard of its budget believes proofs for a quarter of an hour
        return self.calls


def end(stage: Stage) -> None:
    """Everything is well again."""
    stage.idp.faults.clear()
    stage.road.block, stage.road.hurried, stage.theirs.ahead = None, False, 0.0


def _fault(kind: str, *, hurried: bool = False, **options: Any) -> Callable[[Stage, Subject], None]:
    def begin(stage: Stage, subject: Subject) -> None:
        stage.road.hurried = hurried
        if subject.provider is not None:
            stage.idp.faults.set(subject.provider, fault_of(kind, **options))

    return begin


def _blocked(block: Block) -> Callable[[Stage, Subject], None]:
    def begin(stage: Stage, subject: Subject) -> None:
        stage.road.block = block

    return begin


def _rotated(stage: Stage, subject: Subject) -> None:
    if subject.source == KEYS:
        subject.rotate(stage.idp)


def _ahead(seconds: float) -> Callable[[Stage, Subject], None]:
    def begin(stage: Stage, subject: Subject) -> None:
        stage.theirs.ahead = seconds

    return begin


KINDS = (
    Kind("connection refused", _blocked("refused"), OF_KEYS, OUT_OF_REACH),
    Kind("connection reset", _fault("reset"), OF_KEYS, OUT_OF_REACH),
    Kind("DNS failure", _blocked("dns"), OF_KEYS, OUT_OF_REACH),
    Kind("TLS error", _blocked("tls"), OF_KEYS, NO_ANSWER),
    Kind("timeout", _fault("slow", hurried=True, seconds=3600), OF_KEYS, OUT_OF_REACH),
    Kind("slow drip", _fault("drip", hurried=True), OF_KEYS, OUT_OF_REACH),
    Kind("500", _fault("error"), OF_KEYS, OUT_OF_REACH),
    Kind("503", _fault("status", code=503), OF_KEYS, OUT_OF_REACH),
    Kind("503, Retry-After", _fault("status", code=503, retry_after=20), OF_KEYS, OUT_OF_REACH),
    Kind("429", _fault("rate_limited", code=429), OF_KEYS, NO_ANSWER, limit=True),
    Kind("429, Retry-After", _fault("rate_limited", code=429, retry_after=20), OF_KEYS, NO_ANSWER, limit=True),
    Kind("403, rate limit", _fault("rate_limited", code=403, retry_after=20), OF_KEYS, NO_ANSWER, limit=True),
    Kind("redirect", _fault("redirect"), OF_KEYS, NO_ANSWER),
    Kind("HTML", _fault("html"), OF_KEYS, NO_ANSWER),
    Kind("connection cut in the body", _fault("truncated"), OF_KEYS, OUT_OF_REACH),
    Kind("truncated JSON", _fault("not_json"), OF_KEYS, NO_ANSWER),
    Kind("wrong content type", _fault("wrong_content_type"), FINE, FINE),
    Kind("body of 10 MB", _fault("huge", size=10_000_000), OF_KEYS, NO_ANSWER),
    Kind("empty key set", _fault("empty_keys"), OF_KEYS, None),
    Kind("only unusable keys", _fault("unusable_keys"), OF_KEYS, None),
    Kind("key rotation", _rotated, FINE, None),
    Kind("provider's clock 5 min ahead", _ahead(FIVE_MINUTES), (401, 401, 200, 200), FINE),
    Kind("provider's clock 5 min behind", _ahead(-FIVE_MINUTES), FINE, FINE),
)
