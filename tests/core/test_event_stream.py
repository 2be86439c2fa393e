"""Event streams in transit: the same output however the stream is cut, byte for byte where nothing is replaced."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenantry.core.event_stream import EventStream, EventTooLarge

LIMIT = 1000
_FIELDS = st.sampled_from(
    [
        "data: plain",
        "data:no blank",
        "data:  two blanks",
        "data",
        "data: SECRET",
        "data: ключ 🔑 SECRET",
        "event: message",
        "id: 42",
        "retry: 100",
        ": ping",
        ":",
        "datum: SECRET",
        " data: SECRET",
        "",
        "",
    ]
)
_STREAMS = st.tuples(
    st.sampled_from(["", "\ufeff"]), st.lists(st.tuples(_FIELDS, st.sampled_from(["\n", "\r\n", "\r"])), max_size=20)
).map(lambda parts: (parts[0] + "".join(field + end for field, end in parts[1])).encode())


def reading(chunks: list[bytes], *, replacement: bytes | None = None) -> tuple[bytes, list[bytes]]:
    """(what went out, the data of the events)."""
    seen: list[bytes] = []

    def rewrite(data: bytes) -> bytes | None:
        seen.append(data)
        return replacement if replacement is not None and b"SECRET" in data else None

    stream = EventStream(rewrite, LIMIT)
    return b"".join(map(stream.feed, chunks)) + stream.end(), seen


def cut(text: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[begin:end] for begin, end in pairwise(edges)]


def as_a_client_reads(text: bytes) -> list[dict[str, str]]:
    """Events by the standard's own steps (HTML, section 9.2.6)."""
    events, data, event = [], [], {}
    decoded = text.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for line in decoded.split("\n")[:-1]:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append({**event, "data": "\n".join(data)})
            data, event = [], {k: v for k, v in event.items() if k == "id"}
        elif name == "data":
            data.append(value)
        elif name in ("event", "id", "retry"):
            event[name] = value
    return events


@given(_STREAMS, st.lists(st.integers(0, 10_000), max_size=30))
def test_what_is_left_alone_passes_byte_for_byte_however_it_is_cut(text: bytes, places: list[int]) -> None:
    assert reading(cut(text, places))[0] == text


@given(_STREAMS, st.lists(st.integers(0, 10_000), max_size=30))
def test_the_cuts_make_no_difference_to_what_is_replaced(text: bytes, places: list[int]) -> None:
    whole = reading([text], replacement=b"cut")
    assert reading(cut(text, places), replacement=b"cut") == whole
    assert reading([text[i : i + 1] for i in range(len(text))], replacement=b"cut") == whole


@given(_STREAMS)
@example(b"data: plain\rdata: SECRET\n\ndata: plain\n")
@example(b"data: SECRET\rid: 42\rdata: plain\n\ndata: plain\n")
def test_a_client_sees_every_event_with_its_fields_and_the_new_data(text: bytes) -> None:
    expected = [
        {**event, "data": "cut"} if "SECRET" in event["data"] else event for event in as_a_client_reads(text + b"\n\n")
    ]
    assert as_a_client_reads(reading([text + b"\n\n"], replacement=b"cut")[0]) == expected


@given(_STREAMS)
def test_no_data_of_a_replaced_event_goes_out(text: bytes) -> None:
    out = reading([text], replacement=b"cut")[0]
    assert b"SECRET" not in b"".join(
        line for line in out.splitlines() if line.startswith((b"data", b"\xef\xbb\xbfdata"))
    )


def test_an_event_goes_out_with_its_last_byte_and_a_comment_at_once() -> None:
    stream = EventStream(lambda data: None, LIMIT)
    assert stream.feed(b": ping\n") == b": ping\n"
    assert stream.feed(b"id: 1\r") == b"id: 1\r"
    assert stream.feed(b"\ndata: a\r") == b"\n"
    assert stream.feed(b"\n\r") == b"data: a\r\n\r"
    assert stream.feed(b"\n") == b"\n"


def test_the_lines_of_one_events_data_are_joined() -> None:
    assert reading([b"data: {\ndata: }\n\n"])[1] == [b"{\n}"]


def test_an_event_that_never_ends_is_read_at_the_end() -> None:
    assert reading([b"event: x\ndata: SECR", b"ET"], replacement=b"cut")[0] == b"event: x\ndata: cut\n"


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 50, b"data: " + b"x" * 50 + b"\n", b"x" * 60])
def test_what_is_held_is_bounded(piece: bytes) -> None:
    stream = EventStream(lambda data: None, LIMIT)
    with pytest.raises(EventTooLarge):
        deque(map(stream.feed, [piece] * 100), maxlen=0)


def test_a_long_stream_of_small_events_is_no_large_event() -> None:
    stream = EventStream(lambda data: None, LIMIT)
    for _ in range(100):
        assert stream.feed(b"data: " + b"x" * 500 + b"\n\n")
