"""Rows as events of the Open Cybersecurity Schema Framework, version 1.3.0 (schema.ocsf.io).

admitted, refused before anybody was known     Authentication (3002)
called, refused with a known caller            API Activity (6003)
key.*, tenant.*, source.*, user.*, finding.*   Entity Management (3004)
writer.*, configuration.*                      Application Lifecycle (6002)
everything else                                Base Event (0)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

VERSION = "1.3.0"
_AUTHENTICATION, _ENTITY, _LIFECYCLE, _API, _BASE = 3002, 3004, 6002, 6003, 0
_CLASSES = {
    _AUTHENTICATION: "Authentication",
    _ENTITY: "Entity Management",
    _LIFECYCLE: "Application Lifecycle",
    _API: "API Activity",
    _BASE: "Base Event",
}
_ENTITIES = ("key", "tenant", "source", "user", "finding")
_CREATE, _READ, _UPDATE, _DELETE, _OTHER = 1, 2, 3, 4, 99
_LOGON, _START = 1, 3
_ACTIVITIES = {
    "key.created": _CREATE,
    "key.used": _READ,
    "key.revoked": _DELETE,
    "tenant.created": _CREATE,
    "tenant.imported": _CREATE,
    "tenant.exported": _READ,
    "tenant.dropped": _DELETE,
    "tenant.purged": _DELETE,
    "source.mapped": _CREATE,
    "source.unmapped": _DELETE,
    "user.erased": _DELETE,
}
_OAUTH2 = 6
_INFORMATIONAL, _LOW, _MEDIUM, _HIGH = 1, 2, 3, 4
_SEVERITIES = {
    "outage.began": _HIGH,
    "events.dropped": _HIGH,
    "configuration.wrong": _HIGH,
    "internal.error": _HIGH,
    "configuration.refused": _MEDIUM,
    "configuration.insecure": _MEDIUM,
    "budget.low": _MEDIUM,
    "quota.unchecked": _MEDIUM,
    "refused": _LOW,
}
_SUCCESS, _FAILURE = 1, 2


def mapped(row: Mapping[str, Any]) -> dict[str, Any]:
    """The OCSF event of a row's members."""
    kind = class_of(row)
    activity = _activity(kind, str(row["event"]))
    event: dict[str, Any] = {
        "class_uid": kind,
        "class_name": _CLASSES[kind],
        "category_uid": kind // 1000,
        "activity_id": activity,
        "type_uid": kind * 100 + activity,
        "time": int(datetime.fromisoformat(str(row["at"])).timestamp() * 1000),
        "severity_id": _severity(row),
        "message": str(row["event"]),
        "metadata": _metadata(row),
        "unmapped": {name: row[name] for name in ("writer", "stream", "seq", "prev", "hash") if name in row},
    }
    status = _status(row)
    if status is not None:
        event["status_id"] = status
    for target, source in (("status_code", "reason"), ("status_detail", "detail"), ("duration", "duration_ms")):
        if source in row:
            event[target] = int(row[source]) if target == "duration" else str(row[source])
    return event | _of_class(kind, row)


def class_of(row: Mapping[str, Any]) -> int:
    event = str(row["event"])
    if event == "called" or (event == "refused" and "user" in row):
        return _API
    if event in ("admitted", "admitted.outage", "refused"):
        return _AUTHENTICATION
    family = event.partition(".")[0]
    if family in _ENTITIES:
        return _ENTITY
    return _LIFECYCLE if family in ("writer", "configuration") else _BASE


def _activity(kind: int, event: str) -> int:
    if kind == _AUTHENTICATION:
        return _LOGON
    if kind == _ENTITY:
        return _ACTIVITIES.get(event, _UPDATE)
    if kind == _LIFECYCLE:
        return _START if event in ("writer.started", "configuration.loaded") else _OTHER
    return _OTHER if kind == _API else 0


def _severity(row: Mapping[str, Any]) -> int:
    if int(row.get("status", 0)) >= 500:
        return _MEDIUM
    return _SEVERITIES.get(str(row["event"]), _INFORMATIONAL)


def _status(row: Mapping[str, Any]) -> int | None:
    if row["event"] in ("admitted", "admitted.outage", "refused", "called"):
        return _FAILURE if int(row.get("status", 200)) >= 400 else _SUCCESS
    return _SUCCESS if class_of(row) == _ENTITY else None


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "version": VERSION,
        "product": {"name": "tenantry", "vendor_name": "tenantry"},
        "uid": str(row["id"]),
        "event_code": str(row["event"]),
        "log_name": "audit",
        "sequence": int(row["seq"]),
    }
    if "tenant" in row:
        metadata["tenant_uid"] = str(row["tenant"])
    for name in ("request_id", "trace_id"):
        if name in row:
            metadata.setdefault("correlation_uid", str(row[name]))
    return metadata


def _of_class(kind: int, row: Mapping[str, Any]) -> dict[str, Any]:
    if kind == _AUTHENTICATION:
        return {
            "user": _user(row),
            "service": {"name": "tenantry"},
            "auth_protocol_id": _OTHER if row.get("provider") == "api_key" else _OAUTH2,
            "is_remote": True,
            "src_endpoint": _source(row),
        }
    if kind == _API:
        api: dict[str, Any] = {"operation": str(row.get("method", "unknown")), "service": {"name": "tenantry"}}
        if "request_id" in row:
            api["request"] = {"uid": str(row["request_id"])}
        if "status" in row:
            api["response"] = {"code": int(row["status"])}
        resources = [{"name": str(row["name"])}] if "name" in row else []
        return {"actor": _actor(row), "api": api, "src_endpoint": _source(row)} | (
            {"resources": resources} if resources else {}
        )
    if kind == _ENTITY:
        family = str(row["event"]).partition(".")[0]
        subject = str(row.get("subject") or row.get("user") or row.get("tenant") or "unknown")
        return {"entity": {"uid": subject, "type": family}, "actor": _actor(row)}
    return {"app": {"name": "tenantry", "vendor_name": "tenantry"}} if kind == _LIFECYCLE else {}


def _user(row: Mapping[str, Any]) -> dict[str, Any]:
    user: dict[str, Any] = {"uid": str(row.get("user", "unknown"))}
    if "@" in str(row.get("email", "")):
        user["email_addr"] = str(row["email"])
    if "provider" in row:
        user["domain"] = str(row["provider"])
    return user


def _actor(row: Mapping[str, Any]) -> dict[str, Any]:
    if "actor" in row:
        return {"user": {"name": str(row["actor"])}}
    if "user" not in row:
        return {"app_name": "anonymous"}
    client = {"app_uid": str(row["client"])} if "client" in row else {}
    return {"user": _user(row), **client}


def _source(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"ip": str(row["address"])} if "address" in row else {"name": "unknown"}
