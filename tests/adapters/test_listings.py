"""The send side of the policy, on answers as apps send them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import Reply, a_scope

from tenantry.adapters.listings import LIMIT, filtering, uncompressed
from tenantry.core.jsonrpc import Call
from tenantry.core.rules import Rule, Rules
from tenantry.model import MCPUserContext

pytestmark = pytest.mark.anyio

READER = MCPUserContext("google:r", "google", "r", "acme_com", permissions=frozenset({"notes:read"}))
RULES = Rules([Rule("tool", "read", permissions=["notes:read"]), Rule("tool", "secret", permissions=["notes:admin"])])
LIST, CALL = (Call("tools/list", id=1),), (Call("tools/call", "read", id=1),)
ANSWER = {"jsonrpc": "2.0", "id": 1, "result": {"tools": [{"name": "read"}, {"name": "secret"}], "nextCursor": "x"}}
BODY = json.dumps(ANSWER).encode()
OTHER = b'{"jsonrpc": "2.0", "id": 1, "result": {"content": []}}'
JSON = [(b"content-type", b"application/json")]
SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]


async def sent(
    chunks: Sequence[bytes],
    headers: Sequence[tuple[bytes, bytes]] = JSON,
    calls: Sequence[Call] | None = LIST,
    *,
    status: int = 200,
    user: MCPUserContext | None = READER,
    rules: Rules = RULES,
) -> Reply:
    """What a client gets of an app's answer in ``chunks``."""
    reply = Reply()

    async def send(message: Any) -> None:
        reply.messages.append(dict(message))

    out = filtering(send, rules, user, calls)
    await out({"type": "http.response.start", "status": status, "headers": list(headers)})
    for number, chunk in enumerate(chunks, 1):
        await out({"type": "http.response.body", "body": chunk, "more_body": number < len(chunks)})
    return reply


def names(message: Any) -> list[str]:
    return [tool["name"] for tool in message["result"]["tools"]]


def event(text: bytes, end: bytes = b"\n") -> bytes:
    return end.join([b"event: message", b"id: 5", b"data: " + text, b"", b""])


# --- JSON -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [[BODY], [BODY, b""], [BODY[:40], b"", BODY[40:]]], ids=["whole", "then end", "cut"])
async def test_a_list_is_cut_and_its_headers_are_about_what_goes_out(chunks: list[bytes]) -> None:
    about = [(b"Content-Length", b"%d" % len(BODY)), (b"ETag", b'"1"'), (b"Repr-Digest", b"x"), (b"x-own", b"kept")]
    reply = await sent(chunks, [*JSON, *about])
    assert names(reply.json()) == ["read"]
    assert reply.headers == {
        "content-type": "application/json",
        "x-own": "kept",
        "content-length": str(len(reply.body)),
    }


async def test_without_rules_the_app_sends_as_before() -> None:
    async def send(message: Any) -> None: ...

    assert filtering(send, Rules(), READER, LIST) is send


async def test_an_answer_without_a_list_passes_byte_for_byte() -> None:
    reply = await sent([OTHER[:9], OTHER[9:]], [*JSON, (b"etag", b"1")], CALL)
    assert (reply.body, reply.headers["etag"]) == (OTHER, "1")


async def test_a_list_in_the_answer_to_another_call_is_cut_as_well() -> None:
    """Two requests with one id on a session: hosts may send one's answer on the other's stream."""
    assert names((await sent([BODY], JSON, CALL)).json()) == ["read"]


async def test_a_list_under_another_content_type_is_cut_as_well() -> None:
    assert names((await sent([BODY], [(b"content-type", b"text/plain")])).json()) == ["read"]


@pytest.mark.parametrize("calls", [None, ()])
async def test_an_app_that_does_not_speak_mcp_is_not_held_up(calls: Any) -> None:
    reply = await sent([BODY], JSON, calls)
    assert reply.body == BODY
    assert len((await sent([b"{", b"}"], JSON, calls)).messages) == 3


@pytest.mark.parametrize("status", [202, 204])
async def test_an_answer_without_a_body_passes(status: int) -> None:
    reply = await sent([b""], [], status=status)
    assert (reply.status, reply.body) == (status, b"")


async def test_an_error_page_passes() -> None:
    reply = await sent([b"<h1>Bad gateway"], [(b"content-type", b"text/html")], status=502)
    assert (reply.status, reply.body) == (502, b"<h1>Bad gateway")


# --- What cannot be read ----------------------------------------------------------------------------------------------

DEEP = b'{"result": {"tools": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
UNREADABLE = {
    "no JSON": ([b"tools: secret"], JSON),
    "truncated": ([BODY[:-1]], JSON),
    "not UTF-8": ([BODY.replace(b"secret", b"secr\xe9t")], JSON),
    "too deep": ([DEEP], JSON),
    "too large": ([b'{"result": {"tools": [', *[b" " * (LIMIT // 4)] * 4, b"]}}"], JSON),
    "compressed": ([gzip.compress(BODY)], [*JSON, (b"content-encoding", b"gzip")]),
    "compressed stream": ([gzip.compress(event(BODY))], [*SSE, (b"content-encoding", b"gzip")]),
}


@pytest.mark.parametrize("case", UNREADABLE)
async def test_a_list_that_cannot_be_read_is_not_passed_on(case: str) -> None:
    chunks, headers = UNREADABLE[case]
    reply = await sent(chunks, headers)
    assert reply.status == 500
    assert reply.json() == {"error": "server_error", "error_description": "The request could not be processed"}
    assert [message["type"] for message in reply.messages] == ["http.response.start", "http.response.body"]


async def test_a_large_answer_to_another_call_passes() -> None:
    chunks = [OTHER, *[b" " * (LIMIT // 4)] * 4]
    assert (await sent(chunks, JSON, CALL)).body == b"".join(chunks)


@pytest.mark.parametrize("kind", [JSON, SSE])
async def test_a_compressed_answer_to_another_call_passes(kind: Any) -> None:
    packed = gzip.compress(OTHER)
    assert (await sent([packed], [*kind, (b"content-encoding", b"gzip")], CALL)).body == packed


def test_the_app_is_not_asked_to_compress_a_list_or_a_replay() -> None:
    scope = a_scope(headers=[("accept-encoding", "gzip"), ("accept", "application/json")])
    for calls in (LIST, None, ()):
        assert [name for name, _ in uncompressed(scope, calls)["headers"]] == [b"host", b"accept"]
    assert uncompressed(scope, CALL) is scope
    assert (b"accept-encoding", b"gzip") in scope["headers"]


# --- Event streams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [LIST, CALL, None], ids=["list", "call", "replay"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
async def test_every_event_that_holds_a_list_is_cut(calls: Any, end: bytes) -> None:
    stream = [event(OTHER, end), b": ping" + end + end, event(BODY, end)]
    reply = await sent(stream, SSE, calls)
    before, after = b"".join(stream[:2]), reply.body[len(b"".join(stream[:2])) :]
    assert reply.body.startswith(before)
    assert after.startswith(end.join([b"event: message", b"id: 5", b"data: {"]))
    assert names(json.loads(after.split(b"data: ")[1])) == ["read"]


@given(st.lists(st.integers(0, 1000), max_size=20), st.sampled_from([b"\n", b"\r\n", b"\r"]))
async def test_the_cuts_of_a_stream_make_no_difference(places: list[int], end: bytes) -> None:
    large = (
        json.dumps({**ANSWER, "note": "ключ 🔑"}, ensure_ascii=False, indent=1).encode().replace(b"\n", end + b"data: ")
    )
    stream = event(OTHER, end) + event(large, end) + event(b"tools", end)
    edges = [0, *sorted(place % len(stream) for place in places), len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    reply = await sent(chunks, SSE, CALL)
    assert reply.body == (await sent([stream], SSE, CALL)).body
    assert b"secret" not in reply.body
    assert "ключ 🔑".encode() in reply.body


async def test_an_event_is_not_held_back() -> None:
    reply = await sent([event(OTHER), event(BODY), b""], SSE)
    assert [bool(message.get("body")) for message in reply.messages] == [False, True, True, False]


async def test_a_stream_that_is_no_json_rpc_passes() -> None:
    stream = event(b'the "tools" of trade') + event(b'{"tools": ["a"]}')
    assert (await sent([stream], SSE, None)).body == stream


@pytest.mark.parametrize("data", [DEEP, b'{"result": {"tools": [' + b"1" * 5000 + b"]}}"], ids=["deep", "digits"])
@pytest.mark.parametrize("calls", [LIST, CALL, None], ids=["list", "call", "replay"])
async def test_a_stream_ends_before_an_event_that_only_others_could_read(data: bytes, calls: Any) -> None:
    reply = await sent([event(OTHER), event(data), event(OTHER)], SSE, calls)
    assert reply.body == event(OTHER)
    assert not reply.messages[-1]["more_body"]


async def test_a_stream_ends_before_an_event_that_is_too_large() -> None:
    reply = await sent([event(OTHER), b"data: ", *[b"x" * (LIMIT // 4)] * 5, b"\n\n"], SSE, None)
    assert reply.body == event(OTHER)
    assert not reply.messages[-1]["more_body"]


async def test_a_stream_that_is_cut_off_in_its_last_event_shows_no_more() -> None:
    assert b"secret" not in (await sent([b"data: " + BODY], SSE, None)).body


async def test_what_is_no_utf8_is_read_as_a_client_reads_it() -> None:
    reply = await sent([event(BODY.replace(b'"x"', b'"\xe9"'))], SSE, CALL)
    assert names(json.loads(reply.body.split(b"data: ")[1])) == ["read"]
