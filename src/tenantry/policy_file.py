"""The rules of the configuration: a TOML file (``MCP_HTTP_POLICY_FILE``) or ``MCP_HTTP_TOOL_PERMISSIONS``.

    permissions = ["notes:read", "notes:write"]     # optional: every permission there is

    [[rule]]
    tools = ["notes_list", "notes_get"]
    permissions = ["notes:read"]

Everything wrong is a ``ConfigurationError`` with the file, the number of the rule, what is wrong and the mend.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.rules import KINDS, Kind, Rule, Rules
from .errors import ConfigurationError

if TYPE_CHECKING:
    from .settings import Settings

MAX_BYTES = 16 * 1024 * 1024
_TOP = ("rule", "permissions")
_REQUIREMENTS = ("permissions", "roles", "tenants", "providers", "when", "public", "weight")
_SUBJECTS: dict[str, Kind] = {word: kind for kind in KINDS for word in (kind, f"{kind}s")}
_HEADER = re.compile(r"^[ \t]*\[\[[ \t]*(?:rule|\"rule\"|'rule')[ \t]*\]\]", re.MULTILINE)


def load_rules(settings: Settings) -> Rules:
    """The rules that the settings name; none when they name none. Raises ``ConfigurationError``."""
    if settings.policy_file is not None and settings.tool_permissions is not None:
        raise ConfigurationError(
            "MCP_HTTP_POLICY_FILE and MCP_HTTP_TOOL_PERMISSIONS are both set: put the rules into the file, which says "
            "their order."
        )
    if settings.policy_file is not None:
        return read_rules(settings.policy_file)
    return Rules(_tool_rules(settings.tool_permissions or {}))


def _tool_rules(permissions: Mapping[str, str | tuple[str, ...]]) -> Iterable[Rule]:
    for number, (pattern, names) in enumerate(permissions.items(), 1):
        place = f"MCP_HTTP_TOOL_PERMISSIONS, entry {number}"
        yield Rule("tool", pattern, permissions=(names,) if isinstance(names, str) else names, place=place)


def read_rules(path: Path) -> Rules:
    """The rules of a TOML file. Raises ``ConfigurationError``."""
    text = _read(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from None
    _refuse_unknown(str(path), document, _TOP)
    tables = document.get("rule", [])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigurationError(f"{path} has no rules: write each as a table that begins with [[rule]].")
    places = _places(path.name, text, len(tables))
    rules = [rule for table, place in zip(tables, places, strict=True) for rule in _rules(table, place)]
    _check_vocabulary(path, document.get("permissions"), rules)
    return Rules(rules)


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"The policy file {str(path)!r} cannot be read: {error.strerror}.") from None
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"The policy file {str(path)!r} has more than {MAX_BYTES} bytes.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"The policy file {str(path)!r} is not UTF-8 at byte {error.start}.") from None


def _places(name: str, text: str, count: int) -> list[str]:
    """Where each rule is. The lines are left out when a string holds what looks like the beginning of a rule."""
    lines, line, end = [], 1, 0
    for header in _HEADER.finditer(text):
        line += text.count("\n", end, header.start())
        end = header.start()
        lines.append(line)
    if len(lines) != count:
        return [f"{name}, rule {number}" for number in range(1, count + 1)]
    return [f"{name}, rule {number} (line {line})" for number, line in enumerate(lines, 1)]


def _rules(table: Mapping[str, Any], place: str) -> Iterable[Rule]:
    """A rule of the file, once for each thing that it is about."""
    _refuse_unknown(place, table, (*_SUBJECTS, *_REQUIREMENTS))
    subjects = [(kind, pattern) for word, kind in _SUBJECTS.items() for pattern in _patterns(table, word, place)]
    if not subjects:
        raise ConfigurationError(f"{place} is about nothing: name a {', '.join(KINDS[:-1])} or {KINDS[-1]}.")
    requirements = {name: table[name] for name in _REQUIREMENTS if name in table}
    for name in ("permissions", "roles", "tenants", "providers"):
        if name in requirements and not isinstance(requirements[name], list):
            raise ConfigurationError(f'{place} has {name} that are not a list: write {name} = ["..."].')
    for kind, pattern in subjects:
        yield Rule(kind, pattern, place=place, **requirements)


def _patterns(table: Mapping[str, Any], word: str, place: str) -> list[str]:
    if word not in table:
        return []
    value = table[word]
    if word in KINDS:
        if not isinstance(value, str):
            raise ConfigurationError(f"{place} has a {word} that is not a string: {word}s takes a list.")
        return [value]
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
        raise ConfigurationError(f"{place} has {word} that are not a list of strings with something in it.")
    return value


def _check_vocabulary(path: Path, vocabulary: Any, rules: Iterable[Rule]) -> None:
    """Where the file says which permissions there are, no rule may need another: a misspelt one is nobody's."""
    if vocabulary is None:
        return
    if not isinstance(vocabulary, list) or not vocabulary or not all(isinstance(name, str) for name in vocabulary):
        raise ConfigurationError(f"{path} has permissions that are not a list of strings with something in it.")
    for rule in rules:
        for permission in rule.permissions:
            if permission not in vocabulary:
                meant = _meant(permission, vocabulary)
                raise rule.wrong(f"needs {permission!r}, which is not among the permissions of the file{meant}")


def _refuse_unknown(place: str, table: Mapping[str, Any], known: Collection[str]) -> None:
    for name in table:
        if name not in known:
            raise ConfigurationError(f"{place} has {name!r}, which says nothing here{_meant(name, known)}.")


def _meant(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f": did you mean {close[0]!r}" if close else ""
