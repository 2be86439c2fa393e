"""The text of the .env that ``tenantry init`` writes, checked as a server will check it.

A value that needs no quotes has none; any other is in single quotes, in which a POSIX shell, Docker Compose (env_file)
and python-dotenv all take every character as it is. ``docker run --env-file`` keeps quotes, and so cannot read those.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError

_BARE = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
# What stands between the internet and the server there; addresses outside of it are believed no header.
_PROXIES = {
    "railway": "100.64.0.0/10",
    "render": "10.0.0.0/8",
    "fly": "172.16.0.0/12",
    "kubernetes": "10.0.0.0/8",
}
_ADDRESS_HEADERS = {"railway": "x-real-ip", "render": "cf-connecting-ip", "fly": "fly-client-ip"}
_OF_THE_PLATFORM = {
    "railway": "railway variables --set 'NAME=value' for each line",
    "render": "the dashboard's Environment page, Add from .env",
    "fly": "fly secrets import < {file}",
    "kubernetes": "kubectl create secret generic tenantry --from-env-file={file} (it keeps quotes: take them off)",
}


@dataclass(frozen=True, slots=True)
class Answers:
    """What the operator said. ``database`` is None where the platform hands the connection string in."""

    providers: tuple[str, ...]
    platform: str
    key_name: str = "first"
    tenant: str | None = None
    public_url: str | None = None
    google_client_id: str | None = None
    auth0_domain: str | None = None
    auth0_audience: str | None = None
    github_client_id: str | None = None
    github_client_secret: str | None = field(default=None, repr=False)
    database: str | None = field(default=None, repr=False)
    with_database: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """The file's ``text``, the settings in it, and the API ``key``, which is in neither."""

    text: str = field(repr=False)
    values: tuple[tuple[str, str], ...] = field(repr=False)
    key: str | None = field(default=None, repr=False)


def compose(answers: Answers) -> Made:
    """The file. Raises ``ConfigurationError`` for a value that no reader of such files could take."""
    key, entry = _key(answers) if "api-key" in answers.providers else (None, None)
    lines, values = [], []
    for item in _items(answers, entry):
        if isinstance(item, str):
            lines.append(f"# {item}" if item else "")
        else:
            name, value = item
            values.append((name, value))
            lines.append(f"{name}={_quoted(name, value)}")
    return Made("\n".join(lines) + "\n", tuple(values), key)


def _items(answers: Answers, entry: str | None) -> Iterator[str | tuple[str, str]]:
    """Comments, and settings with their values."""
    yield "Settings of tenantry; every one is explained by `tenantry help NAME`. Keep this file out of version control."
    yield "Read by a shell (set -a; . ./.env; set +a), Docker Compose (env_file) and uvicorn --env-file."
    if entry is not None:
        yield "Not by `docker run --env-file`, which keeps the quotes around MCP_HTTP_API_KEYS."
    yield from _where(answers)
    yield from _who(answers, entry)
    yield ""
    yield "Tenants: who belongs together. Domains and organisations get a tenant each; rename one like this:"
    yield """MCP_HTTP_TENANT_MAPPING='{"example.com": "acme"}'"""
    if answers.database is not None:
        yield "The tenant database; tenants are made by `tenantry migrate` and `tenantry tenants create`."
        yield "MCP_HTTP_DATABASE_CONNECTION_STRING", answers.database
    elif answers.with_database:
        yield "The tenant database: the platform sets DATABASE_URL. `tenantry migrate` needs a direct connection,"
        yield "not a pooled one, in DIRECT_DATABASE_URL where the two differ."
    yield ""
    yield "Who did what, for good: standard output, a file or the database. `tenantry help audit`"
    yield "MCP_HTTP_AUDIT_SINKS=stdout"


def _where(answers: Answers) -> Iterator[str | tuple[str, str]]:
    yield ""
    if answers.platform == "local":
        yield "Development: this machine only, refusals explain themselves. Remove it where others can connect."
        yield "MCP_HTTP_ENVIRONMENT", "development"
        yield "MCP_HTTP_PORT", "8000"
    else:
        yield f"Production, on {answers.platform}."
        yield "MCP_HTTP_ENVIRONMENT", "production"
        yield "MCP_HTTP_HOST", "0.0.0.0"  # noqa: S104 - behind a platform's proxy, which reaches it from elsewhere
        if answers.platform in ("docker", "kubernetes"):
            yield "MCP_HTTP_PORT", "8000"
        yield from _proxies(answers.platform)
        yield "MCP_HTTP_LOG_FORMAT", "json"
    if answers.public_url:
        yield "The URL exactly as users type it: clients compare it letter by letter."
        yield "MCP_HTTP_PUBLIC_URL", answers.public_url


def _proxies(platform: str) -> Iterator[str | tuple[str, str]]:
    if platform == "docker":
        yield "The proxy that ends TLS before the container, as the container sees it:"
        yield "MCP_HTTP_TRUSTED_PROXIES=172.16.0.0/12"
        return
    yield "Whose forwarded headers are believed: the platform's own proxies."
    yield "MCP_HTTP_TRUSTED_PROXIES", _PROXIES[platform]
    if platform in _ADDRESS_HEADERS:
        yield "MCP_HTTP_CLIENT_ADDRESS_HEADER", _ADDRESS_HEADERS[platform]


def _who(answers: Answers, entry: str | None) -> Iterator[str | tuple[str, str]]:
    yield ""
    if "google" in answers.providers:
        yield "Google: every OAuth client of your own project, web and mobile."
        yield "MCP_HTTP_GOOGLE_CLIENT_ID", str(answers.google_client_id)
    if "auth0" in answers.providers:
        yield "Auth0: clients have to ask for this audience, or they get an opaque token."
        yield "MCP_HTTP_AUTH0_DOMAIN", str(answers.auth0_domain)
        yield "MCP_HTTP_AUTH0_AUDIENCE", str(answers.auth0_audience)
    if "github" in answers.providers:
        yield "GitHub: the secret is what proves that a token is of your own app."
        yield "MCP_HTTP_GITHUB_ENABLED", "true"
        yield "MCP_HTTP_GITHUB_CLIENT_ID", str(answers.github_client_id)
        yield "MCP_HTTP_GITHUB_CLIENT_SECRET", str(answers.github_client_secret)
    if entry is not None:
        yield "API keys by their digests; the key itself was shown once. More: `tenantry keys create`."
        yield "MCP_HTTP_API_KEYS", entry


def _key(answers: Answers) -> tuple[str, str]:
    from ..core import apikeys

    word = "dev" if answers.platform == "local" else "live"
    key = apikeys.compose_key(word, secrets.token_bytes(8), secrets.token_bytes(32))
    record: dict[str, Any] = {"name": answers.key_name, "id": apikeys.key_id_of(key)}
    if answers.tenant is not None:
        record["tenant_id"] = answers.tenant
    return key, json.dumps({f"sha256:{apikeys.digest(key.encode()).hex()}": record})


def _quoted(name: str, value: str) -> str:
    if _BARE.fullmatch(value):
        return value
    if "'" in value or "\\" in value or not value.isprintable():
        raise ConfigurationError(
            f"{name} has a quote, a backslash or a control character, which .env files cannot hold."
        )
    return f"'{value}'"


def check(made: Made) -> None:
    """Raise ``ConfigurationError`` unless a server would start with these settings. The process's own environment is
    left out of it."""
    import os

    from ..settings import Settings
    from ..static_keys import read_api_keys

    kept = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(made.values)
        read_api_keys(Settings())
    finally:
        os.environ.clear()
        os.environ.update(kept)


def next_steps(answers: Answers, file: Path) -> list[str]:
    """The lines that mount it, and the commands that come next."""
    name = shlex.quote(str(file))
    source = name if "/" in name else f"./{name}"
    steps = ["", "Mount it:", "    from tenantry import TenantryMiddleware, current_user", "    ..."]
    steps.append('    app = TenantryMiddleware(mcp.streamable_http_app(host="0.0.0.0"))')
    steps.append("    user = current_user(ctx)  # in a tool: who, for which tenant, with which permissions")
    steps += ["", "Then:", f"    set -a; . {source}; set +a", "    tenantry doctor"]
    if answers.with_database:
        steps.append("    tenantry migrate")
    steps.append("    uvicorn server:app" if answers.platform == "local" else _serve(answers.platform, name))
    url = answers.public_url or "http://127.0.0.1:8000/mcp"
    keyed = " --api-key" if answers.providers == ("api-key",) else ""
    return [*steps, f"    tenantry client-config claude-code --url {url}{keyed}"]


def _serve(platform: str, file: str) -> str:
    if platform == "docker":
        return "    docker compose up   # env_file: " + file
    return f"    # {_OF_THE_PLATFORM[platform].format(file=file)}; then `tenantry help deploy`"
