"""The servers that are asked about opaque tokens, as the gate will ask them: about one that nobody ever got."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator

from ...adapters.clock import SystemClock
from ...core.matching import Presented
from ...errors import TokenInvalid, Unavailable
from ...observations import Observation
from ...providers.introspected import IntrospectionProvider
from ..findings import Finding, error, ok, warning
from .here import Here


async def introspection_knows_our_client(here: Here) -> AsyncIterator[Finding]:
    """ "Not active" says that the server answers and that our client may ask."""
    for entry in here.settings.introspection_providers or ():
        settings = entry.provider_settings(here.settings.clock_skew)
        provider = IntrospectionProvider(settings, here.fetch, SystemClock(), _nobody)
        made_up = f"{next(iter(settings.prefixes), '')}doctor-{secrets.token_hex(16)}"
        began = time.monotonic()
        try:
            await provider.verify(Presented(entry.name, made_up))
        except TokenInvalid as refusal:
            if refusal.reason == "token_rejected":
                milliseconds = (time.monotonic() - began) * 1000
                yield ok("provider", f"{entry.name}: introspection answers ({milliseconds:.0f} ms).")
                yield ok("provider-client", f"{entry.name} lets our client ask about tokens.")
                continue
        except Unavailable as refusal:
            yield _unanswered(entry.name, refusal)
            continue
        yield error(
            "provider",
            f"{entry.name} says of a made-up token that it is active: whoever invents one would be let in.",
            "Check what answers at introspection_endpoint.",
        )


def _unanswered(name: str, refusal: Unavailable) -> Finding:
    if refusal.reason == "provider_misconfigured":
        mend = "Check its entry in MCP_HTTP_INTROSPECTION_PROVIDERS, and that the client may introspect."
        return error("provider-client", f"{name}: {(refusal.detail or refusal.description).rstrip('.')}.", mend)
    if refusal.reason == "provider_rate_limited":
        return warning("provider", f"{name} limits this machine.", "Run it again later.")
    return error("provider", f"{name}: no usable answer from introspection.")


def _nobody(observation: Observation) -> None:
    """What happens here is told as findings."""
