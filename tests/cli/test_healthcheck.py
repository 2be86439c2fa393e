"""``tenantry healthcheck``: what a container asks of itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .conftest import environment

Run = Callable[..., subprocess.CompletedProcess[str]]
APP = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the app"})
"""
KEY = "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"
SERVING = r"serving on https?://127\.0\.0\.1:(\d+)"


@pytest.fixture
def served(start: Callable[..., Any], tmp_path: Path) -> Callable[..., str]:
    """Serve an app in production; the port."""

    def serve(**env: str) -> str:
        (tmp_path / "one_app.py").write_text(APP)
        running = start("serve", "--app", "one_app:app", "--port", "0", cwd=tmp_path, MCP_HTTP_API_KEY=KEY, **env)
        return running.until(SERVING)[1]

    return serve


@pytest.mark.parametrize("variable", ["PORT", "MCP_HTTP_PORT"])
def test_a_server_that_is_alive_and_ready_is_healthy(run: Run, served: Callable[..., str], variable: str) -> None:
    port = served()
    for words in ([], ["--ready"]):
        done = run("healthcheck", *words, **{variable: port})
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nobody_there_is_1(run: Run) -> None:
    done = run("healthcheck", "http://127.0.0.1:9")
    assert (done.returncode, done.stderr) == (1, "/livez: no answer (ConnectionRefusedError).\n")


def test_a_part_that_is_not_in_order_is_named(run: Run, served: Callable[..., str]) -> None:
    dsn = "postgresql://nobody:made-up-word@127.0.0.1:9/none"
    port = served(MCP_HTTP_DATABASE_CONNECTION_STRING=dsn)
    assert run("healthcheck", PORT=port).returncode == 0
    done = run("healthcheck", "--ready", PORT=port)
    assert (done.returncode, done.stderr) == (1, "/readyz: 503, database database_unavailable\n")


def test_https_of_our_own_is_asked_without_a_certificate_authority(
    run: Run, served: Callable[..., str], tmp_path: Path
) -> None:
    certificate, key = a_certificate(tmp_path)
    files = {"MCP_HTTP_TLS_CERT_PATH": str(certificate), "MCP_HTTP_TLS_KEY_PATH": str(key)}
    port = served(**files)
    assert run("healthcheck", PORT=port, **files).returncode == 0
    assert run("healthcheck", PORT=port).returncode == 1


def test_the_port_may_stand_in_the_file_of_settings(run: Run, served: Callable[..., str], tmp_path: Path) -> None:
    settings = tmp_path / "tenantry.toml"
    settings.write_text(f"port = {served()}\n")
    assert run("healthcheck", MCP_HTTP_CONFIG_FILE=str(settings)).returncode == 0


def test_it_imports_no_package_and_writes_nothing(served: Callable[..., str], tmp_path: Path) -> None:
    port = served()
    empty = tmp_path / "read-only"
    empty.mkdir(mode=0o500)
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-m", "tenantry", "healthcheck"],
        cwd=empty,
        env=environment(PORT=port, HOME="/nonexistent"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://"])
def test_what_is_no_url_is_a_usage_error(run: Run, url: str) -> None:
    assert run("healthcheck", url).returncode == 2


def a_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate that nobody vouches for, for another name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mcp.example.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*form))
    return certificate, private
