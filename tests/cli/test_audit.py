"""``tenantry audit``: reading, proving and erasing, on files; ``tests/postgres/test_audit.py`` has the database."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.adapters.audit.trails import KEY, about, call, caller, written

from tenantry.observations import Admitted, Refused

Done = subprocess.CompletedProcess[str]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "audit.log"
    seen = [
        Admitted(caller(1), about()),
        call(1, caller(1)),
        call(2, caller(2, tenant="beta_org")),
        Refused(401, "token_expired", None, None, about(3, method="tools/call", name="evil\x1b[2J"), "google"),
    ]
    asyncio.run(written(path, *seen))
    return path


@pytest.fixture
def audit(run: Callable[..., Done], log: Path) -> Callable[..., Done]:
    """``tenantry audit ...`` where the settings name the file."""

    def command(*words: str, **env: str) -> Done:
        return run("audit", *words, **{"MCP_HTTP_AUDIT_SINKS": f"file:{log}", **env})

    return command


def found(done: Done) -> list[dict]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_tail_shows_the_newest_rows_with_people_as_they_are(audit: Callable[..., Done]) -> None:
    rows = found(audit("tail", "--limit", "3", "--json"))
    assert [(row["event"], row.get("user")) for row in rows] == [
        ("called", "google:1"),
        ("called", "google:2"),
        ("refused", None),
    ]


def test_text_for_people_cannot_move_their_cursor(audit: Callable[..., Done]) -> None:
    said = audit("tail")
    assert len(said.stdout.splitlines()) == 5
    assert all(line.isprintable() for line in said.stdout.splitlines())
    assert "reason=token_expired" in said.stdout


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["--user", "google:2"], ["request-2"]),
        (["--tenant", "acme_com"], ["request-1", "request-1"]),
        (["--event", "called"], ["request-1", "request-2"]),
        (["--event", "refused", "--event", "admitted"], ["request-1", "request-3"]),
        (["--since", "2099-01-01T00:00:00Z"], []),
        (["--until", "2001-01-01T00:00:00+02:00"], []),
        (["--user", "google:99"], []),
        (["--limit", "1"], ["request-3"]),
    ],
)
def test_search_finds_what_was_asked_for(audit: Callable[..., Done], words: list[str], ids: list[str]) -> None:
    assert [row["request_id"] for row in found(audit("search", "--json", *words))] == ids


def test_ocsf_is_one_event_a_line(audit: Callable[..., Done]) -> None:
    classes = [event["class_uid"] for event in found(audit("search", "--format", "ocsf"))]
    assert classes == [6002, 3002, 6003, 6003, 3002]


def test_verify_says_whole_and_names_what_is_wrong(audit: Callable[..., Done], log: Path) -> None:
    said = audit("verify")
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "5 rows: whole.\n")
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join([*lines[:2], *lines[3:]]))
    said = audit("verify")
    assert said.returncode == 1
    assert "row 4 follows row 2: row 3 is missing" in said.stdout
    said = audit("verify", str(log), "--json")
    assert said.returncode == 1
    assert json.loads(said.stdout)["findings"][0]["seq"] == 4


def test_verify_needs_the_key_that_sealed_it(run: Callable[..., Done], tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    asyncio.run(written(log, call(), audit_hmac_key=KEY))
    assert run("audit", "verify", str(log), MCP_HTTP_AUDIT_HMAC_KEY=KEY).returncode == 0
    said = run("audit", "verify", str(log))
    assert said.returncode == 1
    assert "another key" in said.stdout
    assert KEY not in said.stdout + said.stderr


def test_a_person_who_was_erased_is_found_no_more(audit: Callable[..., Done], log: Path) -> None:
    before = log.read_bytes()
    said = audit("erase", "--user", "google:1")
    assert said.returncode == 0, said.stderr
    assert found(audit("search", "--json", "--user", "google:1")) == []
    assert [row["user"] for row in found(audit("search", "--json", "--user", "google:2"))] == ["google:2"]
    assert (log.read_bytes(), audit("verify").returncode) == (before, 0)
    assert "google:1" not in log.with_name("audit.log.keys").read_text()
    assert audit("erase", "--user", "google:1").returncode == 1
    asyncio.run(written(log, call(9, caller(1))))
    (row,) = found(audit("search", "--json", "--user", "google:1"))
    assert row["request_id"] == "request-9"


def test_on_standard_output_alone_nobody_can_be_erased(run: Callable[..., Done]) -> None:
    said = run("audit", "erase", "--user", "google:1", MCP_HTTP_AUDIT_SINKS="stdout", MCP_HTTP_AUDIT_HMAC_KEY=KEY)
    assert said.returncode == 2
    assert "nobody can be erased" in said.stderr


def test_follow_shows_what_comes(start: Callable, log: Path) -> None:
    running = start("audit", "tail", "--follow", "--json", "--limit", "1", MCP_HTTP_AUDIT_SINKS=f"file:{log}")
    assert json.loads(running.process.stdout.readline())["request_id"] == "request-3"
    asyncio.run(written(log, call(7)))
    assert json.loads(running.process.stdout.readline())["event"] == "writer.started"
    assert json.loads(running.process.stdout.readline())["request_id"] == "request-7"
    assert running.stop(signal.SIGINT) == 130


@pytest.mark.parametrize(
    ("words", "env", "sentence"),
    [
        (["tail"], {}, "set MCP_HTTP_AUDIT_SINKS, or name a file"),
        (["verify", "/no/such/file"], {}, "is not a file"),
        (["tail"], {"MCP_HTTP_AUDIT_SINKS": "stdout"}, "standard output alone"),
        (["verify"], {"MCP_HTTP_AUDIT_SINKS": "file:/tmp/no-such-audit.log"}, "nothing has been written yet"),
        (["search", "--event", "nonsense"], {}, "no event 'nonsense'"),
        (["search", "--since", "yesterday"], {}, "--since"),
        (["search", "--since", "2027-01-01T00:00:00"], {}, "time zone"),
        (["search", "--limit", "0"], {}, "--limit"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    run: Callable[..., Done], words: list[str], env: dict[str, str], sentence: str
) -> None:
    said = run("audit", *words, **env)
    assert (said.returncode, said.stdout) == (2, "")
    assert sentence in said.stderr
    assert "Traceback" not in said.stderr
