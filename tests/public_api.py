"""What semantic versioning promises, drawn from the code: ``docs/api.md``.

    python -m tests.public_api            write the page, and its mark into the changelog's newest section

Names, signatures, settings, reasons and commands that others build on. What is not in it may change at any time.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from tenantry.cli import COMMANDS, parser_for
from tenantry.errors import REASONS
from tenantry.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
PAGE, CHANGELOG = ROOT / "docs" / "api.md", ROOT / "CHANGELOG.md"
MODULES = (
    "tenantry",
    "tenantry.postgres",
    "tenantry.csrf",
    "tenantry.provider",
    "tenantry.testing",
    "tenantry.adapters.mcp_sdk",
    "tenantry.adapters.fastmcp",
)
_MARK = re.compile(r"<!-- public API: [0-9a-f]{16} -->")
_HEAD = """\
# The public API

What [semantic versioning](upgrade.md) promises: Python names with their signatures, settings, reasons and commands.
What is not here may change at any time. This page is drawn from the code (`python -m tests.public_api`), and a test
fails when it changes and the changelog does not.
"""


def page() -> str:
    """The whole page."""
    python = [_section(f"`{module}`", "", _names(module)) for module in MODULES]
    settings = _section("Settings", "Their meaning: [settings](settings.md).\n\n", sorted(_settings()))
    reasons = _section("Reasons", "Their answers: [errors](errors.md).\n\n", sorted(REASONS))
    commands = _section("Commands", "What they do: [the command line](cli.md).\n\n", _commands())
    return "\n".join([_HEAD, *python, settings, reasons, commands])


def _section(heading: str, sentence: str, lines: Iterable[str]) -> str:
    return f"## {heading}\n\n{sentence}```text\n" + "\n".join(lines) + "\n```\n"


def mark(text: str) -> str:
    """What the changelog's newest section holds as long as it belongs to this page."""
    return f"<!-- public API: {hashlib.sha256(text.encode()).hexdigest()[:16]} -->"


def newest_section(changelog: str) -> str:
    """From the first version's heading to the second's."""
    return re.split(r"^## ", changelog, flags=re.MULTILINE)[1]


def _names(name: str) -> Iterator[str]:
    module = import_module(name)
    own = [public for public, what in vars(module).items() if getattr(what, "__module__", None) == name]
    for public in sorted(getattr(module, "__all__", [public for public in own if not public.startswith("_")])):
        yield from _described(public, getattr(module, public))


def _described(name: str, what: Any) -> Iterator[str]:
    if not inspect.isclass(what):
        yield f"{name}{_signature(what)}" if callable(what) else name
        return
    yield f"class {name}{'' if name == 'Settings' else _signature(what)}"
    for member, value in sorted(_members(what).items()):
        if name == "Settings" and member in Settings.model_fields:
            continue
        plain = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        yield f"    {member}{_signature(plain) if inspect.isfunction(plain) else ''}"


def _members(what: type) -> dict[str, Any]:
    """Its own, and those it has from us."""
    found: dict[str, Any] = {}
    for base in reversed(what.__mro__):
        if base.__module__.partition(".")[0] == "tenantry":
            found |= {name: value for name, value in vars(base).items() if not name.startswith(("_", "model_"))}
    return found


class _Plain:
    """Printed as it is: annotations without quotes, and no default that is longer than its name."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def _signature(what: Any) -> str:
    try:
        signature = inspect.signature(what)
    except (TypeError, ValueError):
        return ""
    parameters = [
        parameter.replace(annotation=_annotation(parameter.annotation), default=_default(parameter.default))
        for parameter in signature.parameters.values()
    ]
    result = _annotation(signature.return_annotation)
    nothing = result is not signature.empty and str(result) == "None"
    return str(signature.replace(parameters=parameters, return_annotation=signature.empty if nothing else result))


def _annotation(annotation: Any) -> Any:
    return _Plain(annotation) if isinstance(annotation, str) else annotation


def _default(default: Any) -> Any:
    plain = default is inspect.Parameter.empty or (len(repr(default)) < 30 and " at 0x" not in repr(default))
    return default if plain else _Plain("...")


def _settings() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = [str(choice) for choice in alias.choices] if alias is not None and hasattr(alias, "choices") else []
        yield " | ".join(dict.fromkeys([PREFIX + name.upper(), *names]))


def _commands() -> Iterator[str]:
    for name in COMMANDS:
        commands = _subparsers(parser_for([name]))
        yield from _command(f"tenantry {name}", commands[name])


def _command(path: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    words = [_argument(action) for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    yield " ".join([path, *sorted(word for word in words if word)])
    for name, sub in _subparsers(parser).items():
        yield from _command(f"{path} {name}", sub)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _argument(action: argparse.Action) -> str:
    if isinstance(action, argparse._HelpAction):
        return ""
    return max(action.option_strings, key=len) if action.option_strings else str(action.metavar or action.dest).upper()


def main() -> None:
    text = page()
    PAGE.write_text(text)
    changelog = CHANGELOG.read_text()
    section = newest_section(changelog)
    marked = _MARK.sub(mark(text), section) if _MARK.search(section) else f"{section.rstrip()}\n\n{mark(text)}\n"
    CHANGELOG.write_text(changelog.replace(section, marked))


if __name__ == "__main__":
    main()
