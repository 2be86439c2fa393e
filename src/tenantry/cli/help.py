"""Read about a command, a topic, a setting or a reason: `tenantry help` lists them, `tenantry help settings` prints a
page, `tenantry help MCP_HTTP_PORT` one setting, `tenantry help token_expired` one reason. The pages are those of docs/.

Exit codes: 0 printed; 2 there is no such page."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import REASONS, ConfigurationError

_FOLDERS = ("providers", "clients", "deploy")  # each of their pages can be asked for by its name
# Topic: its line in the list, and the pages of docs/ that it is: "page#Heading" is one section, "folder/*.md" are all.
TOPICS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "audit": ("who did what, and how it is kept", ("audit.md",)),
    "cli": ("every command", ("cli.md",)),
    "clients": ("MCP clients, and what works with which provider", ("clients/README.md",)),
    "deploy": ("containers and platforms", ("deploy/*.md",)),
    "doctor": ("what `tenantry doctor` looks at", ("doctor.md",)),
    "errors": ("every answer and every reason", ("errors.md",)),
    "exit-codes": ("what a command's exit code means", ("cli.md#Exit codes",)),
    "hosts": ("mounting on MCP, FastMCP, FastAPI and Starlette", ("hosts.md",)),
    "operations": ("proxies, health, metrics, logs, reload", ("operations.md",)),
    "permissions": ("asking for permissions in Python", ("permissions-in-python.md",)),
    "policy": ("rules for tools, prompts and resources", ("policy.md",)),
    "providers": ("identity providers, and what of theirs is accepted", ("providers/*.md",)),
    "quotas": ("limits for keys, users, tenants and strangers", ("operations.md#Quotas",)),
    "settings": ("every MCP_HTTP_ variable", ("settings.md",)),
    "tenancy": ("the wall between tenants in the database", ("tenancy.md",)),
    "tenants": ("which tenant a caller belongs to", ("tenants.md",)),
    "testing": ("testing your server without an account", ("testing.md",)),
    "tokens": ("why a token is refused", ("cli.md#tenantry token explain",)),
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="*", help="a command (and its action), a topic, a setting or a reason")


def run(arguments: argparse.Namespace) -> int:
    _page(_text(arguments.topic))
    return 0


def _text(words: list[str]) -> str:
    from . import COMMANDS

    if not words:
        return _list()
    name = words[0]
    parts = []
    if name in COMMANDS:
        parts.append(_help_of(words))
    if name in TOPICS and len(words) == 1:
        parts += [_document(path, heading) for path, heading in _pages(name)]
    if not parts and len(words) == 1:
        parts = [_document(f"{folder}/{name}.md") for folder in _FOLDERS if _is_page(folder, name)] or [_entry(name)]
    if not parts:
        raise ConfigurationError(f"There is no help on {' '.join(words)!r}: `tenantry help` lists what there is.")
    return "\n\n".join(parts)


def _list() -> str:
    from . import COMMANDS
    from .words import table

    return "\n".join(
        [
            "Commands (tenantry help COMMAND):",
            *(f"  {line}" for line in table([(name, words) for name, words in COMMANDS.items()]).splitlines()),
            "",
            "Topics (tenantry help TOPIC):",
            *(f"  {line}" for line in table([(name, words) for name, (words, _) in TOPICS.items()]).splitlines()),
            "",
            "Also one setting (tenantry help MCP_HTTP_PORT), one reason (tenantry help token_expired), one provider,",
            "client or platform (tenantry help cursor).",
        ]
    )


def _help_of(words: list[str]) -> str:
    from . import parser_for

    parser = parser_for(words[:1])
    for word in words:
        inner = next((a for a in parser._actions if isinstance(a, argparse._SubParsersAction)), None)
        if inner is None or word not in inner.choices:
            raise ConfigurationError(f"There is no command {' '.join(words)!r}: `tenantry help` lists all.")
        parser = inner.choices[word]
    return parser.format_help().rstrip()


def _entry(name: str) -> str:
    """One setting or one reason."""
    if name in REASONS:
        description, hint = REASONS[name]
        return f"{name}: {description}.\n\n  {hint}" if hint else f"{name}: {description}."
    from .pages import setting

    found = setting((_docs() / "settings.md").read_text(encoding="utf-8"), name.upper().removeprefix("MCP_HTTP_"))
    if found is None:
        raise ConfigurationError(f"There is no help on {name!r}: `tenantry help` lists what there is.")
    return found


def _pages(topic: str) -> Iterator[tuple[str, str]]:
    """Path below docs/ and heading (none for all) of each page of a topic."""
    for page in TOPICS[topic][1]:
        path, _, heading = page.partition("#")
        found = sorted(_docs().glob(path))
        if not found:
            raise ConfigurationError(f"The page docs/{path} is not part of this installation.")
        yield from ((each.relative_to(_docs()).as_posix(), heading) for each in found)


def _is_page(folder: str, name: str) -> bool:
    return name.replace("-", "").isalnum() and (_docs() / folder / f"{name}.md").is_file()


def _document(path: str, heading: str = "") -> str:
    from .pages import rendered, section

    text = (_docs() / path).read_text(encoding="utf-8")
    return rendered(section(text, heading) if heading else text, width=_width())


def _docs() -> Path:
    """docs/: inside the installed package, or beside the sources."""
    here = Path(__file__).resolve()
    inside = here.parents[1] / "docs"
    return inside if inside.is_dir() else here.parents[3] / "docs"


def _width() -> int:
    import shutil

    return min(shutil.get_terminal_size().columns, 100)


def _page(text: str) -> None:
    """Through a pager where somebody sits at a terminal."""
    if sys.stdout.isatty() and sys.stdin.isatty():
        import pydoc

        pydoc.pager(text + "\n")
    else:
        print(text)
