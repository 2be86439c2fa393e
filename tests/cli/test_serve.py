"""``tenantry serve``: any ASGI app behind the gate, as a process."""

from __future__ import annotations

import datetime
import ipaddress
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

KEY = "only-for-this-machine"
DEVELOPMENT = {"MCP_HTTP_ENVIRONMENT": "development", "MCP_HTTP_API_KEY": KEY}
READY = r"serving on (https?://127\.0\.0\.1:\d+)"

APP = """
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tenantry import TenantryMiddleware, current_user
from tenantry.postgres import get_tenant_database

async def who(request):
    return JSONResponse({"user": current_user(request).user_id, "client": request.client.host})

async def notes(request):
    try:
        await get_tenant_database(current_user(request).tenant_id)
    except Exception as error:
        return JSONResponse({"error": str(error)})

app = Starlette(routes=[Route("/who", who), Route("/notes", notes)])

async def without_lifespan(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})

def make():
    return app

class Holder:
    streamable_http_app = None

server = Holder()
text = "not an app"

@asynccontextmanager
async def failing_lifespan(app):
    raise RuntimeError("no disk")
    yield

failing = Starlette(lifespan=failing_lifespan)

class Gated:
    @staticmethod
    def make():
        return TenantryMiddleware(app)
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a server in it, as its author has it."""
    (tmp_path / "my_server.py").write_text(APP)
    (tmp_path / "lacking.py").write_text("import a_package_nobody_has\n")
    return tmp_path


def get(url: str, **options: object) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=10, **options) as client:
        return client.get(url, headers={"X-API-Key": KEY})


def test_it_answers_401_without_and_200_with_a_credential(start: Callable, here: Path) -> None:
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, **DEVELOPMENT)
    url = server.until(READY)[1]
    assert httpx.get(f"{url}/who", trust_env=False).status_code == 401
    assert get(f"{url}/who").json()["user"].startswith("apikey:")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_good_order(start: Callable, here: Path, number: signal.Signals) -> None:
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, **DEVELOPMENT)
    server.until(READY)
    assert server.stop(number) == 0
    assert "Traceback" not in server.heard


def test_a_factory_makes_the_app(start: Callable, here: Path) -> None:
    server = start("serve", "--app", "my_server:make", "--factory", "--port", "0", cwd=here, **DEVELOPMENT)
    assert get(server.until(READY)[1] + "/who").status_code == 200


def test_an_app_without_lifespan_is_served_too(start: Callable, here: Path) -> None:
    server = start("serve", "--app", "my_server:without_lifespan", "--port", "0", cwd=here, **DEVELOPMENT)
    assert get(server.until(READY)[1]).text == "here"
    assert server.stop(signal.SIGTERM) == 0


def test_development_is_announced_loudly(start: Callable, here: Path) -> None:
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, **DEVELOPMENT)
    server.until(READY)
    assert "DEVELOPMENT" in server.heard
    assert "INSECURE" in server.heard


def test_without_a_database_asking_for_it_names_the_variable(start: Callable, here: Path) -> None:
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, **DEVELOPMENT)
    assert "MCP_HTTP_DATABASE_CONNECTION_STRING" in get(server.until(READY)[1] + "/notes").json()["error"]


def test_no_answer_says_which_server_this_is(start: Callable, here: Path) -> None:
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, **DEVELOPMENT)
    assert "server" not in get(server.until(READY)[1] + "/who").headers


def test_forwarded_headers_are_not_believed(start: Callable, here: Path) -> None:
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, **DEVELOPMENT)
    url = server.until(READY)[1] + "/who"
    headers = {"X-API-Key": KEY, "X-Forwarded-For": "203.0.113.7"}
    assert httpx.get(url, headers=headers, trust_env=False).json()["client"] == "127.0.0.1"


def test_a_token_in_the_query_does_not_reach_the_log(start: Callable, here: Path) -> None:
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, **DEVELOPMENT)
    url = server.until(READY)[1]
    assert get(f"{url}/who?access_token=abcdefgh").status_code == 400
    server.stop(signal.SIGTERM)
    assert "abcdefgh" not in server.heard + server.stdout


def test_the_certificate_of_the_settings_is_used(start: Callable, here: Path) -> None:
    certificate, key = self_signed(here)
    tls = {"MCP_HTTP_TLS_CERT_PATH": str(certificate), "MCP_HTTP_TLS_KEY_PATH": str(key)}
    server = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, **DEVELOPMENT, **tls)
    url = server.until(READY)[1]
    assert url.startswith("https://")
    trusting = ssl.create_default_context(cafile=str(certificate))
    assert get(f"{url}/who", verify=trusting).status_code == 200


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("my_server", "write module:attribute"),
        ("nowhere:app", "no module 'nowhere'"),
        ("my_server.inside:app", "no module 'my_server.inside'"),
        ("my_server:nothing", "no attribute 'nothing'"),
        ("my_server:text", "cannot be called"),
        ("my_server:server", "--factory --app my_server:server.streamable_http_app"),
        ("lacking:app", "'a_package_nobody_has', which is not installed"),
        ("..my_server:app", "cannot be imported"),
    ],
)
def test_an_app_that_cannot_be_had_is_one_sentence(run: Callable, here: Path, app: str, words: str) -> None:
    assert words in one_sentence(run("serve", "--app", app, cwd=here, **DEVELOPMENT))


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "Nobody could sign in"),
        ({"MCP_HTTP_API_KEY": "short"}, "MCP_HTTP_API_KEY is too short"),
        ({"MCP_HTTP_TENANT_MAPING": "{}"}, "did you mean MCP_HTTP_TENANT_MAPPING?"),
        ({**DEVELOPMENT, "MCP_HTTP_PORT": "70000"}, "MCP_HTTP_PORT"),
        ({**DEVELOPMENT, "MCP_HTTP_HOST": "0.0.0.0"}, "only a loopback address"),
        ({"MCP_HTTP_GOOGLE_CLIENT_ID": "x"}, "MCP_HTTP_PUBLIC_URL is missing"),
        ({**DEVELOPMENT, "MCP_HTTP_TLS_CERT_PATH": "/nowhere"}, "MCP_HTTP_TLS_KEY_PATH belong together"),
        ({**DEVELOPMENT, "MCP_HTTP_LOG_LEVEL": "chatty"}, "MCP_HTTP_LOG_LEVEL"),
    ],
)
def test_every_configuration_error_is_one_sentence(
    run: Callable, here: Path, variables: dict[str, str], words: str
) -> None:
    assert words in one_sentence(run("serve", "--app", "my_server:app", cwd=here, **variables))


def test_a_port_that_is_taken_is_one_sentence(start: Callable, run: Callable, here: Path) -> None:
    first = start("serve", "--app", "my_server:app", "--port", "0", cwd=here, **DEVELOPMENT)
    port = first.until(READY)[1].rpartition(":")[2]
    done = run("serve", "--app", "my_server:app", "--port", port, cwd=here, MCP_HTTP_LOG_LEVEL="error", **DEVELOPMENT)
    assert f"cannot listen on 127.0.0.1:{port}" in one_sentence(done)


def test_an_app_that_is_behind_the_gate_already_is_served_as_it_is(start: Callable, here: Path) -> None:
    app = ("serve", "--app", "my_server:Gated.make", "--factory", "--port", "0")
    server = start(*app, cwd=here, **DEVELOPMENT, MCP_HTTP_RATE_LIMIT_TENANT="1/60")
    url = server.until(READY)[1]
    assert httpx.get(f"{url}/who", trust_env=False).status_code == 401
    assert [get(f"{url}/who").status_code for _ in range(2)] == [200, 429], "counted once: there is one gate"


def test_an_app_whose_lifespan_fails_ends_with_2(run: Callable, here: Path) -> None:
    done = run("serve", "--app", "my_server:failing", "--port", "0", cwd=here, **DEVELOPMENT)
    assert done.returncode == 2
    assert "no disk" in done.stderr
    assert done.stderr.endswith("tenantry: The app did not start: the log above says why.\n")


def one_sentence(done: object) -> str:
    """The one line of standard error that a configuration error is; nothing else, and exit code 2."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("tenantry: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def self_signed(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tenantry test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
