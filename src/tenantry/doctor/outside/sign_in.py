"""The authorization servers that the metadata names, as a client meets them (RFC 8414, OpenID discovery, RFC 7591)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from ...core.keys import parse_key_set
from ..findings import Finding, error, note, ok, warning
from .metadata import servers_of
from .probe import NoReply, Probe
from .reading import json_object, public_document, published
from .target import parts_of

_MOST_SERVERS = 3
_RFC8414, _OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


def candidates(issuer: str) -> tuple[str, ...]:
    """Where clients look, in their order (MCP authorization 2026-07-28, "Authorization Server Metadata Discovery")."""
    parts = parts_of(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return tuple(dict.fromkeys((f"{base}{_RFC8414}{path}", f"{base}{_OPENID}{path}", f"{base}{path}{_OPENID}")))


async def document_of(probe: Probe, issuer: str) -> tuple[dict[str, Any] | None, str]:
    """(the metadata of an authorization server, "") or (None, what went wrong)."""
    problem = ""
    for url in candidates(issuer):
        try:
            reply = await public_document(probe, url)
        except NoReply as failure:
            return None, str(failure)
        document = json_object(reply)
        if document is not None and "issuer" in document:
            return document, ""
        problem = f"{reply.status}" if reply.status != 200 else "200 without metadata"
    return None, problem


async def _servers(probe: Probe) -> list[tuple[str, dict[str, Any]]]:
    """Each authorization server that has metadata, with it."""
    found: list[tuple[str, dict[str, Any]]] = []
    for issuer in await _issuers(probe) if probe.others else ():
        document, _ = await document_of(probe, issuer)
        if document is not None:
            found.append((issuer, document))
    return found


async def _issuers(probe: Probe) -> list[str]:
    metadata = await published(probe)
    return [] if metadata is None else servers_of(metadata)[:_MOST_SERVERS]


async def authorization_servers_have_metadata(probe: Probe) -> AsyncIterator[Finding]:
    issuers = await _issuers(probe)
    if issuers and not probe.others:
        yield note("authorization-server", f"Not asked, as you said: {', '.join(map(probe.shown, issuers))}.")
        return
    for issuer in issuers:
        document, problem = await document_of(probe, issuer)
        if document is None:
            yield warning("authorization-server", f"{probe.shown(issuer)}: no metadata to be had ({problem}).")
        else:
            yield ok("authorization-server", f"{probe.shown(issuer)} publishes its metadata.")


async def issuers_are_as_named(probe: Probe) -> AsyncIterator[Finding]:
    for issuer, document in await _servers(probe):
        own = document["issuer"]
        if own == issuer:
            yield ok("issuer", f"{probe.shown(issuer)} calls itself so, byte for byte.")
        else:
            yield error("issuer", f"{probe.shown(issuer)} calls itself {probe.shown(str(own))}.")


async def pkce_is_offered(probe: Probe) -> AsyncIterator[Finding]:
    for issuer, document in await _servers(probe):
        methods = document.get("code_challenge_methods_supported")
        if isinstance(methods, list) and "S256" in methods:
            yield ok("pkce", f"{probe.shown(issuer)} offers PKCE with S256.")
        else:
            yield error("pkce", f"{probe.shown(issuer)} does not say that it offers PKCE with S256.")


async def clients_can_register(probe: Probe) -> AsyncIterator[Finding]:
    for issuer, document in await _servers(probe):
        ways = []
        if document.get("client_id_metadata_document_supported") is True:
            ways.append("client-id metadata documents")
        if document.get("registration_endpoint"):
            ways.append("dynamic registration")
        if ways:
            yield ok("registration", f"{probe.shown(issuer)}: {' and '.join(ways)}.")
        else:
            yield note(
                "registration",
                f"{probe.shown(issuer)} lets no client register: generic MCP clients cannot sign in by themselves.",
                "Give your users a client id or an API key, or use an authorization server that lets clients register.",
            )


async def keys_are_published(probe: Probe) -> AsyncIterator[Finding]:
    for issuer, document in await _servers(probe):
        if not isinstance(document.get("jwks_uri"), str):
            continue  # opaque tokens need none
        keys = await _keys(probe, document)
        if isinstance(keys, str):
            yield warning("keys", f"{probe.shown(issuer)}: its keys: {keys}.")
        else:
            yield ok("keys", f"{probe.shown(issuer)} publishes {len(keys['keys'])} keys.")


async def _keys(probe: Probe, document: dict[str, Any]) -> dict[str, Any] | str:
    """The key set, or what is wrong with it."""
    try:
        reply = await public_document(probe, document["jwks_uri"])
    except NoReply as failure:
        return str(failure)
    found = json_object(reply)
    if found is None:
        return f"{reply.status} without a JSON object"
    try:
        parse_key_set(found)
    except ValueError as problem:
        return str(problem)
    return found


async def known_key_id(probe: Probe) -> tuple[str, str | None]:
    """(issuer, id of one of its RSA keys): what a forged token claims. An issuer that does not exist without any."""
    for issuer, document in await _servers(probe):
        if not isinstance(document.get("jwks_uri"), str):
            continue
        keys = await _keys(probe, document)
        if isinstance(keys, dict):
            for key in keys["keys"]:
                if key.get("kty") == "RSA" and key.get("use") in (None, "sig") and isinstance(key.get("kid"), str):
                    return issuer, key["kid"]
    issuers = await _issuers(probe)
    return (issuers[0] if issuers else "https://doctor.invalid/"), None
