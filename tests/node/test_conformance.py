"""The official MCP conformance suite against the SDK's own everything-server, bare and behind the gate: what passes
bare passes behind it, check by check, and no scenario is lost."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from .conftest import environment, serving

REVISIONS = ("2025-11-25", "2026-07-28")
# Of the older revision a session begun without a credential is not its later owner's: "partly-open" is for the newer.
KINDS = [(gate, revision) for gate in ("signed-in", "everything-on") for revision in REVISIONS]
KINDS += [("partly-open", "2026-07-28")]
GATES = ("signed-in", "everything-on", "partly-open")
PASSED = ("SUCCESS", "INFO", "SKIPPED")
Results = dict[str, list[tuple[str, str]]]  # scenario -> (check, status), sorted


@pytest.fixture(scope="session")
def served(everything_server: Path) -> Iterator[dict[str, str]]:
    with serving("everything.py", everything_server) as served:
        yield served


@pytest.fixture(scope="session")
def suite(node: Path, suite_program: Path) -> Callable[..., str]:
    """``suite("list", ...)``: what the suite's command prints. That checks fail is no failure of the command here."""

    def run(*arguments: str) -> str:
        where = {"env": environment(), "cwd": suite_program.parent}
        command = [node, suite_program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **where).stdout

    return run


@pytest.fixture(scope="session")
def results(
    suite: Callable[..., str], served: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Results]:
    """``results("bare", "2025-11-25")``: all scenarios of the revision, run once."""
    known: dict[tuple[str, str], Results] = {}

    def of(kind: str, revision: str) -> Results:
        if (kind, revision) not in known:
            out = tmp_path_factory.mktemp("conformance")
            where = ["--url", f"{served[kind]}/mcp", "--output-dir", str(out)]
            suite("server", "--suite", "all", "--spec-version", revision, *where)
            known[kind, revision] = dict(read(found) for found in out.glob("*/checks.json"))
        return known[kind, revision]

    return of


def read(checks: Path) -> tuple[str, list[tuple[str, str]]]:
    """One scenario: its folder is called server-<scenario>-<time>."""
    name = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT[\d-]+Z", checks.parent.name)
    if name is None:
        raise ValueError(f"{checks.parent.name} is not named after a scenario and a time")
    return name[1], sorted((check["id"], check["status"]) for check in json.loads(checks.read_text()))


def failures(results: Results) -> Results:
    failed = {name: [check for check in checks if check[1] not in PASSED] for name, checks in results.items()}
    return {name: checks for name, checks in failed.items() if checks}


def required(suite: Callable[..., str], revision: str) -> set[str]:
    """What the suite says a server of this revision has to pass."""
    listed = suite("list", "--requirements", revision).partition("Server scenarios")[2].partition("\n\n")[0]
    return set(re.findall(r"^  - (\S+)$", listed, re.MULTILINE))


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_bare_server_passes_all_that_its_revision_requires(
    results: Callable[[str, str], Results], suite: Callable[..., str], revision: str
) -> None:
    scenarios = required(suite, revision)
    assert len(scenarios) >= 30
    bare = results("bare", revision)
    assert scenarios - bare.keys() == set()
    assert failures({name: checks for name, checks in bare.items() if name in scenarios}) == {}


@pytest.mark.parametrize(("gate", "revision"), KINDS)
def test_what_passes_bare_passes_behind_the_gate(
    results: Callable[[str, str], Results], gate: str, revision: str
) -> None:
    assert results(gate, revision) == results("bare", revision)


# --- That there was something to pass through -------------------------------------------------------------------------


def ask(url: str, method: str, headers: dict[str, str] | None = None, **params: str) -> httpx2.Response:
    """One request of the newest revision, without a credential of its own."""
    meta = {"protocolVersion": REVISIONS[1], "clientInfo": {"name": "t", "version": "0"}, "clientCapabilities": {}}
    params |= {"_meta": {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}}
    mirrored = {"MCP-Protocol-Version": REVISIONS[1], "Mcp-Method": method, "Mcp-Name": params.get("name", "")}
    accepted = {"Accept": "application/json, text/event-stream"}
    sent = accepted | {name: value for name, value in mirrored.items() if value} | (headers or {})
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx2.post(f"{url}/mcp", json=message, headers=sent, trust_env=False, timeout=20)


@pytest.mark.parametrize(("gate", "seen"), [("bare", True), ("signed-in", True), ("everything-on", False)])
def test_lists_were_filtered_where_there_were_rules(served: dict[str, str], gate: str, seen: bool) -> None:
    answer = ask(served[gate], "tools/list")
    assert answer.status_code == 200
    assert "test_simple_text" in answer.text
    assert ("kept_from_all" in answer.text) is seen


@pytest.mark.parametrize("gate", GATES)
def test_each_gate_looked_at_the_credential(served: dict[str, str], gate: str) -> None:
    """With those of the request there are more than one."""
    refused = ask(served[gate], "tools/call", {"X-API-Key": "x", "Authorization": "Bearer x"}, name="test_simple_text")
    assert refused.status_code == 400
    assert refused.json()["error"] == "invalid_request"


def test_an_open_method_opened_nothing_else(served: dict[str, str]) -> None:
    lied = ask(served["partly-open"], "tools/call", {"Mcp-Method": "tools/list"}, name="test_simple_text")
    assert (lied.status_code, lied.json()["error"]["code"]) == (400, -32020)


def test_the_calls_of_the_suite_were_written_down(
    results: Callable[[str, str], Results], served: dict[str, str]
) -> None:
    for revision in REVISIONS:
        results("everything-on", revision)
    written = Path(served["audit"]).read_text()
    for name in ("test_simple_text", "test://static-text", "test_prompt_with_arguments"):
        assert name in written
