"""The names of the variables that settings are read from: which there are, and that nobody sets one that is none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import AliasChoices

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

PREFIX = "MCP_HTTP_"
EMPTY = "is set but empty: give it a value or unset it"


def both(name: str, *fallbacks: str) -> AliasChoices:
    """The prefixed variable, or another program's name for the same thing."""
    return AliasChoices(PREFIX + name, *fallbacks)


def variables_of(fields: Mapping[str, FieldInfo]) -> frozenset[str]:
    """Every variable that is read for these settings, other programs' names too."""
    aliases = (field.validation_alias for field in fields.values())
    others = [map(str, alias.choices) for alias in aliases if isinstance(alias, AliasChoices)]
    return frozenset(PREFIX + name.upper() for name in fields).union(*others)


def refuse_unknown(environ: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> None:
    """Raise ``ConfigurationError`` for a variable with our prefix that is none of ours, and for an empty one."""
    known = {PREFIX + name.upper() for name in fields}
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        if name not in known:
            raise ConfigurationError(f"{name} is not a setting{_meant(name, known)}")
        if not environ[name].strip():
            raise ConfigurationError(f"{name} {EMPTY}.")
    for field in fields.values():
        _refuse_empty_fallback(field.validation_alias, environ)


def _meant(name: str, known: Iterable[str]) -> str:
    """Compared without the prefix, which would make everything resemble everything."""
    close = difflib.get_close_matches(name[len(PREFIX) :].upper(), [entry[len(PREFIX) :] for entry in known], 1)
    return f": did you mean {PREFIX}{close[0]}?" if close else "."


def _refuse_empty_fallback(names: Any, environ: Mapping[str, str]) -> None:
    """Another program's variable counts as set where ours is not."""
    if not isinstance(names, AliasChoices):
        return
    name = next((str(name) for name in names.choices if name in environ), None)
    if name is not None and not environ[name].strip():
        raise ConfigurationError(f"{name} {EMPTY}.")
