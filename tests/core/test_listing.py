"""Lists in JSON-RPC answers: cut to what the caller may use, and nothing else is changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.listing import filtered, filtered_text, may_hold_list
from tenantry.core.rules import Rule, Rules
from tenantry.model import MCPUserContext

READER = MCPUserContext("google:r", "google", "r", "acme_com", permissions=frozenset({"notes:read"}))
RULES = Rules(
    [
        Rule("tool", "help", public=True),
        Rule("tool", "read_*", permissions=["notes:read"]),
        Rule("tool", "write_*", permissions=["notes:write", "notes:share"]),
        Rule("tool", "staff", roles=["staff"]),
        Rule("prompt", "summary", permissions=["notes:read"]),
        Rule("resource", "notes://acme/*", permissions=["notes:read"]),
    ]
)


def answer(**result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "result": result}


def cut(message: Any, user: MCPUserContext | None = READER, *, oauth: bool = True) -> Any:
    return filtered(message, RULES, user, oauth=oauth)


def names(message: Any, of: str = "tools", key: str = "name") -> list[str]:
    return [member[key] for member in message["result"][of]]


TOOLS = [{"name": name, "inputSchema": {}} for name in ("help", "read_note", "write_note", "staff", "unruled")]


def test_a_caller_is_shown_the_tools_he_may_use() -> None:
    assert names(cut(answer(tools=TOOLS))) == ["help", "read_note"]


def test_an_anonymous_caller_is_shown_what_is_public() -> None:
    assert names(cut(answer(tools=TOOLS), None)) == ["help"]


@pytest.mark.parametrize(
    ("of", "key", "mine", "foreign"),
    [
        ("prompts", "name", "summary", "secrets"),
        ("resources", "uri", "notes://acme/1", "notes://other/1"),
        ("resourceTemplates", "uriTemplate", "notes://acme/{id}", "notes://other/{id}"),
    ],
)
def test_prompts_resources_and_templates_are_cut_too(of: str, key: str, mine: str, foreign: str) -> None:
    assert names(cut(answer(**{of: [{key: mine}, {key: foreign}]})), of, key) == [mine]


def test_the_rest_of_the_answer_stays_and_the_cache_becomes_private() -> None:
    old = answer(tools=TOOLS, nextCursor="abc", ttlMs=60000, cacheScope="public", _meta={"a": 1})
    new = cut(old)
    assert {k: v for k, v in new["result"].items() if k != "tools"} == {
        "nextCursor": "abc",
        "ttlMs": 60000,
        "cacheScope": "private",
        "_meta": {"a": 1},
    }
    assert (new["jsonrpc"], new["id"]) == ("2.0", 7)


def test_an_empty_list_is_private_as_well() -> None:
    assert cut(answer(tools=[]))["result"] == {"tools": [], "cacheScope": "private"}


def test_tools_say_which_scopes_they_take() -> None:
    writer = MCPUserContext("a", "google", "a", "t", permissions=frozenset({"notes:*"}), roles=frozenset({"staff"}))
    schemes = {tool["name"]: tool["securitySchemes"] for tool in cut(answer(tools=TOOLS), writer)["result"]["tools"]}
    assert schemes == {
        "help": [{"type": "noauth"}],
        "read_note": [{"type": "oauth2", "scopes": ["notes:read"]}],
        "write_note": [{"type": "oauth2", "scopes": ["notes:write", "notes:share"]}],
        "staff": [{"type": "oauth2", "scopes": []}],
    }


@pytest.mark.parametrize("own", [{"securitySchemes": []}, {"_meta": {"securitySchemes": []}}])
def test_a_tool_that_says_so_itself_keeps_its_word(own: dict[str, Any]) -> None:
    tool = {"name": "help", **own}
    assert cut(answer(tools=[tool]))["result"]["tools"] == [tool]


def test_where_nobody_signs_in_by_oauth_no_scheme_is_named() -> None:
    assert cut(answer(tools=TOOLS), oauth=False)["result"]["tools"] == TOOLS[:2]


@pytest.mark.parametrize("member", [None, "read_note", {}, {"name": 1}, {"name": ["read_note"]}, ["read_note"]])
def test_what_has_no_name_is_not_shown(member: Any) -> None:
    assert cut(answer(tools=[member]))["result"]["tools"] == []


def test_each_member_of_a_batch_is_cut_and_the_others_stay() -> None:
    other = {"jsonrpc": "2.0", "id": 8, "result": {"content": []}}
    new = cut([other, answer(tools=TOOLS), answer(prompts=[{"name": "secrets"}])])
    assert new[0] is other
    assert names(new[1]) == ["help", "read_note"]
    assert names(new[2], "prompts") == []


@pytest.mark.parametrize(
    "message",
    [
        answer(content=[{"type": "text", "text": "tools"}], structuredContent={"tools": [{"name": "staff"}]}),
        answer(capabilities={"tools": {}}, tools={"listChanged": True}),
        {"jsonrpc": "2.0", "method": "sampling/createMessage", "id": 1, "params": {"tools": TOOLS}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "tools", "data": {"tools": TOOLS}}},
        [],
        "tools",
        None,
    ],
)
def test_what_is_no_list_is_left_alone(message: Any) -> None:
    assert cut(message) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(_JSON, st.booleans())
def test_every_value_in_a_tool_survives(value: Any, ascii_only: bool) -> None:
    text = json.dumps(answer(tools=[{"name": "help", "inputSchema": value}]), ensure_ascii=ascii_only)
    new = filtered_text(text.encode("utf-8", "surrogatepass" if ascii_only else "strict"), RULES, None, oauth=False)
    assert new is not None
    survived = json.loads(new)["result"]["tools"][0]["inputSchema"]
    assert repr(survived) == repr(value)


def test_a_lone_surrogate_and_a_large_integer_survive() -> None:
    new = filtered_text(
        rb'{"result": {"tools": [{"name": "help", "a": "\ud800", "b": 1' + b"0" * 400 + b"}]}}",
        RULES,
        None,
        oauth=False,
    )
    assert new is not None
    assert json.loads(new)["result"]["tools"] == [{"name": "help", "a": "\ud800", "b": 10**400}]


@pytest.mark.parametrize("number", [b"1e400", b"NaN", b"Infinity", b"1" * 5000])
def test_what_would_not_survive_is_refused(number: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        filtered_text(b'{"result": {"tools": [{"name": "help", "a": ' + number + b"}]}}", RULES, None, oauth=False)


def test_of_two_members_of_one_name_one_goes_out() -> None:
    text = b'{"result": {"tools": [{"name": "staff"}]}, "result": {"tools": [{"name": "staff", "name": "help"}]}}'
    assert (
        filtered_text(text, RULES, None, oauth=False)
        == b'{"result":{"tools":[{"name":"help"}],"cacheScope":"private"}}'
    )


@pytest.mark.parametrize("name", ["tools", "prompts", "resources", "resourceTemplates", r"tool\u0073"])
def test_a_list_is_suspected_by_its_name(name: str) -> None:
    assert may_hold_list(f'{{"result": {{"{name}": []}}}}'.encode())


def test_an_answer_without_such_a_name_is_not_parsed() -> None:
    assert not may_hold_list(b'{"result": {"content": [{"text": "my tools"}]}}')
