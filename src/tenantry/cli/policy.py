"""The rules of a policy file: check them, and see what they say to a caller and a call."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, Refusal
from .words import table

if TYPE_CHECKING:
    from ..core.jsonrpc import Call
    from ..core.rules import Rules
    from ..model import MCPUserContext

_TEXTS = ("user_id", "provider", "subject", "tenant_id", "email", "name", "client_id")
_LISTS = ("permissions", "roles")
_MADE_UP = {"user_id": "test:user", "provider": "test", "subject": "user", "tenant_id": "test"}
_CALL = '{"method": "tools/call", "params": {"name": "...", "arguments": {}}}'


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="action", required=True)
    test = actions.add_parser(
        "test",
        help="what the rules say to a caller and a call: 0 let in, 1 refused, 2 a mistake in the rules or options",
    )
    test.add_argument("--file", type=Path, metavar="FILE", help="a policy file (default: the rules of the settings)")
    test.add_argument(
        "--user",
        metavar="JSON",
        help=f"the caller, as JSON or a file of it: {', '.join((*_TEXTS, 'email_verified', *_LISTS, 'claims'))}, all "
        "optional (default: somebody without a credential)",
    )
    test.add_argument("--call", required=True, metavar="JSON", help=f"the body, as JSON or a file of it: {_CALL}")
    test.add_argument("--json", action="store_true", help="one JSON object on standard output")
    check = actions.add_parser("check", help="whether a policy file is in order")
    check.add_argument("file", type=Path, metavar="FILE")


def run(arguments: argparse.Namespace) -> int:
    return _check(arguments.file) if arguments.action == "check" else _test(arguments)


def _check(path: Path) -> int:
    from ..policy_file import read_rules

    count = len(read_rules(path))
    print(f"{path}: {count} {'rule' if count == 1 else 'rules'} in order.")
    return 0


def _test(arguments: argparse.Namespace) -> int:
    from ..core.jsonrpc import read_calls

    rules, user = _load(arguments.file), _user(arguments.user)
    calls: Sequence[Call] = ()
    try:
        calls = read_calls(_body(arguments.call))
        answer: dict[str, Any] = {"status": 200, "weight": rules.decide(user, calls)}
    except Refusal as refusal:
        answer = {"status": refusal.status, "error": refusal.error, "reason": refusal.reason}
        answer |= {"detail": refusal.detail} if refusal.detail else {}
        answer |= {"scopes": list(refusal.scopes)} if refusal.scopes else {}
    asked = [_asked(rules, user, call, name) for call in calls for name in (call.name, *call.more)]
    if arguments.json:
        print(json.dumps({"calls": asked, "answer": answer}, indent=2))
    else:
        print("\n".join([*map(_told, asked), _answered(answer)]))
    return 0 if answer["status"] == 200 else 1


def _load(path: Path | None) -> Rules:
    from ..policy_file import load_rules, read_rules

    if path is not None:
        return read_rules(path)
    from ..settings import Settings

    rules = load_rules(Settings())
    if not rules:
        raise ConfigurationError("There are no rules: name a file with --file, or set MCP_HTTP_POLICY_FILE.")
    return rules


def _text(option: str, value: str) -> bytes:
    """JSON as it stands, or the file that the option names."""
    if value.lstrip()[:1] in ("{", "["):
        return value.encode("utf-8", "surrogateescape")
    try:
        return sys.stdin.buffer.read() if value == "-" else Path(value).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{option} {value!r} is neither JSON nor a file: {error.strerror}.") from None


def _body(value: str) -> bytes:
    """What the client would send; "jsonrpc" and "id" may be left out here."""
    from ..core.strict_json import parse_message

    text = _text("--call", value)
    try:
        message = parse_message(text)
    except ValueError:
        return text
    if isinstance(message, dict) and "jsonrpc" not in message:
        return json.dumps({"jsonrpc": "2.0", "id": 1, **message}).encode()
    return text


def _user(value: str | None) -> MCPUserContext | None:
    if value is None:
        return None
    from ..core.strict_json import parse_message
    from ..model import Claims, MCPUserContext

    try:
        given = parse_message(_text("--user", value))
    except ValueError as error:
        raise ConfigurationError(f"--user is not JSON: {error}.") from None
    if not isinstance(given, dict):
        raise ConfigurationError("--user is not a JSON object.")
    for name, entry in given.items():
        _check_member(name, entry)
    members: dict[str, Any] = _MADE_UP | given
    members |= {name: frozenset(given.get(name, ())) for name in _LISTS}
    members["claims"] = Claims.of(given.get("claims", {}))
    return MCPUserContext(**members)


def _check_member(name: str, value: Any) -> None:
    if name in _TEXTS:
        expected, fits = "a string", isinstance(value, str)
    elif name in _LISTS:
        expected = "a list of strings"
        fits = isinstance(value, list) and all(isinstance(entry, str) for entry in value)
    elif name == "email_verified":
        expected, fits = "true or false", isinstance(value, bool)
    elif name == "claims":
        expected, fits = "an object", isinstance(value, dict)
    else:
        known = ", ".join((*_TEXTS, "email_verified", *_LISTS, "claims"))
        raise ConfigurationError(f"--user has {name!r}, which a caller does not have: {known}.")
    if not fits:
        raise ConfigurationError(f"--user has a {name} that is not {expected}.")


def _asked(rules: Rules, user: MCPUserContext | None, call: Call, name: str | None) -> dict[str, Any]:
    rule = rules.rule_for(call, name)
    about = None if rule is None else {"place": rule.place, "kind": rule.kind, "pattern": rule.pattern}
    checks = [check._asdict() for check in rules.explain(user, call, name)]
    return {"method": call.method, "name": name, "rule": about, "requirements": checks}


def _told(asked: Mapping[str, Any]) -> str:
    rule = asked["rule"]
    rows = [["call", " ".join(filter(None, (asked["method"], asked["name"])))]]
    rows.append(["rule", "none" if rule is None else f"{rule['place']}: {rule['kind']} {rule['pattern']!r}"])
    rows += [
        ["  met" if check["met"] else "  NOT MET", f"{check['what']:<10}  {check['wanted']}"]
        for check in asked["requirements"]
    ]
    return table(rows) + "\n"


def _answered(answer: Mapping[str, Any]) -> str:
    if answer["status"] == 200:
        return table([["answer", f"let in, weight {answer['weight']}"]])
    rows = [["answer", f"{answer['status']} {answer['error']} ({answer['reason']})"]]
    if "scopes" in answer:
        rows.append(["scope", " ".join(answer["scopes"])])
    if "detail" in answer:
        rows.append(["because", answer["detail"]])
    return table(rows)
