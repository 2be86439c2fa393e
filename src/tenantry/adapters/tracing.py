"""One OpenTelemetry span, ``auth.validate``, around the gate's work; only its API is needed, and only when somebody
records. Nothing is exported from here: that is the host's business."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from ..core.traces import trace_id
from ..errors import Refusal
from ..model import Admission, Anonymous

T = TypeVar("T", bound=Admission | Anonymous)

Pseudonym = Callable[[str], str | None]


class Tracing:
    """``pseudonym`` turns a user id into what traces may say of him (``enduser.pseudo.id``); without one they say
    nothing."""

    def __init__(self, pseudonym: Pseudonym | None = None) -> None:
        self._pseudonym = pseudonym
        self._records, self._asked = False, 0
        try:
            from opentelemetry import trace
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError:
            self._trace: Any = None
            return
        # Not the global propagator: a stranger's baggage would go on to the identity providers.
        self._trace, self._extract = trace, TraceContextTextMapPropagator().extract
        self._tracer = trace.get_tracer("tenantry")

    @property
    def records(self) -> bool:
        """Whether a span would go anywhere: the host has set a tracer provider. One that does so before it serves is
        seen at once, a later one within ``_LOOK_EVERY`` requests: asking costs more than the rest of them all."""
        if self._records or self._trace is None:
            return self._records
        if self._asked % _LOOK_EVERY == 0:
            self._records = type(self._trace.get_tracer_provider()) is not self._trace.ProxyTracerProvider
        self._asked += 1
        return self._records

    async def around(self, work: Awaitable[T], headers: Iterable[tuple[bytes, bytes]]) -> T:
        """Await the gate's work inside a span: the child of the span that is current, else of the request's
        ``traceparent``. What is found out stands on the host's span as well."""
        trace, headers = self._trace, list(headers)
        host, parent = trace.get_current_span(), None
        if not host.get_span_context().is_valid and trace_id(headers) is not None:
            parent = self._extract(
                {name.decode(): value.decode("latin-1") for name, value in headers if name in _CARRIED}
            )
        with self._tracer.start_as_current_span(
            "auth.validate", context=parent, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                admission = await work
            except Refusal as refusal:
                span.set_attribute("tenantry.outcome", refusal.reason)
                if refusal.status >= 500:
                    span.set_status(trace.StatusCode.ERROR, refusal.reason)
                raise
            found = self._attributes(admission)
            span.set_attributes(found)
            host.set_attributes(found)
            return admission

    def _attributes(self, admission: Admission | Anonymous) -> dict[str, str]:
        user = admission.user
        if user is None:
            return {"tenantry.outcome": "anonymous"}
        found = {
            "tenantry.outcome": "admitted",
            "tenantry.tenant": user.tenant_id,
            "tenantry.provider": user.provider,
        }
        pseudonym = None if self._pseudonym is None else self._pseudonym(user.user_id)
        return found if pseudonym is None else {**found, "enduser.pseudo.id": pseudonym}


_LOOK_EVERY = 64
_CARRIED = frozenset({b"traceparent", b"tracestate"})
