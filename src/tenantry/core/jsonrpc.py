"""What a request's body asks for: JSON-RPC 2.0 messages of MCP, read strictly (one reading only).

The rules this file lives by:

* What decides is in the body; a header that mirrors it must say the same (``agree``).
* A message is a request or notification (``method``) or an answer (``result``, ``error``), never both. An answer asks
  for nothing and becomes no call.
* A member name that only a lax reader takes for one that decides ("Method", "resource_subscriptions") is refused:
  Go's parser ignores case, and pydantic models may know a field by two names.
* A batch (revision 2025-03-26) is at most 50 messages, and no two of its requests share an id.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import HeadersDisagree, RequestInvalid
from .strict_json import parse_message

MAX_BATCH = 50
MAX_METHOD = 128  # characters; the longest of MCP has 36
MAX_NAME = 1_024
MAX_URI = 8_192

_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"  # in ``_meta``, since 2026-07-28
# Every other version is served as 2026-07-28 is (the SDK routes so): the body must repeat it.
_HANDSHAKE_VERSIONS = frozenset({b"2024-11-05", b"2025-03-26", b"2025-06-18", b"2025-11-25"})
_MIRRORED = frozenset({"tools/call", "prompts/get", "resources/read"})  # Mcp-Name is required there


class Call(NamedTuple):
    """One message of a body. ``name``: the tool or prompt, or the URI of the resource; None where the method names
    nothing. ``arguments`` are the caller's own words. ``id`` is None for a notification.

    ``kind`` is what ``name`` names: "tool", "prompt", "resource" or, for every method that names none of these,
    "method". ``more`` are further resources that the same message names; ``params`` is all it says.
    """

    method: str
    name: str | None = None
    arguments: Mapping[str, Any] = {}
    id: str | int | None = None
    kind: str = "method"
    more: tuple[str, ...] = ()
    params: Mapping[str, Any] = {}


_new = tuple.__new__  # half the time of the constructor

# Method -> what it names, and by which parameter. Everything through which one can be reached is here.
_NAMED = {
    "tools/call": ("tool", "name"),
    "prompts/get": ("prompt", "name"),
    "resources/read": ("resource", "uri"),
    "resources/subscribe": ("resource", "uri"),
    "resources/unsubscribe": ("resource", "uri"),
}
# Not of MCP any more since 2026-07-28: a client that asks whether they are there names nothing.
SUBSCRIBING = frozenset({"resources/subscribe", "resources/unsubscribe"})
_REFERENCES = {"ref/prompt": ("prompt", "name"), "ref/resource": ("resource", "uri")}
_MESSAGE = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
_PARAMS = frozenset({"name", "uri", "arguments", "ref", "notifications", "_meta"})
_USUAL_PARAMS = _PARAMS | {"cursor", "inputResponses", "requestState", "argument", "context", "level", "task"}
_all_usual = _USUAL_PARAMS.issuperset
_REFERENCE = frozenset({"type", "name", "uri"})
_FILTER = frozenset({"resourceSubscriptions"})


def kind_of(method: str) -> str:
    """What ``method`` reaches: "tool", "prompt", "resource" or "method"."""
    return _NAMED.get(method, ("method",))[0]


def read_calls(body: bytes) -> tuple[Call, ...]:
    """The calls that ``body`` makes, in its order; () when it only answers. Raises ``RequestInvalid``."""
    try:
        value = parse_message(body)
        if type(value) is dict:
            call = _call(value)
            return () if call is None else (call,)
        return _batch(value)
    except ValueError as error:
        raise RequestInvalid("body_malformed", detail=_words(error)) from None


def _words(error: ValueError) -> str:
    """Ours only: the parser's quote nothing but places, an encoding's quote bytes."""
    return "JSON is not UTF-8" if isinstance(error, UnicodeError) else str(error)[:120]


def _batch(messages: Any) -> tuple[Call, ...]:
    if type(messages) is not list or not 0 < len(messages) <= MAX_BATCH:
        raise ValueError(f"a body is one message or a batch of at most {MAX_BATCH}")
    calls = []
    for message in messages:
        if type(message) is not dict:
            raise ValueError("a message is not an object")
        call = _call(message)
        if call is not None:
            calls.append(call)
    ids = [(type(call.id), call.id) for call in calls if call.id is not None]
    if len(set(ids)) != len(ids):
        raise ValueError("two messages of a batch have one id")
    return tuple(calls)


def _call(message: dict[str, Any]) -> Call | None:
    get = message.get
    method, number, params = get("method"), get("id"), get("params")
    if get("jsonrpc") != "2.0":
        raise ValueError('a message has no "jsonrpc": "2.0"')
    if len(message) != 4 or params is None or number is None:  # not the usual request: look closer
        if not _MESSAGE.issuperset(message):
            _refuse_doubles(message, _MESSAGE)
        if method is None:
            _check_answer(message)
            return None
        if "result" in message or "error" in message:
            raise ValueError("a message asks and answers at once")
    if type(number) is not int and type(number) is not str and "id" in message:
        raise ValueError("the id of a request is neither a string nor an integer")
    if type(method) is not str:
        raise ValueError("a method is not a string")
    if params is None:
        params = {}
    elif type(params) is not dict:
        raise ValueError("params is not an object")
    elif not _all_usual(params):
        _refuse_doubles(params, _PARAMS)
    named = _NAMED.get(method)
    if named is None:
        return _other(method, number, params)
    kind, key = named
    arguments = params.get("arguments")
    if arguments is None:
        arguments = {}
    elif type(arguments) is not dict:
        raise ValueError("arguments is not an object")
    name = params.get(key)
    if type(name) is not str or not 0 < len(name) <= MAX_NAME or not name.isprintable():
        if method in SUBSCRIBING and params.keys() <= {"_meta"}:
            return _other(method, number, params)
        name = _name(name, kind)
    return _new(Call, (method, name, arguments, number, kind, (), params))


def _check_answer(message: dict[str, Any]) -> None:
    """What a client answers to a question of the server (revisions before 2026-07-28)."""
    if "method" in message or "params" in message or ("result" in message) == ("error" in message):
        raise ValueError("a message is neither a request nor an answer")
    if "id" not in message or not (type(message["id"]) in (str, int) or (message["id"] is None and "error" in message)):
        raise ValueError("an answer has no id")


def _other(method: str, number: str | int | None, params: dict[str, Any]) -> Call:
    """Methods that name something elsewhere than in their parameters, or nothing that we know of."""
    if not 0 < len(method) <= MAX_METHOD or not method.isprintable():
        raise ValueError("a method is empty, too long or not printable")
    if method == "completion/complete":
        reference = params.get("ref")
        if type(reference) is not dict:
            raise ValueError("ref is not an object")
        _refuse_doubles(reference, _REFERENCE)
        kind, key = _REFERENCES.get(_text(reference.get("type")), ("", ""))
        if not kind:
            raise ValueError("ref names neither a prompt nor a resource")
        return Call(method, _name(reference.get(key), kind), {}, number, kind, (), params)
    if method == "subscriptions/listen":
        uris = _subscribed(params)
        if uris:
            return Call(method, uris[0], {}, number, "resource", uris[1:], params)
    return Call(method, None, {}, number, "method", (), params)


def _subscribed(params: dict[str, Any]) -> tuple[str, ...]:
    """The resources that ``subscriptions/listen`` asks to hear of."""
    wanted = params.get("notifications")
    if wanted is None:
        return ()
    if type(wanted) is not dict:
        raise ValueError("notifications is not an object")
    _refuse_doubles(wanted, _FILTER)
    uris = wanted.get("resourceSubscriptions")
    if uris is None:
        return ()
    if type(uris) is not list:
        raise ValueError("resourceSubscriptions is not a list")
    return tuple(_name(uri, "resource") for uri in uris)


def _text(value: Any) -> str:
    return value if type(value) is str else ""


def _name(value: Any, kind: str) -> str:
    if type(value) is not str:
        raise ValueError(f"the {kind} is not named by a string")
    if not 0 < len(value) <= MAX_NAME and not (kind == "resource" and MAX_NAME < len(value) <= MAX_URI):
        raise ValueError(f"the name of the {kind} is empty or too long")
    if not value.isprintable():
        raise ValueError(f"the name of the {kind} is not printable")
    return value


def _refuse_doubles(members: Mapping[str, Any], known: frozenset[str]) -> None:
    """Refuse what is not a known name but reads as one when case and underscores do not count."""
    folded = {_folded(name) for name in known}
    for name in members:
        if name not in known and _folded(name) in folded:
            raise ValueError("a member has the name of another in a different spelling")


def _folded(name: str) -> str:
    return name.casefold().replace("_", "")


# --- The headers ------------------------------------------------------------------------------------------------------


def agree(headers: Mapping[bytes, bytes], calls: tuple[Call, ...]) -> None:
    """Raise ``HeadersDisagree`` unless the headers that mirror the body say what it says (MCP transports 2026-07-28).

    ``headers`` has lower-case names, each once. At any revision a header that is there must be right; from 2026-07-28
    on requests must have them, and the version in the body as well.
    """
    find = headers.get
    version, method, name = find(b"mcp-protocol-version"), find(b"mcp-method"), find(b"mcp-name")
    modern = version is not None and version not in _HANDSHAKE_VERSIONS
    if len(calls) != 1:
        if method is not None or name is not None or (calls and modern) or any(map(_version_in, calls)):
            raise _disagree(None, "headers cannot mirror what is not one message")
        return
    call = calls[0]
    if modern or "_meta" in call.params:
        _check_version(call, version, method, name, modern=modern)
    if method is not None and not (method.isascii() and method.decode("ascii") == call.method):
        raise _disagree(call, "Mcp-Method")
    if name is not None and not _mirrors(name, call):
        raise _disagree(call, "Mcp-Name")


def _version_in(call: Call) -> Any:
    """The protocol version that the body states, of whatever type; None without one."""
    meta = call.params.get("_meta")
    return meta.get(_VERSION_KEY) if type(meta) is dict else None


def _check_version(
    call: Call, version: bytes | None, method: bytes | None, name: bytes | None, *, modern: bool
) -> None:
    stated = _version_in(call)
    if stated is None and (call.id is None or not modern):
        return  # an older revision; and of notifications nothing is required
    if version is None or type(stated) is not str or version != stated.encode():
        refusal = _disagree(call, "MCP-Protocol-Version")
        if stated is None and modern:  # nothing that could disagree: what every request has to say is missing
            refusal.rpc_code = HeadersDisagree.INVALID_PARAMS
        raise refusal
    if call.id is not None and (method is None or (name is None and call.method in _MIRRORED)):
        raise _disagree(call, "Mcp-Method or Mcp-Name is missing")


def _mirrors(header: bytes, call: Call) -> bool:
    """Whether Mcp-Name says what the body says. Extensions may mirror any parameter of theirs; it has to be there."""
    text = _decoded(header)
    if text is None:
        return False
    if call.name is not None:
        return text == call.name and not call.more
    return any(type(value) is str and value == text for value in call.params.values())


def _decoded(header: bytes) -> str | None:
    """The text of a header value, which may be ``=?base64?...?=``; None when it is malformed or not canonical."""
    try:
        if not (header.startswith(b"=?base64?") and header.endswith(b"?=") and len(header) >= 11):
            return header.decode("ascii")
        text = base64.b64decode(header[9:-2], validate=True)
        return text.decode() if base64.b64encode(text) == header[9:-2] else None
    except ValueError:
        return None


def _disagree(call: Call | None, detail: str) -> HeadersDisagree:
    refusal = HeadersDisagree("headers_disagree", detail=detail)
    refusal.rpc_id = None if call is None else call.id
    return refusal
