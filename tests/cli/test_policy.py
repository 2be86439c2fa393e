"""``tenantry policy``: what the rules of a file say to a caller and a call."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tenantry.core.rules import Rules

from .conftest import COMMAND, environment

Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]

POLICY = """
[[rule]]
tool = "notes_delete"
permissions = ["notes:write", "notes:delete"]
when = { any = [{ "arguments.owner" = { eq = "$user.email" } }, { "user.roles" = { contains = "lead" } }] }
weight = 5

[[rule]]
tool = "help"
public = true

[[rule]]
resource = "notes://*"
permissions = ["notes:read"]
"""
DELETE = '{"method": "tools/call", "params": {"name": "notes_delete", "arguments": {"owner": "ann@acme.com"}}}'
HELP = '{"method": "tools/call", "params": {"name": "help"}}'
ANN = '{"email": "ann@acme.com", "email_verified": true, "permissions": ["notes:write"]}'


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return str(path)


def test_it_says_which_rule_matched_and_what_is_missing(run: Run, policy: str) -> None:
    done = run("policy", "test", "--file", policy, "--user", ANN, "--call", DELETE)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == (
        "call       tools/call notes_delete\n"
        "rule       policy.toml, rule 1 (line 2): tool 'notes_delete'\n"
        "  met      permission  notes:write\n"
        "  NOT MET  permission  notes:delete\n"
        "  met      condition   any of\n"
        "  met      condition     all of\n"
        "  met      condition       arguments.owner eq $user.email\n"
        "  NOT MET  condition     all of\n"
        "  NOT MET  condition       user.roles contains 'lead'\n"
        "\n"
        "answer   403 insufficient_scope (permission_missing)\n"
        "scope    notes:write notes:delete\n"
        "because  policy.toml, rule 1 (line 2): tool 'notes_delete'\n"
    )


def test_who_is_let_in_ends_with_0_and_hears_the_weight(run: Run, policy: str, tmp_path: Path) -> None:
    user = tmp_path / "user.json"
    user.write_text('{"permissions": ["notes:*"], "roles": ["lead"]}')
    done = run("policy", "test", "--file", policy, "--user", str(user), "--call", DELETE)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "answer  let in, weight 5")


@pytest.mark.parametrize(
    ("user", "call", "answer"),
    [
        (None, HELP, {"status": 200, "weight": 1}),
        (None, DELETE, {"status": 401, "error": "unauthorized", "reason": "credential_missing"}),
        (ANN, '{"method": "tools/call", "params": {"name": "other"}}', {"status": 403, "error": "access_denied"}),
        (ANN, '{"method": "tools/call", "params": {}}', {"status": 400, "reason": "body_malformed"}),
        (ANN, '{"method": "ping", "method": "tools/call"}', {"status": 400, "reason": "body_malformed"}),
        (ANN, '{"method": "resources/read", "params": {"uri": "notes://a/../b"}}', {"status": 403}),
        (
            ANN,
            '[{"jsonrpc": "2.0", "id": 1, "method": "ping"}, {"jsonrpc": "2.0", "id": 2, "method": "tasks/list"}]',
            {"status": 400, "reason": "batch_forbidden"},
        ),
        (
            ANN,
            '{"method": "resources/read", "params": {"uri": "notes://a"}}',
            {"status": 403, "error": "insufficient_scope", "scopes": ["notes:read"]},
        ),
    ],
)
def test_the_answer_in_json(run: Run, policy: str, user: str | None, call: str, answer: dict[str, object]) -> None:
    who = [] if user is None else ["--user", user.replace("notes:write", "x")]
    done = run("policy", "test", "--file", policy, *who, "--call", call, "--json")
    told = json.loads(done.stdout)
    assert answer.items() <= told["answer"].items()
    assert done.returncode == (0 if answer["status"] == 200 else 1)


def test_the_rules_of_the_settings_are_tested_without_a_file(run: Run) -> None:
    env = {"MCP_HTTP_API_KEY": "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"}
    rules = {"MCP_HTTP_TOOL_PERMISSIONS": '{"notes_*": "notes:write"}'}
    done = run("policy", "test", "--user", ANN, "--call", DELETE, **env, **rules)
    assert done.returncode == 0, done.stderr
    assert "MCP_HTTP_TOOL_PERMISSIONS, entry 1" in done.stdout
    done = run("policy", "test", "--user", ANN, "--call", DELETE, **env)
    assert (done.returncode, done.stdout) == (2, "")
    assert "There are no rules" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--user", '{"permission": ["a"]}', "'permission'"),
        ("--user", '{"permissions": "a"}', "a list of strings"),
        ("--user", '{"email": 1}', "a string"),
        ("--user", '{"email_verified": "yes"}', "true or false"),
        ("--user", '{"claims": []}', "an object"),
        ("--user", '{"a": 1, "a": 2}', "not JSON"),
        ("--user", "[]", "not a JSON object"),
        ("--user", "nowhere.json", "neither JSON nor a file"),
        ("--call", "nowhere.json", "neither JSON nor a file"),
        ("--file", "nowhere.toml", "cannot be read"),
    ],
)
def test_a_mistake_in_an_option_ends_with_2(run: Run, policy: str, option: str, value: str, words: str) -> None:
    options = {"--file": policy, "--user": ANN, "--call": HELP} | {option: value}
    done = run("policy", "test", *(word for pair in options.items() for word in pair))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_a_call_may_come_from_standard_input(policy: str) -> None:
    done = subprocess.run(
        [*COMMAND, "policy", "test", "--file", policy, "--call", "-"],
        input=HELP,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0


def test_a_file_is_checked(run: Run, policy: str, tmp_path: Path) -> None:
    done = run("policy", "check", policy)
    assert (done.returncode, done.stdout) == (0, f"{policy}: 3 rules in order.\n")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[[rule]]\ntool = "a"\n')
    done = run("policy", "check", str(wrong))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tenantry: The rule wrong.toml, rule 1 (line 1): tool 'a' says nothing")


# --- The page ---------------------------------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "policy.md").read_text()


def test_the_example_of_the_page_is_a_policy(run: Run, tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "policy.toml").write_text(text)
    assert run("policy", "check", "policy.toml", cwd=tmp_path).returncode == 0
    commands = re.findall(r"^\$ tenantry (policy test .*?)\n((?:(?!\$ |```).*\n)*)", PAGE, re.MULTILINE)
    assert len(commands) >= 3
    for command, output in commands:
        words = [word[1:-1] if word[0] == "'" else word for word in re.findall(r"'[^']*'|\S+", command)]
        done = run(*words, cwd=tmp_path)
        assert [line.rstrip() for line in done.stdout.splitlines() if line] == [
            line.rstrip() for line in output.splitlines() if line
        ], command


def test_the_rules_in_python_of_the_page_are_rules() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Rules] = {}
    exec(compile(code, "policy.md", "exec"), names)
    assert len(names["rules"]) == 2
