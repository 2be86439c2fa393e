"""The settings as they stand, without asking anybody."""

from __future__ import annotations

import math
import os
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from ...adapters.forwarded import Proxies
from ...errors import ConfigurationError
from ...policy_file import load_rules
from ...settings.rules import LOOPBACK_HOSTS, insecure
from ..findings import Finding, error, note, ok, warning
from .here import Here

_SOON, _DAY = 14, 86_400
# By a variable that the platform sets: its name, and the networks of its proxies (docs/operations.md).
PLATFORMS = {
    "RAILWAY_PROJECT_ID": ("Railway", "100.64.0.0/10"),
    "FLY_APP_NAME": ("Fly", "172.16.0.0/12"),
    "RENDER": ("Render", "10.0.0.0/8"),
    "KUBERNETES_SERVICE_HOST": ("Kubernetes", "the network of your ingress, like 10.0.0.0/8"),
}


async def unsafe_choices_are_meant(here: Here) -> AsyncIterator[Finding]:
    found = [choice for choice in insecure(here.settings) if "ENVIRONMENT" not in choice.variable]
    for choice in found:
        yield warning("unsafe", f"{choice.variable}: {choice.meaning}.")
    if here.settings.development:
        yield note("unsafe", "MCP_HTTP_ENVIRONMENT=development: for this machine alone.")
    elif not found:
        yield ok("unsafe", "No check is switched off.")


async def the_public_url_can_be_typed(here: Here) -> AsyncIterator[Finding]:
    url = here.settings.public_url
    if url is None:
        if not here.settings.development:
            yield note("public-url", "No public URL: every Host is served, and no page of a browser may call.")
        return
    parts = urlsplit(url)
    if parts.hostname in LOOPBACK_HOSTS and not here.settings.development:
        yield warning("public-url", f"MCP_HTTP_PUBLIC_URL is {url}: nobody else can reach that.")
    elif parts.netloc != parts.netloc.lower() or url.endswith("/"):
        yield warning(
            "public-url",
            f"MCP_HTTP_PUBLIC_URL is {url}: clients compare it byte for byte with what their user types.",
            "Write it in small letters and without a slash at the end.",
        )
    else:
        yield ok("public-url", f"The public URL is {url}.")


async def clients_ask_for_an_audience_of_ours(here: Here) -> AsyncIterator[Finding]:
    """MCP clients send ``resource=<public URL>``, and Auth0 makes that the audience of the token."""
    audiences = here.settings.auth0_audience
    if audiences is None:
        return
    if here.settings.resource in audiences:
        yield ok("audience", f"MCP_HTTP_AUTH0_AUDIENCE holds {here.settings.resource}, which clients ask for.")
    else:
        say = note if here.settings.development else warning
        yield say(
            "audience",
            f"MCP_HTTP_AUTH0_AUDIENCE lacks {here.settings.resource}, which clients ask a token for.",
            "Add it there, and as an API identifier at Auth0.",
        )


async def the_rules_can_be_read(here: Here) -> AsyncIterator[Finding]:
    settings = here.settings
    if settings.policy_file is None and settings.tool_permissions is None:
        yield note("policy", "No policy: whoever is admitted may call everything.")
        return
    try:
        rules = list(load_rules(settings))
    except ConfigurationError as problem:
        yield error("policy", str(problem))
        return
    yield ok("policy", f"The policy has {len(rules)} rules.")


async def certificate_and_key_fit(here: Here) -> AsyncIterator[Finding]:
    certificate, key = here.settings.tls_cert_path, here.settings.tls_key_path
    if certificate is None or key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ssl.SSLError) as problem:
        why = problem.reason if isinstance(problem, ssl.SSLError) and problem.reason else "cannot be read"
        yield error("tls-files", f"{certificate} and {key} cannot be used together ({why}).")
        return
    days = math.floor((_end_of(certificate) - time.time()) / _DAY)
    if days < 0:
        yield error("tls-files", f"{certificate} has ended.")
    elif days < _SOON:
        yield warning("tls-files", f"{certificate} is good for {days} more days.")
    else:
        yield ok("tls-files", f"{certificate} is good for {days} more days.")


def _end_of(certificate: Path) -> float:
    from cryptography.x509 import load_pem_x509_certificate

    return load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()


async def the_platforms_proxies_are_trusted(here: Here) -> AsyncIterator[Finding]:
    settings = here.settings
    try:
        Proxies(settings.trusted_proxies or (), settings.client_address_header)
    except ConfigurationError as problem:
        yield error("proxies", str(problem))
        return
    platform = next((PLATFORMS[name] for name in PLATFORMS if name in here.environ), None)
    trusted = ", ".join(settings.trusted_proxies or ())
    if platform is None and trusted:
        yield ok("proxies", f"Forwarded headers are believed from {trusted}.")
    elif platform is None:
        yield _without_a_proxy(here)
    elif trusted:
        yield ok("proxies", f"This is {platform[0]}; forwarded headers are believed from {trusted}.")
    else:
        mend = f"Set MCP_HTTP_TRUSTED_PROXIES={platform[1]} (docs/operations.md)."
        if settings.development or settings.require_https is False:
            what = f"This is {platform[0]}, and its proxy is not trusted: all strangers count as one address."
            yield warning("proxies", what, mend)
        else:
            what = f"This is {platform[0]}, whose proxy ends TLS, and it is not trusted: every request is answered 426."
            yield error("proxies", what, mend)


def _without_a_proxy(here: Here) -> Finding:
    settings = here.settings
    if settings.tls_cert_path is not None or settings.development or settings.require_https is False:
        return ok("proxies", "No proxy is trusted, and none is needed.")
    return note(
        "proxies",
        "No proxy is trusted: where one ends TLS in front of this server, every request is answered 426.",
        "Set MCP_HTTP_TRUSTED_PROXIES to its address, or serve https here (MCP_HTTP_TLS_CERT_PATH).",
    )


async def the_audit_can_be_written(here: Here) -> AsyncIterator[Finding]:
    from ...adapters.audit.configured import places, secret

    try:
        where = places(here.settings)
        secret(here.settings)
    except ConfigurationError as problem:
        yield error("audit", str(problem))
        return
    if where is None:
        yield note("audit", "No audit: nothing is written down.", "Set MCP_HTTP_AUDIT_SINKS (docs/audit.md).")
    elif where.file is not None and not _writable(where.file):
        yield error("audit", f"{where.file} cannot be written by this account.")
    else:
        yield ok("audit", f"The audit goes to {', '.join(here.settings.audit_sinks or ())}.")


def _writable(file: Path) -> bool:
    return os.access(file if file.exists() else file.parent, os.W_OK)
