"""Each identity provider as the server will meet it: keys, issuer, clock, and whether it knows our client."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from ...core.keys import KeySet, parse_key_set
from ...core.strict_json import parse_object
from ...ports import FetchFailed, HttpRequest
from ...providers.google import GoogleSettings
from ..clocks import skew_of, told
from ..findings import Finding, error, ok, warning
from .here import Asked, Here

_JSON = {"accept": "application/json", "user-agent": "tenantry"}
_DAY = 86_400
_REASONS = {
    "connect": "no connection",
    "timeout": "no answer in time",
    "protocol": "what came is no HTTP answer",
    "too_large": "the answer has no end",
    "insecure_url": "plain http is not asked outside of this machine",
}


async def google_publishes_keys(here: Here) -> AsyncIterator[Finding]:
    if not here.settings.google_client_id:
        return
    base = here.settings.google_base_url
    known = GoogleSettings(frozenset(here.settings.google_client_id))
    keys_url = known.keys_url if base is None else f"{base.rstrip('/')}/oauth2/v3/certs"
    userinfo_url = known.userinfo_url if base is None else f"{base.rstrip('/')}/v1/userinfo"
    async for finding in _keys(here, "Google", keys_url):
        yield finding
    try:
        asked = await here.ask(HttpRequest("GET", userinfo_url, _JSON))
    except FetchFailed as failure:
        yield warning("provider", f"Google: userinfo: {_REASONS[failure.kind]}: access tokens cannot be checked.")
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
        asked = await here.ask(HttpRequest("GET", f"{issuer}.well-known/openid-configuration", _JSON))
        document = _object(asked)
    except FetchFailed as failure:
        yield error("provider", f"Auth0: {issuer}: {_REASONS[failure.kind]}.")
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
    async for finding in _keys(here, "Auth0", f"{issuer}.well-known/jwks.json"):
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
        headers = _JSON | {"authorization": f"Basic {basic}", "content-type": "application/json"}
        body = json.dumps({"access_token": f"doctor-{secrets.token_hex(16)}"}).encode()
        request = HttpRequest("POST", f"{api}/applications/{quote(client_id, safe='')}/token", headers, body)
    else:
        request = HttpRequest("GET", f"{api}/user", _JSON)
    try:
        asked = await here.ask(request)
    except FetchFailed as failure:
        yield error("provider", f"GitHub: {urlsplit(api).netloc}: {_REASONS[failure.kind]}.")
        return
    for finding in _clock(here, "GitHub", asked):
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


async def _keys(here: Here, name: str, url: str) -> AsyncIterator[Finding]:
    try:
        asked = await here.ask(HttpRequest("GET", url, _JSON))
        document = _object(asked)
        keys = parse_key_set(document)
    except FetchFailed as failure:
        yield error("provider-keys", f"{name}: {url}: {_REASONS[failure.kind]}.")
        return
    except ValueError as problem:
        yield error("provider-keys", f"{name}: {url}: {problem}.")
        return
    for finding in _clock(here, name, asked):
        yield finding
    text = f"{name}: {_told(keys, document)}, fetched in {asked.seconds * 1000:.0f} ms."
    if any({"RS256", "PS256"} & key.algorithms for key in keys.keys):
        yield ok("provider-keys", text)
    else:
        yield error("provider-keys", f"{text} None is for RS256 or PS256, which are accepted here.")


def _told(keys: KeySet, document: dict[str, Any]) -> str:
    algorithms = sorted({algorithm for key in keys.keys for algorithm in key.algorithms})
    words = [f"{len(keys.keys)} usable keys ({', '.join(algorithms)})"]
    if keys.ignored:
        words.append(f"{keys.ignored} left out")
    ages = [age for entry in document["keys"] if (age := _age(entry)) is not None]
    if ages:
        words.append(f"certificates {min(ages):.0f} to {max(ages):.0f} days old")
    return ", ".join(words)


def _age(entry: dict[str, Any]) -> float | None:
    """Days since the key's certificate began (RFC 7517 section 4.7); None without one."""
    from cryptography.x509 import load_der_x509_certificate

    chain = entry.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        return None
    try:
        began = load_der_x509_certificate(base64.b64decode(chain[0])).not_valid_before_utc
    except ValueError:
        return None
    return (time.time() - began.timestamp()) / _DAY


def _clock(here: Here, name: str, asked: Asked) -> Iterator[Finding]:
    skew, allowed = skew_of(asked.response.headers.get("date", ""), asked.moment), here.settings.clock_skew
    if skew is None:
        return
    # A Date has whole seconds, and is written before the answer travels.
    if abs(skew) > allowed + 1 + asked.seconds:
        yield error(
            "provider-clock",
            f"{name}'s clock is {told(skew)} ours, more than MCP_HTTP_CLOCK_SKEW ({allowed:.0f} s): good tokens will "
            "be refused, or ended ones accepted.",
        )
    else:
        yield ok("provider-clock", f"{name}'s clock is ours to within {allowed:.0f} s.")


def _object(asked: Asked) -> dict[str, Any]:
    """The JSON object of a 200. Raises ``ValueError`` with what there is instead."""
    if asked.response.status != 200:
        raise ValueError(f"answers {asked.response.status}")
    return parse_object(asked.response.body)
