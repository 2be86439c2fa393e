"""Servers on each host, in processes of their own, started once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.hosts.interpreters import mcp1_python as mcp1_python

ROOT = Path(__file__).parents[2]
_META = "io.modelcontextprotocol"


@dataclass(frozen=True)
class Served:
    """Where a server listens, and tokens: of ``reader`` and ``writer``, one person with other permissions, of a
    ``stranger``, two API keys of one tenant (``key``, ``other-key``), and one that nobody can judge (``down``)."""

    url: str
    tokens: dict[str, str]


@pytest.fixture(scope="session")
def serving(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Served]]:
    """``serving("mcp1")``: that server."""
    served: dict[str, Served] = {}
    with contextlib.ExitStack() as stack:

        def serve(host: str) -> Served:
            if host not in served:
                if host in ("fastmcp", "web"):
                    pytest.importorskip("fastmcp" if host == "fastmcp" else "fastapi")
                python = request.getfixturevalue("mcp1_python") if host == "mcp1" else sys.executable
                served[host] = stack.enter_context(a_server(python, host))
            return served[host]

        yield serve


@contextlib.contextmanager
def a_server(python: Any, host: str) -> Iterator[Served]:
    # The tree's own tenantry in every environment; a proxy of the developer's shell is none of a test's business.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "FASTMCP_LOG_LEVEL": "CRITICAL"}
    command = [python, Path(__file__).with_name("serve.py"), host]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    try:
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"the server on {host} did not start; see its error output", pytrace=False)
        yield Served(**json.loads(line))
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class Mcp:
    """A caller of one MCP endpoint who speaks one revision of the protocol, on bare HTTP: answers are seen as sent."""

    def __init__(self, served: Served, mode: str, revision: str, name: str) -> None:
        self.http = httpx.Client(
            base_url=served.url,
            verify=False,  # reading the CA bundle takes longer than a test, and this is plain loopback
            trust_env=False,
            timeout=20,
            headers={
                "Authorization": f"Bearer {served.tokens[name]}",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": revision,
            },
        )
        self._path = f"/{mode}/mcp"
        self._revision = revision
        self._ids = itertools.count(1)
        if revision != "2026-07-28" and not mode.startswith("stateless"):
            self._begin_session()

    def _begin_session(self) -> None:
        client = {"protocolVersion": self._revision, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
        answer = self.ask("initialize", client)
        self.http.headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
        self.http.post(self._path, json={"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ask(
        self, method: str, params: dict[str, Any] | None = None, headers: dict[str, str] | None = None, **meta: Any
    ) -> httpx.Response:
        """One request; ``meta`` goes into its ``_meta``."""
        params, headers = dict(params or {}), dict(headers or {})
        if self._revision == "2026-07-28":
            headers["Mcp-Method"] = method
            if "name" in params or "uri" in params:
                headers["Mcp-Name"] = params.get("name") or params["uri"]
            info = {"name": "t", "version": "0"}
            meta |= {f"{_META}/protocolVersion": self._revision, f"{_META}/clientInfo": info}
            meta |= {f"{_META}/clientCapabilities": {}}
        if meta:
            params["_meta"] = meta
        message = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params}
        return self.http.post(self._path, json=message, headers=headers)

    def call(self, tool: str, *, headers: dict[str, str] | None = None, **arguments: Any) -> httpx.Response:
        return self.ask("tools/call", {"name": tool, "arguments": arguments}, headers)

    def send(self, method: str, headers: dict[str, str]) -> httpx.Response:
        """A request without a body, like the one for a session's stream; of an endless answer only the head."""
        with self.http.stream(method, self._path, headers=headers) as answer:
            if not answer.is_success:
                answer.read()
            return answer

    def replay(self, after: str) -> str:
        """The rest of a stream after the event with this id, for as long as it takes to arrive."""
        with self.http.stream("GET", self._path, headers={"Last-Event-ID": after}) as answer:
            if answer.status_code != 200:
                return f"{answer.status_code} {answer.read().decode()}"
            lines = []
            for line in answer.iter_lines():
                lines.append(line)
                if line.startswith("data: {"):
                    break
            return "\n".join(lines)


def message(answer: httpx.Response) -> dict[str, Any]:
    """The last JSON-RPC message of an answer."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        return json.loads([line for line in answer.text.splitlines() if line.startswith("data: {")][-1][6:])
    return answer.json()


@pytest.fixture(scope="session")
def caller(serving: Callable[[str], Served]) -> Iterator[Callable[..., Mcp]]:
    """``caller("mcp2", "stateful", "2025-11-25", "reader")``."""
    made: dict[tuple[str, ...], Mcp] = {}

    def make(host: str, *kind: str) -> Mcp:
        if (host, *kind) not in made:
            made[host, *kind] = mcp = Mcp(serving(host), *kind)
            mcp.call("later", text="first")  # a host imports what it reports errors with, longer than a head is held
        return made[host, *kind]

    yield make
    for mcp in made.values():
        mcp.http.close()
