from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.jsonrpc import MAX_BATCH, MAX_NAME, MAX_URI, Call, agree, read_calls
from tenantry.core.strict_json import (
    MESSAGE_CONTAINERS,
    MESSAGE_DEPTH,
    MESSAGE_MEMBERS,
    parse_message,
)
from tenantry.errors import HeadersDisagree, RequestInvalid

VERSION = "io.modelcontextprotocol/protocolVersion"


def message(method: str = "tools/call", params: Any = None, **more: Any) -> dict[str, Any]:
    params = {"name": "add", "arguments": {"a": 1}} if params is None else params
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params, **more}


def body(*arguments: Any, **more: Any) -> bytes:
    return json.dumps(message(*arguments, **more)).encode()


def one(text: bytes) -> Call:
    (call,) = read_calls(text)
    return call


def refused(text: bytes) -> str:
    with pytest.raises(RequestInvalid) as caught:
        read_calls(text)
    assert caught.value.reason == "body_malformed"
    return caught.value.detail or ""


# --- What a message asks for ------------------------------------------------------------------------------------------


def test_a_tool_call_has_its_name_and_arguments() -> None:
    call = one(body())
    assert (call.method, call.name, call.arguments, call.id, call.kind) == ("tools/call", "add", {"a": 1}, 1, "tool")


@pytest.mark.parametrize(
    ("method", "params", "kind", "name"),
    [
        ("prompts/get", {"name": "brief"}, "prompt", "brief"),
        ("resources/read", {"uri": "notes://a"}, "resource", "notes://a"),
        ("resources/subscribe", {"uri": "notes://a"}, "resource", "notes://a"),
        ("resources/unsubscribe", {"uri": "notes://a"}, "resource", "notes://a"),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "brief"}}, "prompt", "brief"),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "notes://{id}"}}, "resource", "notes://{id}"),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["notes://a"]}}, "resource", "notes://a"),
        ("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "method", None),
        ("subscriptions/listen", {}, "method", None),
        ("tasks/result", {"taskId": "t"}, "method", None),
        ("tools/list", {}, "method", None),
        ("acme/export", {"name": "not ours to know"}, "method", None),
    ],
)
def test_every_method_that_reaches_something_names_it(method: str, params: Any, kind: str, name: str | None) -> None:
    call = one(body(method, params))
    assert (call.kind, call.name) == (kind, name)


def test_all_resources_of_a_subscription_are_named() -> None:
    params = {"notifications": {"resourceSubscriptions": ["notes://a", "notes://b", "notes://c"]}}
    call = one(body("subscriptions/listen", params))
    assert (call.name, call.more) == ("notes://a", ("notes://b", "notes://c"))


def test_a_retry_with_the_answers_a_tool_asked_for_is_a_call_of_that_tool() -> None:
    """Input-required results, revision 2026-07-28."""
    call = one(body("tools/call", {"name": "add", "inputResponses": {"q": {}}, "requestState": "opaque"}))
    assert (call.kind, call.name) == ("tool", "add")


@pytest.mark.parametrize("params", [{"name": "add"}, {"name": "add", "arguments": None}])
def test_arguments_may_be_absent(params: Any) -> None:
    assert one(body("tools/call", params)).arguments == {}


@pytest.mark.parametrize("params", [b"", b',"params":null', b',"params":{}'])
def test_params_may_be_absent_where_nothing_is_named(params: bytes) -> None:
    assert one(b'{"jsonrpc":"2.0","id":1,"method":"ping"' + params + b"}").method == "ping"


def test_a_notification_has_no_id() -> None:
    assert one(b'{"jsonrpc":"2.0","method":"notifications/initialized"}').id is None


@pytest.mark.parametrize(
    "answer",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{}}',
        b'{"jsonrpc":"2.0","id":"a","error":{"code":1,"message":""}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}',
    ],
)
def test_an_answer_asks_for_nothing(answer: bytes) -> None:
    assert read_calls(answer) == ()


def test_a_batch_is_read_in_its_order() -> None:
    calls = read_calls(json.dumps([message(id=1), message("ping", {}, id=2), message(id="1")]).encode())
    assert [(call.method, call.id) for call in calls] == [("tools/call", 1), ("ping", 2), ("tools/call", "1")]


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"[1]",
        b"[[]]",
        json.dumps([message(id=n) for n in range(MAX_BATCH + 1)]).encode(),
        json.dumps([message(id=1), message(id=1)]).encode(),
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"},null]',
    ],
)
def test_a_batch_out_of_bounds_or_of_anything_but_messages_is_refused(text: bytes) -> None:
    assert refused(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"jsonrpc": "1.0"},
        {"jsonrpc": 2.0},
        {"jsonrpc": None},
        {"id": None},
        {"id": True},
        {"id": 1.5},
        {"id": [1]},
        {"method": ""},
        {"method": 1},
        {"method": None},
        {"method": "tools/call\x00"},
        {"method": "m" * 129},
        {"params": []},
        {"params": "add"},
        {"params": {}},
        {"params": {"name": None}},
        {"params": {"name": 1}},
        {"params": {"name": ["add"]}},
        {"params": {"name": ""}},
        {"params": {"name": "add\x00"}},
        {"params": {"name": "add\n"}},
        {"params": {"name": "a\u200bdd"}},
        {"params": {"name": "x" * (MAX_NAME + 1)}},
        {"params": {"name": "add", "arguments": []}},
        {"params": {"name": "add", "arguments": "{}"}},
        {"result": {}},
        {"error": {}},
    ],
)
def test_a_message_that_is_not_what_it_has_to_be_is_refused(wrong: dict[str, Any]) -> None:
    assert refused(json.dumps(message() | wrong).encode())


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("resources/read", {"uri": "n:" + "x" * MAX_URI}),
        ("resources/read", {"name": "notes://a"}),
        ("completion/complete", {}),
        ("completion/complete", {"ref": "brief"}),
        ("completion/complete", {"ref": {"type": "ref/tool", "name": "add"}}),
        ("completion/complete", {"ref": {"type": ["ref/prompt"], "name": "add"}}),
        ("completion/complete", {"ref": {"name": "brief"}}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "uri": "notes://a"}}),
        ("subscriptions/listen", {"notifications": []}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": "notes://a"}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["notes://a", 1]}}),
    ],
)
def test_what_is_named_in_the_wrong_form_is_refused(method: str, params: Any) -> None:
    assert refused(body(method, params))


@pytest.mark.parametrize("method", ["resources/subscribe", "resources/unsubscribe"])
@pytest.mark.parametrize("params", [{}, {"_meta": {}}])
def test_a_subscription_to_nothing_is_a_method_that_names_nothing(method: str, params: Any) -> None:
    (call,) = read_calls(body(method, params))
    assert (call.kind, call.name) == ("method", None)


@pytest.mark.parametrize(
    "params", [{"name": "notes://a"}, {"uri": None}, {"uris": ["notes://a"]}, {"URI": "notes://a"}]
)
def test_a_subscription_that_says_anything_has_to_name_its_resource(params: Any) -> None:
    assert refused(body("resources/subscribe", params))


@pytest.mark.parametrize(
    "answer",
    [
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"params":{}}',
        b'{"jsonrpc":"2.0","id":true,"result":{}}',
    ],
)
def test_an_answer_that_is_none_is_refused(answer: bytes) -> None:
    assert refused(answer)


def test_members_that_only_look_strange_are_let_through() -> None:
    """Extensions add members; only another spelling of one that decides is refused."""
    assert one(body("tools/call", {"name": "add", "arguments": {"Name": "x", "name": "y"}, "x-more": 1}, trace="1"))


def test_numbers_of_any_size_are_the_tool_s_business() -> None:
    text = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":%s,"b":1e400}}}'
    assert one(text % (b"9" * 400)).arguments["a"] == int("9" * 400)


# --- JSON, one reading only -------------------------------------------------------------------------------------------

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6), max_leaves=40
)


def written(value: Any, ascii_only: bool, indent: int | None, size: int) -> bytes:
    """As clients write it, in a body of at least ``size`` bytes: other sizes are read by other ways."""
    filled = {"value": value, "filling": [{"n": n, "s": 'a:[{\\"b\\":'} for n in range(size // 30)]}
    return json.dumps(filled, ensure_ascii=ascii_only, indent=indent).encode()


def encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@given(values, st.booleans(), st.sampled_from([None, 1]), st.sampled_from([0, 0, 5_000, 20_000]))
def test_what_is_accepted_is_what_json_loads_reads(value: Any, ascii_only: bool, indent: int | None, size: int) -> None:
    try:
        text = written(value, ascii_only, indent, size)
    except UnicodeEncodeError:
        return
    if encodable(value):
        assert parse_message(text) == json.loads(text)
    else:
        with pytest.raises(ValueError):
            parse_message(text)


objects = st.dictionaries(
    st.text(alphabet='ab:"\\[{é', max_size=3), st.text(alphabet='ab:"\\]}', max_size=4), min_size=1
)


def doubled(members: dict[str, str], spelling: int, wrap: str) -> bytes:
    """An object in which the first name comes twice, the second time in another spelling."""
    name = next(iter(members))
    again = "".join(f"\\u{ord(character):04x}" for character in name) if spelling else json.dumps(name)[1:-1]
    inner = json.dumps(members)[:-1] + f', "{again}": 1}}'
    return wrap.replace("@", inner).encode()


@given(
    objects,
    st.integers(0, 1),
    st.sampled_from(["@", "[@]", '{"a": @}', '{"a": [[{"b": @}]], "c": "d:"}', '[{"x": "\\"y\\":"}, @]']),
    st.sampled_from([0, 200, 2_000]),
)
def test_a_doubled_name_is_never_accepted(members: dict[str, str], spelling: int, wrap: str, filling: int) -> None:
    """However deep, however spelt, in a small body, in one of many objects and in one long text."""
    text = doubled(members, spelling, wrap)
    for around in (
        text,
        b'[%s {"t": "%s"}]' % (b"".join([b'{"k":"v:w","l":{"m":1}},'] * filling) + text + b",", b"x"),
        b'[%s, "%s"]' % (text, b"lorem: ipsum [dolor] {sit} " * filling),
    ):
        with pytest.raises(ValueError):
            parse_message(around)


@given(st.lists(st.sampled_from(["[", "]", "{", "}", '"', "\\", ":", ",", "a", '"a":1', "\\\\", '\\"', "1", " "])))
def test_what_is_accepted_is_json_without_doubled_names(parts: list[str]) -> None:
    """Also where the body is large enough to be read by counting."""
    text = "".join(parts).encode()
    for around in (text, b"[%s,%s]" % (text, b",".join([b'{"k":"v","l":{"m":1}}'] * 300))):
        try:
            expected = json.loads(around, object_pairs_hook=unique)
        except (ValueError, RecursionError):
            with pytest.raises(ValueError):
                parse_message(around)
        else:
            assert parse_message(around) == expected


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


@pytest.mark.parametrize("filling", [0, 300])
@pytest.mark.parametrize("opening", ["[", '{"":', '[{"a":'])
def test_depth_is_bounded_to_the_level(opening: str, filling: int) -> None:
    closing = opening.replace('"a":', "").replace('"":', "")[::-1].translate(str.maketrans("[{", "]}"))
    levels = (MESSAGE_DEPTH - 1) // len(closing)
    rest = (MESSAGE_DEPTH - 1) % len(closing)
    deep = "[" * rest + opening * levels + "1" + closing * levels + "]" * rest
    around = ",".join(['{"k":"v","l":{"m":1}}'] * filling)
    text = f"[{deep}{',' + around if around else ''}]"
    assert parse_message(text.encode()) == json.loads(text)
    with pytest.raises(ValueError, match="deep"):
        parse_message(f"[{text}]".encode())


@pytest.mark.parametrize("inmost", ["{}", "1", '{"":1}'])
def test_depth_is_bounded_in_the_shortest_body_of_objects(inmost: str) -> None:
    levels = MESSAGE_DEPTH - inmost.count("{")
    for more in (0, 1):
        text = '{"":' * (levels + more) + inmost + "}" * (levels + more)
        if more:
            with pytest.raises(ValueError, match="deep"):
                parse_message(text.encode())
        else:
            assert parse_message(text.encode()) == json.loads(text)


def test_depth_is_bounded_in_a_body_that_is_mostly_text() -> None:
    text = "lorem ipsum " * 3_000
    for depth, accepted in ((MESSAGE_DEPTH - 1, True), (MESSAGE_DEPTH, False), (5_000, False)):
        around = b'["%s", %s1%s]' % (text.encode(), b"[" * depth, b"]" * depth)
        if accepted:
            parse_message(around)
        else:
            with pytest.raises(ValueError, match="deep"):
                parse_message(around)


def test_depth_is_bounded_in_a_body_of_numbers() -> None:
    numbers = b"0," * 10_000
    parse_message(b"[%s%s1%s]" % (numbers, b"[" * (MESSAGE_DEPTH - 1), b"]" * (MESSAGE_DEPTH - 1)))
    with pytest.raises(ValueError, match="deep"):
        parse_message(b"[%s%s1%s]" % (numbers, b"[" * MESSAGE_DEPTH, b"]" * MESSAGE_DEPTH))


@pytest.mark.parametrize("count", [MESSAGE_MEMBERS, MESSAGE_MEMBERS + 1])
@pytest.mark.parametrize("filling", ["", "x" * 2_000_000])
def test_the_members_of_an_object_are_bounded(count: int, filling: str) -> None:
    text = json.dumps({"filling": filling, **{str(n): n for n in range(count - 1)}}).encode()
    if count <= MESSAGE_MEMBERS:
        assert len(parse_message(text)) == count
    else:
        with pytest.raises(ValueError, match="members"):
            parse_message(text)


@pytest.mark.parametrize("filling", ["", "x" * 4_000_000])
def test_objects_and_arrays_are_bounded_in_number(filling: str) -> None:
    text = json.dumps([filling, *([[]] * (MESSAGE_CONTAINERS - 1))]).encode()
    assert len(parse_message(text)) == MESSAGE_CONTAINERS
    with pytest.raises(ValueError, match="too many objects and arrays"):
        parse_message(b"[" + text + b"]")


@pytest.mark.parametrize("filling", ["", "x" * 5_000, '"},{"k":"v","l":"w' * 300])
@pytest.mark.parametrize(
    ("escape", "accepted"),
    [
        ("\\ud83d\\ude00", True),
        ("\\uD83D\\uDE00", True),
        ("\\\\ud83d", True),
        ("\\\\\\\\ud83d", True),
        ("\\\\\\ud83d\\ude00", True),
        ("\\ud83d", False),
        ("\\ude00", False),
        ("\\ude00\\ud83d", False),
        ("\\ud83d\\ud83d\\ude00", False),
        ("\\ud83dx\\ude00", False),
        ("\\\\ud83d\\ude00", False),
        ("\\\\\\ud83d", False),
    ],
)
def test_a_lone_surrogate_is_refused_and_a_pair_is_not(escape: str, accepted: bool, filling: str) -> None:
    for place in ('[{"a": "%s"}', '[{"%s": 1}', '["%s"'):
        text = f'{place % escape},{{"f":"{filling}"}}]'.encode()
        if accepted:
            assert parse_message(text) == json.loads(text)
        else:
            with pytest.raises(ValueError):
                parse_message(text)


# --- Headers ----------------------------------------------------------------------------------------------------------


def modern(method: str = "tools/call", **params: Any) -> tuple[Call, ...]:
    params = params or {"name": "add"}
    return read_calls(body(method, {**params, "_meta": {VERSION: "2026-07-28"}}))


def headers(**values: str) -> dict[bytes, bytes]:
    names = {"version": b"mcp-protocol-version", "method": b"mcp-method", "name": b"mcp-name"}
    return {names[name]: value.encode("utf-8") for name, value in values.items()}


def wrapped(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


ALL = {"version": "2026-07-28", "method": "tools/call", "name": "add"}


def disagree(given: dict[bytes, bytes], calls: tuple[Call, ...], code: int = -32020) -> HeadersDisagree:
    with pytest.raises(HeadersDisagree) as caught:
        agree(given, calls)
    assert (caught.value.status, caught.value.rpc_code) == (400, code)
    return caught.value


def test_headers_that_say_what_the_body_says_agree() -> None:
    agree(headers(**ALL), modern())


@pytest.mark.parametrize("version", [None, "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
def test_an_older_revision_needs_no_headers(version: str | None) -> None:
    agree(headers(version=version) if version else {}, read_calls(body()))


@pytest.mark.parametrize("version", [None, "2025-06-18", "2026-07-28"])
@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "tools/list"},
        {"method": "Tools/Call"},
        {"method": ""},
        {"method": wrapped("tools/call")},
        {"name": "safe"},
        {"name": "Add"},
        {"name": ""},
        {"name": "add "},
        {"name": wrapped("safe")},
        {"name": wrapped("add").replace("base64", "BASE64")},
        {"name": "=?base64?YWRk!?="},
        {"name": "=?base64?YWR?="},
        {"name": "=?base64?YWRl?=x"},
        {"name": "=?base64?/w==?="},
        {"name": "=?base64??="},
        {"name": "=?base64?="},
    ],
)
def test_a_header_that_says_something_else_disagrees_at_every_revision(
    version: str | None, wrong: dict[str, str]
) -> None:
    if version == "2026-07-28":
        refusal = disagree(headers(**(ALL | wrong)), modern())
    else:
        given = {"method": "tools/call", "name": "add"} | wrong
        refusal = disagree(headers(**given, **({"version": version} if version else {})), read_calls(body()))
    assert refusal.rpc_id == 1


def test_base64_that_is_not_canonical_disagrees() -> None:
    """Decoders differ in whether they look at the bits that are left over."""
    (call,) = modern(name="ad")
    agree(headers(**(ALL | {"name": "=?base64?YWQ=?="})), (call,))
    disagree(headers(**(ALL | {"name": "=?base64?YWR=?="})), (call,))


@pytest.mark.parametrize("name", ["ä", " x", "add", "=?base64?YWRk?="])
def test_a_name_in_base64_is_decoded_before_it_is_compared(name: str) -> None:
    agree(headers(**(ALL | {"name": wrapped(name)})), modern(name=name))


def test_a_name_that_looks_like_base64_and_is_sent_as_it_is_disagrees() -> None:
    disagree(headers(**(ALL | {"name": "=?base64?YWRk?="})), modern(name="=?base64?YWRk?="))


def test_a_name_outside_ascii_must_be_in_base64() -> None:
    for raw in ("ä".encode(), "ä".encode("latin-1")):
        disagree({**headers(**ALL), b"mcp-name": raw}, modern(name="ä"))


@pytest.mark.parametrize("missing", ["version", "method", "name"])
def test_the_newest_revision_needs_all_three(missing: str) -> None:
    disagree(headers(**{name: value for name, value in ALL.items() if name != missing}), modern())


def test_a_method_that_names_nothing_needs_no_name() -> None:
    agree(headers(version="2026-07-28", method="tools/list"), modern("tools/list", cursor="a"))


@pytest.mark.parametrize("stated", ["2025-11-25", "2026-07-29", 20260728, ["2026-07-28"]])
def test_a_version_in_the_body_that_is_not_the_header_s_disagrees(stated: Any) -> None:
    disagree(headers(**ALL), read_calls(body("tools/call", {"name": "add", "_meta": {VERSION: stated}})))


@pytest.mark.parametrize("meta", [{}, {"_meta": {}}, {"_meta": None}, {"_meta": {VERSION: None}}])
def test_a_body_without_a_version_lacks_a_parameter_on_the_newest_revision(meta: Any) -> None:
    disagree(headers(**ALL), read_calls(body("tools/call", {"name": "add", **meta})), code=-32602)


@pytest.mark.parametrize("version", [None, "2025-11-25"])
def test_a_body_of_the_newest_revision_under_an_older_header_disagrees(version: str | None) -> None:
    """A host may go by either: what is checked must not depend on which."""
    disagree(headers(version=version) if version else {}, modern())


@pytest.mark.parametrize("version", ["2099-01-01", "", "2026-07-28 ", "2026-07-28, 2025-06-18", "DRAFT"])
def test_an_unknown_version_is_held_to_the_newest_rules(version: str) -> None:
    disagree(headers(**(ALL | {"version": version})), modern())
    disagree(headers(version=version), read_calls(body()), code=-32602)


def test_a_name_header_needs_something_in_the_body_that_it_mirrors() -> None:
    """Extensions mirror a parameter of their own."""
    agree(headers(version="2026-07-28", method="tasks/get", name="t-1"), modern("tasks/get", taskId="t-1"))
    disagree(headers(version="2026-07-28", method="tasks/get", name="t-2"), modern("tasks/get", taskId="t-1"))
    disagree(headers(version="2026-07-28", method="tools/list", name="add"), modern("tools/list", cursor="a"))


def test_one_name_cannot_mirror_several_resources() -> None:
    calls = modern("subscriptions/listen", notifications={"resourceSubscriptions": ["notes://a", "notes://b"]})
    disagree(headers(version="2026-07-28", method="subscriptions/listen", name="notes://a"), calls)


def test_headers_cannot_mirror_a_batch_or_an_answer() -> None:
    batch = read_calls(json.dumps([message(id=1), message(id=2)]).encode())
    answer = read_calls(b'{"jsonrpc":"2.0","id":1,"result":{}}')
    agree(headers(version="2025-03-26"), batch)
    agree(headers(version="2025-06-18"), answer)
    for calls in (batch, answer):
        disagree(headers(method="tools/call"), calls)
        disagree(headers(name="add"), calls)
    disagree(headers(version="2026-07-28"), batch)
    disagree(
        {}, read_calls(json.dumps([message(id=2), message(params={"name": "a", "_meta": {VERSION: "x"}})]).encode())
    )


def test_nothing_is_required_of_notifications_but_the_truth() -> None:
    note = read_calls(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{}}')
    agree(headers(version="2026-07-28"), note)
    disagree(headers(version="2026-07-28", method="notifications/other"), note)
