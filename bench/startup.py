"""What a process pays before it does anything: imports, the command's help, and a server's start.

Whole processes by turns; CPU time, and wall-clock for the start. Targets: what a server imports of tenantry costs at
most 60 ms on top of starlette; ``tenantry --help`` at most three times ``python -c pass``; ``tenantry serve`` answers
its first request at most 1.5 times as late as uvicorn alone with the same app (an MCP server, as everybody's is; a bare
app is reported).
"""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

from .measure import Row, clean_environment

ROUNDS, STARTS = 15, 7
_KEY = "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"
_STARLETTE = "import starlette.applications, starlette.routing, starlette.responses"
_OURS = "from tenantry import TenantryMiddleware, current_user, require_permission"
_HELP = "import sys; sys.argv = ['tenantry', '--help']; from tenantry.cli import main; main()"  # the installed script
_DEADLINE = 60.0


def run(*, profile: bool = False) -> list[Row]:
    seen = _by_turns(
        {
            "nothing": partial(_process, "pass"),
            "help": partial(_process, _HELP),
            "starlette": partial(_process, _STARLETTE),
            "package": partial(_process, f"{_STARLETTE}; import tenantry"),
            "ours": partial(_process, f"{_STARLETTE}; {_OURS}"),
        },
        ROUNDS,
    )
    starlette = f"import of starlette.applications: {median(seen['starlette']):.0f} ms"
    return [
        Row("import tenantry", _added(seen, "package", "starlette"), "ms", starlette, "<=", 60),
        Row("import of what a server needs of it", _added(seen, "ours", "starlette"), "ms", starlette, "<=", 60),
        Row(
            "tenantry --help",
            _ratio(seen, "help", "nothing"),
            "x",
            f"python -c pass: {median(seen['nothing']):.0f} ms",
            "<=",
            3,
        ),
        _start("tool_server", "start to first answer, MCP server", 1.5),
        _start("bare", "start to first answer, bare app", None),
    ]


def _start(app: str, what: str, target: float | None) -> Row:
    seen = _by_turns({"uvicorn": partial(_served, app, gate=False), "ours": partial(_served, app, gate=True)}, STARTS)
    against = f"under uvicorn: {median(seen['uvicorn']):.0f} ms"
    return Row(what, _ratio(seen, "ours", "uvicorn"), "x", against, None if target is None else "<=", target)


def _by_turns(subjects: Mapping[str, Callable[[], float]], count: int) -> dict[str, list[float]]:
    """Milliseconds of each; the first round fills the caches of the disk and does not count."""
    seen: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(count + 1):
        for name, subject in subjects.items():
            spent = subject() * 1e3
            if turn:
                seen[name].append(spent)
    return seen


def _added(seen: Mapping[str, Sequence[float]], name: str, baseline: str) -> float:
    return median(ours - bare for ours, bare in zip(seen[name], seen[baseline], strict=True))


def _ratio(seen: Mapping[str, Sequence[float]], name: str, baseline: str) -> float:
    return median(ours / bare for ours, bare in zip(seen[name], seen[baseline], strict=True))


def _process(code: str) -> float:
    """Seconds of CPU: all that such a process does, and other people's processes do not count."""
    began = _children()
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, env=clean_environment(), check=True)
    return _children() - began


def _children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _served(app: str, *, gate: bool) -> float:
    """Seconds from the start of the server's process to its first answer, whatever the answer says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    module = "tenantry.cli" if gate else "uvicorn"
    target = f"bench.apps:{app}"
    command = ["serve", "--app", target] if gate else [target, "--log-level", "critical"]
    runner = f"import sys; sys.argv[0] = 'x'; from {module} import main; main()"
    settings = {"MCP_HTTP_ENVIRONMENT": "development", "MCP_HTTP_API_KEY": _KEY}
    began = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-c", runner, *command, "--factory", "--port", str(port)],
        env=clean_environment() | settings | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _first_answer(port, began + _DEADLINE)
        return time.perf_counter() - began
    finally:
        server.terminate()
        server.wait(30)


def _first_answer(port: int, deadline: float) -> None:
    request = (
        f"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {_KEY}\r\nConnection: close\r\n\r\n"
    )
    while time.perf_counter() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=_DEADLINE) as connection:
                connection.sendall(request.encode())
                if connection.recv(64).startswith(b"HTTP/1.1 "):
                    return
        except OSError:
            time.sleep(0.002)  # nothing tells when a server of others listens
    raise RuntimeError("the server did not start")
