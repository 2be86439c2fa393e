"""What a client reads in a 401: RFC 6750 section 3, RFC 9728 section 5.1, and how real clients read it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..findings import Finding, error, note, ok, warning
from .asking import VERSION, every_method, initialize, listed, refusal
from .probe import Probe
from .reading import Challenge, bearer, published
from .target import parts_of


async def the_401_has_a_challenge(probe: Probe) -> AsyncIterator[Finding]:
    reply = await refusal(probe)
    if reply is None:
        return  # refusal-status and calls-closed say what there is in its place
    challenge = Challenge.of(reply)
    if challenge is None:
        yield error("challenge", "The 401 carries no WWW-Authenticate.")
    elif challenge.scheme.lower() != "bearer":
        yield error("challenge", f"WWW-Authenticate begins with {probe.shown(challenge.scheme)} and not with Bearer.")
    else:
        yield ok("challenge", "The 401 carries WWW-Authenticate: Bearer.")


async def the_challenge_can_be_read(probe: Probe) -> AsyncIterator[Finding]:
    challenge = await bearer(probe)
    if challenge is None:
        return
    names = [name for name, _ in challenge.fields]
    if not challenge.readable:
        yield warning("challenge-form", 'The challenge is not a list of name="value" pairs.')
    elif challenge.unquoted:
        yield warning("challenge-form", f"{listed(challenge.unquoted)} in the challenge without quotes.")
    elif "error_description" in names[:-1] and "=" in (challenge.get("error_description") or ""):
        yield warning("challenge-form", "error_description holds a = and is not last: clients find fields in it.")
    else:
        yield ok("challenge-form", "Every value of the challenge is quoted.")


async def no_error_without_a_token(probe: Probe) -> AsyncIterator[Finding]:
    challenge = await bearer(probe)
    if challenge is None:
        return
    code = challenge.get("error")
    if code is not None:
        yield warning("challenge-error", f'The 401 to a request without a token says error="{probe.shown(code)}".')
    else:
        yield ok("challenge-error", "A request without a token gets a challenge without an error.")


async def every_401_has_the_same_challenge(probe: Probe) -> AsyncIterator[Finding]:
    first = await refusal(probe)
    if first is None or not first.get("www-authenticate"):
        return
    said = first.get("www-authenticate")
    replies = await every_method(probe)
    other = [
        method for method, reply in replies.items() if reply.status == 401 and reply.get("www-authenticate") != said
    ]
    if other:
        yield warning("challenge-same", f"{listed(other)} send another challenge, or none.")
    else:
        yield ok("challenge-same", "Every method sends the same challenge.")


async def the_challenge_names_scopes(probe: Probe) -> AsyncIterator[Finding]:
    challenge = await bearer(probe)
    if challenge is None or await published(probe) is None:
        return
    scopes = challenge.get("scope")
    if scopes is None:
        yield note("challenge-scope", "The challenge names no scope: clients ask for what the metadata lists.")
    elif "offline_access" in scopes.split():
        yield warning("challenge-scope", "The challenge asks for offline_access.")
    else:
        yield ok("challenge-scope", f"The challenge names the scope {probe.shown(scopes)}.")


async def the_challenge_names_the_metadata(probe: Probe) -> AsyncIterator[Finding]:
    challenge = await bearer(probe)
    if challenge is None:
        return
    named, document = challenge.get("resource_metadata"), await published(probe)
    if named is None and document is None:
        return  # a server of API keys alone
    if named is None:
        yield warning("challenge-metadata", "Resource metadata is published, but the challenge does not name it.")
        return
    here, there = parts_of(probe.target.public), parts_of(named)
    if (there.scheme, there.netloc.lower()) == (here.scheme, here.netloc.lower()):
        yield ok("challenge-metadata", f"The challenge names {probe.shown(named)}.")
    elif there.scheme == "http" and here.scheme == "https":
        yield error(
            "challenge-metadata",
            f"The challenge names {probe.shown(named)}, by http: the server does not know that it is behind TLS.",
            "Build it from a configured URL (tenantry: MCP_HTTP_PUBLIC_URL).",
        )
    else:
        yield warning(
            "challenge-metadata",
            f"The challenge names {probe.shown(named)}, which is on another host than {probe.target.public}.",
            "Name the host that users type (tenantry: MCP_HTTP_PUBLIC_URL).",
        )


async def doubled_versions_are_refused(probe: Probe) -> AsyncIterator[Finding]:
    """Where a good token is there, with it: a server may well look at the token first."""
    headers = [VERSION, ("mcp-protocol-version", "2026-07-28")]
    if probe.token is not None:
        headers.insert(0, ("authorization", f"Bearer {probe.token}"))
    reply = await initialize(probe, *headers)
    if reply.status == 400:
        yield ok("duplicate-version", "Two MCP-Protocol-Version headers are refused.")
    elif reply.success and probe.token is not None:
        yield warning("duplicate-version", f"Two MCP-Protocol-Version headers that differ are answered {reply.status}.")
    elif reply.status >= 500:
        yield warning("duplicate-version", f"Two MCP-Protocol-Version headers are answered {reply.status}.")
    else:
        yield note(
            "duplicate-version", f"Whether two versions are refused cannot be seen without a token: {reply.status}."
        )
