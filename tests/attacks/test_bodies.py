"""Bodies that lie, never end or have no end, and clients that leave: the app is never called, and nothing is left."""

from __future__ import annotations

import asyncio
import base64
import gc
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.bodies import ADMIN, KEY, KEYS, Host, Upload, batch, call, message, policed, post
from tests.support import Echo, World, a_scope, ask, bearer

from tenantry.adapters import body as body_module
from tenantry.observations import Called

pytestmark = pytest.mark.anyio

SAFE, BAD = call("safe"), call("admin")
LIMIT = 64 * 1024


@pytest.fixture
def app() -> Host:
    return Host()


@pytest.fixture
def guarded(world: World, tmp_path: Path, app: Host) -> Any:
    return policed(world, tmp_path, app, max_body=LIMIT)


async def test_what_is_allowed_runs(guarded: Any, app: Host) -> None:
    assert (await post(guarded, SAFE)).status == 200
    assert app.ran == ["tools/call"]


# Headers against the body

MODERN = ("mcp-protocol-version", "2026-07-28")
META = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
MODERN_SAFE = message("tools/call", {"name": "safe", "arguments": {}, **META})
MODERN_ADMIN = message("tools/call", {"name": "admin", "arguments": {}, **META})


def hidden(name: str) -> str:
    return f"=?base64?{base64.b64encode(name.encode()).decode()}?="


def mirrored(method: str = "tools/call", name: str = "safe") -> list[tuple[str, str]]:
    return [MODERN, ("mcp-method", method), ("mcp-name", name)]


LIES = {
    "the name": (MODERN_ADMIN, mirrored()),
    "the name, in base64": (MODERN_ADMIN, mirrored(name=hidden("safe"))),
    "the method": (MODERN_ADMIN, mirrored("tools/list")),
    "the version": (MODERN_ADMIN, [("mcp-protocol-version", "2025-11-25"), *mirrored()[1:]]),
    "no version": (MODERN_ADMIN, mirrored()[1:]),
    "no method": (MODERN_SAFE, [MODERN, ("mcp-name", "safe")]),
    "no name": (MODERN_SAFE, [MODERN, ("mcp-method", "tools/call")]),
    "nothing but the version": (MODERN_SAFE, [MODERN]),
    "the name, on an older revision": (BAD, [("mcp-protocol-version", "2025-11-25"), ("mcp-name", "safe")]),
    "the name, in base64, on an older revision": (BAD, [("mcp-name", hidden("safe"))]),
    "the name, without a revision": (BAD, [("mcp-name", "safe")]),
    "the method, without a revision": (BAD, [("mcp-method", "ping")]),
    "base64 with blanks": (SAFE, [("mcp-name", "=?base64?c2Fm ZQ==?=")]),
    "base64 without padding": (SAFE, [("mcp-name", "=?base64?c2FmZQ?=")]),
    "base64 that is no UTF-8": (SAFE, [("mcp-name", "=?base64?/////w==?=")]),
    "bytes that are no ASCII": (SAFE, [("mcp-name", "s\u00e4fe")]),
    "a batch that headers speak of": (batch(SAFE, call("safe", number=2)), [("mcp-name", "safe")]),
}


@pytest.mark.parametrize(("body", "headers"), LIES.values(), ids=LIES)
async def test_headers_that_say_something_else_than_the_body(
    guarded: Any, app: Host, body: bytes, headers: list[tuple[str, str]]
) -> None:
    reply = await post(guarded, body, headers, key=ADMIN)
    assert (reply.status, reply.json()["error"]["code"]) == (400, -32020)
    assert app.untouched


@pytest.mark.parametrize("version", ["2026-07-28", "2099-01-01"])
async def test_a_body_without_the_version_that_its_headers_have(guarded: Any, app: Host, version: str) -> None:
    reply = await post(guarded, SAFE, [("mcp-protocol-version", version), *mirrored()[1:]], key=ADMIN)
    assert (reply.status, reply.json()["error"]["code"]) == (400, -32602)
    assert app.untouched


@pytest.mark.parametrize("name", ["safe", hidden("safe")], ids=["plain", "base64"])
async def test_headers_that_say_what_the_body_says_pass(guarded: Any, app: Host, name: str) -> None:
    assert (await post(guarded, MODERN_SAFE, mirrored(name=name))).status == 200
    assert (await post(guarded, SAFE, [("mcp-name", name), ("mcp-method", "tools/call")])).status == 200


async def test_headers_that_agree_do_not_take_the_place_of_the_rules(guarded: Any, app: Host) -> None:
    for name in ("admin", hidden("admin")):
        assert (await post(guarded, MODERN_ADMIN, mirrored(name=name))).status == 403
    assert app.untouched


@pytest.mark.parametrize("name", ["mcp-protocol-version", "mcp-method", "mcp-name", "content-type", "content-encoding"])
async def test_a_header_that_comes_twice(guarded: Any, app: Host, name: str) -> None:
    values = {"content-type": "application/json", "content-encoding": "identity", "mcp-method": "tools/call"}
    value = values.get(name, "safe")
    assert (await post(guarded, SAFE, [(name, value), (name, value)])).status == 400
    assert app.untouched


# What is no JSON-RPC, or is two readings of one body

MALFORMED = {
    "nothing": b"",
    "blanks": b" \r\n",
    "null": b"null",
    "a number": b"1",
    "a string": b'"tools/call"',
    "an empty batch": b"[]",
    "a batch in a batch": b"[[]]",
    "half": SAFE[:-1],
    "two": SAFE + SAFE,
    "two lines": SAFE + b"\n" + BAD,
    "a byte order mark": b"\xef\xbb\xbf" + SAFE,
    "UTF-16": SAFE.decode().encode("utf-16"),
    "Latin-1": SAFE.replace(b"safe", b"saf\xe9"),
    "a name twice": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","name":"admin"}}',
    "a name twice, escaped": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"name":"safe","n\\u0061me":"x"}}',
    "a method twice": b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call","params":{"name":"admin"}}',
    "an argument twice, deep down": call("safe", a=[[{"b": {"c": 1}}]]).replace(b'"c": 1', b'"c": 1, "c": 2'),
    "a name in another case": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","Name":"admin"}}',
    "NaN": call("safe", a=float("nan")),
    "too deep": b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":' + b"[" * 5000 + b"]" * 5000 + b"}}",
    "a form": b"jsonrpc=2.0&method=tools%2Fcall",
    "a question and an answer": b'{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}',
    "one id for two": batch(SAFE, SAFE),
    "too many": batch(*[call("safe", number=number) for number in range(51)]),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
async def test_a_body_that_cannot_be_read_in_one_way_only(guarded: Any, app: Host, body: bytes) -> None:
    reply = await post(guarded, body, key=ADMIN)
    assert (reply.status, reply.json()["error"]) == (400, "invalid_request")
    assert app.untouched


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_a_body_is_judged_whole_however_it_comes_in_pieces(guarded: Any, app: Host, size: int) -> None:
    for body, status in ((BAD, 403), (SAFE, 200)):
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        assert (await post(guarded, Upload(b"", *pieces, b""))).status == status
    assert app.ran == ["tools/call"]


# Its type and its coding

TYPES = [
    "",
    "text/plain",
    "text/json",
    "text/plain;application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/json, text/plain",
    "application/jsonl",
    "application/json-rpc",
    "application/problem+json",
    "application/json; charset=utf-16",
    "application/json; charset=utf-7",
    "application/json; charset=latin-1",
    "application/json; charset=utf-8; charset=utf-16",
    'application/json; charset=u"tf-8',
    "application/json; charset",
    "application/json; charset=",
    "application/json; x=y",
    "x application/json",
]


@pytest.mark.parametrize("value", TYPES)
async def test_a_body_of_another_type(guarded: Any, app: Host, value: str) -> None:
    upload = Upload(SAFE)
    assert (await post(guarded, upload, [("content-type", value)])).status == 415
    assert app.untouched
    assert upload.taken == 0


async def test_a_body_of_no_type(guarded: Any, app: Host) -> None:
    reply = await ask(guarded, headers=bearer(KEY))
    assert (reply.status, reply.challenge) == (415, None)
    assert app.untouched


@pytest.mark.parametrize(
    "value",
    [
        "application/json",
        "Application/JSON",
        "application/json;charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json ; charset=UTF8",
    ],
)
async def test_the_spellings_of_json_that_clients_use(guarded: Any, app: Host, value: str) -> None:
    assert (await post(guarded, SAFE, [("content-type", value)])).status == 200


@pytest.mark.parametrize(
    "coding", ["gzip", "deflate", "br", "zstd", "x-gzip", "gzip, identity", "identity, gzip", "aws", ""]
)
async def test_a_body_in_a_coding(guarded: Any, app: Host, coding: str) -> None:
    """The rules would read other bytes than a host that decodes them; and a small body may be a large one."""
    upload = Upload(gzip.compress(SAFE))
    assert (await post(guarded, upload, [("content-encoding", coding)])).status == 415
    assert app.untouched
    assert upload.taken == 0


async def test_a_bomb_is_not_unpacked(guarded: Any, app: Host) -> None:
    """16 MiB in 16 KiB: also where nothing says that it is packed."""
    bomb = gzip.compress(b" " * 16 * 1024 * 1024)
    assert len(bomb) < LIMIT
    assert (await post(guarded, bomb)).status == 400
    assert app.untouched


# Its size


@pytest.mark.parametrize("length", [LIMIT + 1, 5 * 1024**3, 10**17])
async def test_a_body_announced_as_too_large_is_not_read(guarded: Any, app: Host, length: int) -> None:
    upload = Upload(b"x" * LIMIT, whole=False)
    assert (await post(guarded, upload, [("content-length", str(length))])).status == 413
    assert app.untouched
    assert upload.taken == 0


@pytest.mark.parametrize("length", ["-1", "+1", "1e3", "0x10", "1_0", "", " 1", "1, 1", "9" * 19, "\u00b2"])
async def test_a_length_that_is_no_number(guarded: Any, app: Host, length: str) -> None:
    upload = Upload(SAFE)
    assert (await post(guarded, upload, [("content-length", length)])).status == 400
    assert app.untouched
    assert upload.taken == 0


@pytest.mark.parametrize("more", [-1, 1, 100])
async def test_a_body_that_is_not_as_long_as_it_was_announced(guarded: Any, app: Host, more: int) -> None:
    """Whoever believes the length reads another body than whoever reads to the end."""
    assert (await post(guarded, SAFE, [("content-length", str(len(SAFE) + more))])).status == 400
    assert app.untouched
    assert (await post(guarded, SAFE, [("content-length", str(len(SAFE)))])).status == 200


class Endless(Upload):
    """Sends the same piece for ever."""

    def __init__(self, piece: bytes) -> None:
        super().__init__()
        self.piece = piece

    async def receive(self) -> dict[str, Any]:
        self.taken += len(self.piece)
        return {"type": "http.request", "body": self.piece, "more_body": True}


@pytest.mark.parametrize("piece", [b"x", b"x" * 1000, b"x" * LIMIT])
async def test_an_endless_body_is_read_to_the_limit_and_no_further(guarded: Any, app: Host, piece: bytes) -> None:
    endless = Endless(piece)
    assert (await post(guarded, endless)).status == 413
    assert app.untouched
    assert endless.taken <= LIMIT + len(piece)


async def test_the_memory_of_a_refused_body_is_bounded_and_given_back(world: World, tmp_path: Path) -> None:
    limit = 1024 * 1024

    class Fresh(Endless):
        async def receive(self) -> dict[str, Any]:
            return {**await super().receive(), "body": bytes(len(self.piece))}  # its own memory, as from a socket

    guarded = policed(world, tmp_path, Host(), max_body=limit)
    await post(guarded, SAFE)  # everything is imported and cached
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(5):
            assert (await post(guarded, Fresh(b"x" * 64 * 1024))).status == 413
        gc.collect()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 1.5 * limit
    assert after - before < 0.1 * limit


async def test_a_whole_body_is_held_once_while_the_app_has_not_asked_for_it(world: World, tmp_path: Path) -> None:
    size = 4 * 1024 * 1024
    held: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        await Host()(scope, receive, send)

    guarded = policed(world, tmp_path, app, max_body=2 * size)
    pieces = [b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{}', *[b" " * 65536] * (size // 65536), b"}"]
    await post(guarded, SAFE)
    upload = Upload(*pieces)
    tracemalloc.start()
    try:
        assert (await post(guarded, upload)).status == 200
    finally:
        tracemalloc.stop()
    assert held[-1] < 1.3 * size


# Slow ones, and ones that end in the middle


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body may take a twentieth of a second: half a minute is what a real client needs, and no test has."""
    monkeypatch.setattr(body_module, "SECONDS", 0.05)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("pieces", [[b""], [SAFE[:20]], [SAFE]], ids=["nothing", "half", "all but the end"])
async def test_a_body_that_never_ends_is_waited_for_so_long(guarded: Any, app: Host, pieces: list[bytes]) -> None:
    reply = await post(guarded, Upload(*pieces, whole=False))
    assert (reply.status, reply.json()["reason"]) == (400, "body_incomplete")
    assert app.untouched


@pytest.mark.usefixtures("hurried")
async def test_dripping_does_not_win_time(guarded: Any, app: Host) -> None:
    """The deadline is for the whole body, not for each piece of it."""
    drops = 0

    class Drip(Upload):
        async def receive(self) -> dict[str, Any]:
            nonlocal drops
            drops += 1
            await asyncio.sleep(0.005)
            return {"type": "http.request", "body": b" ", "more_body": True}

    async with asyncio.timeout(5):
        assert (await post(guarded, Drip())).status == 400
    assert 0 < drops < 50
    assert app.untouched


@pytest.mark.parametrize("pieces", [[], [SAFE[:20]], [SAFE]], ids=["before", "in the middle", "before the end"])
async def test_a_client_that_leaves_before_its_body_is_whole(guarded: Any, app: Host, pieces: list[bytes]) -> None:
    upload = Upload(*pieces, whole=False, gone=True)
    assert (await post(guarded, upload)).status == 400
    assert app.untouched


@pytest.mark.parametrize("key", [KEY, "junk", None])
async def test_no_byte_is_read_before_the_credential_is_good(guarded: Any, app: Host, key: str | None) -> None:
    upload = Upload(SAFE)
    assert (await post(guarded, upload, key=key)).status == (200 if key == KEY else 401)
    assert (upload.taken == 0) == (key != KEY)


async def test_no_byte_is_read_of_a_caller_who_is_over_his_quota(world: World, tmp_path: Path, app: Host) -> None:
    guarded = policed(world, tmp_path, app, rate_limit_tenant="4/60")
    assert (await post(guarded, call("heavy"))).status == 200
    upload = Upload(SAFE)
    assert (await post(guarded, upload)).status == 429
    assert upload.taken == 0


# Other methods


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "TRACE", "post", "get", "PROPFIND", "QUERY"])
async def test_the_body_of_every_method_is_judged(guarded: Any, app: Host, method: str) -> None:
    assert (await post(guarded, BAD, method=method)).status == 403
    assert app.untouched
    assert (await post(guarded, SAFE, method=method)).status == 200


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
async def test_a_body_where_none_belongs_is_judged_all_the_same(
    guarded: Any, app: Host, method: str, announced: bool
) -> None:
    """HTTP/2 announces nothing, and some host may read it."""
    for body, headers, status in (
        (BAD, [], 403),
        (b"x", [], 400),
        (SAFE, [("content-type", "text/plain")], 415),
        (b"x" * (LIMIT + 1), [], 413),
    ):
        length = [("content-length", str(len(body)))] if announced else []
        assert (await post(guarded, body, [*headers, *length], method=method)).status == status
    assert app.untouched


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
async def test_without_a_body_such_a_method_passes_and_hears_when_the_client_leaves(
    guarded: Any, app: Host, method: str
) -> None:
    heard: list[Any] = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        heard.append(await receive())
        heard.append(await receive())
        await Host()(scope, Upload().receive, send)

    guarded.app = stream
    assert (await ask(guarded, headers=bearer(KEY), method=method)).status == 200
    assert (await post(guarded, Upload(b"", gone=True), [("content-length", "0")], method=method)).status == 200
    assert heard[0] == heard[2] == {"type": "http.request", "body": b"", "more_body": False}
    assert heard[3] == {"type": "http.disconnect"}


# What reaches the app

ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
BLANKS = st.text(" \t\r\n", max_size=4)


@st.composite
def odd_bodies(draw: st.DrawFn) -> bytes:
    """A call of ``safe``, written as nobody would."""
    members = [
        ("jsonrpc", "2.0"),
        ("id", draw(st.integers(0, 10**20) | st.text(max_size=8))),
        ("method", "tools/call"),
        ("params", {"name": "safe", "arguments": draw(st.dictionaries(st.text(max_size=8), ODD, max_size=4))}),
    ]
    escaped = draw(st.booleans())
    colon = draw(BLANKS) + ":" + draw(BLANKS)
    comma = draw(BLANKS) + "," + draw(BLANKS)
    text = json.dumps(dict(draw(st.permutations(members))), ensure_ascii=escaped, separators=(comma, colon))
    if draw(st.booleans()):
        text = text.replace('"method"', '"\\u006dethod"').replace('"safe"', '"s\\u0061fe"')
    return (draw(BLANKS) + text + draw(BLANKS)).encode("utf-8", "surrogatepass")


async def test_the_body_reaches_the_app_byte_for_byte_and_in_one_message(world: World, tmp_path: Path) -> None:
    app = Host()
    guarded = policed(world, tmp_path, app, rate_limit_tenant="off")
    passed = 0

    async def send_it(body: bytes, cut: int) -> None:
        nonlocal passed
        app.messages.clear()
        reply = await post(guarded, Upload(body[:cut], body[cut:]))
        if reply.status == 200:
            passed += 1
            assert app.messages == [{"type": "http.request", "body": body, "more_body": False}]
        else:
            assert app.messages == []

    loop = asyncio.get_running_loop()

    @settings(deadline=None, max_examples=150)
    @given(body=odd_bodies(), cut=st.integers(0, 200))
    def each(body: bytes, cut: int) -> None:
        asyncio.run_coroutine_threadsafe(send_it(body, cut), loop).result(10)

    await asyncio.to_thread(each)
    assert passed > 50


@pytest.mark.parametrize(
    "body",
    [
        b' \n{"params":{"arguments":{"n":1e400000,"m":-0.0,"big":%s},"name":"safe"},"id":"\\ud83d\\ude00",'
        b'"method":"tools\\/call","jsonrpc":"2.0"}\r\n' % (b"9" * 400),
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","arguments":{"":"\\u2028\xe2\x80\xa8"}}}',
    ],
    ids=["numbers", "separators"],
)
async def test_odd_but_valid_json_is_not_rewritten(guarded: Any, app: Host, body: bytes) -> None:
    reply = await post(guarded, body)
    if reply.status == 200:
        assert app.messages == [{"type": "http.request", "body": body, "more_body": False}]
    else:  # refused whole is the other safe answer
        assert (reply.status, app.untouched) == (400, True)


async def test_the_app_still_hears_that_the_client_has_left(world: World, tmp_path: Path) -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.extend([(await receive())["type"] for _ in range(3)])

    await post(policed(world, tmp_path, app), Upload(SAFE[:5], SAFE[5:], gone=True))
    assert heard == ["http.request", "http.disconnect", "http.disconnect"]


@pytest.mark.parametrize("credential", ["key", "token"])
async def test_where_nothing_depends_on_the_body_it_is_not_touched(world: World, credential: str) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(receive)
        await Echo()(scope, receive, send)

    guarded = world.guard(app, api_keys=KEYS)
    upload = Upload(b"not JSON at all")
    receive = upload.receive
    token = KEY if credential == "key" else world.idp.google.id_token("ann")
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    for _ in range(2):  # the first request finds out which form of the path the app serves
        await guarded(a_scope(headers=[*bearer(token), ("content-encoding", "gzip")]), receive, send)
        assert upload.taken == 0
    assert [event["status"] for event in sent[::2]] == [200, 200]
    assert seen[1] is receive


# Where somebody writes calls down, and no rule asks


@pytest.fixture
def audited(world: World, tmp_path: Path, app: Host) -> Any:
    return world.guard(app, api_keys=KEYS, audit_sinks=f"file:{tmp_path / 'audit.jsonl'}", max_body=LIMIT)


async def test_an_audit_names_what_is_called(world: World, audited: Any, app: Host) -> None:
    assert (await post(audited, BAD)).status == 200
    (called,) = world.seen.of(Called)
    assert (called.about.method, called.about.name) == ("tools/call", "admin")
    assert app.messages == [{"type": "http.request", "body": BAD, "more_body": False}]


@pytest.mark.parametrize("header", [("content-type", "multipart/form-data; boundary=x"), ("content-encoding", "gzip")])
async def test_an_audit_alone_stands_in_the_way_of_no_other_content(
    world: World, audited: Any, header: tuple[str, str]
) -> None:
    seen: list[Any] = []

    async def upload_of(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await receive())
        await Echo()(scope, receive, send)

    audited.app = upload_of
    assert (await post(audited, Upload(b"x" * (LIMIT + 1), whole=False), [header])).status == 200
    assert seen == [{"type": "http.request", "body": b"x" * (LIMIT + 1), "more_body": True}]
    (called,) = world.seen.of(Called)
    assert called.about.method is None


async def test_nobody_gets_around_the_audit_with_a_body_of_two_readings(audited: Any, app: Host) -> None:
    for body in (MALFORMED["a name twice"], MALFORMED["a method twice"], MALFORMED["two"]):
        assert (await post(audited, body)).status == 400
    assert app.untouched
