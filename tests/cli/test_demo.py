"""``tenantry demo``, as a process: the tour, what it prints, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import environment

import tenantry
from tenantry.devidp import DevIdp

SERVING = r"Serving on (http://127\.0\.0\.1:\d+/mcp) until Ctrl-C"


@contextlib.contextmanager
def taken(port: int) -> Iterator[int]:
    """A port of 127.0.0.1 that somebody listens on (0: any)."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # taken by somebody else: just as well
            listener.bind(("127.0.0.1", port))
            listener.listen()
        yield port or listener.getsockname()[1]


@pytest.fixture(scope="module")
def tour(run: Callable) -> subprocess.CompletedProcess[str]:
    """One run of ``demo --once --json`` while the default port is taken."""
    with taken(8080):
        return run("demo", "--once", "--json")


@pytest.fixture(scope="module")
def report(tour: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """Its standard output, which is one JSON object and nothing else."""
    found: dict[str, Any] = json.loads(tour.stdout)
    return found


def test_every_row_came_out_as_expected(tour: subprocess.CompletedProcess[str], report: dict[str, Any]) -> None:
    assert tour.returncode == 0, tour.stderr
    assert report["ok"]
    rows = [*report["callers"], *report["refusals"], *report["lists"], *report["answers"], report["audit"]]
    assert [row["ok"] for row in rows] == [True] * 17


def test_each_kind_of_credential_is_let_in(report: dict[str, Any]) -> None:
    assert len(report["callers"]) == 5
    kinds = {row["credential"]: row["provider"] for row in report["callers"]}
    assert kinds == {
        "Google ID token": "google",
        "Google access token": "google",
        "Auth0 JWT": "auth0",
        "GitHub token": "github",
        "API key": "api_key",
    }


@pytest.fixture(scope="module")
def everybody(run: Callable) -> dict[str, Any]:
    """One run of ``demo --once --json --all-providers``."""
    done = run("demo", "--once", "--json", "--all-providers", "--port", "0")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_with_all_providers_one_caller_of_each_is_admitted(everybody: dict[str, Any]) -> None:
    """Of each that the development identity provider can be, and a service account of Google's."""
    known = {*DevIdp().issuers, "google", "auth0", "github", "api_key", "opaque", "google-workload"}
    assert {row["provider"] for row in everybody["callers"]} == known
    assert all(row["ok"] for row in everybody["callers"])


def test_with_all_providers_nobody_shares_a_tenant_but_where_a_workspace_or_a_rule_says_so(
    everybody: dict[str, Any],
) -> None:
    shared: dict[str, set[str]] = {}
    for row in everybody["callers"]:
        shared.setdefault(row["tenant_id"], set()).add(row["provider"])
    assert {tenant: providers for tenant, providers in shared.items() if len(providers) > 1} == {
        "acme": {"github-actions", "gitlab-ci", "kubernetes", "google-workload"}
    }


def test_two_colleagues_share_a_tenant_and_see_each_others_notes(report: dict[str, Any]) -> None:
    by_name = {row["caller"]: row for row in report["callers"]}
    ann, bob = by_name["ann"], by_name["bob"]
    assert ann["user_id"] != bob["user_id"]
    assert ann["tenant_id"] == bob["tenant_id"] == "acme_example"
    assert ann["schema"] == bob["schema"] == "tenant_acme_example"
    assert set(ann["notes"]) == set(bob["notes"]) == {"a note by ann", "a note by bob"}


def test_everybody_else_is_alone_in_a_schema(report: dict[str, Any]) -> None:
    others = [row for row in report["callers"] if row["caller"] not in ("ann", "bob")]
    assert len({row["schema"] for row in others} | {"tenant_acme_example"}) == len(others) + 1
    assert [row["notes"] for row in others] == [[f"a note by {row['caller']}"] for row in others]


def test_refusals_have_their_status_and_error(report: dict[str, Any]) -> None:
    assert {row["case"]: (row["status"], row["error"]) for row in report["refusals"]} == {
        "wrong audience": (401, "invalid_token"),
        "another Google client": (401, "invalid_token"),
        "expired token": (401, "invalid_token"),
        "another GitHub app": (401, "invalid_token"),
        "two credentials": (400, "invalid_request"),
        "no credential": (401, "unauthorized"),
        "provider down": (503, "temporarily_unavailable"),
    }


def test_an_outage_says_when_to_come_back(report: dict[str, Any]) -> None:
    outage = next(row for row in report["refusals"] if row["case"] == "provider down")
    assert int(outage["retry_after"]) > 0


def test_two_callers_see_different_tools(report: dict[str, Any]) -> None:
    assert {row["caller"]: (row["permissions"], row["tools"]) for row in report["lists"]} == {
        "bob": (["notes:write"], ["whoami", "list_notes", "add_note"]),
        "erin": (["notes:admin", "notes:write"], ["whoami", "list_notes", "add_note", "forget_notes"]),
    }


def test_a_missing_permission_is_a_403_that_says_which(report: dict[str, Any]) -> None:
    bob, _ = report["answers"]
    assert (bob["caller"], bob["tool"], bob["status"]) == ("bob", "forget_notes", 403)
    challenge = bob["headers"]["www-authenticate"]
    assert challenge.startswith("Bearer resource_metadata=")
    assert 'scope="notes:admin", error="insufficient_scope"' in challenge


def test_a_quota_that_is_used_up_is_a_429_that_says_when_to_come_back(report: dict[str, Any]) -> None:
    _, janitor = report["answers"]
    assert (janitor["caller"], janitor["status"], janitor["reason"]) == ("janitor", 429, "api_key_quota")
    headers = janitor["headers"]
    assert int(headers["retry-after"]) > 0
    assert headers["ratelimit-policy"] == '"api_key";q=50;w=60'
    assert re.fullmatch(r'"api_key";r=\d+;t=\d+', headers["ratelimit"])


def test_the_audit_of_the_tour_is_whole_and_ends_with_its_last_request(report: dict[str, Any]) -> None:
    audit = report["audit"]
    assert (audit["findings"], audit["kept"]) == ([], False)
    last = audit["events"][-1]
    assert (last["event"], last["name"], last["status"]) == ("refused", "forget_notes", 429)


def test_without_a_data_directory_the_audit_is_forgotten(report: dict[str, Any]) -> None:
    assert not Path(report["audit"]["file"]).parent.exists()


def test_a_taken_default_port_is_left_for_a_free_one(
    tour: subprocess.CompletedProcess[str], report: dict[str, Any]
) -> None:
    assert "Port 8080 is taken: using " in tour.stderr
    assert ":8080/" not in report["url"]


def test_a_taken_port_that_was_asked_for_is_refused(run: Callable) -> None:
    with taken(0) as port:
        done = run("demo", "--port", str(port))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"--port {port} cannot be had" in done.stderr


def test_outside_development_it_refuses(run: Callable) -> None:
    done = run("demo", MCP_HTTP_ENVIRONMENT="production")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_database_that_is_not_there_is_one_sentence(run: Callable) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # held and not listened on
        url = f"postgresql://a:b@127.0.0.1:{nobody.getsockname()[1]}/c"
        done = run("demo", "--once", DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("tenantry: The database cannot be reached (ConnectionRefusedError).\n")


def test_it_serves_until_interrupted_and_leaves_nothing(start: Callable, folder: Path) -> None:
    demo = start("demo", "--port", "0", TMPDIR=str(folder))
    demo.until(SERVING)
    postgres = next(folder.glob("tenantry-pg-*/pgdata/postmaster.pid")).read_text().splitlines()[0]
    assert demo.stop(signal.SIGINT) == 0
    assert "Traceback" not in demo.heard
    assert not is_alive(int(postgres))
    assert list(folder.iterdir()) == []


def test_the_printed_curl_lines_work(start: Callable) -> None:
    demo = start("demo", "--port", "0", "--json")
    demo.until(SERVING)
    told = read_json(demo)
    for line in told["curl"]:
        done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=20, check=True)
        assert json.loads(done.stdout)["result"]["isError"] is False
    refused = subprocess.run(
        shlex.split(told["curl_refused"]), capture_output=True, text=True, timeout=20, check=True
    ).stdout
    assert refused.startswith("HTTP/1.1 403 ")
    assert 'scope="notes:admin"' in refused


def test_the_audit_can_be_verified_while_the_demo_runs_and_a_changed_row_is_found(
    start: Callable, folder: Path
) -> None:
    demo = start("demo", "--port", "0", "--json", "--data-dir", str(folder / "data"))
    demo.until(SERVING)
    audit = read_json(demo)["audit"]
    assert verified(audit["verify"]) == (0, f"{audit['rows']} rows: whole.")
    assert demo.stop(signal.SIGINT) == 0
    kept = Path(audit["file"])
    assert verified(audit["verify"])[0] == 0
    kept.write_text(kept.read_text().replace('"reason":"token_expired"', '"reason":"token_excused"'))
    assert verified(audit["verify"])[0] == 1


def test_the_policy_is_read_again_when_it_changes(start: Callable, folder: Path) -> None:
    """On a copy of the package, for the file is one of its own."""
    sources = folder / "src"
    shutil.copytree(Path(tenantry.__file__).parent, sources / "tenantry")
    demo = start("demo", "--port", "0", "--json", PYTHONPATH=str(sources))
    demo.until(SERVING)
    told = read_json(demo)
    policy = Path(told["policy"])
    assert policy.is_relative_to(sources)
    policy.write_text(
        policy.read_text().replace(
            'tool = "forget_notes"\npermissions = ["notes:admin"]',
            'tool = "forget_notes"\npermissions = ["notes:write"]',
        )
    )
    demo.until("in force \\(reloaded\\)")
    done = subprocess.run(shlex.split(told["curl_refused"]), capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.startswith("HTTP/1.1 200 ")


def test_the_tables_fit_a_terminal_and_hold_what_to_paste(start: Callable) -> None:
    demo = start("demo", "--port", "0")
    url = demo.until(SERVING)[1]
    assert demo.stop(signal.SIGTERM) == 0
    tables, _, to_paste = demo.stdout.partition("Call a tool yourself")
    assert max(map(len, tables.splitlines())) <= 120
    assert "\x1b" not in demo.stdout
    assert demo.stdout.isascii()
    curl = next(line for line in to_paste.splitlines() if line.startswith("curl "))
    assert shlex.split(curl)[2] == url
    configuration = json.loads(to_paste[to_paste.index("{\n") : to_paste.index("\n}\n") + 2])
    assert configuration["mcpServers"]["tenantry-demo"]["url"] == url


def test_interrupted_before_the_tour_is_over_it_leaves_nothing_either(start: Callable, folder: Path) -> None:
    demo = start("demo", "--once", "--port", "0", TMPDIR=str(folder))
    demo.until("Starting PostgreSQL")
    assert demo.stop(signal.SIGINT) == 130
    assert "Traceback" not in demo.heard
    assert list(folder.iterdir()) == []


def test_a_row_that_comes_out_wrong_is_marked_and_ends_with_1(start: Callable, run: Callable, folder: Path) -> None:
    """A note that ann must not see lies in her tenant, from an earlier session on the same data."""
    first = start("demo", "--port", "0", "--json", "--data-dir", str(folder / "data"))
    first.until(SERVING)
    told = read_json(first)
    forged = (
        told["curl"][1].replace(told["tokens"]["octo"], told["tokens"]["ann"]).replace("from curl", "a note by erin")
    )
    subprocess.run(shlex.split(forged), capture_output=True, timeout=20, check=True)
    assert first.stop(signal.SIGINT) == 0
    again = run("demo", "--once", "--port", "0", "--data-dir", str(folder / "data"))
    assert again.returncode == 1
    assert "! ann" in again.stdout
    assert "must not see 'a note by erin'" in again.stdout
    assert "2 of 17 rows came out wrong." in again.stdout


def verified(command: str) -> tuple[int, str]:
    """The exit code of a printed command, and the last thing that it said."""
    done = subprocess.run(
        shlex.split(command), env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stderr.splitlines()[-1]


def read_json(demo: Any) -> dict[str, Any]:
    """The JSON object on the standard output of a demo that goes on: it ends with a brace at the margin."""
    lines = []
    for line in demo.process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    found: dict[str, Any] = json.loads("".join(lines))
    return found


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
