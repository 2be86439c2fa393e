from __future__ import annotations

from typing import Any

import pytest

from tenantry.core.jsonrpc import Call
from tenantry.core.rules import MAX_WEIGHT, NEUTRAL, Rule, Rules
from tenantry.errors import ConfigurationError, CredentialMissing, Forbidden, InsufficientScope, RequestInvalid
from tenantry.model import MCPUserContext


def person(*permissions: str, **more: Any) -> MCPUserContext:
    return MCPUserContext("google:1", "google", "1", "acme_com", permissions=frozenset(permissions), **more)


NOBODY = person()
READER = person("notes:read")


def tool(name: str, **arguments: Any) -> Call:
    return Call("tools/call", name, arguments, 1, "tool")


def resource(uri: str, method: str = "resources/read") -> Call:
    return Call(method, uri, {}, 1, "resource")


RULES = Rules(
    [
        Rule("tool", "notes_delete", permissions=["notes:write", "notes:delete"], roles=["lead"], weight=5),
        Rule("tool", "notes_*", permissions=["notes:read"]),
        Rule("tool", "help", public=True, weight=2),
        Rule("tool", "mine", when={"arguments.owner": {"eq": "$user.user_id"}}, permissions=["notes:read"]),
        Rule("prompt", "notes_*", providers=["github"]),
        Rule("resource", "notes://private/*", tenants=["other_com"]),
        Rule("resource", "notes://*", permissions=["notes:read"], weight=3),
        Rule("method", "tasks/*", roles=["lead"]),
        Rule("method", "logging/setLevel", roles=["lead"]),
    ]
)


def test_without_rules_everything_is_let_through() -> None:
    assert not Rules()
    assert Rules().decide(NOBODY, [tool("anything"), tool("else")]) == 2
    assert Rules().decide(None, []) == 1


def test_the_weight_of_a_call_is_its_rule_s() -> None:
    assert RULES.decide(READER, [tool("notes_list")]) == 1
    assert RULES.decide(READER, [resource("notes://a")]) == 3
    assert RULES.decide(READER, [resource("notes://a"), tool("help"), Call("ping", id=2)]) == 6


@pytest.mark.parametrize(
    "call",
    [
        tool("other"),
        tool("Notes_list"),
        tool(" notes_list"),
        tool("mine"),
        tool("mine", owner="google:2"),
        Call("prompts/get", "notes_brief", {}, 1, "prompt"),
        Call("prompts/get", "help", {}, 1, "prompt"),
        resource("notes://private/a"),
        resource("files://a"),
        resource("notes://a/../private/b"),
        Call("tasks/result", None, {}, 1),
        Call("logging/setLevel", None, {}, 1),
        Call("acme/export", None, {}, 1),
        Call("Tools/Call", "help", {}, 1),
        Call("tools/call", None, {}, 1, "tool"),
    ],
)
def test_what_no_rule_lets_be_is_refused_without_a_challenge(call: Call) -> None:
    with pytest.raises(Forbidden) as caught:
        RULES.decide(READER, [call])
    assert (caught.value.reason, caught.value.challenge) == ("call_not_allowed", "none")


def test_the_first_rule_that_matches_decides_and_no_later_one_is_asked() -> None:
    """``notes_*`` would let the caller delete."""
    with pytest.raises(Forbidden):
        RULES.decide(READER, [tool("notes_delete")])


def test_missing_permissions_are_all_named_at_once() -> None:
    with pytest.raises(InsufficientScope) as caught:
        RULES.decide(person("notes:write", roles=frozenset({"lead"})), [tool("notes_delete")])
    assert caught.value.scopes == ("notes:write", "notes:delete")


def test_a_role_that_is_missing_too_is_no_matter_of_permissions() -> None:
    """A step-up would not help: clients would loop."""
    with pytest.raises(Forbidden):
        RULES.decide(person("notes:write"), [tool("notes_delete")])
    assert RULES.decide(person("notes:*", roles=frozenset({"x", "lead"})), [tool("notes_delete")]) == 5


@pytest.mark.parametrize("granted", ["notes:read", "notes:write", "notes:admin", "notes:*"])
def test_permissions_are_held_by_the_hierarchy(granted: str) -> None:
    assert RULES.decide(person(granted), [tool("notes_list")]) == 1


@pytest.mark.parametrize("granted", ["read", "admin", "notes", "notes:list", "*"])
def test_no_other_permission_will_do(granted: str) -> None:
    with pytest.raises(InsufficientScope):
        RULES.decide(person(granted), [tool("notes_list")])


def test_a_condition_may_ask_about_the_call() -> None:
    assert RULES.decide(READER, [tool("mine", owner="google:1")]) == 1
    with pytest.raises(InsufficientScope):
        RULES.decide(NOBODY, [tool("mine", owner="google:1")])


# --- Without a credential ---------------------------------------------------------------------------------------------


def test_a_stranger_reaches_what_is_public_and_is_asked_to_sign_in_for_the_rest() -> None:
    assert RULES.decide(None, [tool("help")]) == 2
    for call in (tool("notes_list"), tool("other"), Call("tasks/get", id=1), Call("logging/setLevel", id=1)):
        with pytest.raises(CredentialMissing):
            RULES.decide(None, [call])


# --- Methods ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*sorted(NEUTRAL - {"logging/setLevel"}), "notifications/cancelled"])
@pytest.mark.parametrize("user", [None, NOBODY])
def test_methods_that_reach_nothing_need_no_rule(method: str, user: MCPUserContext | None) -> None:
    assert RULES.decide(user, [Call(method, None, {}, 1)]) == 1


def test_a_rule_for_exactly_a_neutral_method_governs_it() -> None:
    lead = person(roles=frozenset({"lead"}))
    assert RULES.decide(lead, [Call("logging/setLevel", None, {}, 1)]) == 1


def test_a_pattern_for_methods_governs_those_that_need_a_rule() -> None:
    rules = Rules([Rule("method", "*", roles=["lead"])])
    assert rules.decide(NOBODY, [Call("initialize", None, {}, 1)]) == 1
    for method in ("tasks/get", "acme/x"):
        with pytest.raises(Forbidden):
            rules.decide(NOBODY, [Call(method, None, {}, 1)])
        assert rules.decide(person(roles=frozenset({"lead"})), [Call(method, None, {}, 1)]) == 1


@pytest.mark.parametrize("method", ["tools/call", "prompts/get", "resources/read", "completion/complete"])
def test_no_rule_for_methods_opens_tools_prompts_and_resources(method: str) -> None:
    """Not even for a call that does not say what it names."""
    rules = Rules([Rule("method", "*", public=True)])
    for call in (Call(method, "x", {}, 1), Call(method, None, {}, 1)):
        with pytest.raises(Forbidden):
            rules.decide(NOBODY, [call])


@pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
def test_a_subscription_to_nothing_needs_a_rule_for_methods(method: str) -> None:
    with pytest.raises(Forbidden):
        RULES.decide(READER, [Call(method)])
    assert Rules([Rule("method", "*", permissions=["notes:read"])]).decide(READER, [Call(method)]) == 1


def test_a_completion_is_governed_by_the_rule_of_what_it_completes() -> None:
    def complete(kind: str, name: str) -> Call:
        return Call("completion/complete", name, {}, 1, kind)

    assert RULES.decide(READER, [complete("resource", "notes://{id}")]) == 3
    assert RULES.decide(person(), [complete("prompt", "notes_a")._replace(method="tools/list", kind="method")]) == 1
    with pytest.raises(Forbidden):
        RULES.decide(READER, [complete("prompt", "notes_a")])
    with pytest.raises(Forbidden):
        RULES.decide(READER, [complete("resource", "notes://private/{id}")])


def test_a_subscription_needs_the_rule_of_each_of_its_resources() -> None:
    def listen(*uris: str) -> Call:
        return Call("subscriptions/listen", uris[0], {}, 1, "resource", uris[1:])

    assert RULES.decide(READER, [listen("notes://a", "notes://b")]) == 6
    with pytest.raises(Forbidden):
        RULES.decide(READER, [listen("notes://a", "notes://private/b")])
    with pytest.raises(Forbidden):
        RULES.decide(NOBODY, [listen("notes://a", "notes://private/b")])
    rules = Rules(
        [
            Rule("resource", "notes://a", permissions=["a", "b"]),
            Rule("resource", "notes://b", permissions=["b", "c"]),
            Rule("method", "subscriptions/listen", permissions=["listen"]),
        ]
    )
    with pytest.raises(InsufficientScope) as caught:
        rules.decide(NOBODY, [listen("notes://a", "notes://b")])
    assert caught.value.scopes == ("listen", "a", "b", "c")


# --- Batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [tool("other"), tool("notes_list"), resource("NOTES://a")])
@pytest.mark.parametrize("user", [NOBODY, None])
def test_one_refused_message_refuses_the_batch(refused: Call, user: MCPUserContext | None) -> None:
    with pytest.raises(RequestInvalid) as caught:
        RULES.decide(user, [tool("help"), refused])
    assert (caught.value.status, caught.value.reason) == (400, "batch_forbidden")


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_a_list_shows_what_its_reader_may_use() -> None:
    names = ["notes_delete", "notes_list", "help", "mine", "other"]
    seen = {user: [name for name in names if RULES.visible(user, "tool", name)] for user in (READER, NOBODY, None)}
    assert seen == {READER: ["notes_list", "help", "mine"], NOBODY: ["help"], None: ["help"]}
    assert RULES.visible(READER, "resource", "notes://a")
    assert RULES.visible(READER, "resource", "notes://{id}")
    assert not RULES.visible(READER, "resource", "notes://private/a")
    assert not RULES.visible(READER, "resource", "NOTES://a")
    assert not RULES.visible(READER, "prompt", "notes_a")


def test_a_condition_about_the_caller_hides_what_it_refuses() -> None:
    rules = Rules([Rule("tool", "*", when={"user.provider": {"eq": "github"}, "arguments.x": {"eq": 1}})])
    assert not rules.visible(NOBODY, "tool", "x")


def test_scopes_are_what_a_tool_takes() -> None:
    assert RULES.scopes("tool", "notes_delete") == ("notes:write", "notes:delete")
    assert RULES.scopes("tool", "help") is None
    assert RULES.scopes("tool", "other") == ()


def test_an_explanation_names_the_rule_and_each_requirement() -> None:
    call = tool("notes_delete")
    rule = RULES.rule_for(call, call.name)
    assert str(rule) == "tool 'notes_delete'"
    assert [
        (check.what, check.wanted, check.met) for check in RULES.explain(person("notes:write"), call, call.name)
    ] == [
        ("permission", "notes:write", True),
        ("permission", "notes:delete", False),
        ("role", "lead", False),
    ]
    assert RULES.rule_for(tool("other"), "other") is None
    assert RULES.explain(None, tool("other"), "other") == []


# --- Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "says nothing"),
        ({"public": True, "roles": ["a"]}, "public and has requirements"),
        ({"public": 1}, "neither true nor false"),
        ({"permissions": []}, "not a list with something in it"),
        ({"roles": []}, "not a list with something in it"),
        ({"permissions": "notes:read"}, "not a list with something in it"),
        ({"permissions": ["notes read"]}, "cannot be a permission"),
        ({"permissions": ['"']}, "cannot be a permission"),
        ({"permissions": ["ä"]}, "cannot be a permission"),
        ({"permissions": [1]}, "not a name"),
        ({"roles": [""]}, "not a name"),
        ({"tenants": [None]}, "not a name"),
        ({"when": {}}, "condition"),
        ({"when": {"user.email": {"eq": None}}}, "condition"),
        ({"public": True, "weight": 0}, "weight"),
        ({"public": True, "weight": MAX_WEIGHT + 1}, "weight"),
        ({"public": True, "weight": True}, "weight"),
        ({"public": True, "weight": 1.5}, "weight"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Rule("tool", "notes_*", place="policy.toml, rule 7", **arguments)
    assert str(caught.value).startswith("The rule policy.toml, rule 7: tool 'notes_*' ")


@pytest.mark.parametrize(
    ("kind", "pattern", "words"),
    [
        ("tools", "x", "kind"),
        ("tool", "", "empty"),
        ("tool", "a**", "write"),
        ("tool", "a\\", "backslash"),
        ("method", "tools/call", "tool, prompt or resource"),
        ("method", "completion/complete", "tool, prompt or resource"),
        ("resource", "NOTES://*", "spelt"),
        ("resource", "notes://a/../*", "spelt"),
        ("resource", "notes://{id}", "spelt"),
        ("resource", "notes", "spelt"),
        ("resource", "https://Example.com/*", "spelt"),
        ("resource", "https://example.com", "spelt"),
        ("resource", "file://docs/*", "spelt"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(kind: Any, pattern: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Rules([Rule(kind, pattern, public=True)])


@pytest.mark.parametrize(
    "pattern",
    ["*", "notes:*", "notes://*", "*://a", "n?tes://*", "https://*", "https://*.example.com/*", "https://example.com:*",
     "file:///docs/*", "notes://search\\?q=*", "urn:*"],
)  # fmt: skip
def test_a_pattern_for_resources_may_leave_anything_open(pattern: str) -> None:
    assert Rules([Rule("resource", pattern, public=True)])


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("*", "a"), ("a_*", "a_b"), ("a_*", "a_b_*")])
def test_a_rule_behind_one_that_always_matches_first_is_refused(first: str, second: str) -> None:
    with pytest.raises(ConfigurationError, match=r"x.toml, rule 2: tool .* never matches: x.toml, rule 1: tool"):
        Rules(
            [
                Rule("tool", first, public=True, place="x.toml, rule 1"),
                Rule("tool", second, public=True, place="x.toml, rule 2"),
            ]
        )


def test_ten_thousand_rules_decide_as_ten_do() -> None:
    rules = Rules(
        rule
        for number in range(2500)
        for rule in (
            Rule("tool", f"t{number}_exact", permissions=["a"], weight=1),
            Rule("tool", f"t{number}_*", permissions=["a"], weight=2),
            Rule("prompt", f"p{number}_?", permissions=["a"], weight=3),
            Rule("resource", f"notes://{number}/*/b", permissions=["a"], weight=4),
        )
    )
    user = person("a")
    for number in (0, 1249, 2499):
        assert rules.decide(user, [tool(f"t{number}_exact")]) == 1
        assert rules.decide(user, [tool(f"t{number}_other")]) == 2
        assert rules.decide(user, [Call("prompts/get", f"p{number}_x", {}, 1, "prompt")]) == 3
        assert rules.decide(user, [resource(f"notes://{number}/a/b")]) == 4
    with pytest.raises(Forbidden):
        rules.decide(user, [tool("t2500_exact")])
