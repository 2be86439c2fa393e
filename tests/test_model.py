from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.errors import InsufficientScope
from tenantry.model import ApiKeyRecord, Claims, Identity, MCPUserContext, VerifiedClaims, permission_implies


def user(*permissions: str, **more: Any) -> MCPUserContext:
    return MCPUserContext("google:1", "google", "1", "acme_com", permissions=frozenset(permissions), **more)


@pytest.mark.parametrize(
    ("granted", "required"),
    [
        ("read", "read"),
        ("write", "read"),
        ("admin", "write"),
        ("admin", "read"),
        ("notes:write", "notes:read"),
        ("notes:admin", "notes:read"),
        ("notes:*", "notes:read"),
        ("notes:*", "notes:archive:delete"),
        ("notes:*", "notes:*"),
        ("team:notes:write", "team:notes:read"),
        ("anything else", "anything else"),
    ],
)
def test_a_permission_implies_itself_and_what_is_below_it(granted: str, required: str) -> None:
    assert permission_implies(granted, required)
    assert user(granted).has_permission(required)


@pytest.mark.parametrize(
    ("granted", "required"),
    [
        ("read", "write"),
        ("read", "admin"),
        ("write", "admin"),
        ("admin", "notes:read"),
        ("admin", "notes:admin"),
        ("admin", "notes:*"),
        ("notes:admin", "admin"),
        ("notes:admin", "notes:*"),
        ("notes:admin", "notes"),
        ("notes:admin", "notes:archive:read"),
        ("notes:*", "notes"),
        ("notes:*", "notes:"),
        ("notes:*", "notebook:read"),
        ("notes:*", "files:read"),
        ("note:*", "notes:read"),
        ("notes:read", "notes:rea"),
        ("notes:read", "notes:reader"),
        ("notes", "notes:read"),
        ("*", "read"),
        ("*", "notes:read"),
        ("*:*", "notes:read"),
        ("Admin", "read"),
        ("notes:ADMIN", "notes:read"),
        ("notes:admin ", "notes:read"),
        ("admin", "delete"),
        ("notes:admin", "notes:delete"),
        ("", "read"),
        ("admin", ""),
        ("notes:*", ""),
        ("files:admin notes:admin", "notes:read"),
    ],
)
def test_a_permission_implies_nothing_beside_or_above_it(granted: str, required: str) -> None:
    assert not permission_implies(granted, required)
    assert not user(granted).has_permission(required)


def test_without_permissions_there_are_none() -> None:
    for required in ("", "read", "*", "notes:*"):
        assert not user().has_permission(required)


_NAMES = st.lists(st.sampled_from(["read", "write", "admin", "notes", "files", "*"]), min_size=1, max_size=3).map(
    ":".join
)


@given(_NAMES, _NAMES, _NAMES)
def test_implication_is_transitive(a: str, b: str, c: str) -> None:
    if permission_implies(a, b) and permission_implies(b, c):
        assert permission_implies(a, c)


@given(_NAMES, _NAMES)
def test_only_equal_permissions_imply_each_other(a: str, b: str) -> None:
    if permission_implies(a, b) and permission_implies(b, a):
        assert a == b


def test_a_missing_permission_is_named_in_the_refusal() -> None:
    user("notes:write").require_permission("notes:read")
    with pytest.raises(InsufficientScope) as caught:
        user("notes:read").require_permission("notes:write")
    assert (caught.value.status, caught.value.scopes) == (403, ("notes:write",))


@pytest.mark.parametrize("field", ["permissions", "tenant_id", "user_id", "claims"])
def test_a_context_cannot_be_changed(field: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(user(), field, "x")
    with pytest.raises((AttributeError, TypeError)):
        user().not_a_field = 1  # type: ignore[attr-defined]


def test_what_a_person_is_called_does_not_appear_in_logs_by_accident() -> None:
    personal = {"email": "ann@example.com", "name": "Ann Smith", "picture": "https://pic.example/ann"}
    context = user(**personal, claims=Claims.of({"phone": "12345"}))
    identity = Identity("google:1", "google", "1", **personal)
    verified = VerifiedClaims("google", "id_token", "1", Claims.of(personal), None)
    record = ApiKeyRecord("id", b"DIGEST", "name")
    for value in (context, identity, verified, record):
        shown = repr(value)
        assert not any(word in shown for word in ("ann", "Ann", "12345", "DIGEST"))


def test_claims_read_like_a_mapping_and_cannot_be_written() -> None:
    claims = Claims(b'{"sub":"1","roles":["a"]}')
    assert dict(claims) == {"sub": "1", "roles": ["a"]}
    assert len(claims) == 2
    assert claims == {"sub": "1", "roles": ["a"]}
    assert claims.get("missing") is None
    with pytest.raises(TypeError):
        claims["sub"] = "2"  # type: ignore[index]
    with pytest.raises(TypeError):
        del claims["sub"]  # type: ignore[attr-defined]


def test_claims_show_names_but_no_values() -> None:
    assert repr(Claims(b'{"sub":"1","email":"ann@example.com"}')) == "Claims(sub, email)"


def test_frozen_claims_do_not_follow_the_mapping_they_came_from() -> None:
    source = {"roles": ["reader"]}
    claims = Claims.of(source)
    source["roles"].append("admin")
    assert claims["roles"] == ["reader"]
    assert json.loads(claims.raw) == {"roles": ["reader"]}
