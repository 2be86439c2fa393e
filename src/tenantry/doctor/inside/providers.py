"""Each identity provider as the server will meet it: keys, issuer, clock, and whether it knows our client."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

from ...ports import FetchFailed, HttpRequest
from ...providers.google import GoogleSettings
from ..findings import Finding, error, ok, warning
from .here import Here
from .keys import JSON, clock, object_of, published_keys, told_of


async def google_publishes_keys(here: Here) -> AsyncIterator[Finding]:
    if not here.settings.google_client_id:
        return
    base = here.settings.google_base_url
    known = GoogleSettings(frozenset(here.settings.google_client_id))
    keys_url = known.keys_url if base is None else f"{base.rstrip('/')}/oauth2/v3/certs"
    userinfo_url = known.userinfo_url if base is None else f"{base.rstrip('/')}/v1/userinfo"
    async for finding in published_keys(here, "Google", keys_url):
        yield finding
    try:
        asked = await here.ask(HttpRequest("GET", userinfo_url, JSON))
    except FetchFailed as failure:
        yield warning("provider", f"Google: userinfo: {told_of(failure)}: access tokens cannot be checked.")
        return
    if asked.response.status in (400, 401, 403):  # as it should be, without a token
        yield ok("provider", f"Google: userinfo answers ({asked.seconds * 1000:.0f} ms).")
    else:
        yield warning("provider", f"Google: userinfo answers {asked.response.status} without a token.")


async def auth0_is_who_we_expect(here: Here) -> AsyncIterator[Finding]:
    issuer = here.settings.auth0_issuer
    if issuer is None:
        return
    try:
        asked = await here.ask(HttpRequest("GET", f"{issuer}.well-known/openid-configuration", JSON))
        document = object_of(asked)
    except FetchFailed as failure:
        yield error("provider", f"Auth0: {issuer}: {told_of(failure)}.")
        return
    except ValueError as problem:
        yield error("provider", f"Auth0: discovery at {issuer}: {problem}.", "Check MCP_HTTP_AUTH0_DOMAIN.")
        return
    if document.get("issuer") != issuer:
        yield error(
            "provider",
            f"Auth0: {issuer} calls itself something else: its tokens will be refused.",
            "Set MCP_HTTP_AUTH0_DOMAIN to the domain that signs tokens (a custom domain has an issuer of its own).",
        )
    else:
        yield ok("provider", f"Auth0: {issuer} answers ({asked.seconds * 1000:.0f} ms) and calls itself so.")
    async for finding in published_keys(here, "Auth0", f"{issuer}.well-known/jwks.json"):
        yield finding


async def github_knows_our_client(here: Here) -> AsyncIterator[Finding]:
    """One question about a token that does not exist: 404 says that the client may ask, 401 that it may not."""
    settings = here.settings
    if not settings.github_enabled:
        return
    api, secret = settings.github_api_url.rstrip("/"), settings.github_client_secret
    client_id = settings.github_client_id or ""
    bound = settings.github_binding == "app" and secret is not None
    if bound and secret is not None:
        basic = base64.b64encode(f"{client_id}:{secret.get_secret_value()}".encode()).decode()
        headers = JSON | {"authorization": f"Basic {basic}", "content-type": "application/json"}
        body = json.dumps({"access_token": f"doctor-{secrets.token_hex(16)}"}).encode()
        request = HttpRequest("POST", f"{api}/applications/{quote(client_id, safe='')}/token", headers, body)
    else:
        request = HttpRequest("GET", f"{api}/user", JSON)
    try:
        asked = await here.ask(request)
    except FetchFailed as failure:
        yield error("provider", f"GitHub: {urlsplit(api).netloc}: {told_of(failure)}.")
        return
    for finding in clock(here, "GitHub", asked):
        yield finding
    status = asked.response.status
    if status in (403, 429) or status >= 500:
        yield warning(
            "provider", f"GitHub answers {status}: it limits this machine, or is down.", "Run it again later."
        )
        return
    yield ok("provider", f"GitHub: {urlsplit(api).netloc} answers ({asked.seconds * 1000:.0f} ms).")
    if bound and status == 401:
        yield error("provider-client", "GitHub refuses our client id and secret (401).")
    elif bound:
        yield ok("provider-client", f"GitHub does not refuse our client id and secret ({status}).")
