"""Request ids of ours and of proxies; the trace a request belongs to."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.adapters.forwarded import Peer
from tenantry.adapters.request_ids import RequestIds
from tenantry.core.traces import trace_id

STRANGER = Peer("203.0.113.9", https=True, trusted=False)
PROXY = Peer("203.0.113.9", https=True, trusted=True)
OURS = re.compile(r"[0-9a-f]{12}-[0-9a-f]+")


def test_ids_are_unique_within_a_process_and_between_processes() -> None:
    one, other = RequestIds(), RequestIds()
    made = [ids.of(None, STRANGER) for ids in (one, other) for _ in range(10_000)]
    assert len(set(made)) == 20_000
    assert all(OURS.fullmatch(text) for text in made)


@pytest.mark.parametrize(
    "told",
    ["a", "req-1.2_3", str(uuid.UUID(int=2**127 + 5)), "0af7651916cd43dd8448eb211c80319c", "01JDQ3ZK8M4E5X6Y7Z8A9B0C1D",
     "x" * 31, "01JDQ3ZK8M4E5X6Y7Z8A9B0C1D-fra"],
)  # fmt: skip
def test_a_trusted_proxy_s_id_is_taken(told: str) -> None:
    assert RequestIds().of(told.encode(), PROXY) == told


@pytest.mark.parametrize("told", ["a", "0af7651916cd43dd8448eb211c80319c"])
def test_a_stranger_s_is_not(told: str) -> None:
    assert OURS.fullmatch(RequestIds().of(told.encode(), STRANGER))


@pytest.mark.parametrize(
    "told",
    [b"", b" ", b"a b", b"a\r\nb", b"a;b", b"a" * 65, b"\xff", b"a\x00", b"a\n", b"{}", b"<x>", b"a/b",
     b"gho_x1234567890", b"ghp_0123456789abcdefghijABCDEFGHIJ012345", b"eyJhbGciOiJub25lIn0.e30.x", b"ya29.a0AfH6SMBx",
     b"mcpk_live_0123456789_abcdefghij", b"Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y", b"0" * 20 + b"a" * 20],
)  # fmt: skip
def test_what_is_no_id_or_could_be_a_credential_is_replaced(told: bytes) -> None:
    assert OURS.fullmatch(RequestIds().of(told, PROXY))


TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def headers(*values: str) -> list[Any]:
    return [(b"host", b"x"), *((b"traceparent", value.encode("latin-1")) for value in values)]


@pytest.mark.parametrize(
    "value",
    [f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-ff", f"01-{TRACE}-{PARENT}-00", f"cc-{TRACE}-{PARENT}-01-more"],
)
def test_a_well_formed_traceparent_gives_its_trace(value: str) -> None:
    assert trace_id(headers(value)) == TRACE


@pytest.mark.parametrize(
    "value",
    ["", "00", f"00-{TRACE}-{PARENT}", f"00-{TRACE}-{PARENT}-1", f"00-{TRACE}-{PARENT}-01-",
     f"00-{TRACE}-{PARENT}-01-x", f"ff-{TRACE}-{PARENT}-01", f"0-{TRACE}-{PARENT}-010",
     f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
     f"00-{TRACE.upper()}-{PARENT}-01", f"0G-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-0g", f"00_{TRACE}_{PARENT}_01",
     f" 00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01 ", f"00-{TRACE[:-1]}-{PARENT}x-01",
     f"01-{TRACE}-{PARENT}-01x", f"00-{TRACE},{PARENT}-01", "x" * 55, "-" * 55, "eyJhbGciOiJub25lIn0." + "e" * 34],
)  # fmt: skip
def test_a_malformed_traceparent_gives_none(value: str) -> None:
    assert trace_id(headers(value)) is None


def test_two_traceparents_give_none() -> None:
    value = f"00-{TRACE}-{PARENT}-01"
    assert trace_id(headers(value, value)) is None
    assert trace_id(headers()) is None


@given(st.binary(max_size=80))
def test_whatever_is_sent_a_trace_is_32_hexadecimal_digits_or_none(value: bytes) -> None:
    found = trace_id([(b"traceparent", value)])
    assert found is None or re.fullmatch(r"[0-9a-f]{32}", found)
