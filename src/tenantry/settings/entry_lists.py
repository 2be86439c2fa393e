"""Reading a setting that is a JSON list of objects: each mistake by entry and member, and never with a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Entry = TypeVar("Entry", bound=BaseModel)


def read_list(value: Any, kind: type[Entry], model_of: Callable[[Mapping[str, Any]], type[Entry]]) -> tuple[Entry, ...]:
    """The entries of ``value``; ``model_of`` picks the model of an object, or raises ``ValueError``. Raises
    ``ValueError`` naming the entry and the member."""
    if not isinstance(value, (list, tuple)):
        raise ValueError("is not a JSON list of objects")  # noqa: TRY004 - pydantic reports ValueError alone
    if not value:
        raise ValueError("is an empty list: name a provider, or unset it")
    return tuple(_entry(number, item, kind, model_of) for number, item in enumerate(value, 1))


def _entry(number: int, item: Any, kind: type[Entry], model_of: Callable[[Mapping[str, Any]], type[Entry]]) -> Entry:
    if isinstance(item, kind):
        return item
    if not isinstance(item, dict):
        raise ValueError(f"entry {number} is not a JSON object")  # noqa: TRY004
    name = item.get("name")
    plain = isinstance(name, str) and 0 < len(name) <= 32 and name.isprintable()
    which = f"entry {name!r}" if plain else f"entry {number}"
    try:
        return model_of(item).model_validate(item)
    except ValidationError as error:
        raise ValueError(f"{which}{_first(error)}") from None
    except ValueError as error:
        raise ValueError(f"{which}, {error}") from None


def _first(error: ValidationError) -> str:
    detail = error.errors(include_input=False, include_url=False)[0]
    path = ".".join(map(str, detail["loc"]))
    member = f", member {path!r}" if path else ""
    if detail["type"] == "extra_forbidden":
        return f"{member}: there is no such member"
    return f"{member}: {detail['msg'].removeprefix('Value error, ')}"
