from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tenantry.core.jsonrpc import Call
from tenantry.core.rules import Rules
from tenantry.errors import ConfigurationError, Forbidden
from tenantry.model import MCPUserContext
from tenantry.policy_file import load_rules, read_rules
from tenantry.settings import Settings

Read = Callable[[str | bytes], Rules]
KEY = "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reading(text: str | bytes) -> Rules:
        path = tmp_path / "policy.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_rules(path)

    return reading


def weigh(rules: Rules, name: str, *permissions: str) -> int:
    user = MCPUserContext("google:1", "google", "1", "t", permissions=frozenset(permissions))
    return rules.decide(user, [Call("tools/call", name, {}, 1, "tool")])


EVERYTHING = """
permissions = ["notes:read", "notes:write"]

[[rule]]
tool = "notes_delete"
permissions = ["notes:write"]
roles = ["lead"]
tenants = ["acme_com"]
providers = ["google"]
when = { "arguments.owner" = { eq = "$user.email" } }
weight = 7

[[rule]]
tools = ["notes_list", "notes_get"]
prompts = ["notes_*"]
resource = 'notes://search\\?q=*'
method = "tasks/*"
permissions = ["notes:read"]

[[rule]]
tool = "help"
public = true
"""


def test_a_file_says_everything_a_rule_can(read: Read) -> None:
    rules = list(read(EVERYTHING))
    assert [(rule.kind, rule.pattern) for rule in rules] == [
        ("tool", "notes_delete"),
        ("tool", "notes_list"),
        ("tool", "notes_get"),
        ("prompt", "notes_*"),
        ("resource", r"notes://search\?q=*"),
        ("method", "tasks/*"),
        ("tool", "help"),
    ]
    first = rules[0]
    assert (first.permissions, first.roles, first.weight) == (("notes:write",), {"lead"}, 7)
    assert (first.tenants, first.providers, first.public) == ({"acme_com"}, {"google"}, False)
    assert first.when is not None
    assert rules[-1].public
    assert [rule.place for rule in (rules[0], rules[2], rules[-1])] == [
        "policy.toml, rule 1 (line 4)",
        "policy.toml, rule 2 (line 13)",
        "policy.toml, rule 3 (line 20)",
    ]


def test_the_line_is_left_out_where_a_string_looks_like_a_rule(read: Read) -> None:
    rules = read('[[rule]]\ntool = "a"\nwhen = { "user.name" = { eq = """\n[[rule]]\n""" } }\n')
    assert [rule.place for rule in rules] == ["policy.toml, rule 1"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rules"),
        ("rule = []", "has no rules"),
        ("rule = 1", "has no rules"),
        ("rule = [1]", "has no rules"),
        ("[rule]\ntool = 'a'\npublic = true", "has no rules"),
        ("[[rules]]\ntool = 'a'", "did you mean 'rule'"),
        ("[[rule]]\ntool = 'a'\npublic = true\ntool = 'b'\n", r"not TOML: .*line 4"),
        ("[[rule]]\ntool = \n", r"not TOML: .*line 2"),
        (b"[[rule]]\ntool = '\xff'", "not UTF-8 at byte 17"),
        ("[[rule]]\npublic = true", r"rule 1 \(line 1\) is about nothing"),
        ("[[rule]]\ntool = 'a'", "says nothing"),
        ("[[rule]]\ntool = 'a'\nrole = ['a']", "did you mean 'roles'"),
        ("[[rule]]\ntool = 'a'\npermision = ['a']", "did you mean 'permissions'"),
        ("[[rule]]\ntool = 'a'\nallow = true", "has 'allow', which says nothing here"),
        ("[[rule]]\ntool = ['a']\npublic = true", "tools takes a list"),
        ("[[rule]]\ntools = 'a'\npublic = true", "not a list of strings"),
        ("[[rule]]\ntools = []\npublic = true", "not a list of strings"),
        ("[[rule]]\ntools = [1]\npublic = true", "not a list of strings"),
        ("[[rule]]\ntools = ['a', 'a']\npublic = true", "never matches"),
        ("[[rule]]\ntool = 'a'\npermissions = 'b'", r'permissions = \["..."\]'),
        ("[[rule]]\ntool = 'a'\npermissions = []", "not a list with something in it"),
        ("[[rule]]\ntool = 'a'\npermissions = ['b c']", "cannot be a permission"),
        ("[[rule]]\ntool = 'a'\npublic = 'yes'", "neither true nor false"),
        ("[[rule]]\ntool = 'a'\npublic = true\nweight = 0", "weight"),
        ("[[rule]]\ntool = 'a'\nwhen = {user.email = {eq = 'x'}}", "whole path in quotes"),
        ("[[rule]]\ntool = 'a'\nwhen = {'user.born' = {eq = 1979-05-27}}", "unknown"),
        ("[[rule]]\ntool = 'a'\nwhen = {'claims.born' = {eq = 1979-05-27}}", "takes strings, numbers"),
        (
            "[[rule]]\ntool = '*'\npublic = true\n[[rule]]\ntool = 'a'\npublic = true",
            r"rule 2 .* never matches: .*rule 1",
        ),
        ("[[rule]]\nresource = 'NOTES://*'\npublic = true", "scheme in lower case"),
        ("permissions = []\n[[rule]]\ntool = 'a'\npublic = true", "permissions that are not a list"),
        (
            "permissions = ['notes:read']\n[[rule]]\ntool = 'a'\npermissions = ['note:read']",
            "did you mean 'notes:read'",
        ),
    ],
)
def test_a_mistake_is_a_start_error_with_its_place(read: Read, text: str | bytes, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        read(text)
    assert "policy.toml" in str(caught.value)


def test_a_file_that_is_not_there_is_a_start_error(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot be read"):
            read_rules(path)


# --- From the settings ------------------------------------------------------------------------------------------------


def settings(**values: object) -> Settings:
    return Settings(api_key=KEY, **values)


def test_tool_permissions_are_rules_in_their_order() -> None:
    given = {"notes_delete": ["notes:write", "notes:delete"], "notes_*": "notes:read"}
    rules = load_rules(settings(tool_permissions=given))
    assert weigh(rules, "notes_list", "notes:read") == 1
    assert rules.scopes("tool", "notes_delete") == ("notes:write", "notes:delete")
    with pytest.raises(Forbidden):
        weigh(rules, "other", "notes:read")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": ""}, "entry 1.*not a name"),
        ({"a": []}, "entry 1.*something in it"),
        ({"b": "x", "a": "no blanks"}, "entry 2.*cannot be a permission"),
        ({"*": "x", "a": "y"}, "entry 2.*never matches"),
        ({"a**": "x"}, "entry 1"),
    ],
)
def test_a_mistake_in_tool_permissions_names_the_variable(given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"MCP_HTTP_TOOL_PERMISSIONS, {words}"):
        load_rules(settings(tool_permissions=given))


def test_two_sources_of_rules_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("")
    with pytest.raises(ConfigurationError, match="both set"):
        load_rules(settings(tool_permissions={"a": "b"}, policy_file=tmp_path / "x.toml"))


def test_no_source_is_no_rules() -> None:
    assert not load_rules(settings())
