"""The server side of the benches over sockets: ``python -m bench.serve bare|tool GATE`` in a child process.

GATE is "open" (none), "gated", "whole" (with quotas and an audit), "rules" (with a policy as well), "floor", or
"headers": none, but an application that sends as many headers.

One uvicorn worker on loopback, pinned to one core; the child says its port and its tokens in one line of JSON and
ends when its standard input does, so also when the bench is killed.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from .floor import Floor
from .measure import clean_environment, pin
from .stack import bare, sends_headers, stack, tool_server, whole_options

SERVER_CORE, CLIENT_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Served:
    """A running child; ``tokens`` are those its gate lets in; ``parser`` and ``loop`` are what uvicorn chose."""

    pid: int
    port: int
    tokens: dict[str, str]
    parser: str
    loop: str

    def cpu(self) -> float:
        """Seconds of CPU that the child has used; 0.0 where the system does not say (only Linux does)."""
        spent = Path(f"/proc/{self.pid}/schedstat")
        return int(spent.read_text().split()[0]) / 1e9 if spent.exists() else 0.0


@contextmanager
def served(app: str, gate: str) -> Iterator[Served]:
    """A child process that serves ``app`` for the length of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.serve", app, gate],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        try:
            assert process.stdout is not None
            yield Served(**json.loads(process.stdout.readline()))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=10)


async def _serve(kind: str, gate: str, folder: str) -> None:
    pin(SERVER_CORE)
    app = tool_server() if kind == "tool" else bare
    tokens = {}
    if gate != "open":
        options = whole_options(gate, Path(folder)) if gate in ("whole", "rules") else {}
        gated = stack(app, **options)
        others = {"floor": Floor(app, gated.id_token), "headers": sends_headers(app)}
        app = others.get(gate, gated.app)
        tokens = {"id_token": gated.id_token, "access_token": gated.access_token}
    # The protocol is named because asyncio sets TCP_NODELAY only where it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="on", timeout_graceful_shutdown=1)
    config.load()
    server = uvicorn.Server(config)
    threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    port, parser = listener.getsockname()[1], config.http_protocol_class.__name__
    loop = type(asyncio.get_running_loop()).__module__
    print(json.dumps({"pid": os.getpid(), "port": port, "tokens": tokens, "parser": parser, "loop": loop}), flush=True)
    await server.serve(sockets=[listener])


def _end_with_stdin(server: uvicorn.Server) -> None:
    sys.stdin.read()
    server.should_exit = True


def main() -> None:
    """On uvloop where it is installed, as uvicorn would."""
    loop = importlib.import_module("uvloop").new_event_loop if importlib.util.find_spec("uvloop") else None
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_serve(sys.argv[1], sys.argv[2], folder))


if __name__ == "__main__":
    main()
