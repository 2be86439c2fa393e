"""The protected resource metadata (RFC 9728), where clients look for it and as they compare it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

from ..findings import Finding, error, note, ok, warning
from .asking import listed
from .probe import NoReply, Probe, Reply
from .reading import bearer, json_object, public_document, published
from .target import Target, parts_of


async def metadata_is_published(probe: Probe) -> AsyncIterator[Finding]:
    challenge = await bearer(probe)
    named = None if challenge is None else challenge.get("resource_metadata")
    if named is not None:
        try:
            reply = await public_document(probe, named)
        except NoReply as failure:
            yield error("metadata", f"The challenge names {probe.shown(named)}, and there: {failure}.")
            return
        if json_object(reply) is None:
            yield error("metadata", f"The challenge names {probe.shown(named)}, and there: {_said(reply)}.")
            return
    replies = [await probe.ask("GET", url) for url in probe.target.metadata_urls]
    broken = next((reply for reply in replies if reply.success or reply.status >= 500), None)
    if await published(probe) is not None:
        yield ok("metadata", "Resource metadata is published.")
    elif broken is not None:
        yield error("metadata", f"At the well-known place of the resource metadata: {_said(broken)}.")
    else:
        yield note("metadata", "No resource metadata: right for API keys alone; nobody can sign in by OAuth.")


def _said(reply: Reply) -> str:
    if reply.status != 200:
        return f"{reply.status}"
    return "200 without one readable JSON object"


async def metadata_is_in_both_places(probe: Probe) -> AsyncIterator[Finding]:
    if await published(probe) is None:
        return
    inserted, root = probe.target.metadata_urls
    if inserted == root:
        return
    replies = {url: await probe.ask("GET", url) for url in (inserted, root)}
    documents = {url: json_object(reply) for url, reply in replies.items()}
    missing = [parts_of(url).path for url in documents if documents[url] is None]
    if missing:
        yield warning("metadata-places", f"No metadata at {listed(missing)}: some clients look nowhere else.")
    elif documents[inserted] != documents[root]:
        yield error("metadata-places", "The metadata at the path-inserted and at the root place differ.")
    else:
        yield ok("metadata-places", "The same metadata is at the path-inserted and at the root place.")


async def resource_is_what_users_type(probe: Probe) -> AsyncIterator[Finding]:
    """VS Code and others compare it byte for byte (RFC 9728 section 3.3)."""
    document = await published(probe)
    if document is None:
        return
    resource = document.get("resource")
    if resource == probe.target.public:
        yield ok("resource", f"`resource` is {probe.shown(probe.target.public)}, byte for byte.")
        return
    if not isinstance(resource, str):
        yield error("resource", "The metadata has no `resource`.")
        return
    yield error("resource", f"`resource` is {probe.shown(resource)}{_difference(resource, probe.target)}")


def _difference(resource: str, target: Target) -> str:
    asked = target.public
    if resource.rstrip("/") == asked.rstrip("/"):
        return f" and not {asked}: only the slash at the end differs, and strict clients refuse it."
    if resource.replace("http://", "https://", 1) == asked:
        return f" and not {asked}: it was built without knowing of TLS."
    if resource.lower() == asked.lower():
        return f" and not {asked}: only capital letters differ, and strict clients refuse it."
    return f" and not {asked}."


async def metadata_can_be_fetched_by_browsers(probe: Probe) -> AsyncIterator[Finding]:
    if await published(probe) is None:
        return
    places = [url for url in probe.target.metadata_urls if json_object(await probe.ask("GET", url)) is not None]
    if not places:
        return
    url = places[0]
    reply = await probe.ask("GET", url, headers=[("origin", "https://doctor.invalid")])
    wrong = []
    if reply.get("access-control-allow-origin") != "*":
        wrong.append("it lacks Access-Control-Allow-Origin: *")
    if not reply.get("content-type").lower().startswith("application/json"):
        wrong.append(f"it is of type {probe.shown(reply.get('content-type')) or 'unknown'}")
    if wrong:
        yield warning("metadata-http", f"The metadata: {listed(wrong)}.")
        return
    small = [
        f"{method} is answered {answer.status}"
        for method in ("HEAD", "OPTIONS")
        if not (answer := await probe.ask(method, url)).success
    ]
    if "max-age" not in reply.get("cache-control"):
        small.append("nothing says how long it may be kept")
    if small:
        yield note("metadata-http", f"The metadata is open to browsers; {listed(small)}.")
    else:
        yield ok("metadata-http", "The metadata is open to browsers and may be kept.")


async def metadata_names_authorization_servers(probe: Probe) -> AsyncIterator[Finding]:
    document = await published(probe)
    if document is None:
        return
    servers = servers_of(document)
    wrong = [server for server in servers if not _is_issuer(server, probe.target)]
    if not servers:
        yield error("metadata-servers", "The metadata names no authorization server: nobody can sign in.")
    elif wrong:
        yield error("metadata-servers", f"{probe.shown(wrong[0])} is not an issuer's https URL.")
    else:
        yield ok("metadata-servers", f"Authorization servers: {', '.join(map(probe.shown, servers))}.")


def servers_of(document: dict[str, Any]) -> list[str]:
    servers = document.get("authorization_servers")
    return [server for server in servers if isinstance(server, str)] if isinstance(servers, list) else []


def _is_issuer(server: str, target: Target) -> bool:
    """RFC 8414 section 2: https, without query and fragment; in development http to this machine."""
    parts = parts_of(server)
    if not parts.hostname or parts.query or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and target.local)


async def metadata_leaves_offline_access_out(probe: Probe) -> AsyncIterator[Finding]:
    document = await published(probe)
    if document is None:
        return
    scopes = document.get("scopes_supported")
    if isinstance(scopes, list) and "offline_access" in scopes:
        yield warning("metadata-scopes", "scopes_supported holds offline_access.")
    else:
        yield ok("metadata-scopes", "scopes_supported leaves offline_access out.")


async def other_well_known_paths_are_not_found(probe: Probe) -> AsyncIterator[Finding]:
    reply = await probe.ask("GET", probe.target.at(f"/.well-known/doctor-{secrets.token_hex(4)}"))
    if reply.status != 404:
        yield warning("well-known-404", f"An unknown path under /.well-known/ is answered {reply.status} and not 404.")
    elif "json" not in reply.get("content-type"):
        yield note("well-known-404", "An unknown path under /.well-known/ is a 404, but not JSON.")
    else:
        yield ok("well-known-404", "An unknown path under /.well-known/ is a 404 in JSON.")
