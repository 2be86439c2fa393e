"""https: whether it is used, enforced, and good for long enough."""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from ..findings import Finding, error, note, ok, warning
from .asking import INITIALIZE, initialize
from .probe import NoReply, Probe
from .wire import certificate_end

_HALF_A_YEAR = 15_552_000  # seconds
_SOON, _DAY = 14, 86_400
_MAX_AGE = re.compile(r"max-age\s*=\s*\"?(\d{1,12})", re.IGNORECASE)


async def https_is_used(probe: Probe) -> AsyncIterator[Finding]:
    target = probe.target
    if target.https:
        how = "" if urlsplit(target.url).scheme == "https" else ", by what we say as the proxy in front"
        yield ok("https", f"The server is used over https{how}.")
    elif target.local:
        yield note("https", "Plain http to this machine: fine for development only.")
    else:
        yield error("https", "The server is used over plain http: tokens travel in the clear.")


async def plain_http_is_closed(probe: Probe) -> AsyncIterator[Finding]:
    """By asking port 80 of the same host; where we stand in for the proxy, without saying https."""
    parts = urlsplit(probe.target.url)
    if parts.scheme == "https" and parts.port in (None, 443):
        url = parts._replace(scheme="http", netloc=parts.netloc.removesuffix(":443")).geturl()
    elif parts.scheme == "http" and probe.target.https and _named(probe):
        url = probe.target.url
    else:
        return
    try:
        # A GET: it may be redirected, what a POST may not.
        reply = await probe.ask("GET", url, without="x-forwarded-proto")
        posted = await probe.ask("POST", url, message=INITIALIZE, without="x-forwarded-proto")
    except NoReply:
        yield ok("http-closed", "Plain http is not served.")
        return
    posing = url == probe.target.url
    if reply.redirect and reply.get("location").startswith("https://"):
        yield ok("http-closed", f"Plain http is redirected ({reply.status}).")
    elif reply.redirect:
        yield warning("http-closed", f"Plain http is redirected to {probe.shown(reply.get('location'))}.")
    elif posing and (reply.success or 401 in (reply.status, posted.status)):
        yield note(
            "http-closed",
            f"Without X-Forwarded-Proto the server answers as well ({posted.status}).",
            "See to it that the proxy in front redirects or refuses plain http.",
        )
    elif reply.success or 401 in (reply.status, posted.status):
        yield error("http-closed", f"The endpoint is served over plain http ({posted.status}).")
    else:
        yield ok("http-closed", f"Plain http is refused ({reply.status}).")


def _named(probe: Probe) -> bool:
    """Whether we say which host it is: a server may serve its own machine plainly."""
    return any(name.lower() == "host" for name, _ in probe.target.headers)


async def the_certificate_is_good_for_long(probe: Probe) -> AsyncIterator[Finding]:
    if urlsplit(probe.target.url).scheme != "https":
        return
    probe.check_budget()
    end = await certificate_end(probe.target.url, probe.tls)
    if end is None:
        return
    days = math.floor((end - time.time()) / _DAY)
    if days < _SOON:
        yield warning("certificate", f"The certificate is good for {days} more days.")
    else:
        yield ok("certificate", f"The certificate is good for {days} more days.")


async def hsts_is_sent(probe: Probe) -> AsyncIterator[Finding]:
    reply = await initialize(probe)
    value = reply.get("strict-transport-security")
    if not probe.target.https:
        if probe.target.local:
            yield note("hsts", "No HSTS over plain http, as it should be.")
        return
    found = _MAX_AGE.search(value)
    if not value:
        yield warning("hsts", "No Strict-Transport-Security.")
    elif found is None or int(found[1]) < _HALF_A_YEAR:
        yield warning("hsts", f"Strict-Transport-Security is {probe.shown(value)}: less than half a year.")
    else:
        yield ok("hsts", f"Strict-Transport-Security: {probe.shown(value)}.")
