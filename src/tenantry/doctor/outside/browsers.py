"""What a browser needs to be a client (the Fetch standard's CORS protocol), and which pages may not be one."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..findings import Finding, error, note, ok, warning
from .asking import initialize, let_in, listed
from .probe import Probe, Reply
from .target import Header

FOREIGN_ORIGIN = "https://doctor.invalid"
FOREIGN_HOST = "doctor.invalid"
# What clients send (MCP transports 2026-07-28), and one header that a tool names.
WANTED = (
    "authorization x-api-key content-type accept mcp-protocol-version mcp-method mcp-name mcp-session-id "
    "last-event-id mcp-param-doctor"
).split()
_NEEDED_TO_READ = ("www-authenticate", "mcp-session-id")
_GOOD_TO_READ = ("retry-after", "ratelimit")


async def _preflight(probe: Probe) -> Reply:
    return await probe.ask(
        "OPTIONS",
        headers=[
            ("origin", probe.target.origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", ", ".join(WANTED)),
        ],
    )


def _allows(reply: Reply, origin: str) -> bool:
    return reply.get("access-control-allow-origin") in ("*", origin)


async def preflights_pass(probe: Probe) -> AsyncIterator[Finding]:
    reply, origin = await _preflight(probe), probe.target.origin
    if reply.status == 403:
        yield note(
            "preflight",
            f"The server refuses pages of {origin} (403): no browser client can use it from there.",
            "Allow the origins of browser clients, if there are any (tenantry: MCP_HTTP_CORS_ORIGINS).",
        )
    elif not reply.success:
        yield warning(
            "preflight", f"A CORS preflight is answered {reply.status}: no browser client can use the server."
        )
    elif not _allows(reply, origin):
        yield warning("preflight", f"The preflight's answer does not allow {origin}.")
    elif not reply.words("access-control-allow-methods") & {"post", "*"}:
        yield warning("preflight", "The preflight's answer does not allow POST.")
    else:
        yield ok("preflight", "A CORS preflight passes without a token.")


async def preflights_allow_every_header(probe: Probe) -> AsyncIterator[Finding]:
    reply = await _preflight(probe)
    if not reply.success or not _allows(reply, probe.target.origin):
        return
    allowed = reply.words("access-control-allow-headers")
    # "*" stands for everything but Authorization (Fetch standard).
    missing = [name for name in WANTED if name not in allowed and ("*" not in allowed or name == "authorization")]
    if missing:
        yield warning("preflight-headers", f"The preflight's answer does not allow {listed(missing)}.")
    else:
        yield ok("preflight-headers", "The preflight allows every header that MCP clients send, Mcp-Param-* included.")


async def the_401_can_be_read_by_browsers(probe: Probe) -> AsyncIterator[Finding]:
    preflight = await _preflight(probe)
    if not preflight.success or not _allows(preflight, probe.target.origin):
        return
    reply = await initialize(probe, ("origin", probe.target.origin))
    if not _allows(reply, probe.target.origin):
        yield warning(
            "cors-on-401", f"The answer to a page of {probe.target.origin} ({reply.status}) has no CORS headers."
        )
        return
    yield ok("cors-on-401", f"The {reply.status} carries CORS headers.")
    exposed = reply.words("access-control-expose-headers")
    hidden = [name for name in _NEEDED_TO_READ if name not in exposed and "*" not in exposed]
    others = [name for name in _GOOD_TO_READ if name not in exposed and "*" not in exposed]
    if hidden:
        yield warning("exposed-headers", f"A browser client cannot read {listed(hidden)}.")
    elif others:
        yield note("exposed-headers", f"A browser client cannot read {listed(others)}.")
    else:
        yield ok("exposed-headers", "A browser client can read WWW-Authenticate, Mcp-Session-Id and the limits.")


async def foreign_origins_are_refused(probe: Probe) -> AsyncIterator[Finding]:
    """MCP transports: an invalid Origin is a 403 (DNS rebinding). With the good token where there is one."""
    headers: list[Header] = [("origin", FOREIGN_ORIGIN)]
    if probe.token is not None:
        headers.append(("authorization", f"Bearer {probe.token}"))
    reply = await initialize(probe, *headers)
    if reply.status in (400, 403):
        yield ok("origin", f"A foreign Origin is refused ({reply.status}).")
    elif let_in(reply):
        yield error("origin", f"A request from a page of {FOREIGN_ORIGIN} is answered {reply.status}.")
    elif reply.status == 401 and probe.token is None:
        yield note(
            "origin",
            "Whether foreign origins are refused cannot be seen without a token (401 before 403).",
            "Give a good token with --token-file, or refuse foreign origins first.",
        )
    else:
        yield note("origin", f"A foreign Origin is answered {reply.status}.")


async def foreign_hosts_are_refused(probe: Probe) -> AsyncIterator[Finding]:
    """A page that rebinds its name to this server's address sends its own name as Host."""
    usual = await initialize(probe)
    if usual.status != 401 and not let_in(usual):
        return  # nothing to compare with
    reply = await initialize(probe, ("host", FOREIGN_HOST))
    if reply.status != usual.status and 400 <= reply.status < 500:
        yield ok("host", f"A foreign Host is refused ({reply.status}).")
    elif let_in(reply) and not let_in(usual):
        yield error("host", f"Under a foreign Host anybody is let in ({reply.status}).")
    elif probe.target.local:
        yield warning("host", f"A foreign Host is served on this machine's own address ({reply.status}).")
    else:
        yield note(
            "host",
            f"A foreign Host is served like the server's own ({reply.status}).",
            "Serve named hosts only, here or at the proxy in front (tenantry: MCP_HTTP_ALLOWED_HOSTS).",
        )
