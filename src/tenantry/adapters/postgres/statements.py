"""SQL text: our ``sql/*.sql`` files, the one way an identifier gets into a statement, and a splitter for
scripts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from ...errors import ConfigurationError

# 63 = NAMEDATALEN - 1: PostgreSQL cuts a longer name without an error, and two tenants would share one
# schema.
_IDENTIFIER = re.compile(r"[a-z0-9_]{1,63}", re.ASCII)

# PostgreSQL manual, section 4.1 (lexical structure). Order matters: a comment or a quote hides what is in it.
_LEXEME = re.compile(
    r"""(?P<skip> --[^\n]*
                | (?<![\w$]) [eE] ' (?: [^'\\] | '' | \\. )* '
                | ' (?: [^'] | '' )* '
                | " (?: [^"] | "" )* "
                | (?<![\w$]) \$ (?P<tag> (?: [^\W\d]\w* )? ) \$ .*? \$ (?P=tag) \$ )
      | (?P<comment> /\* )
      | (?P<atomic> \b BEGIN \s+ ATOMIC \b )
      | (?P<end> ; )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_BLOCK_COMMENT_EDGE = re.compile(r"/\*|\*/")
_NOTHING = re.compile(r"(?:\s|--[^\n]*(?:\n|\Z)|/\*(?:(?!/\*).)*?\*/)*", re.DOTALL)


def identifier(name: str) -> str:
    """``name`` quoted for SQL. Raises ``ValueError`` for anything but 1-63 of ``a-z 0-9 _``."""
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"not an identifier that tenantry writes into SQL: {name!r}")
    return f'"{name}"'


def literal(text: str) -> str:
    """``text`` as an SQL string. The E'' form means the same whatever ``standard_conforming_strings`` says.

    Raises ``ValueError`` for a NUL, which PostgreSQL cannot hold.
    """
    if "\0" in text:
        raise ValueError("a NUL cannot be stored in PostgreSQL")
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


@cache
def load(name: str) -> str:
    """The text of ``sql/<name>.sql``."""
    return files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")


def render(name: str, **quoted: str) -> Iterator[str]:
    """The statements of ``sql/<name>.sql``, one at a time (Citus takes one DDL statement a call).

    ``quoted`` fills the ``{placeholders}``; its values come from ``identifier`` or ``literal``.
    """
    for statement in split(load(name)):
        yield statement.format(**quoted)


def split(script: str) -> list[str]:
    """The statements of a script, without their semicolons; comments alone are no statement.

    Raises ``ConfigurationError`` for a ``BEGIN ATOMIC`` body, whose inner semicolons do not end the
    statement.
    """
    statements, start = [], 0
    for end in _ends(script):
        statements.append(script[start:end])
        start = end + 1
    statements.append(script[start:])
    return [text.strip() for text in statements if not _NOTHING.fullmatch(text)]


def _ends(script: str) -> Iterator[int]:
    position = 0
    while found := _LEXEME.search(script, position):
        position = found.end()
        if found["atomic"]:
            raise ConfigurationError("A migration may not hold BEGIN ATOMIC: write the function's body in $$ ... $$.")
        if found["comment"]:
            position = _after_block_comment(script, position)
        elif found["end"]:
            yield found.start()


def _after_block_comment(script: str, position: int) -> int:
    """Where the block comment ends; they nest in PostgreSQL."""
    depth = 1
    for edge in _BLOCK_COMMENT_EDGE.finditer(script, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(script)
