"""``tenantry serve`` and SIGHUP: a new configuration while requests go on, as an operator does it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

OLD, NEW = "kJ8sQ2mVx7Lp0RtY5wZb3NcF6hGd9TaE", "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"
READY = r"serving on (http://127\.0\.0\.1:\d+)"

APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun ", "more_body": scope["path"] == "/slow"})
    if scope["path"] == "/slow":
        while not gone.exists():
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b"done"})

from pathlib import Path
gone = Path("go-on")
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "my_server.py").write_text(APP)
    return tmp_path


def configure(here: Path, key: str, more: str = "") -> None:
    text = f'environment = "development"\n{more}\n[api_keys."{key}"]\nname = "ci"\n'
    (here / "fresh.toml").write_text(text)
    (here / "fresh.toml").replace(here / "tenantry.toml")


def status(url: str, key: str) -> int:
    return httpx.get(url, headers={"X-API-Key": key}, trust_env=False, timeout=20).status_code


def test_sighup_takes_new_keys_and_lets_requests_end(start: Callable, here: Path) -> None:
    configure(here, OLD)
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, MCP_HTTP_CONFIG_FILE="tenantry.toml")
    url = server.until(READY)[1]
    with httpx.stream("GET", f"{url}/slow", headers={"X-API-Key": OLD}, trust_env=False, timeout=60) as slow:
        body = slow.iter_text()
        assert next(body) == "begun "
        assert [status(url, key) for key in (OLD, NEW)] == [200, 401]
        configure(here, NEW)
        server.process.send_signal(signal.SIGHUP)
        server.until(r"configuration .* is in force \(reloaded\)")
        assert [status(url, key) for key in (OLD, NEW)] == [401, 200]
        (here / "go-on").touch()
        assert "".join(body) == "done"
    assert server.stop(signal.SIGTERM) == 0


def test_a_bad_configuration_is_refused_in_the_log_and_the_old_one_goes_on(start: Callable, here: Path) -> None:
    configure(here, OLD)
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, MCP_HTTP_CONFIG_FILE="tenantry.toml")
    url = server.until(READY)[1]
    configure(here, NEW, more="clock_skew = -5")
    server.process.send_signal(signal.SIGHUP)
    assert "CLOCK_SKEW" in server.until(r"configuration was not taken.*").string
    assert [status(url, key) for key in (OLD, NEW)] == [200, 401]
    assert NEW not in server.heard


def test_a_changed_file_is_taken_without_a_signal(start: Callable, here: Path) -> None:
    configure(here, OLD)
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, MCP_HTTP_CONFIG_FILE="tenantry.toml")
    url = server.until(READY)[1]
    configure(here, NEW)
    server.until(r"configuration .* is in force \(reloaded\)")
    assert [status(url, key) for key in (OLD, NEW)] == [401, 200]
