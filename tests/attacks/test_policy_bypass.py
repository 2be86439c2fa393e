"""Ways past the rules: bodies that two readers understand differently, headers that lie, names in another spelling.

The rules let everybody use ``safe`` and nobody ``admin``. Every attack makes some reader of the body see ``admin``.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pydantic_core
import pytest

from tenantry.core.jsonrpc import agree, read_calls
from tenantry.core.rules import Rule, Rules
from tenantry.errors import Refusal
from tenantry.model import MCPUserContext

RULES = Rules(
    [
        Rule("tool", "admin", roles=["nobody"]),
        Rule("tool", "safe", roles=["everybody"]),
        Rule("prompt", "admin", roles=["nobody"]),
        Rule("prompt", "*", roles=["everybody"]),
        Rule("resource", "notes://secret*", roles=["nobody"]),
        Rule("resource", "https://example.com/*", roles=["nobody"]),
        Rule("resource", "file:///docs/secret/*", roles=["nobody"]),
        Rule("resource", "*", roles=["everybody"]),
        Rule("method", "acme/*", roles=["everybody"]),
    ]
)
CALLER = MCPUserContext("google:1", "google", "1", "acme_com", roles=frozenset({"everybody"}))


def answer(body: bytes, headers: dict[bytes, bytes] | None = None) -> int:
    """The status that the caller gets; 200 when the app would see the body."""
    try:
        calls = read_calls(body)
        agree(headers or {}, calls)
        RULES.decide(CALLER, calls)
    except Refusal as refusal:
        return refusal.status
    return 200


def call(params: str, method: str = '"tools/call"', more: str = "") -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":{method},"params":{params}{more}}}'.encode()


def test_the_rules_work_without_an_attack() -> None:
    assert answer(call('{"name":"safe"}')) == 200
    assert answer(call('{"name":"admin"}')) == 403


# --- Two readers, two bodies ------------------------------------------------------------------------------------------

DOUBLED = {
    "name": call('{"name":"safe","name":"admin"}'),
    "name, the first counts": call('{"name":"admin","name":"safe"}'),
    "name, escaped": call('{"name":"safe","\\u006eame":"admin"}'),
    "name, both escaped": call('{"\\u006eame":"safe","n\\u0061me":"admin"}'),
    "name, equal values": call('{"name":"safe","name":"safe"}'),
    "method": b'{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"admin"}}',
    "method, two": b'{"jsonrpc":"2.0","id":1,"method":"ping","m\\u0065thod":"tools/call","params":{"name":"admin"}}',
    "params": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe"},"params":{"name":"admin"}}',
    "arguments": call('{"name":"safe","arguments":{"a":1},"arguments":{"a":2}}'),
    "an argument": call('{"name":"safe","arguments":{"a":1,"a":2}}'),
    "an argument deep down": call('{"name":"safe","arguments":{"a":[[{"b":{"c":1,"c":2}}]]}}'),
    "id": b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"safe"}}',
    "jsonrpc": b'{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe"}}',
    "_meta": call('{"name":"safe","_meta":{},"_meta":{}}'),
}


@pytest.mark.parametrize("body", DOUBLED.values(), ids=DOUBLED)
def test_a_doubled_name(body: bytes) -> None:
    assert answer(body) == 400


@pytest.mark.parametrize("body", DOUBLED.values(), ids=DOUBLED)
def test_a_doubled_name_in_a_large_body(body: bytes) -> None:
    """Large bodies are read another way than small ones."""
    for value in ('{"k":"v","l":{"m":1}}', '"lorem ipsum: dolor"'):
        filling = ",".join([value] * 400).encode()
        assert answer(b'%s,"filling":[%s]}' % (body[:-1], filling)) == 400
        assert answer(b'[%s,{"jsonrpc":"2.0","id":9,"method":"ping","params":{"x":[%s]}}]' % (body, filling)) == 400


@pytest.mark.parametrize(
    "body",
    [
        call('{"name":"safe","Name":"admin"}'),
        call('{"name":"safe","NAME":"admin"}'),
        call('{"name":"safe","na_me":"admin"}'),
        call('{"name":"safe","Arguments":{}}'),
        call('{"name":"safe"}', more=',"Params":{"name":"admin"}'),
        call('{"name":"safe"}', more=',"PARAM\u017f":{"name":"admin"}'),
        call('{"name":"safe"}', more=',"Method":"x"'),
        call('{"uri":"notes://a","URI":"notes://secret"}', '"resources/read"'),
        call('{"ref":{"type":"ref/prompt","name":"a","Name":"admin"}}', '"completion/complete"'),
        call('{"notifications":{"resource_subscriptions":["notes://secret"]}}', '"subscriptions/listen"'),
        call('{"notifications":{"ResourceSubscriptions":["notes://secret"]}}', '"subscriptions/listen"'),
        call('{"Notifications":{"resourceSubscriptions":["notes://secret"]}}', '"subscriptions/listen"'),
    ],
)
def test_a_member_that_a_lax_reader_takes_for_another(body: bytes) -> None:
    assert answer(body) == 400


SAFE, ADMIN = call('{"name":"safe"}'), call('{"name":"admin"}')


@pytest.mark.parametrize(
    "body",
    [
        SAFE + ADMIN,
        SAFE + b"\n" + ADMIN,
        SAFE + b"\x00",
        SAFE + b"x",
        SAFE + b",",
        b"\xef\xbb\xbf" + SAFE,
        SAFE.decode().encode("utf-16"),
        SAFE.decode().encode("utf-16-le"),
        SAFE.decode().encode("utf-32"),
        SAFE.replace(b"safe", b"saf\xe9"),
        SAFE.replace(b"safe", b"safe\xed\xa0\x80"),
        SAFE.replace(b"safe", b"\xc1\xb3afe"),
        SAFE.replace(b"safe", b"safe\\ud800"),
        SAFE.replace(b"safe", b"safe\\u0000"),
        SAFE.replace(b"safe", b"safe\x00"),
        SAFE.replace(b"1", b"NaN"),
        SAFE.replace(b"1", b"Infinity"),
        call('{"name":"safe","arguments":{"a":NaN}}'),
        call('{"name":"safe","arguments":{"a":-Infinity}}'),
        SAFE.replace(b'"safe"', b"'safe'"),
        SAFE.replace(b'{"name"', b'/* */{"name"'),
        SAFE.replace(b'"safe"', b'"safe",'),
        SAFE.replace(b"1,", b"01,"),
        SAFE.replace(b"1,", b"1,,"),
        b"",
        b" ",
        b"null",
        b'"tools/call"',
        b"1",
        b"9" * 5000,
        SAFE.replace(b'"id":1', b'"id":' + b"9" * 5000),
        call('{"name":"safe","arguments":{"a":%s}}' % ("9" * 5000)),
    ],
)
def test_a_body_that_is_not_plain_json(body: bytes) -> None:
    assert answer(body) == 400


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":', "[[],", "[{},"])
@pytest.mark.parametrize("size", [1000, 4 * 1024 * 1024])
def test_nesting_up_to_the_largest_body(opening: str, size: int) -> None:
    """Also with everything closed again, and inside what a tool is given."""
    count = size // len(opening)
    closing = "".join({"[": "]", "{": "}"}[sign] for sign in reversed(opening) if sign in "[{" and opening[-1] != ",")
    for text in (opening * count, opening * (count // 2) + "1" + closing * (count // 2)):
        assert answer(text.encode()) == 400
        assert answer(call(f'{{"name":"safe","arguments":{{"a":{text}}}}}')) == 400


@pytest.mark.parametrize("unit", ["[],", "{},", '"",', '{"a":1},', "0,", '"\\"[",', "[[[[]]]],"])
def test_a_million_small_values_are_read_or_refused(unit: str) -> None:
    count = 4 * 1024 * 1024 // len(unit)
    body = call('{"name":"admin","arguments":{"a":[%s0]}}' % (unit * count))
    assert answer(body) in (400, 403)


def test_what_is_accepted_is_what_the_hosts_read() -> None:
    """The SDK parses with ``json`` and with pydantic's parser: both see what was decided on."""
    body = call('{"name":"s\\u0061fe","arguments":{"a":[1,2.5,"\\ud83d\\ude00",1e400,123456789012345678901234567890]}}')
    (read,) = read_calls(body)
    for host in (json.loads(body), pydantic_core.from_json(body)):
        assert host["params"]["name"] == read.name == "safe"
        assert host["params"]["arguments"] == read.arguments


# --- Names in another spelling ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Admin", "ADMIN", "admin ", " admin", "\u0430dmin", "\uff41dmin", "admin\u200b", "ad\u00admin", "admin\u0301",
     "admin/", "*", "?????", "safe\u0000", "safe\nadmin", "saf\u0435", "[s]afe", "admin,safe", "safe;admin"],
)  # fmt: skip
def test_a_look_alike_is_not_the_name(name: str) -> None:
    """No rule is about it: refused, whatever the host would make of it."""
    assert answer(call(json.dumps({"name": name}))) in (400, 403)


@pytest.mark.parametrize("name", [None, 1, True, ["admin"], {"name": "admin"}, ""])
@pytest.mark.parametrize("method", ["tools/call", "prompts/get"])
def test_a_name_that_is_no_name(name: Any, method: str) -> None:
    assert answer(call(json.dumps({"name": name}), json.dumps(method))) == 400


@pytest.mark.parametrize(
    "method",
    [
        "Tools/Call",
        "tools/call ",
        "tools//call",
        "tools\\call",
        "/tools/call",
        "TOOLS/CALL",
        "tools/c\u0430ll",
        "tools/call/x",
    ],
)
def test_a_method_in_another_spelling(method: str) -> None:
    assert answer(call('{"name":"admin"}', json.dumps(method))) == 403


@pytest.mark.parametrize(
    "uri",
    [
        "NOTES://secret",
        "Notes://secret",
        "notes://%73ecret",
        "notes://secret#x",
        "notes://x/../secret",
        "notes://x/%2e%2e/../secret",
        " notes://secret",
        "notes://sec\tret",
        "notes://sec\nret",
        "https://example.com",
        "https://EXAMPLE.com/a",
        "https://example.com:443/a",
        "https://example.com./a",
        "https://x@example.com/a",
        "https:/example.com/a",
        "https:example.com/a",
        "https:\\\\example.com\\a",
        "https://ex%61mple.com/a",
        "file:///docs/x/../secret/a",
        "file:///docs//secret/a",
        "file:///docs/./secret/a",
        "file:///docs/%73ecret/a",
        "file:///docs%2Fsecret%2F..%2Fsecret/a",
        "file://localhost/docs/secret/a",
        "file:/docs/secret/a",
        "FILE:///docs/secret/a",
        "file:///docs/x%5C..%5Csecret/a",
        "file:///docs/x/%252e%252e/secret/a",
        "file:///docs/x/%C0%AE%C0%AE/secret/a",
        "file:///docs/x?/../secret/a",
    ],
)
@pytest.mark.parametrize("method", ["resources/read", "resources/subscribe", "resources/unsubscribe"])
def test_a_resource_in_another_spelling(uri: str, method: str) -> None:
    """The last rule opens every other resource."""
    assert answer(call(json.dumps({"uri": "notes://open"}), json.dumps(method))) == 200
    assert answer(call(json.dumps({"uri": uri}), json.dumps(method))) in (400, 403)


# --- Other ways to the same thing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        call(
            '{"ref":{"type":"ref/prompt","name":"admin"},"argument":{"name":"a","value":""}}', '"completion/complete"'
        ),
        call('{"ref":{"type":"ref/resource","uri":"notes://secret/{id}"}}', '"completion/complete"'),
        call('{"uri":"notes://secret"}', '"resources/subscribe"'),
        call('{"notifications":{"resourceSubscriptions":["notes://open","notes://secret"]}}', '"subscriptions/listen"'),
        call('{"name":"admin","inputResponses":{},"requestState":"x"}'),
        call('{"name":"admin","task":{"ttl":1}}'),
        call('{"taskId":"1"}', '"tasks/result"'),
        call('{"taskId":"1"}', '"tasks/get"'),
        call("{}", '"tasks/list"'),
        call("{}", '"elicitation/create"'),
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"admin"}}',
        b'{"jsonrpc":"2.0","id":"","method":"tools/call","params":{"name":"admin"}}',
    ],
)
def test_every_way_is_governed(body: bytes) -> None:
    assert answer(body) == 403


def test_an_extension_cannot_carry_a_tool_s_name_past_its_rule() -> None:
    """``acme/call`` is let in by its own rule: what it reaches is the operator's word."""
    assert answer(call('{"name":"admin"}', '"acme/call"')) == 200
    assert answer(call('{"name":"admin"}', '"acme2/call"')) == 403


@pytest.mark.parametrize(
    "body",
    [
        b"[%s,%s]" % (SAFE, ADMIN.replace(b'"id":1', b'"id":2')),
        b"[%s]"
        % b",".join(
            [SAFE.replace(b'"id":1', b'"id":%d' % n) for n in range(49)] + [ADMIN.replace(b'"id":1', b'"id":99')]
        ),
        b"[%s,%s]" % (SAFE, SAFE),
        b"[[%s]]" % ADMIN,
        b"[]",
        b"[%s]" % b",".join([SAFE] * 51),
        b'[{"jsonrpc":"2.0","id":5,"result":{}},%s,%s]' % (ADMIN, SAFE.replace(b'"id":1', b'"id":2')),
    ],
)
def test_a_batch_that_smuggles(body: bytes) -> None:
    assert answer(body) == 400


def test_a_batch_of_one_is_that_one() -> None:
    assert answer(b"[%s]" % ADMIN) == 403


def test_an_answer_that_is_a_call_too() -> None:
    assert answer(call('{"name":"admin"}', more=',"result":{}')) == 400
    assert answer(b'{"jsonrpc":"2.0","id":1,"result":{},"method":"tools/call","params":{"name":"admin"}}') == 400


# --- Headers that lie -------------------------------------------------------------------------------------------------


def wrapped(text: str) -> bytes:
    return b"=?base64?" + base64.b64encode(text.encode()) + b"?="


@pytest.mark.parametrize("version", [None, b"2025-03-26", b"2025-06-18", b"2025-11-25"])
@pytest.mark.parametrize(
    "lie",
    [
        {b"mcp-name": b"admin"},
        {b"mcp-name": wrapped("admin")},
        {b"mcp-name": b"Safe"},
        {b"mcp-method": b"tools/list"},
        {b"mcp-method": b"tools/list", b"mcp-name": b"safe"},
        {b"mcp-method": b"tools/call", b"mcp-name": wrapped("admin")},
        {b"mcp-name": wrapped("safe")[:-2]},
        {b"mcp-name": wrapped("safe") + b" "},
        {b"mcp-name": b"=?base64?c2FmZQ?="},
        {b"mcp-name": b"=?base64?c2FmZR==?="},
        {b"mcp-name": b"=?base64?c2 FmZQ==?="},
        {b"mcp-name": b"=?BASE64?c2FmZQ==?="},
        {b"mcp-name": b"=?utf-8?B?c2FmZQ==?="},
    ],
)
def test_a_header_that_lies_at_any_revision(version: bytes | None, lie: dict[bytes, bytes]) -> None:
    headers = dict(lie) if version is None else {b"mcp-protocol-version": version, **lie}
    assert answer(SAFE, headers) == 400


def test_a_true_header_does_not_open_what_the_body_asks_for() -> None:
    """The headers are never trusted alone."""
    honest = {b"mcp-method": b"tools/call", b"mcp-name": b"admin"}
    assert answer(ADMIN, honest) == 403
    assert answer(SAFE, {b"mcp-method": b"tools/call", b"mcp-name": wrapped("safe")}) == 200


NEWEST = call('{"name":"safe","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}')


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (SAFE, {b"mcp-protocol-version": b"2026-07-28", b"mcp-method": b"tools/call", b"mcp-name": b"safe"}),
        (NEWEST, {}),
        (NEWEST, {b"mcp-protocol-version": b"2025-11-25"}),
        (NEWEST, {b"mcp-protocol-version": b"2026-07-28"}),
        (NEWEST, {b"mcp-protocol-version": b"2026-07-28", b"mcp-method": b"tools/call"}),
        (NEWEST, {b"mcp-protocol-version": b"2026-07-28", b"mcp-name": b"safe"}),
        (NEWEST.replace(b"28", b"29"), {b"mcp-protocol-version": b"2026-07-28"}),
    ],
)
def test_the_newest_revision_without_what_it_demands(body: bytes, headers: dict[bytes, bytes]) -> None:
    assert answer(body, headers) == 400
