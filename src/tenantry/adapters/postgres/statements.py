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
    r"""(?P<comment> --[^\r\n]*)
      | (?P<text> (?<![\w$]) [eE] ' (?: [^'\\] | '' | \\. )* '
                | ' (?: [^'] | '' )* '
                | (?<![\w$]) \$ (?P<tag> (?: [^\W\d]\w* )? ) \$ .*? \$ (?P=tag) \$ )
      | (?P<name> " (?: [^"] | "" )* " )
      | (?P<block> /\* )
      | (?P<atomic> \b BEGIN \s+ ATOMIC \b )
      | (?P<end> ; )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_BLOCK_COMMENT_EDGE = re.compile(r"/\*|\*/")
_BARE_TOKEN = re.compile(r"""' _? ' | " \w+ " | [\w$]+ | \S""", re.VERBOSE)
_PLAIN_NAME = re.compile(r'"\w+"')


def identifier(name: str) -> str:
    """``name`` quoted for SQL. Raises ``ValueError`` for anything but 1-63 of ``a-z 0-9 _``."""
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"not an identifier that tenantry writes into SQL: {name!r}")
    return f'"{name}"'


def operators_identifier(name: str, what: str) -> str:
    """The quoted name of a database or login that the operator chose. Raises ``ConfigurationError``."""
    try:
        return identifier(name)
    except ValueError:
        raise ConfigurationError(f"The {what} is called {name!r}: use a name of a-z, 0-9 and _ only.") from None


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
    return [text.strip() for text in statements if bare(text)]


def bare(statement: str) -> str:
    """The statement's own words for a rule to look at, one blank between any two tokens: no comments, an empty
    string is ``''`` and any other (or a body in ``$$``) ``'_'``, and a quoted name that is not plain ``"_"``.
    """
    parts, position = [], 0
    for kind, start, end in _lexemes(statement):
        parts += [statement[position:start], _stand_in(kind, statement[start:end])]
        position = end
    parts.append(statement[position:])
    return " ".join(_BARE_TOKEN.findall("".join(parts)))


def _stand_in(kind: str, text: str) -> str:
    if kind in ("comment", "block"):
        return " "
    if kind == "text":
        return text if text == "''" else "'_'"
    if kind == "name":
        return text if _PLAIN_NAME.fullmatch(text) else '"_"'
    return text


def _ends(script: str) -> Iterator[int]:
    for kind, start, _ in _lexemes(script):
        if kind == "atomic":
            raise ConfigurationError("A migration may not hold BEGIN ATOMIC: write the function's body in $$ ... $$.")
        if kind == "end":
            yield start


def _lexemes(script: str) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of whatever hides its content, and of what ends a statement."""
    position = 0
    while found := _LEXEME.search(script, position):
        kind = found.lastgroup or ""
        position = _after_block_comment(script, found.end()) if kind == "block" else found.end()
        yield kind, found.start(), position


def _after_block_comment(script: str, position: int) -> int:
    """Where the block comment ends; they nest in PostgreSQL."""
    depth = 1
    for edge in _BLOCK_COMMENT_EDGE.finditer(script, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(script)
