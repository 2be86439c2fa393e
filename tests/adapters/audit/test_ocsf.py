"""Rows as OCSF events: each class has what the schema requires of it (schema.ocsf.io, 1.3.0)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.adapters.audit.test_events import EVERYTHING
from tests.adapters.audit.trails import caller, written

from tenantry.adapters.audit.events import EVENTS
from tenantry.adapters.audit.ocsf import mapped
from tenantry.observations import Admitted

pytestmark = pytest.mark.anyio

# What is required in every event, and in each class; "a|b" is at least one of them.
BASE = {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"}
REQUIRED = {
    0: set(),
    3002: {"user", "service|dst_endpoint"},
    3004: {"entity"},
    6002: {"app"},
    6003: {"actor", "api", "src_endpoint"},
}
OBJECTS = {
    "metadata": {"product", "version"},
    "user": {"uid|name|account"},
    "actor": {"user|process|session|app_name|app_uid"},
    "api": {"operation"},
    "entity": {"uid|name"},
    "app": {"vendor_name", "name|uid"},
    "src_endpoint": {"ip|uid|name|hostname|svc_name|domain"},
    "service": {"uid|name"},
}
CATEGORIES = {0: 0, 3002: 3, 3004: 3, 6002: 6, 6003: 6}
ACT = {"v": 1, "writer": "acts", "stream": "operator", "seq": 1, "id": "acts-1", "at": "2026-01-01T00:00:00.000001Z"}
ACT |= {"actor": "cli:ann", "subject": "acme_com", "tenant": "acme_com"}


def lacking(event: dict[str, Any], wanted: set[str]) -> set[str]:
    return {each for each in wanted if not any(name in event for name in each.split("|"))}


def check(event: dict[str, Any]) -> None:
    kind = event["class_uid"]
    assert lacking(event, BASE | REQUIRED[kind]) == set()
    for name, wanted in OBJECTS.items():
        if name in event:
            assert lacking(event[name], wanted) == set(), name
    assert event["category_uid"] == CATEGORIES[kind]
    assert event["type_uid"] == kind * 100 + event["activity_id"]
    assert event["severity_id"] in range(7)
    assert event["metadata"]["product"]["vendor_name"] == "tenantry"
    assert isinstance(event["time"], int)


async def test_every_row_of_a_server_is_an_event_of_its_class(tmp_path: Path) -> None:
    for row in await written(tmp_path / "audit.log", *EVERYTHING):
        check(mapped(row))


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_has_a_class(event: str) -> None:
    check(mapped({**ACT, "event": event}))


async def test_admissions_calls_and_refusals_are_in_the_classes_a_siem_looks_for_them(tmp_path: Path) -> None:
    person = caller(tenant="acme_com")
    rows = await written(tmp_path / "audit.log", *EVERYTHING, Admitted(person, None), audit_users="plain")
    found = [mapped(row) for row in rows]
    by_name = {event["message"]: event for event in found}
    assert (by_name["admitted"]["class_uid"], by_name["admitted"]["activity_id"]) == (3002, 1)
    assert by_name["admitted"]["user"]["uid"] == "google:1"
    assert by_name["admitted"]["metadata"]["tenant_uid"] == "acme_com"
    unknown, known = [event for event in found if event["message"] == "refused"]
    assert (unknown["class_uid"], unknown["status_id"], unknown["status_code"]) == (3002, 2, "token_expired")
    assert (known["class_uid"], known["api"]["response"]["code"]) == (6003, 429)
    assert known["resources"] == [{"name": "flood"}]
    called = by_name["called"]
    assert (called["status_id"], called["duration"], called["src_endpoint"]) == (1, 12, {"ip": "127.0.0.9"})


@pytest.mark.parametrize(
    ("event", "activity"), [("key.created", 1), ("key.revoked", 4), ("tenant.suspended", 3), ("tenant.dropped", 4)]
)
def test_what_operators_do_is_entity_management(event: str, activity: int) -> None:
    found = mapped({**ACT, "event": event})
    assert (found["class_uid"], found["activity_id"], found["actor"]) == (3004, activity, {"user": {"name": "cli:ann"}})
    assert found["entity"] == {"uid": "acme_com", "type": event.partition(".")[0]}
