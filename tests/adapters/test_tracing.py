"""One span around the gate's work, where the host records; nothing where it does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tenantry.adapters.tracing import Tracing
from tenantry.errors import TokenInvalid, Unavailable
from tenantry.model import Admission, Anonymous, MCPUserContext, Tenant

pytestmark = pytest.mark.anyio

USER = MCPUserContext("google:1", "google", "1", "acme_com", email="ann@acme.example")
ADMITTED = Admission(USER, Tenant("acme_com", "domain", named=True), cached=False)
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = [(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode()), (b"tracestate", b"a=1"), (b"baggage", b"user=ann")]


async def giving(value: Any) -> Any:
    if isinstance(value, Exception):
        raise value
    return value


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """The host's own recording, for one test: the API lets a process set it once."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


async def test_an_admission_is_a_span_with_tenant_and_provider(spans: InMemorySpanExporter) -> None:
    tracing = Tracing()
    assert tracing.records
    assert await tracing.around(giving(ADMITTED), []) is ADMITTED
    (span,) = spans.get_finished_spans()
    assert span.name == "auth.validate"
    assert span.parent is None
    assert dict(span.attributes or {}) == {
        "tenantry.outcome": "admitted",
        "tenantry.tenant": "acme_com",
        "tenantry.provider": "google",
    }


async def test_the_parent_is_the_request_s_trace(spans: InMemorySpanExporter) -> None:
    await Tracing().around(giving(ADMITTED), SENT)
    (span,) = spans.get_finished_spans()
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)


@pytest.mark.parametrize("headers", [[SENT[0], SENT[0]], [(b"traceparent", b"00-x")], [SENT[1], SENT[2]]])
async def test_a_doubtful_parent_is_none(spans: InMemorySpanExporter, headers: list[tuple[bytes, bytes]]) -> None:
    await Tracing().around(giving(ADMITTED), headers)
    (span,) = spans.get_finished_spans()
    assert span.parent is None


async def test_the_host_s_span_comes_before_the_request_s_and_learns_the_tenant(spans: InMemorySpanExporter) -> None:
    with trace.get_tracer("host").start_as_current_span("POST /mcp") as host:
        await Tracing().around(giving(ADMITTED), SENT)
    ours, theirs = spans.get_finished_spans()
    assert ours.parent is not None
    assert ours.parent.span_id == host.get_span_context().span_id
    assert (theirs.attributes or {})["tenantry.tenant"] == "acme_com"


async def test_what_the_gate_calls_is_below_the_span(spans: InMemorySpanExporter) -> None:
    async def work() -> Admission:
        trace.get_tracer("http").start_span("GET").end()
        return ADMITTED

    await Tracing().around(work(), SENT)
    call, ours = spans.get_finished_spans()
    assert call.parent is not None
    assert ours.context is not None
    assert call.parent.span_id == ours.context.span_id


async def test_a_stranger_s_baggage_goes_nowhere(spans: InMemorySpanExporter) -> None:
    from opentelemetry import baggage

    async def work() -> Admission:
        assert baggage.get_all() == {}
        return ADMITTED

    await Tracing().around(work(), SENT)
    assert len(spans.get_finished_spans()) == 1


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (TokenInvalid("token_expired", detail="x"), trace.StatusCode.UNSET),
        (Unavailable("store_unavailable"), trace.StatusCode.ERROR),
    ],
)
async def test_a_refusal_is_an_outcome_and_an_outage_an_error(
    spans: InMemorySpanExporter, refusal: Exception, status: trace.StatusCode
) -> None:
    with pytest.raises(type(refusal)):
        await Tracing().around(giving(refusal), [])
    (span,) = spans.get_finished_spans()
    assert dict(span.attributes or {}) == {"tenantry.outcome": str(refusal)}
    assert span.status.status_code is status
    assert span.events == ()  # no traceback, which may quote a token


async def test_an_anonymous_caller_is_said_to_be_that(spans: InMemorySpanExporter) -> None:
    await Tracing(lambda user: "never").around(giving(Anonymous()), [])
    (span,) = spans.get_finished_spans()
    assert dict(span.attributes or {}) == {"tenantry.outcome": "anonymous"}


async def test_a_user_is_named_by_his_pseudonym_or_not_at_all(spans: InMemorySpanExporter) -> None:
    await Tracing(lambda user: f"p-{len(user)}").around(giving(ADMITTED), [])
    await Tracing(lambda user: None).around(giving(ADMITTED), [])
    first, second = spans.get_finished_spans()
    assert (first.attributes or {})["enduser.pseudo.id"] == "p-8"
    assert "enduser.pseudo.id" not in (second.attributes or {})
    assert "google:1" not in f"{first.to_json()}{second.to_json()}"


async def test_without_a_host_that_records_there_is_nothing_to_do() -> None:
    tracing = Tracing()
    assert not any(tracing.records for _ in range(1000))


async def test_a_host_that_begins_to_record_later_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    tracing = Tracing()
    assert not tracing.records
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    assert any(tracing.records for _ in range(64))
    assert tracing.records


async def test_without_the_api_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    assert not Tracing().records


def test_importing_it_imports_no_opentelemetry() -> None:
    code = "import tenantry.adapters.tracing, sys; print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
