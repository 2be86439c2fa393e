"""Which tools, prompts and resources a caller is shown: the lists in one JSON-RPC answer, cut to what he may use.

Lists are known by their shape: an answer may come on another stream than the one its request opened (a replay after
``Last-Event-ID``), and a batch mixes several.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..model import MCPUserContext

if TYPE_CHECKING:
    from .rules import Rules

# In a result: the list's name, what its members are to the rules, and which member says what is ruled.
_LISTS = {
    "tools": ("tool", "name"),
    "prompts": ("prompt", "name"),
    "resources": ("resource", "uri"),
    "resourceTemplates": ("resource", "uriTemplate"),
}
METHODS = frozenset({"tools/list", "prompts/list", "resources/list", "resources/templates/list"})
# A reader finds a list by one of these names, or by one that is spelled with an escape.
_MARKS = (*(f'"{name}"'.encode() for name in _LISTS), rb"\u")


def may_hold_list(text: bytes) -> bool:
    """Whether JSON text has to be parsed to know; most has not."""
    return any(mark in text for mark in _MARKS)


def filtered_text(text: bytes, rules: Rules, user: MCPUserContext | None, *, oauth: bool) -> bytes | None:
    """``filtered`` for JSON text; None to leave it. Raises ``ValueError`` or ``RecursionError`` for what is no JSON."""
    message = filtered(_parse(text), rules, user, oauth=oauth)
    if message is None:
        return None
    try:
        return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can say
        return json.dumps(message, allow_nan=False, separators=(",", ":")).encode()


def filtered(message: Any, rules: Rules, user: MCPUserContext | None, *, oauth: bool) -> Any | None:
    """A JSON-RPC message, or a batch, with its lists cut; None when it holds none. ``oauth``: callers can sign in by
    OAuth, and each tool says which scopes it takes."""
    if isinstance(message, list):
        members = [filtered(member, rules, user, oauth=oauth) for member in message]
        if all(member is None for member in members):
            return None
        return [old if new is None else new for old, new in zip(message, members, strict=True)]
    result = message.get("result") if isinstance(message, dict) else None
    if not isinstance(result, dict):
        return None
    lists = {name: result[name] for name in _LISTS if isinstance(result.get(name), list)}
    if not lists:
        return None
    cut = {name: _cut(name, members, rules, user, oauth=oauth) for name, members in lists.items()}
    return {**message, "result": {**result, **cut, "cacheScope": "private"}}


def _cut(name: str, members: list[Any], rules: Rules, user: MCPUserContext | None, *, oauth: bool) -> list[Any]:
    kind, key = _LISTS[name]
    seen = [
        member
        for member in members
        if isinstance(member, dict) and isinstance(member.get(key), str) and rules.visible(user, kind, member[key])
    ]
    if kind != "tool" or not oauth:
        return seen
    return [tool if _says(tool) else {**tool, "securitySchemes": _schemes(rules, tool["name"])} for tool in seen]


def _says(tool: Mapping[str, Any]) -> bool:
    """Whether the app has its own word on it, there or where SDKs that know no such member put it."""
    meta = tool.get("_meta")
    return "securitySchemes" in tool or (isinstance(meta, dict) and "securitySchemes" in meta)


def _schemes(rules: Rules, tool: str) -> list[dict[str, Any]]:
    """The form of the OpenAI Apps SDK, "Authentication"."""
    scopes = rules.scopes("tool", tool)
    return [{"type": "noauth"}] if scopes is None else [{"type": "oauth2", "scopes": list(scopes)}]


def _parse(text: bytes) -> Any:
    """Numbers keep their value: integers of any size, floats to the bit. What a float cannot hold is refused."""
    return _DECODER.decode(text.decode())


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0.0:
        raise ValueError("JSON number is not finite")
    return number


_DECODER = json.JSONDecoder(parse_float=_finite)
