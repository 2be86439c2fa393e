"""What is counted, under which labels, and where the numbers can be had."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as families

from tenantry.adapters.metrics import METHODS, Metrics
from tenantry.errors import REASONS, ConfigurationError, OverQuota, Refusal, TokenInvalid, Unavailable
from tenantry.model import MCPUserContext
from tenantry.observations import (
    About,
    Admitted,
    BudgetLow,
    Called,
    ConfigurationLoaded,
    ConfigurationRefused,
    EventsDropped,
    InternalError,
    KeysRefreshed,
    KeysRefreshFailed,
    Misconfigured,
    ProviderCalled,
    ProviderFailed,
    QuotaUnchecked,
    Refused,
)
from tenantry.testing import FrozenClock

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
USER = MCPUserContext("google:1", "google", "1", "acme_com", email="ann@acme.example")
ROBOT = MCPUserContext("api_key:k", "api_key", "k", "acme_com")
ABOUT = About("4f2a-1", "203.0.113.9", None, "tools/call", "notes_add")


def numbers(metrics: Metrics) -> dict[str, float]:
    """Every sample of ours: ``name{label=value,...}`` to its number."""
    page, _ = metrics.render()
    found = {}
    for family in families(page.decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return {name: value for name, value in found.items() if name.startswith("tenantry_")}


def told(*observations: Any, metrics: Metrics | None = None) -> dict[str, float]:
    metrics = metrics or Metrics()
    for observation in observations:
        metrics(observation)
    return numbers(metrics)


@pytest.mark.parametrize(
    ("observation", "sample"),
    [
        (Called(USER, ABOUT, 200, 0.1), "tenantry_auth_requests_total{outcome=admitted,provider=google,reason=none}"),
        (Called(None, ABOUT, 2, 0.1), "tenantry_auth_requests_total{outcome=admitted,provider=anonymous,reason=none}"),
        (Called(USER, ABOUT, 200, 0.1), "tenantry_calls_total{method=tools/call,status=200}"),
        (Called(USER, ABOUT._replace(method=None), 500, 0.1), "tenantry_calls_total{method=none,status=500}"),
        (Called(USER, ABOUT._replace(method="x" * 99), 200, 0.1), "tenantry_calls_total{method=other,status=200}"),
        (Called(USER, ABOUT, 1234, 0.1), "tenantry_calls_total{method=tools/call,status=other}"),
        (Called(USER, ABOUT, 200, 0.1), "tenantry_token_cache_events_total{event=hit}"),
        (Admitted(USER, ABOUT), "tenantry_token_cache_events_total{event=miss}"),
        (
            Refused.of(TokenInvalid("token_expired"), ABOUT),
            "tenantry_auth_requests_total{outcome=refused,provider=none,reason=token_expired}",
        ),
        (
            Refused(401, "invented", None, None, provider="google"),
            "tenantry_auth_requests_total{outcome=refused,provider=google,reason=other}",
        ),
        (Refused.of(OverQuota("tenant_quota"), ABOUT, USER), "tenantry_rate_limited_total{limit=tenant}"),
        (Refused.of(OverQuota("address_quota"), ABOUT), "tenantry_rate_limited_total{limit=address}"),
        (ProviderCalled("google", "certs", 204), "tenantry_upstream_requests_total{provider=google,status_class=2xx}"),
        (ProviderCalled("github", "user", 503), "tenantry_upstream_requests_total{provider=github,status_class=5xx}"),
        (ProviderFailed("x", "certs", "timeout"), "tenantry_upstream_requests_total{provider=x,status_class=failed}"),
        (QuotaUnchecked("redis", let_in=True), "tenantry_quota_unchecked_total{outcome=admitted,store=redis}"),
        (KeysRefreshed("auth0", 2, 0), "tenantry_key_refreshes_total{outcome=done,provider=auth0}"),
        (KeysRefreshFailed("auth0", "timeout", 9.0), "tenantry_key_refreshes_total{outcome=failed,provider=auth0}"),
        (ConfigurationLoaded("0" * 16, reloaded=True), "tenantry_configurations_total{outcome=taken}"),
        (ConfigurationRefused("no"), "tenantry_configurations_total{outcome=refused}"),
        (InternalError("KeyError", "x.py:1"), "tenantry_internal_errors_total"),
        (Misconfigured("github", "no"), "tenantry_misconfigured_total{part=github}"),
    ],
)  # fmt: skip
def test_an_observation_is_counted_once_under_its_labels(observation: Any, sample: str) -> None:
    metrics = Metrics()
    assert numbers(metrics).get(sample, 0) == 0
    assert told(observation, metrics=metrics)[sample] == 1
    assert told(observation, metrics=metrics)[sample] == 2


def test_an_answer_that_was_no_use_is_one_call() -> None:
    seen = told(ProviderCalled("google", "certs", 500), ProviderFailed("google", "certs", "status"))
    calls = {name: value for name, value in seen.items() if name.startswith("tenantry_upstream_requests_total")}
    assert calls == {"tenantry_upstream_requests_total{provider=google,status_class=5xx}": 1}


def test_dropped_events_are_counted_each() -> None:
    assert told()["tenantry_audit_dropped_total"] == 0
    assert told(EventsDropped("postgres", 7), EventsDropped("postgres", 5))["tenantry_audit_dropped_total"] == 12


def test_the_age_of_keys_and_what_a_provider_grants_are_as_of_now() -> None:
    clock = FrozenClock()
    metrics = Metrics(clock=clock)
    metrics(KeysRefreshed("google", 2, 0))
    clock.advance(90)
    metrics(KeysRefreshed("auth0", 2, 0))
    metrics(BudgetLow("github", 40, 5000, 0.0))
    clock.advance(10)
    metrics(KeysRefreshFailed("google", "timeout", 100.0))
    seen = numbers(metrics)
    assert seen["tenantry_jwks_age_seconds{provider=google}"] == 100
    assert seen["tenantry_jwks_age_seconds{provider=auth0}"] == 10
    assert seen["tenantry_provider_budget{provider=github}"] == 40


def test_a_hit_is_a_token_that_was_known() -> None:
    metrics = Metrics()
    miss, hit = "tenantry_token_cache_events_total{event=miss}", "tenantry_token_cache_events_total{event=hit}"
    seen = told(Admitted(USER, ABOUT), Called(USER, ABOUT, 200, 0.1), metrics=metrics)
    assert (seen[miss], seen[hit]) == (1, 0)
    seen = told(*[Called(USER, ABOUT, 200, 0.1)] * 3, metrics=metrics)
    assert (seen[miss], seen[hit]) == (1, 3)
    seen = told(Admitted(USER, ABOUT), Admitted(USER, ABOUT), metrics=metrics)  # under way: not answered yet
    assert (seen[miss], seen[hit]) == (3, 3)
    seen = told(*[Called(USER, ABOUT, 200, 0.1)] * 3, metrics=metrics)
    assert (seen[miss], seen[hit]) == (3, 4)
    seen = told(Called(ROBOT, ABOUT, 200, 0.1), Called(None, ABOUT, 200, 0.1), metrics=metrics)
    assert (seen[miss], seen[hit]) == (3, 4)  # keys are not kept, and who has no token missed none


def test_durations_fall_into_buckets() -> None:
    metrics = Metrics()
    for seconds in (0.0, 9e-6, 20e-6, 0.3, 99.0):
        metrics.authenticated(seconds)
    seen = numbers(metrics)
    assert seen["tenantry_auth_duration_seconds_count"] == 5
    assert seen["tenantry_auth_duration_seconds_sum"] == pytest.approx(99.300029)
    assert seen["tenantry_auth_duration_seconds_bucket{le=1e-05}"] == 2
    assert seen["tenantry_auth_duration_seconds_bucket{le=2.5e-05}"] == 3
    assert seen["tenantry_auth_duration_seconds_bucket{le=0.5}"] == 4
    assert seen["tenantry_auth_duration_seconds_bucket{le=+Inf}"] == 5
    seen = told(Called(USER, ABOUT, 200, 0.02), metrics=metrics)
    assert seen["tenantry_call_duration_seconds_bucket{le=0.025}"] == 1


def test_the_page_names_no_user_no_tenant_and_no_tool() -> None:
    metrics = Metrics()
    for observation in (
        Called(USER, ABOUT, 200, 0.1),
        Admitted(USER, ABOUT),
        Refused.of(TokenInvalid("token_expired"), ABOUT, USER),
    ):
        metrics(observation)
    page, kind = metrics.render()
    assert kind.startswith("text/plain")
    for word in (USER.user_id, USER.tenant_id, USER.email, "notes_add", ABOUT.request_id, str(ABOUT.address)):
        assert word is not None
        assert word.encode() not in page


def test_whatever_callers_invent_the_page_stays_as_long_as_it_is() -> None:
    metrics = Metrics()
    for number in range(2000):
        metrics(Called(USER, ABOUT._replace(method=f"invented/{number}"), 200 + number, 0.1))
        metrics(Refused(401, f"invented_{number}", None, None))
    labels = [name for name in numbers(metrics) if name.startswith(("tenantry_calls_total", "tenantry_auth_requests"))]
    assert len(labels) <= 402 + 2


def test_every_reason_and_every_method_has_a_label_of_its_own() -> None:
    metrics = Metrics()
    for reason in REASONS:
        metrics(Refused(400, reason, None, None))
    for method in METHODS:
        metrics(Called(USER, ABOUT._replace(method=method), 200, 0.1))
    seen = numbers(metrics)
    assert len([name for name in seen if "outcome=refused" in name and "auth_requests" in name]) == len(REASONS)
    assert len([name for name in seen if name.startswith("tenantry_calls_total")]) == len(METHODS)


def test_where_the_package_is_missing_the_operator_hears_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigurationError, match=r"MCP_HTTP_METRICS .* pip install 'tenantry\[metrics\]'"):
        Metrics()


@pytest.mark.parametrize(
    "listen", ["yes", "", "host:", ":9100", "h:99999", "a b:1", "[::1:1", "http://x:1", "h:1:2", "h:1/x"]
)
def test_what_is_no_address_is_a_configuration_error(listen: str) -> None:
    with pytest.raises(ConfigurationError, match="MCP_HTTP_METRICS is"):
        Metrics(listen)


# A port of its own


async def exchange(metrics: Metrics, sent: bytes) -> bytes:
    assert metrics.address is not None
    reader, writer = await asyncio.open_connection(*metrics.address)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


@pytest.fixture
async def listening() -> Any:
    metrics = Metrics("0")
    metrics.start()
    yield metrics
    await metrics.aclose()


@pytest.mark.anyio
async def test_a_port_alone_is_loopback_s(listening: Metrics) -> None:
    assert listening.address is not None
    assert listening.address[0] == "127.0.0.1"


@pytest.mark.anyio
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_the_page_is_on_the_port_that_was_asked_for(host: str) -> None:
    metrics = Metrics(f"{host}:0")
    try:
        metrics.start()
    except ConfigurationError:
        if host == "[::1]":
            pytest.skip("this machine has no IPv6 loopback")
        raise
    answer = await exchange(metrics, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, page = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain")
    assert f"content-length: {len(page)}".encode() in head
    assert b"tenantry_internal_errors_total 0.0" in page
    await metrics.aclose()
    with pytest.raises(OSError):
        await exchange(metrics, b"")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics?x=1 HTTP/1.1\r\n\r\n", b"200"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"200"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /../metrics HTTP/1.1\r\n\r\n", b"404"),
        (b"\r\n\r\n", b"404"),
        (b"\x00\xff\r\n\r\n", b"404"),
    ],
)
async def test_nothing_else_is_served(listening: Metrics, sent: bytes, status: bytes) -> None:
    answer = await exchange(listening, sent)
    assert answer.split(b" ")[1] == status
    if not sent.startswith(b"GET /metrics?"):
        assert answer.endswith(b"\r\n\r\n")


@pytest.mark.anyio
async def test_a_head_without_an_end_is_not_waited_for(listening: Metrics) -> None:
    assert await exchange(listening, b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000) == b""


@pytest.mark.anyio
async def test_who_holds_connections_open_keeps_no_more_than_a_few_and_the_server_closes(listening: Metrics) -> None:
    assert listening.address is not None
    held = [await asyncio.open_connection(*listening.address) for _ in range(40)]
    closed = [asyncio.ensure_future(reader.read()) for reader, _ in held]
    while sum(task.done() for task in closed) < 40 - 16:
        await asyncio.wait([task for task in closed if not task.done()], return_when=asyncio.FIRST_COMPLETED)
    await listening.aclose()
    await asyncio.gather(*closed)
    for _, writer in held:
        writer.close()


@pytest.mark.anyio
async def test_a_port_that_is_taken_is_a_configuration_error(listening: Metrics) -> None:
    assert listening.address is not None
    with pytest.raises(ConfigurationError, match="MCP_HTTP_METRICS: cannot listen on"):
        Metrics(f"127.0.0.1:{listening.address[1]}").start()


def test_a_refusal_of_every_kind_can_be_counted() -> None:
    for kind in (Refusal, TokenInvalid, Unavailable):
        told(Refused.of(kind("store_unavailable"), ABOUT))


def test_the_page_of_operations_names_every_metric_and_no_other() -> None:
    page, _ = Metrics().render()
    kinds = {family.name: family.type for family in families(page.decode()) if family.name.startswith("tenantry_")}
    offered = {f"{name}_total" if kind == "counter" else name for name, kind in kinds.items()}
    table = OPERATIONS.read_text().partition("| name (`tenantry_...`)")[2].partition("\n\n")[0]
    documented = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert {f"tenantry_{name}" for name in documented} == offered
