"""Real servers: tenantry as it is deployed and as it is developed with, and servers that do not run it."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl
from tests.doctor.conftest import PROXY, bad, look, states
from tests.doctor.exemplary import Exemplary

from tenantry import Settings, TenantryMiddleware
from tenantry.testing import DevIdp, TokenMint, serve_on_loopback

pytestmark = pytest.mark.anyio

API_KEY = "Zk3v9QpLx7Rt2Wm8Nc5Hd1Jf6Gs4Ba0Y"
# What uvicorn says of itself, as under `tenantry serve`.
AS_SERVED = {"server_header": False}


def server() -> Any:
    made = MCPServer("tests", log_level="CRITICAL")

    async def hello() -> str:
        return "hello"

    made.add_tool(hello)
    return made


@contextlib.asynccontextmanager
async def tenantry_with(**settings: Any) -> AsyncIterator[str]:
    app = TenantryMiddleware(server().streamable_http_app(host="0.0.0.0"), settings=Settings(**settings))
    async with serve_on_loopback(app, **AS_SERVED) as base:
        yield f"{base}/mcp"


@pytest.fixture
async def idp() -> AsyncIterator[DevIdp]:
    idp = DevIdp()
    async with idp.serve():
        yield idp


# --- tenantry ---------------------------------------------------------------------------------------------------------


async def test_tenantry_in_production_behind_a_proxy_gets_an_a() -> None:
    settings = {"public_url": "https://mcp.example.com/mcp", "auth0_domain": "acme.eu.auth0.com"}
    async with tenantry_with(**settings, auth0_audience="https://api", trusted_proxies="127.0.0.1") as url:
        report = await look(url, headers=[PROXY, ("host", "mcp.example.com")], others=False)
    assert (report.grade, bad(report)) == ("A", set())
    found = states(report)
    assert found["hsts"] == found["http-closed"] == found["resource"] == found["origin"] == found["host"] == {"ok"}
    assert found["authorization-server"] == {"note"}


async def test_tenantry_in_production_asked_as_nobody_s_proxy_redirects_to_https() -> None:
    settings = {"public_url": "https://mcp.example.com/mcp", "auth0_domain": "acme.eu.auth0.com"}
    async with tenantry_with(**settings, auth0_audience="https://api") as url:
        report = await look(url, headers=[PROXY, ("host", "mcp.example.com")], others=False)
    assert report.grade not in ("A", "B")


async def test_tenantry_in_development_gets_an_a_with_notes(idp: DevIdp) -> None:
    values = {name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings().items()}
    auth0 = {name: value for name, value in values.items() if name.startswith(("auth0", "environment"))}
    async with served_at_its_port(auth0) as url:
        report = await look(url)
        with_token = await look(url, token=idp.auth0.access_token("ann"))
    assert (report.grade, bad(report)) == ("A", set())
    found = states(report)
    assert found["https"] == found["hsts"] == {"note"}
    assert found["issuer"] == found["pkce"] == found["keys"] == found["token-forged"] == {"ok"}
    assert (with_token.grade, bad(with_token)) == ("A", set())
    assert states(with_token)["good-token"] == states(with_token)["token-tampered"] == {"ok"}


@contextlib.asynccontextmanager
async def served_at_its_port(settings: dict[str, Any]) -> AsyncIterator[str]:
    """In development the resource is the address served at, so the port must be known before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = TenantryMiddleware(server().streamable_http_app(), settings=Settings(port=port, **settings))
    async with serve_on_loopback(app, port=port, **AS_SERVED) as base:
        yield f"{base}/mcp"


async def test_tenantry_with_api_keys_alone_gets_an_a_and_advertises_no_sign_in() -> None:
    async with tenantry_with(api_key=API_KEY, trusted_proxies="127.0.0.1") as url:
        report = await look(url, headers=[PROXY], token=API_KEY)
    assert (report.grade, bad(report)) == ("A", set())
    found = states(report)
    assert found["metadata"] == {"note"}
    assert "resource" not in found
    assert found["good-token"] == {"ok"}


async def test_two_looks_in_a_row_are_within_what_tenantry_grants_a_stranger() -> None:
    async with tenantry_with(api_key=API_KEY, trusted_proxies="127.0.0.1") as url:
        reports = [await look(url, headers=[PROXY]) for _ in range(2)]
    assert [report.grade for report in reports] == ["A", "A"]


async def test_a_server_that_limits_us_gets_no_grade_and_no_further_request() -> None:
    async with tenantry_with(api_key=API_KEY, trusted_proxies="127.0.0.1", rate_limit_anonymous="8/3600") as url:
        report = await look(url, headers=[PROXY])
    assert (report.grade, report.good) == (None, False)
    assert bad(report) == {("rate-limit", "warning")}
    assert report.requests < 20


async def test_tenantry_with_open_lists_gets_a_note_of_them() -> None:
    """Whoever gets in meets the app's own router, whose redirect from /mcp/ to /mcp is followed inside."""
    settings = {"public_url": "https://mcp.example.com/mcp", "trusted_proxies": "127.0.0.1"}
    async with tenantry_with(api_key=API_KEY, anonymous_methods=("initialize", "tools/list"), **settings) as url:
        report = await look(url, headers=[PROXY, ("host", "mcp.example.com")])
    assert (report.grade, bad(report)) == ("A", set())
    assert states(report)["calls-closed"] == {"note"}
    assert states(report)["slash"] == {"ok"}


# --- Servers that do not run it ---------------------------------------------------------------------------------------


class Verifier:
    """Lets one token in."""

    async def verify_token(self, token: str) -> AccessToken | None:
        return AccessToken(token=token, client_id="client", scopes=["read"]) if token == "good-one-of-these" else None


async def test_the_sdk_s_own_bearer_check_gets_a_grade() -> None:
    """Measured on mcp 2.3: an error code without a token, metadata in one place, no preflights."""
    auth = AuthSettings(
        issuer_url=AnyHttpUrl("https://127.0.0.1:1/"),
        resource_server_url=AnyHttpUrl("https://mcp.example.com/mcp"),
        validate_token_resource=False,
    )
    made = MCPServer("tests", token_verifier=Verifier(), auth=auth, log_level="CRITICAL")
    async with serve_on_loopback(made.streamable_http_app(host="0.0.0.0")) as base:
        report = await look(f"{base}/mcp", headers=[PROXY, ("host", "mcp.example.com")])
    assert report.grade == "B"
    found = states(report)
    assert found["calls-closed"] == found["methods-closed"] == found["token-random"] == {"ok"}
    assert found["resource"] == {"ok"}
    assert {("challenge-error", "warning"), ("metadata-places", "warning"), ("preflight", "warning")} <= bad(report)


async def test_fastmcp_s_own_auth_gets_a_grade() -> None:
    from fastmcp import FastMCP
    from fastmcp.server.auth import JWTVerifier, RemoteAuthProvider

    mint = TokenMint()
    verifier = JWTVerifier(
        public_key=mint.keys.current.public_pem().decode(),
        issuer="https://issuer.example/",
        audience="https://mcp.example.com/mcp",
    )
    auth = RemoteAuthProvider(
        token_verifier=verifier,
        authorization_servers=[AnyHttpUrl("https://127.0.0.1:1/")],
        base_url="https://mcp.example.com",
    )
    async with serve_on_loopback(FastMCP("tests", auth=auth).http_app()) as base:
        report = await look(f"{base}/mcp", headers=[PROXY, ("host", "mcp.example.com")])
    assert report.grade == "B"
    found = states(report)
    assert found["calls-closed"] == found["token-unsigned"] == found["token-forged"] == {"ok"}
    assert found["resource"] == {"ok"}


async def test_a_server_of_the_sdk_without_auth_gets_an_f() -> None:
    async with serve_on_loopback(server().streamable_http_app()) as base:
        report = await look(f"{base}/mcp")
    assert report.grade == "F"
    assert ("calls-closed", "error") in bad(report)


# --- TLS --------------------------------------------------------------------------------------------------------------


def certificate(folder: Path, days: int) -> tuple[str, str]:
    """Files of a certificate for 127.0.0.1, which vouches for itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    no_password = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, no_password))
    return str(cert_file), str(key_file)


@pytest.mark.parametrize(("days", "state"), [(90, "ok"), (5, "warning")])
async def test_a_certificate_is_read_and_its_end_is_told(tmp_path: Path, days: int, state: str) -> None:
    cert_file, key_file = certificate(tmp_path, days)
    app = TenantryMiddleware(server().streamable_http_app(host="0.0.0.0"), settings=Settings(api_key=API_KEY))
    async with serve_on_loopback(app, ssl_certfile=cert_file, ssl_keyfile=key_file, **AS_SERVED) as base:
        report = await look(f"{base}/mcp", ca_file=cert_file)
        stranger = await look(f"{base}/mcp")
    found = states(report)
    assert (found["certificate"], found["https"], found["hsts"]) == ({state}, {"ok"}, {"ok"})
    assert (stranger.grade, bad(stranger)) == (None, {("reachable", "error")})
    assert "certificate" in stranger.findings[0].text


async def test_an_own_server_over_tls_without_hsts_is_told(tmp_path: Path) -> None:
    cert_file, key_file = certificate(tmp_path, 90)
    server = Exemplary()
    async with serve_on_loopback(server, ssl_certfile=cert_file, ssl_keyfile=key_file, **AS_SERVED) as base:
        server.base = base
        report = await look(f"{base}/mcp", ca_file=cert_file)
    assert ("hsts", "warning") in bad(report)
