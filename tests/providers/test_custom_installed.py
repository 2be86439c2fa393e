"""The page docs/providers/custom.md, done: its package is built, installed and switched on; a server admits and refuses
by it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from tests.cli.conftest import COMMAND, Running, environment

PAGE = Path(__file__).parents[2] / "docs" / "providers" / "custom.md"
LAST = 4_102_444_800  # the year 2100, in seconds since the epoch
BADGES = {
    "badge_ann": {"number": "17", "name": "Ann", "company": "acme", "door": "notes", "until": LAST},
    "badge_elsewhere": {"number": "18", "name": "Bob", "company": "acme", "door": "garage", "until": LAST},
    "badge_stale": {"number": "19", "name": "Cem", "company": "acme", "door": "notes", "until": 1},
    "badge_broken": {"number": "20"},
}
APP = """
import json

async def app(scope, receive, send):
    user = scope["state"]["user"]
    body = json.dumps({"user": user.user_id, "tenant": user.tenant_id, "may": sorted(user.permissions)})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body.encode()})
"""


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages that has the one of the page in it, as pip puts it there."""
    folder = tmp_path_factory.mktemp("acme-badges")
    (folder / "pyproject.toml").write_text(block("toml"))
    (folder / "acme_badges.py").write_text(block("python"))
    python = [sys.executable, "-m"]
    for command in (
        ["hatchling", "build", "--target", "wheel", "--directory", "dist"],
        [
            "pip",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            "--target",
            "site",
            "--find-links",
            "dist",
            "acme-badges",
        ],
    ):
        subprocess.run([*python, *command], cwd=folder, check=True, capture_output=True, timeout=120)
    return folder / "site"


@pytest.fixture(scope="module")
def shown() -> list[str]:
    """Every credential that the service of the badges was asked about."""
    return []


@pytest.fixture(scope="module")
def service(shown: list[str]) -> Iterator[str]:
    """The service that the package asks: 200 with what it knows of a badge, 404 for one that it never issued."""

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            badge = self.rfile.read(int(self.headers["content-length"])).decode()
            shown.append(badge)
            self.send_response(200 if badge in BADGES else 404)
            self.end_headers()
            self.wfile.write(json.dumps(BADGES.get(badge, {})).encode())

        def log_message(self, *_: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/check"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(installed: Path, service: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "notes.py").write_text(APP)
    settings = {
        "MCP_HTTP_ENVIRONMENT": "development",
        "MCP_HTTP_PORT": "0",
        "MCP_HTTP_CUSTOM_PROVIDERS": json.dumps({"badge": {"url": service, "door": "notes"}}),
        "MCP_HTTP_TENANT_MAPPING": json.dumps({"badge:acme": "acme"}),
        "MCP_HTTP_API_KEY": "only-for-this-machine",
    }
    path = environment()["PYTHONPATH"]
    process = subprocess.Popen(
        [*COMMAND, "serve", "--app", "notes:app"],
        cwd=folder,
        env=environment(**settings, PYTHONPATH=f"{installed}:{path}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    running = Running(process)
    yield running
    running.end()


@pytest.fixture(scope="module")
def ask(server: Running) -> Iterator[httpx.Client]:
    url = server.until(r"serving on (http://127\.0\.0\.1:\d+)")[1]
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        yield client


def post(ask: httpx.Client, badge: str) -> httpx.Response:
    return ask.post("/mcp", headers={"authorization": f"Bearer {badge}"})


def test_the_page_s_package_takes_less_than_60_lines() -> None:
    assert len((block("toml") + block("python")).splitlines()) < 60


def test_a_badge_is_admitted_under_the_name_of_the_entry_point(ask: httpx.Client) -> None:
    answer = post(ask, "badge_ann")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"user": "badge:17", "tenant": "acme", "may": ["notes:read"]}


@pytest.mark.parametrize(
    ("badge", "status", "reason"),
    [
        ("badge_invented", 401, "token_rejected"),
        ("badge_elsewhere", 401, "audience_mismatch"),
        ("badge_stale", 401, "token_expired"),
        ("badge_broken", 503, "provider_unavailable"),
        ("budge_ann", 401, "provider_not_configured"),
    ],
)
def test_a_badge_that_is_not_good_is_refused(ask: httpx.Client, badge: str, status: int, reason: str) -> None:
    answer = post(ask, badge)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert "Traceback" not in answer.text
    assert "KeyError" not in answer.text


def test_what_begins_otherwise_is_not_shown_to_it(ask: httpx.Client, shown: list[str]) -> None:
    others = ["ya29.abc", "gho_" + "a" * 36, "budge_ann", "only-for-this-machine", "BADGE_ann"]
    for other in others:
        post(ask, other)
    assert set(shown).isdisjoint(others)


def test_installed_and_not_named_it_is_no_identity_source(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys, tenantry.assemble as a, tenantry.settings as s\n"
        "gate = a.assemble(s.Settings()).gate\n"
        "print(sorted(gate.providers), 'acme_badges' in sys.modules)"
    )
    path = environment()["PYTHONPATH"]
    settings = {"MCP_HTTP_ENVIRONMENT": "development", "MCP_HTTP_API_KEY": "only-for-this-machine"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(**settings, PYTHONPATH=f"{installed}:{path}"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "['api_key'] False"
