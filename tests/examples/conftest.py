"""Each example as its first lines say: a program of its own in development, which trusts the development identity
provider. Started once; it says itself where it listens."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from tests.hosts.interpreters import mcp1_python as mcp1_python

from tenantry.testing import DevIdp

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
KEY = "only-for-this-machine"
_LISTENING = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:\d+)")


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture(scope="session")
def idp(portal: BlockingPortal) -> Iterator[DevIdp]:
    idp = DevIdp()
    for provider in (idp.google, idp.auth0):
        provider.keys.jwks()  # now: made at the first question, two threads would make different ones
    with portal.wrap_async_context_manager(idp.serve()):
        yield idp


@pytest.fixture(scope="session")
def running(idp: DevIdp) -> Iterator[Callable[..., str]]:
    """``running("fastmcp_server.py", python, NAME="value")``: the URL that the example listens at."""
    urls: dict[str, str] = {}
    with contextlib.ExitStack() as stack:

        def run(name: str, python: Any = sys.executable, **variables: str) -> str:
            if name not in urls:
                settings = {**idp.settings(), "MCP_HTTP_API_KEY": KEY, "MCP_HTTP_PORT": "0", **variables}
                urls[name] = stack.enter_context(program([python, EXAMPLES / name], settings))
            return urls[name]

        yield run


@contextlib.contextmanager
def program(command: list[Any], settings: dict[str, str]) -> Iterator[str]:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"PYTHONPATH": str(ROOT / "src"), **settings}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    said, found = [], threading.Event()

    def listen() -> None:
        for line in process.stderr or ():
            said.append(line)
            if _LISTENING.search(line):
                found.set()
        found.set()

    listening = threading.Thread(target=listen)
    listening.start()
    try:
        found.wait(60)
        url = _LISTENING.search("".join(said))
        if url is None:
            pytest.fail(f"{command[-1]} does not listen:\n{''.join(said)}", pytrace=False)
        yield url[1]
    finally:
        process.terminate()
        process.wait(20)
        listening.join(20)
        if process.stderr is not None:
            process.stderr.close()
