"""``verify`` finds whatever one does to a trail, and nothing where nobody did anything."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.adapters.audit.trails import (
    KEY,
    call,
    caller,
    findings,
    notes,
    put,
    rows,
    running,
    settings,
    text_of,
    written,
)

from tenantry.adapters.audit.chain import GENESIS, Chain, Seal
from tenantry.adapters.audit.verify import Verification

pytestmark = pytest.mark.anyio

ROWS = 6
WRITERS = ("a" * 16, "b" * 16)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def trail(key: bytes | None) -> tuple[list[str], dict]:
    """Rows of two writers in turn, and their heads."""
    seal = Seal(key)
    kept, heads = {}, {}
    for writer in WRITERS:
        bodies = [f'"id":"{writer}-{n}","at":"2026-01-01T00:00:00.00000{n}Z","event":"called"' for n in range(ROWS)]
        kept[writer], heads[writer] = Chain(writer, "file", seal).rows((0, GENESIS), bodies)
    return [line for pair in zip(*kept.values(), strict=True) for line in pair], heads


def found(lines: list[str], heads: dict, key: bytes | None, *, strict: bool = False) -> list:
    checking = Verification(Seal(key), "here", heads, strict=strict)
    for line in lines:
        checking.add(line)
    checking.finish()
    return checking.findings


@given(key=st.sampled_from([None, KEY.encode()]))
def test_an_untouched_trail_is_whole(key: bytes | None) -> None:
    lines, heads = trail(key)
    assert found(lines, heads, key) == []
    assert found(lines, heads, key, strict=True) == []


@given(key=st.sampled_from([None, KEY.encode()]), first=st.integers(0, 11), count=st.integers(1, 12))
def test_rows_that_were_removed_are_missed(key: bytes | None, first: int, count: int) -> None:
    """Anywhere: at the beginning, in the middle, at the end, all of a writer's, all there are."""
    lines, heads = trail(key)
    del lines[first : first + count]
    assert found(lines, heads, key)


@given(writer=st.sampled_from(WRITERS))
def test_a_writer_without_a_row_is_missed(writer: str) -> None:
    lines, heads = trail(None)
    assert found([line for line in lines if writer not in line], heads, None)


@given(place=st.integers(0, 11), offset=st.integers(0, 400), byte=st.characters(min_codepoint=32, max_codepoint=126))
def test_a_character_that_was_changed_is_found(place: int, offset: int, byte: str) -> None:
    lines, heads = trail(KEY.encode())
    line = lines[place]
    offset %= len(line)
    lines[place] = line[:offset] + byte + line[offset + 1 :]
    assert bool(found(lines, heads, KEY.encode())) == (lines[place] != line)


@given(one=st.integers(0, 11), other=st.integers(0, 11))
def test_rows_of_a_writer_that_were_swapped_are_found(one: int, other: int) -> None:
    lines, heads = trail(None)
    same = one % 2 == other % 2 and one != other
    lines[one], lines[other] = lines[other], lines[one]
    order = [json.loads(line)["seq"] for line in lines if WRITERS[0] in line]
    others = [json.loads(line)["seq"] for line in lines if WRITERS[1] in line]
    assert bool(found(lines, heads, None)) == (same or order != sorted(order) or others != sorted(others))


@given(place=st.integers(0, 11), to=st.integers(0, 12))
def test_a_row_that_is_there_twice_is_found(place: int, to: int) -> None:
    lines, heads = trail(None)
    lines.insert(to, lines[place])
    assert found(lines, heads, None)


@given(place=st.integers(0, 10))
def test_whoever_recomputes_the_chain_is_found_out_by_the_key(place: int) -> None:
    """Without a key he can make a chain that holds, and the heads alone speak against it."""
    for key, other in ((None, None), (KEY.encode(), None), (KEY.encode(), b"guessed")):
        lines, heads = trail(key)
        forged = _recomputed(lines, place, Seal(other))
        assert found(forged, heads, key)
        if key is not None:
            assert found(forged, {}, key)


def _recomputed(lines: list[str], place: int, seal: Seal) -> list[str]:
    writer = json.loads(lines[place])["writer"]
    forged, previous = [], (0, GENESIS)
    for number, line in enumerate(lines):
        members = json.loads(line)
        if members["writer"] == writer:
            event = "admitted" if number == place else "called"
            body = f'"id":"{members["id"]}","at":"{members["at"]}","event":"{event}"'
            (line,), previous = Chain(writer, "file", seal).rows(previous, [body])
        forged.append(line)
    return forged


# --- In files ---------------------------------------------------------------------------------------------------------


async def test_a_file_that_was_written_is_whole(log: Path) -> None:
    for _ in range(3):
        await written(log, *[call(number, caller(number % 5)) for number in range(50)])
    assert findings(log) == []
    assert notes(log) == []


async def test_a_random_change_of_a_file_is_found(log: Path, tmp_path: Path) -> None:
    for _ in range(2):
        await written(log, *[call(number) for number in range(20)], audit_hmac_key=KEY)
    whole, chance = text_of(log), random.Random(7)
    for _ in range(200):
        lines = whole.splitlines(keepends=True)
        kind, one, other = chance.choice("rcst"), chance.randrange(len(lines)), 0
        if kind == "r":
            del lines[one]
        elif kind == "c":
            lines[one] = lines[one].replace('"event":"called"', '"event":"callde"').replace("started", "statred")
        elif kind == "s":
            other = one // 21 * 21 + (one + 1) % 21  # of the same writer: each has 21 rows
            lines[one], lines[other] = lines[other], lines[one]
        else:
            del lines[one:]
        put(log, "".join(lines))
        assert findings(log, KEY), (kind, one, other)
    put(log, whole)
    assert findings(log, KEY) == []


async def test_an_emptied_file_and_missing_heads_are_found(log: Path) -> None:
    await written(log, call())
    heads = log.with_name("audit.log.heads")
    kept, text = text_of(heads), text_of(log)
    put(log, "")
    assert findings(log)
    put(log, text)
    os.unlink(heads)
    assert "no heads" in findings(log)[0]
    put(heads, kept)
    assert findings(log) == []


async def test_heads_that_were_moved_back_are_found_where_there_is_a_key(log: Path) -> None:
    await written(log, *[call(number) for number in range(5)], audit_hmac_key=KEY)
    heads = log.with_name("audit.log.heads")
    content = json.loads(text_of(heads).splitlines()[0])
    lines = text_of(log).splitlines(keepends=True)
    put(log, "".join(lines[:-2]))
    ((writer, _),) = content["writers"].items()
    last = json.loads(lines[-3])
    content["writers"][writer] = [last["seq"], last["hash"]]
    text = json.dumps(content, separators=(",", ":"))
    put(heads, f"{text}\n{Seal(None).head(text.encode())}\n")
    assert "heads" in findings(log, KEY)[0]


async def test_the_wrong_key_is_told_apart_from_a_change(log: Path) -> None:
    await written(log, call(), audit_hmac_key=KEY)
    assert any("another key" in finding for finding in findings(log, KEY[::-1]))
    other = log.with_name("other.log")
    await written(other, call())
    assert any("without the key" in finding for finding in findings(other, KEY))


async def test_a_torn_last_line_is_told_and_the_next_writer_loses_nothing(log: Path) -> None:
    await written(log, call(1), call(2))
    with log.open("ab") as file:
        file.write(b'{"v":1,"writer":"ffffffffffffffff","stream":"file","seq":1,"id":"fff')
    assert findings(log) == []
    assert "is no whole row" in notes(log)[0]
    async with running(settings(audit_sinks=(f"file:{log}",))) as audit:
        audit.observe(call(3))
    assert findings(log) == []
    assert "line 4 is no whole row" in notes(log)[0]
    assert json.loads(text_of(log).splitlines()[-1])["request_id"] == "request-3"


# --- Rotation ---------------------------------------------------------------------------------------------------------


async def test_a_trail_goes_on_in_a_new_file_and_each_file_is_verified(log: Path) -> None:
    old = log.with_name("audit.log.1")
    async with running(settings(audit_sinks=(f"file:{log}",))) as audit:
        audit.observe(call(1))
        await audit.flush()
        os.rename(log, old)
        audit.observe(call(2))
        await audit.flush()
    await written(log, call(3))
    assert [row["event"] for row in rows(log)] == ["writer.continued", "called", "writer.started", "called"]
    assert findings([log, old]) == []
    assert findings(log) == findings(old) == []
    assert "older file" in notes(log)[0]
    lines = text_of(old).splitlines(keepends=True)
    put(old, "".join(lines[:-1]))
    assert findings(old)
    assert findings([log, old])


async def test_a_file_that_was_emptied_by_copying_is_begun_anew(log: Path) -> None:
    old = log.with_name("audit.log.1")
    async with running(settings(audit_sinks=(f"file:{log}",))) as audit:
        audit.observe(call(1))
        await audit.flush()
        shutil.copy(log, old)
        os.truncate(log, 0)
        audit.observe(call(2))
        await audit.flush()
    assert findings([old, log]) == []
    assert rows(log)[0]["event"] == "writer.continued"
