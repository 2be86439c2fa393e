"""The settings of the environment, and what they name: identity providers, databases, stores, proxies."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from tests.doctor.conftest import bad, states, text_of
from tests.doctor.test_servers import API_KEY, certificate
from tests.redis_server import RedisServer, needed_redis

from tenantry.devidp import faults
from tenantry.doctor.examine import Report, examine_settings
from tenantry.testing import DevIdp, TokenMint, serve_on_loopback

pytestmark = pytest.mark.anyio


@pytest.fixture
async def idp() -> AsyncIterator[DevIdp]:
    idp = DevIdp()
    async with idp.serve():
        yield idp


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``await inside(MCP_HTTP_API_KEY=...)``: what the doctor finds in that environment; others are what the platform
    says."""

    async def look(platform: dict[str, str] | None = None, **environment: str) -> Report:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return await examine_settings(platform or {})

    return look


KEY = {"MCP_HTTP_API_KEY": API_KEY}


async def test_settings_in_order_have_no_error_and_no_warning(inside: Any, idp: DevIdp) -> None:
    report = await inside(**idp.settings())
    assert (report.grade, report.good, bad(report)) == (None, True, set())
    found = states(report)
    assert found["settings"] == found["provider"] == found["provider-keys"] == found["provider-client"] == {"ok"}
    assert "RS256" in text_of(report, "provider-keys")
    assert "days old" in text_of(report, "provider-keys")  # Auth0 publishes certificates


async def test_each_mistake_in_the_settings_is_a_finding(inside: Any) -> None:
    report = await inside(**KEY, MCP_HTTP_PORT="many", MCP_HTTP_CLOCK_SKEW="never")
    assert [(finding.id, finding.state) for finding in report.findings] == [("settings", "error")] * 2


async def test_what_only_shows_when_all_is_put_together_is_a_finding(inside: Any) -> None:
    report = await inside(**KEY, MCP_HTTP_SECURITY_HEADERS="cps")
    assert bad(report) == {("settings", "error")}
    assert "did you mean csp" in text_of(report, "settings")


PROVIDER_FAULTS = {
    "google's keys": ("google", "certs", faults.error(), {("provider-keys", "error")}),
    "google's keys are none": ("google", "certs", faults.empty_keys(), {("provider-keys", "error")}),
    "auth0's keys": ("auth0", "jwks", faults.not_json(), {("provider-keys", "error")}),
    "auth0's keys hang up": ("auth0", "jwks", faults.reset(), {("provider-keys", "error")}),
    "auth0's keys are huge": ("auth0", "jwks", faults.huge(), {("provider-keys", "error")}),
    "auth0's keys are elsewhere": ("auth0", "jwks", faults.redirect(), {("provider-keys", "error")}),
    "github is down": ("github", None, faults.error(), {("provider", "warning")}),
    "github limits": ("github", None, faults.rate_limited(30), {("provider", "warning")}),
    "github hangs up": ("github", None, faults.reset(), {("provider", "error")}),
}


@pytest.mark.parametrize("name", PROVIDER_FAULTS)
async def test_a_provider_s_fault_is_found(name: str, inside: Any, idp: DevIdp) -> None:
    provider, endpoint, fault, expected = PROVIDER_FAULTS[name]
    with idp.faults.during(provider, fault, endpoint=endpoint):
        report = await inside(**idp.settings())
    assert bad(report) == expected


async def test_a_wrong_client_secret_at_github_is_found(inside: Any, idp: DevIdp) -> None:
    settings = idp.settings() | {"MCP_HTTP_GITHUB_CLIENT_SECRET": "wrong-0123456789"}
    assert bad(await inside(**settings)) == {("provider-client", "error")}


def asking(idp: DevIdp, **changes: Any) -> dict[str, str]:
    """Settings that ask the development identity provider about opaque tokens."""
    entry = {**idp.introspection.entry(), **changes}
    return {"MCP_HTTP_ENVIRONMENT": "development", "MCP_HTTP_INTROSPECTION_PROVIDERS": json.dumps([entry])}


async def test_a_server_that_answers_introspection_knows_our_client(inside: Any, idp: DevIdp) -> None:
    report = await inside(**asking(idp))
    assert bad(report) == set()
    assert "opaque lets our client ask" in text_of(report, "provider-client")


async def test_a_wrong_client_secret_for_introspection_is_found_and_not_shown(inside: Any, idp: DevIdp) -> None:
    report = await inside(**asking(idp, client_secret="wrong-0123456789"))
    assert bad(report) == {("provider-client", "error")}
    assert "wrong-0123456789" not in text_of(report, "provider-client")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (faults.html(), ("provider", "error")),
        (faults.reset(), ("provider", "error")),
        (faults.rate_limited(30), ("provider", "warning")),
    ],
)
async def test_a_fault_of_introspection_is_found(inside: Any, idp: DevIdp, fault: Any, expected: Any) -> None:
    with idp.faults.during("introspection", fault):
        assert bad(await inside(**asking(idp))) == {expected}


def auth0(change: Any) -> Any:
    """An ASGI app with Auth0's two documents, changed."""
    mint = TokenMint()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        base = f"http://{dict(scope['headers'])[b'host'].decode()}"
        keys = scope["path"].endswith("jwks.json")
        document = mint.jwks() if keys else {"issuer": f"{base}/"}
        date, document = change(document)
        body = json.dumps(document).encode()
        headers = [(b"date", date.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda document: (formatdate(time.time(), usegmt=True), document), set()),
        (lambda document: (formatdate(time.time() + 3600, usegmt=True), document), {("provider-clock", "error")}),
        (
            lambda document: (formatdate(usegmt=True), document | ({"issuer": "x"} if "issuer" in document else {})),
            {("provider", "error")},
        ),
    ],
)
async def test_a_provider_s_clock_and_name_are_compared(inside: Any, change: Any, expected: set[Any]) -> None:
    async with serve_on_loopback(auth0(change), lifespan="off") as base:
        report = await inside(
            MCP_HTTP_ENVIRONMENT="development", MCP_HTTP_AUTH0_DOMAIN=base, MCP_HTTP_AUTH0_AUDIENCE="https://api"
        )
    assert bad(report) == expected


@pytest.mark.parametrize(
    ("platform", "settings", "state"),
    [
        ({}, {}, "note"),
        ({}, {"MCP_HTTP_TRUSTED_PROXIES": "10.0.0.0/8"}, "ok"),
        ({"FLY_APP_NAME": "x"}, {}, "error"),
        ({"RAILWAY_PROJECT_ID": "x"}, {"MCP_HTTP_TRUSTED_PROXIES": "100.64.0.0/10"}, "ok"),
        ({"RENDER": "true"}, {}, "error"),
        ({"RENDER": "true"}, {"MCP_HTTP_REQUIRE_HTTPS": "false"}, "warning"),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, {}, "error"),
    ],
)
async def test_the_platform_s_proxies_are_compared_with_those_that_are_trusted(
    inside: Any, platform: dict[str, str], settings: dict[str, str], state: str
) -> None:
    report = await inside(platform, **KEY, **settings)
    assert states(report)["proxies"] == {state}


async def test_unsafe_choices_are_warnings(inside: Any) -> None:
    report = await inside(**KEY, MCP_HTTP_PERSONAL_DOMAINS="shared", MCP_HTTP_REQUIRE_HTTPS="false")
    assert states(report)["unsafe"] == {"warning"}
    assert len([finding for finding in report.findings if finding.id == "unsafe"]) == 2


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"MCP_HTTP_PUBLIC_URL": "https://MCP.example.com/mcp"}, ("public-url", "warning")),
        ({"MCP_HTTP_PUBLIC_URL": "https://mcp.example.com/mcp/"}, ("public-url", "warning")),
        ({"MCP_HTTP_PUBLIC_URL": "https://127.0.0.1/mcp"}, ("public-url", "warning")),
    ],
)
async def test_a_public_url_that_users_will_not_type_is_found(
    inside: Any, settings: dict[str, str], found: tuple[str, str]
) -> None:
    assert found in bad(await inside(**KEY, **settings))


async def test_an_audience_that_clients_do_not_ask_for_is_told(inside: Any, idp: DevIdp) -> None:
    assert states(await inside(**idp.settings()))["audience"] == {"note"}
    settings = idp.settings() | {"MCP_HTTP_AUTH0_AUDIENCE": "http://127.0.0.1:8000/mcp"}
    assert states(await inside(**settings))["audience"] == {"ok"}


async def test_files_of_certificates_are_read(inside: Any, tmp_path: Path) -> None:
    cert_file, key_file = certificate(tmp_path, 5)
    files = {"MCP_HTTP_TLS_CERT_PATH": cert_file, "MCP_HTTP_TLS_KEY_PATH": key_file}
    assert ("tls-files", "warning") in bad(await inside(**KEY, **files))
    other = {"MCP_HTTP_TLS_KEY_PATH": cert_file}  # no key at all
    assert ("tls-files", "error") in bad(await inside(**KEY, **files | other))


async def test_an_audit_file_is_looked_at_and_not_made(inside: Any, tmp_path: Path) -> None:
    report = await inside(**KEY, MCP_HTTP_AUDIT_SINKS=f"file:{tmp_path}/audit.jsonl")
    assert states(report)["audit"] == {"ok"}
    assert os.listdir(tmp_path) == []
    report = await inside(**KEY, MCP_HTTP_AUDIT_SINKS=f"file:{tmp_path}/missing/audit.jsonl")
    assert states(report)["audit"] == {"error"}


async def test_a_quota_store_that_is_there_and_one_that_is_not(inside: Any) -> None:
    needed_redis()
    async with RedisServer() as server:
        settings = {"MCP_HTTP_RATE_LIMIT_STORE": "redis", "MCP_HTTP_REDIS_URL": server.url}
        assert states(await inside(**KEY, **settings))["redis"] == {"ok"}
    assert states(await inside(**KEY, **settings))["redis"] == {"error"}


# Issuers of MCP_HTTP_OIDC_PROVIDERS


def trusting(entries: list[dict[str, Any]]) -> dict[str, str]:
    return {"MCP_HTTP_ENVIRONMENT": "development", "MCP_HTTP_OIDC_PROVIDERS": json.dumps(entries)}


async def test_the_keys_of_every_issuer_are_found(inside: Any, idp: DevIdp) -> None:
    entries = idp.issuers.entries()
    report = await inside(**trusting(entries))
    assert bad(report) == set()
    told = text_of(report, "provider-keys")
    assert [entry["name"] for entry in entries if f"{entry['name']}: " not in told] == []


async def test_an_issuer_whose_document_names_another_is_found(inside: Any, idp: DevIdp) -> None:
    entry = {"name": "acme", "issuer": idp.base_url, "audience": "https://mcp.example/mcp"}  # it has a slash at its end
    report = await inside(**trusting([entry]))
    assert bad(report) == {("provider-keys", "error"), ("provider", "error")}
    assert "names another issuer" in text_of(report, "provider")


async def test_an_issuer_whose_keys_hang_up_is_found(inside: Any, idp: DevIdp) -> None:
    with idp.faults.during("keycloak", faults.reset()):
        report = await inside(**trusting(idp.issuers.entries("keycloak")))
    assert bad(report) == {("provider-keys", "error")}
