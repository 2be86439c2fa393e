"""The application's own migrations: read from a folder, in one order, and checked before any tenant gets one.

    001_notes.sql        phase pre: before the new release serves
    002_title.post.sql   phase post: once no older release serves any more

A tenant's version is how many it has, so the order must never be in doubt. All that one tenant gets runs in one
transaction, with the tenant's schema first in the search path. What would leave that transaction, that schema or
what a tenant's role may do is refused here. The files are the operator's own, so this finds mistakes and not
malice: the body of a function or of DO is not read.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from ...errors import ConfigurationError
from .statements import bare, split

Phase = Literal["pre", "post"]

_POST, _SQL = ".post.sql", ".sql"


@dataclass(frozen=True, slots=True)
class Migration:
    """One script. ``number`` is its place in the order, from 1; ``name`` the file's; ``checksum`` SHA-256 in
    hexadecimal of the text with its line ends as ``\\n``, from which ``statements`` come too."""

    number: int
    name: str
    phase: Phase
    checksum: str
    statements: tuple[str, ...]


class Migrations(tuple[Migration, ...]):
    """All of them in their order. Make it with ``read`` or ``of``, which check."""

    __slots__ = ()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The ``*.sql`` files of a folder, hidden ones left out, in the byte order of their names.

        Raises ``ConfigurationError`` for a folder or file that cannot be read, for an order that is in doubt and
        for a statement that is ``refused``.
        """
        names = _names_in(folder)
        _check_order(names)
        return cls(_migration(number, name, _content(folder / name)) for number, name in enumerate(names, 1))

    @classmethod
    def of(cls, scripts: Sequence[str]) -> Self:
        """Scripts of SQL in their order, named ``001`` and so on, all of phase ``pre``. Raises as ``read``."""
        contents = (script.encode("utf-8", "surrogatepass") for script in scripts)  # undone, or refused, in _text
        return cls(_migration(number, f"{number:03}", content) for number, content in enumerate(contents, 1))

    @property
    def newest(self) -> int:
        """The version of a tenant that has them all."""
        return len(self)

    @property
    def minimum(self) -> int:
        """The version below which the application cannot serve a tenant: the last ``pre``; 0 without any."""
        return max((migration.number for migration in self if migration.phase == "pre"), default=0)

    def after(self, version: int) -> tuple[Migration, ...]:
        """What a tenant of that version lacks."""
        return tuple(migration for migration in self if migration.number > version)

    def up_to(self, phase: Phase) -> int:
        """The version that ``tenantry migrate --phase`` brings tenants to."""
        return self.minimum if phase == "pre" else self.newest


# --- Reading ------------------------------------------------------------------------------------------------------


def _names_in(folder: Path) -> list[str]:
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise ConfigurationError(
            f"MCP_HTTP_TENANT_MIGRATIONS names {str(folder)!r}, which cannot be read ({error.strerror}): name a folder "
            "of .sql files."
        ) from None
    found = [name for name in names if name.lower().endswith(_SQL) and not name.startswith(".")]
    if not found:
        raise ConfigurationError(f"MCP_HTTP_TENANT_MIGRATIONS names {str(folder)!r}, which holds no .sql file.")
    for name in found:
        _check_name(name)
    return sorted(found, key=lambda name: (_stem(name), name))


def _check_name(name: str) -> None:
    """Another spelling of the same name would sort elsewhere, or be of another phase, on another machine."""
    if not (name.isascii() and name.isprintable()):
        raise ConfigurationError(f"Migration {name!r} must be renamed: use printable ASCII characters only.")
    for suffix in (_POST, _SQL):
        if name.lower().endswith(suffix) and not name.endswith(suffix):
            raise ConfigurationError(f"Migration {name!r} must be renamed: write {suffix} in lower case.")


def _stem(name: str) -> str:
    return name.removesuffix(_SQL).removesuffix(".post")


def _number(name: str) -> str:
    """The digits that a name begins with."""
    return name.removesuffix(name.lstrip("0123456789"))


def _check_order(names: Sequence[str]) -> None:
    """Two releases must not disagree on which is number 7. Names are ASCII, so their order is that of the bytes."""
    for before, name in pairwise(names):
        one, other = _number(before), _number(name)
        fault = None
        if _stem(before) == _stem(name):
            fault = "have no order: give one of them another name"
        elif bool(one) != bool(other):
            fault = "are not ordered alike: begin every name with a number, or none"
        elif len(one) != len(other):
            fault = "have numbers of different width: fill up with zeros (009, 010)"
        elif one and one == other:
            fault = "share a number: give one of them the next"
        if fault:
            raise ConfigurationError(f"Migrations {before!r} and {name!r} {fault}.")


def _content(file: Path) -> bytes:
    try:
        if stat.S_ISREG(file.stat().st_mode):  # a pipe of that name would be waited for
            return file.read_bytes()
        reason: str | None = "no regular file"
    except OSError as error:
        reason = error.strerror
    raise ConfigurationError(f"Migration {file.name!r} cannot be read ({reason}): mend or remove it.")


def _migration(number: int, name: str, content: bytes) -> Migration:
    text = _text(name, content)
    try:
        statements = tuple(split(text))
    except ConfigurationError as error:  # a BEGIN ATOMIC
        raise ConfigurationError(f"Migration {name!r}: {error}") from None
    if not statements:
        raise ConfigurationError(f"Migration {name!r} holds no statement: write it, or remove the file.")
    for place, statement in enumerate(statements, 1):
        if reason := refused(statement):
            raise ConfigurationError(f"Statement {place} of migration {name!r} {reason}.")
    phase: Phase = "post" if name.endswith(_POST) else "pre"
    return Migration(number, name, phase, hashlib.sha256(text.encode()).hexdigest(), statements)


def _text(name: str, content: bytes) -> str:
    """A checkout may change line ends and an editor may add a byte order mark: neither changes a migration."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"Migration {name!r} is not UTF-8: save it in that encoding.") from None
    if "\0" in text:
        raise ConfigurationError(f"Migration {name!r} holds a NUL: save it as plain text in UTF-8.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


# --- Rules --------------------------------------------------------------------------------------------------------
# Patterns for what ``bare`` gives, with a blank before and after: between two blanks stands one token, and a quoted
# name has its quotes, so it is never taken for a keyword. NAME is any name.


_Rule = tuple[str, re.Pattern[str]]


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text.replace("NAME", r'(?:"\w+"|[\w$]+)'), re.IGNORECASE)


def _rule(reason: str, *patterns: str) -> _Rule:
    return reason, _pattern("|".join(patterns))


def _first(rules: Iterable[_Rule], words: str) -> str | None:
    return next((reason for reason, pattern in rules if pattern.search(words)), None)


_SHARED = (
    "DATABASE|ROLE|USER|GROUP|SCHEMA|EXTENSION|TABLESPACE|(TRUSTED )?(PROCEDURAL )?LANGUAGE|SERVER|FOREIGN DATA|"
    "FOREIGN SCHEMA|PUBLICATION|SUBSCRIPTION|EVENT TRIGGER|CAST|ACCESS METHOD|TRANSFORM|LARGE OBJECT|SYSTEM"
)

_REFUSED = (
    _rule("is a command of psql: leave it out, a migration is SQL alone", r"^ \\"),
    _rule(
        "controls the transaction: leave it out, all that a tenant gets runs in one",
        "^ (BEGIN|START|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE) ",
        "^ (PREPARE|SET|SET LOCAL) TRANSACTION ",
    ),
    _rule(
        "cannot run in a transaction, and all that a tenant gets runs in one: do without",
        "^ (CREATE|ALTER|DROP|REINDEX) .* CONCURRENTLY ",
        r"^ (VACUUM|CHECKPOINT|REINDEX (\( .* \) )?(SCHEMA|DATABASE|SYSTEM)) ",
        "^ CLUSTER $",
    ),
    _rule(
        "changes the session, the role or the search path: leave it out, and write SET LOCAL for any other setting",
        "^ (RESET|DISCARD|LOAD) ",
        "^ SET (?!LOCAL |CONSTRAINTS )",
        # The forms that only set something; the others (ROLE x, SCHEMA x, NAMES x, U&"...") are as good as a session's.
        r"^ SET LOCAL (?!TIME ZONE |\w+( \. \w+)* (=|TO) )",
        r"^ SET LOCAL (ROLE|SESSION\w*|SEARCH_PATH|TRANSACTION\w*|CLIENT_ENCODING|STANDARD_CONFORMING_STRINGS) ",
        r' "?set_config"? \( ',
    ),
    _rule(
        "uses what all tenants on a connection or in a database share: leave it out",
        "^ (LISTEN|UNLISTEN|NOTIFY|PREPARE|EXECUTE|DEALLOCATE|DECLARE|FETCH|MOVE|CLOSE) ",
        r' "?pg_(notify|(try_)?advisory_(un)?lock\w*)"? \( ',
    ),
    _rule(
        "makes a temporary object, which the connection's next tenant would find: use WITH, or a table",
        "^ CREATE (OR REPLACE )?(GLOBAL |LOCAL )?TEMP(ORARY)? ",
        r'(?<! INSERT)(?<! MERGE) INTO (GLOBAL |LOCAL )?TEMP(ORARY)? [\w"]',
        r' "?pg_temp\w*"? \. ',
    ),
    _rule(
        "concerns what all tenants share: let an administrator do that once",
        f"^ (CREATE|CREATE OR REPLACE|ALTER|DROP|COMMENT ON|IMPORT) ({_SHARED}) ",
    ),
    _rule(
        "changes rights or owners: leave it out, tenantry grants a tenant's role what its schema holds",
        "^ (GRANT|REVOKE|ALTER DEFAULT PRIVILEGES|REASSIGN|DROP OWNED|SECURITY LABEL) ",
        "^ ALTER .* OWNER TO ",
    ),
    # A cached statement keeps the type of the tenant for which it was prepared: it fails for the next.
    _rule("makes a type for each tenant, which breaks statements: use text with CHECK", "^ CREATE (TYPE|DOMAIN) "),
    _rule("copies from or to outside the database: write INSERT", "^ COPY "),
    _rule("names tenantry_audit, which is the tenant's part of the audit: use another name", ' "?tenantry_audit"? '),
    _rule(
        "names a schema: leave it out, the tenant's own is first in the search path",
        r' "?(public|tenantry)"? \. ',
        "^ ALTER .* SET SCHEMA ",
        r" (TABLE|INTO|UPDATE|VIEW|SEQUENCE|PARTITION OF) (IF (NOT )?EXISTS )?(ONLY )?NAME \. ",
        r"(?<! EXECUTE) (FUNCTION|PROCEDURE) (IF EXISTS )?NAME \. ",
        r"^ (TRUNCATE|LOCK|DELETE FROM) (ONLY )?NAME \. ",
        # Copied from a console, where it was one tenant's. Other schemas may be read: reference data, for instance.
        r' (FROM|JOIN|REFERENCES) "?(tenant_\w+|t_[a-z2-7]{32})"? \. ',
        r"^ \w+ (OR REPLACE )?(UNIQUE |CONSTRAINT )?(INDEX|POLICY|TRIGGER)((?! ON ).)* ON (ONLY )?NAME \. ",
    ),
)


def refused(statement: str) -> str | None:
    """Why a statement must not be in a tenant's migration, with the mend; None if it may.

    It would end the transaction, outlive it on the connection, reach beyond the tenant's schema, or change what the
    tenant's role may do.
    """
    words = f" {bare(statement)} "
    return _unpinned(words) or _first(_REFUSED, words)


_ITEM = "(''|'_'|NAME)"
_FUNCTION = _pattern("^ (CREATE|CREATE OR REPLACE|ALTER) (FUNCTION|PROCEDURE|ROUTINE) ")
_PIN = _pattern(f' SET "?search_path"? (FROM CURRENT|(=|TO) (?P<path>{_ITEM}( , {_ITEM})*)) ')
# What is in quotes cannot be told here; DEFAULT is the caller's own path, and so is what RESET leaves.
_OPEN_ITEM = _pattern("""^("?public"?|DEFAULT|"_"|'_')$""")
_UNPINNED = _pattern(' RESET (ALL|"?search_path"?) ')


def _unpinned(words: str) -> str | None:
    """A function with its owner's rights finds what the caller's search_path shows it, unless it has its own."""
    if not _FUNCTION.search(words):
        return None
    pins = list(_PIN.finditer(words))
    is_open = any(_OPEN_ITEM.search(item) for pin in pins for item in (pin["path"] or "").split(" , "))
    if is_open or _UNPINNED.search(words) or (" SECURITY DEFINER " in words.upper() and not pins):
        return "leaves open where a function finds names: write SET search_path FROM CURRENT"
    return None


_VOLATILE = '"?(random|clock_timestamp|timeofday|gen_random_uuid|uuidv[47]|uuid_generate_v[0-9]|nextval)"? [(] '
_STABLE = '"?(now|transaction_timestamp|statement_timestamp)"? [(] |(CURRENT_(DATE|TIME|TIMESTAMP)|LOCALTIME(STAMP)?) '

_NOT_PORTABLE = (
    _rule("a trigger", "^ CREATE (OR REPLACE )?(CONSTRAINT )?TRIGGER "),
    _rule("inheritance", "^ (CREATE|ALTER) ([A-Z]+ )?TABLE .*(?<! NO) INHERITS? "),
    _rule("a volatile function in UPDATE", rf" UPDATE (ONLY )?(NAME \. )?NAME (AS )?(NAME )?SET .* {_VOLATILE}"),
    _rule(
        "a function that is not immutable in ON CONFLICT DO UPDATE",
        f" DO UPDATE SET ((?! (WHERE|RETURNING) ).)* ({_VOLATILE}|{_STABLE})",
    ),
    _rule("a subquery in VALUES", r" VALUES \( .*\( SELECT "),
    _rule("MERGE, into a table with a default that is no constant", " MERGE INTO "),
)
_ON_TABLE = _pattern(r"^ (CREATE|ALTER) ([A-Z]+ )?TABLE (IF (NOT )?EXISTS )?(ONLY )?(?P<schema>NAME) \. ")
_REFERENCES = _pattern(r" REFERENCES (?P<schema>NAME) \. ")


def not_portable(statement: str) -> str | None:
    """What in a statement Citus refuses and PostgreSQL does not, in one phrase; None for nothing known."""
    words = f" {bare(statement)} "
    own = _ON_TABLE.search(words)
    if any(found["schema"] != (own and own["schema"]) for found in _REFERENCES.finditer(words)):
        return "a foreign key into another schema"
    return _first(_NOT_PORTABLE, words)
