"""The queue and the sinks: nobody waits for them, what fails is tried again, and what is lost is counted."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.audit.trails import about, call, findings, notes, put, rows, running, settings, text_of, until

from tenantry.adapters.audit import Audit
from tenantry.adapters.audit.events import Event
from tenantry.adapters.audit.pseudonyms import Naming
from tenantry.adapters.audit.writer import QUEUED
from tenantry.errors import Unavailable
from tenantry.observations import EventsDropped, Misconfigured, Observation, Refused

pytestmark = pytest.mark.anyio


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


class Failing:
    """A sink that fails while it is told to."""

    def __init__(self, name: str = "failing", *, fails: bool = True) -> None:
        self.name, self.fails = name, fails
        self.written: list[Event] = []

    async def write(self, events: Sequence[Event]) -> None:
        if self.fails:
            raise OSError("no")
        self.written += events

    async def aclose(self) -> None:
        pass


def audit_over(*sinks: Any, on_error: str) -> tuple[Audit, list[Observation]]:
    heard: list[Observation] = []
    naming = Naming("plain", "off")
    made = Audit(sinks, heard.append, writer="a" * 16, naming=naming, keys=None, on_error=on_error)
    return made, heard


def refuses(audit: Audit) -> bool:
    try:
        audit.check()
    except Unavailable as refusal:
        return bool(refusal.reason == "audit_unavailable" and refusal.retry_after)
    return False


async def test_what_is_observed_before_the_start_is_written_too(log: Path) -> None:
    async with running(settings(audit_sinks=(f"file:{log}",))) as audit:
        audit.observe(call(1))
        await audit.flush()
        assert rows(log)[-1]["request_id"] == "request-1"
    assert (os.stat(log).st_mode & 0o777, audit.dropped) == (0o600, 0)
    assert (os.stat(log.with_name("audit.log.keys")).st_mode & 0o777) == 0o600


async def test_what_is_queued_at_the_end_is_written(log: Path) -> None:
    async with running(settings(audit_sinks=(f"file:{log}",))) as audit:
        for number in range(3000):
            audit.observe(call(number))
    assert len(rows(log)) == 3001
    assert findings(log) == []


# --- A sink that fails ------------------------------------------------------------------------------------------------


async def test_closed_refuses_at_once_while_a_sink_fails_and_loses_nothing(log: Path) -> None:
    """The file's name is taken by a folder, and then is free again."""
    heard: list[Observation] = []
    async with running(settings(audit_sinks=(f"file:{log}",)), heard.append) as audit:
        os.mkdir(log)
        assert not refuses(audit)
        audit.observe(call(1))
        await until(lambda: refuses(audit))
        assert isinstance(heard[-1], Misconfigured)
        audit.observe(call(2))
        os.rmdir(log)
        await until(lambda: not refuses(audit))
        await audit.flush()
    events = [(row["event"], row.get("request_id")) for row in rows(log)]
    assert events[:2] == [("writer.started", None), ("called", "request-1")]
    assert {("outage.began", None), ("outage.ended", None), ("called", "request-2")} < set(events)
    assert audit.dropped == 0
    assert findings(log) == []


async def test_open_lets_in_and_counts_what_is_lost() -> None:
    sink = Failing()
    audit, heard = audit_over(sink, on_error="open")
    audit.start()
    for number in range(QUEUED):
        audit.observe(call(number))
    await until(lambda: not audit._queue)
    assert not refuses(audit)
    for number in range(50):
        audit.observe(call(number))
    await until(lambda: audit.dropped >= 50)
    assert not refuses(audit)
    sink.fails = False
    await until(lambda: not sink.fails and any(event.event == "events.dropped" for event in sink.written))
    await audit.aclose()
    (dropped,) = [event for event in sink.written if event.event == "events.dropped"]
    assert json.loads("{" + dropped.body + "}")["subject"] == "failing"
    said = [each for each in heard if isinstance(each, EventsDropped)]
    assert sum(each.count for each in said) == audit.dropped
    assert {each.sink for each in said} == {"failing"}
    assert len([event for event in sink.written if event.event == "called"]) + audit.dropped >= QUEUED + 50


async def test_a_sink_that_fails_keeps_no_other_waiting() -> None:
    failing, sound = Failing(), Failing("sound", fails=False)
    audit, _ = audit_over(failing, sound, on_error="open")
    audit.start()
    audit.observe(call())
    await until(lambda: bool(sound.written))
    failing.fails = False
    await audit.aclose()
    assert failing.written[0].body == sound.written[0].body


async def test_a_full_queue_refuses_and_keeps_room_for_those_that_are_in() -> None:
    """Nothing takes from the queue, because nothing has been started."""
    audit, _ = audit_over(Failing(), on_error="closed")
    for number in range(QUEUED):
        audit.observe(call(number))
    assert not refuses(audit)
    audit.observe(call())
    assert refuses(audit)
    audit.observe(Refused(503, "audit_unavailable", None, None, about()))
    assert audit.dropped == 0
    for number in range(QUEUED + 10):
        audit.observe(call(number))
    assert audit.dropped == 11
    await audit.aclose()


async def test_what_cannot_be_written_by_the_end_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenantry.adapters.audit.writer._CLOSE_SECONDS", 0.1)
    audit, heard = audit_over(Failing(), on_error="closed")
    audit.start()
    audit.observe(call())
    await audit.aclose()
    assert heard[-1] == EventsDropped("failing", audit.dropped)
    assert audit.dropped >= 1


async def test_an_observation_that_cannot_be_told_does_not_keep_the_others() -> None:
    sink = Failing(fails=False)
    audit, heard = audit_over(sink, on_error="closed")
    audit.start()
    audit.observe(Refused("not a number", "token_expired", None, None, about()))  # type: ignore[arg-type]
    audit.observe(call())
    await audit.aclose()
    assert [event.event for event in sink.written if event.event != "events.dropped"] == ["called"]
    assert type(heard[0]).__name__ == "InternalError"


async def test_a_full_disk_is_waited_out(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of what is to be written fits, as on a full disk; then there is room."""
    write, full = os.write, [True]

    def short(file: int, data: Any) -> int:
        if full[0] and len(data) > 600 and b'"seq":' in bytes(data[:200]):
            return write(file, data[: len(data) // 2])
        if full[0] and b'"prev":' in bytes(data):
            raise OSError(28, "No space left on device")
        return write(file, data)

    async with running(settings(audit_sinks=(f"file:{log}",))) as audit:
        audit.observe(call(1))
        await audit.flush()
        monkeypatch.setattr(os, "write", short)
        audit.observe(call(2))
        await until(lambda: refuses(audit))
        assert [row["event"] for row in rows(log)] == ["writer.started", "called"]
        full[0] = False
        await until(lambda: not refuses(audit))
        await audit.flush()
    assert findings(log) == notes(log) == []
    assert [row["request_id"] for row in rows(log) if "request_id" in row] == ["request-1", "request-2"]


# --- Several processes, and their end ---------------------------------------------------------------------------------

_PROCESS = """
import asyncio, os, signal, sys
from pathlib import Path
from tests.adapters.audit.trails import call, caller, running, settings

path, number, step = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

def end():
    os.kill(os.getpid(), signal.SIGKILL)

write, replace, fsync = os.write, os.replace, os.fsync

def writing(file, data):
    if b'"request-last"' in bytes(data):
        if step == "before rows":
            end()
        if step == "within rows":
            write(file, data[: len(data) - 40])
            end()
    return write(file, data)

def forcing(file):
    fsync(file)
    if step == "after rows" and last():
        end()

def replacing(old, new):
    if step == "before heads" and last():
        end()
    replace(old, new)
    if step == "after heads" and last():
        end()

def last():
    return b'"request-last"' in path.read_bytes()

async def main():
    async with running(settings(audit_sinks=(f"file:{path}",))) as audit:
        for batch in range(3):
            for each in range(40):
                audit.observe(call(number * 1000 + batch * 40 + each, caller(each % 7)))
            await audit.flush()
        os.write, os.replace, os.fsync = writing, replacing, forcing
        if step != "to the end":
            audit.observe(call("last"))
            await audit.flush()

asyncio.run(main())
"""


def process(log: Path, number: int, step: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(Path(__file__).parents[3]), *sys.path])
    command = [sys.executable, "-c", _PROCESS, str(log), str(number), step]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})


async def test_processes_share_a_file_and_people_have_one_name_in_it(log: Path) -> None:
    processes = [process(log, number, "to the end") for number in range(3)]
    for each in processes:
        assert await asyncio.to_thread(each.wait, 60) == 0
    assert findings(log) == notes(log) == []
    found = rows(log)
    assert len({row["request_id"] for row in found if "request_id" in row}) == 360
    assert len({row["user"] for row in found if "user" in row}) == 7


@pytest.mark.parametrize("step", ["before rows", "within rows", "after rows", "before heads", "after heads"])
async def test_a_killed_process_leaves_a_trail_that_holds_and_can_be_gone_on_with(log: Path, step: str) -> None:
    killed = process(log, 1, step)
    assert await asyncio.to_thread(killed.wait, 60) == -signal.SIGKILL
    assert findings(log) == []
    there = '"request-last"' in text_of(log)
    assert there == (step != "before rows")
    confirmed = step in ("before rows", "after heads")
    assert bool(notes(log)) != confirmed
    async with running(settings(audit_sinks=(f"file:{log}",))) as audit:
        audit.observe(call("next"))
    assert findings(log) == []
    assert json.loads(text_of(log).splitlines()[-1])["request_id"] == "request-next"
    _what_was_confirmed_is_missed(log)


def _what_was_confirmed_is_missed(log: Path) -> None:
    lines = text_of(log).splitlines(keepends=True)
    put(log, "".join(line for line in lines if '"request-1119"' not in line))
    assert findings(log)


async def test_a_lock_that_somebody_keeps_makes_the_sink_fail_and_not_hang(log: Path) -> None:
    import fcntl

    lock = os.open(log.with_name("audit.log.lock"), os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    async with running(settings(audit_sinks=(f"file:{log}",), audit_users="plain", audit_email="off")) as audit:
        audit.observe(call())
        await until(lambda: refuses(audit))
        os.close(lock)
        await until(lambda: not refuses(audit))
    assert findings(log) == []


async def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(log: Path) -> None:
    async with running(settings(audit_sinks=(f"file:{log}",))) as audit:
        os.mkfifo(log)
        audit.observe(call())
        await until(lambda: refuses(audit))
        os.unlink(log)
        await until(lambda: not refuses(audit))
    assert findings(log) == []


async def test_a_folder_that_went_and_came_again_is_written_to(log: Path) -> None:
    async with running(settings(audit_sinks=(f"file:{log}",))) as audit:
        audit.observe(call(1))
        await audit.flush()
        shutil.rmtree(log.parent)
        audit.observe(call(2))
        await until(lambda: refuses(audit))
        os.mkdir(log.parent)
        await until(lambda: not refuses(audit))
    assert [row["event"] for row in rows(log)][:2] == ["writer.continued", "called"]
