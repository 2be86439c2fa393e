from __future__ import annotations

from typing import Any

import pytest

from tenantry.core.conditions import MAX_DEPTH, MAX_LEAVES, Facts, parse_condition
from tenantry.core.jsonrpc import Call
from tenantry.model import Claims, MCPUserContext

USER = MCPUserContext(
    user_id="google:1",
    provider="google",
    subject="1",
    tenant_id="acme_com",
    email="ann@acme.com",
    email_verified=True,
    roles=frozenset({"lead", "dev"}),
    permissions=frozenset({"notes:read"}),
    claims=Claims.of(
        {
            "plan": {"name": "gold", "seats": 5, "trial": False, "score": 1.5},
            "groups": ["a", "b", 1],
            "https://example.com/plan": "gold",
            "empty": "",
            "null": None,
            "big": 2**53,
        }
    ),
)
ARGUMENTS = {
    "owner": "ann@acme.com",
    "count": 3,
    "yes": True,
    "list": [1, "a", {"b": [2]}],
    "deep": {"er": {"est": "x"}},
    "null": None,
    "huge": 10**400,
    "inf": float("inf"),
    "text": "a$b",
}
CALL = Call("tools/call", "notes_write", ARGUMENTS, 1, "tool")


def holds(when: Any, user: MCPUserContext = USER, call: Call = CALL) -> bool:
    return parse_condition(when).holds(Facts(user, call, call.name))


@pytest.mark.parametrize(
    ("path", "test", "expected"),
    [
        ("user.user_id", {"eq": "google:1"}, True),
        ("user.tenant_id", {"eq": "acme"}, False),
        ("user.email", {"eq": "ann@acme.com"}, True),
        ("user.email_verified", {"eq": True}, True),
        ("user.roles", {"contains": "lead"}, True),
        ("user.roles", {"contains": "lea"}, False),
        ("user.permissions", {"contains": "notes:read"}, True),
        ("user.name", {"exists": False}, True),
        ("user.client_id", {"ne": "x"}, False),
        ("claims.plan.name", {"eq": "gold"}, True),
        ("claims.plan.seats", {"eq": 5}, True),
        ("claims.plan.seats", {"eq": 5.0}, True),
        ("claims.plan.seats", {"eq": "5"}, False),
        ("claims.plan.trial", {"eq": False}, True),
        ("claims.plan.trial", {"eq": 0}, False),
        ("claims.plan.score", {"eq": 1.5}, True),
        ("claims.'https://example.com/plan'", {"eq": "gold"}, True),
        ('claims."https://example.com/plan"', {"eq": "gold"}, True),
        ("claims.https://example", {"exists": True}, False),
        ("claims.groups", {"contains": "a"}, True),
        ("claims.groups", {"contains": 1}, True),
        ("claims.groups", {"contains": True}, False),
        ("claims.groups", {"contains": "1"}, False),
        ("claims.groups", {"eq": ["a", "b", 1]}, True),
        ("claims.groups", {"eq": ["a", "b", True]}, False),
        ("claims.groups", {"ne": ["a"]}, True),
        ("claims.groups.0", {"exists": True}, False),
        ("claims.null", {"exists": True}, False),
        ("claims.big", {"exists": True}, False),
        ("claims.plan", {"contains": "name"}, False),
        ("arguments.count", {"eq": 3}, True),
        ("arguments.count", {"ne": 4}, True),
        ("arguments.count", {"ne": 3}, False),
        ("arguments.count", {"ne": "3"}, False),
        ("arguments.yes", {"eq": 1}, False),
        ("arguments.yes", {"ne": 1}, False),
        ("arguments.yes", {"ne": False}, True),
        ("arguments.missing", {"ne": "x"}, False),
        ("arguments.missing", {"eq": "x"}, False),
        ("arguments.missing", {"exists": False}, True),
        ("arguments.null", {"ne": "x"}, False),
        ("arguments.null", {"exists": False}, True),
        ("arguments.huge", {"ne": 1}, False),
        ("arguments.inf", {"ne": 1}, False),
        ("arguments.deep.er.est", {"eq": "x"}, True),
        ("arguments.deep.er.est.more", {"exists": False}, True),
        ("arguments.owner", {"in": ["x", "ann@acme.com"]}, True),
        ("arguments.owner", {"in": ["x"]}, False),
        ("arguments.count", {"in": ["3", True]}, False),
        ("arguments.owner", {"contains": "@acme"}, True),
        ("arguments.owner", {"regex": "[a-z]+@acme[.]com"}, True),
        ("arguments.owner", {"regex": "[a-z]+"}, False),
        ("arguments.count", {"regex": "3"}, False),
        ("arguments.text", {"eq": "a$b"}, True),
        ("call.method", {"eq": "tools/call"}, True),
        ("call.name", {"regex": "notes_.*"}, True),
    ],
)
def test_a_value_is_held_against_another(path: str, test: dict[str, Any], expected: bool) -> None:
    assert holds({path: test}) is expected


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"arguments.owner": {"eq": "$user.email"}}, True),
        ({"arguments.owner": {"eq": "$user.user_id"}}, False),
        ({"arguments.owner": {"eq": "$$user.email"}}, False),
        ({"arguments.owner": {"in": ["x", "$user.email"]}}, True),
        ({"arguments.owner": {"in": ["$user.name", "$user.email"]}}, True),
        ({"arguments.owner": {"eq": "$user.name"}}, False),
        ({"arguments.owner": {"ne": "$user.name"}}, False),
        ({"arguments.missing": {"eq": "$user.name"}}, False),
        ({"arguments.missing": {"eq": "$arguments.missing"}}, False),
        ({"user.email": {"eq": "$arguments.owner"}}, True),
        ({"claims.plan.name": {"in": "$claims.groups"}}, False),
        ({"claims.plan.name": {"in": "$claims.missing"}}, False),
        ({"claims.plan.name": {"in": "$claims.plan.name"}}, False),
        ({"arguments.owner": {"contains": "$claims.empty"}}, False),
        ({"arguments.count": {"eq": "$arguments.yes"}}, False),
        ({"claims.plan.name": {"eq": "$claims.'https://example.com/plan'"}}, True),
    ],
)
def test_a_value_may_refer_to_the_caller_or_the_call(when: Any, expected: bool) -> None:
    assert holds(when) is expected


def test_two_dollars_are_one() -> None:
    call = CALL._replace(arguments={"price": "$5"})
    assert holds({"arguments.price": {"eq": "$$5"}}, call=call)


YES: dict[str, Any] = {"user.provider": {"eq": "google"}}
NO: dict[str, Any] = {"user.provider": {"eq": "github"}}


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"all": [YES, YES]}, True),
        ({"all": [YES, NO]}, False),
        ({"any": [NO, YES]}, True),
        ({"any": [NO, NO]}, False),
        ({"all": [YES], "any": [NO]}, False),
        ({"all": [YES], "any": [NO, YES]}, True),
        ({"all": [{"any": [NO, {"all": [YES, YES]}]}, YES]}, True),
        ({**YES, "user.tenant_id": {"eq": "acme_com"}}, True),
        ({**YES, "user.tenant_id": {"eq": "other"}}, False),
        ({"any": [YES], **NO}, False),
        ({"user.provider": {"eq": "google", "ne": "google"}}, False),
    ],
)
def test_all_and_any_join_and_one_table_is_all(when: Any, expected: bool) -> None:
    assert holds(when) is expected


@pytest.mark.parametrize("test", [{"eq": "ann@acme.com"}, {"ne": "x"}, {"regex": ".*"}, {"exists": True}])
def test_an_address_that_is_not_verified_is_missing(test: dict[str, Any]) -> None:
    unverified = MCPUserContext("google:1", "google", "1", "t", email="ann@acme.com")
    assert not holds({"user.email": test}, unverified)
    assert not holds({"arguments.owner": {"eq": "$user.email"}}, unverified)


def test_an_evil_text_meets_an_evil_pattern() -> None:
    call = CALL._replace(arguments={"owner": "a" * 1024})
    assert not holds({"arguments.owner": {"regex": "(a+)+b"}}, call=call)
    assert not holds({"arguments.owner": {"regex": ".*"}}, call=CALL._replace(arguments={"owner": "a" * 1025}))


def nested(depth: int) -> dict[str, Any]:
    return YES if depth == 1 else {"all": [nested(depth - 1)]}


def test_depth_and_number_are_bounded() -> None:
    assert holds(nested(MAX_DEPTH))
    assert holds({"all": [YES] * MAX_LEAVES})
    for too_much in (nested(MAX_DEPTH + 1), {"all": [YES] * (MAX_LEAVES + 1)}):
        with pytest.raises(ValueError):
            parse_condition(too_much)


@pytest.mark.parametrize(
    "when",
    [
        {},
        [],
        "user.email",
        None,
        {"all": []},
        {"any": {}},
        {"all": [{}]},
        {"all": ["user.email"]},
        {"user": {"email": {"eq": "x"}}},
        {"user.email": {}},
        {"user.email": "x"},
        {"user.email": {"equals": "x"}},
        {"user.emial": {"eq": "x"}},
        {"user.claims": {"exists": True}},
        {"user.email.domain": {"eq": "x"}},
        {"call.id": {"eq": "x"}},
        {"headers.host": {"eq": "x"}},
        {"claims": {"exists": True}},
        {"claims.": {"exists": True}},
        {"claims..a": {"exists": True}},
        {"claims.'a": {"exists": True}},
        {"claims.'a'b": {"exists": True}},
        {"claims.a b": {"exists": True}},
        {"claims." + "a." * 20 + "a": {"exists": True}},
        {"user.email": {"eq": None}},
        {"user.email": {"eq": {"a": 1}}},
        {"user.email": {"eq": 2**60}},
        {"user.email": {"eq": float("nan")}},
        {"user.email": {"eq": "$"}},
        {"user.email": {"eq": "$email"}},
        {"user.email": {"eq": "$user.password"}},
        {"user.email": {"in": []}},
        {"user.email": {"in": "x"}},
        {"user.email": {"contains": ""}},
        {"user.email": {"regex": 1}},
        {"user.email": {"regex": "("}},
        {"user.email": {"regex": r"(a)\1"}},
        {"user.email": {"exists": "yes"}},
        {"user.email": {"exists": 1}},
    ],
)
def test_a_condition_that_says_nothing_or_cannot_be_is_refused(when: Any) -> None:
    with pytest.raises(ValueError):
        parse_condition(when)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"arguments.owner": {"eq": "x"}}, True),
        ({"user.email": {"eq": "$arguments.owner"}}, True),
        ({"user.email": {"in": ["$arguments.owner"]}}, True),
        ({"call.method": {"eq": "x"}}, True),
        ({"all": [NO, {"arguments.owner": {"eq": "x"}}]}, False),
        ({"any": [NO, {"arguments.owner": {"eq": "x"}}]}, True),
        (NO, False),
        (YES, True),
    ],
)
def test_before_a_call_what_asks_about_it_counts_as_fulfilled(when: Any, expected: bool) -> None:
    facts = Facts(USER, Call("", "notes_write"), "notes_write")
    assert parse_condition(when).may_hold(facts) is expected
