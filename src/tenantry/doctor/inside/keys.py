"""The keys of one provider: whether they come, which there are, how old, and whether its clock is ours."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ...core.keys import KeySet, parse_key_set
from ...core.strict_json import parse_object
from ...ports import Fetch, FetchFailed, HttpRequest
from ..clocks import skew_of, told
from ..findings import Finding, error, ok
from .here import Asked, Here

JSON = {"accept": "application/json", "user-agent": "tenantry"}
RSA = frozenset({"RS256", "PS256"})
_DAY = 86_400
_REASONS = {
    "dns": "its name cannot be resolved",
    "connect": "no connection",
    "tls": "its certificate is not believed",
    "timeout": "no answer in time",
    "protocol": "what came is no HTTP answer",
    "too_large": "the answer has no end",
    "insecure_url": "plain http is not asked outside of this machine",
    "discovery": "what its discovery document says does not fit its issuer",
}


def told_of(failure: FetchFailed) -> str:
    """Why no answer came, in words."""
    return _REASONS.get(failure.kind, failure.kind)


async def published_keys(
    here: Here, name: str, url: str, fetch: Fetch | None = None, algorithms: frozenset[str] = RSA
) -> AsyncIterator[Finding]:
    """The key set at ``url``, as ``fetch`` finds it (by default the server's own client)."""
    try:
        asked = await here.ask(HttpRequest("GET", url, JSON), fetch)
        document = object_of(asked)
        keys = parse_key_set(document)
    except FetchFailed as failure:
        yield error("provider-keys", f"{name}: {url}: {told_of(failure)}.")
        return
    except ValueError as problem:
        yield error("provider-keys", f"{name}: {url}: {problem}.")
        return
    for finding in clock(here, name, asked):
        yield finding
    text = f"{name}: {_summary(keys, document)}, fetched in {asked.seconds * 1000:.0f} ms."
    if any(algorithms & key.algorithms for key in keys.keys):
        yield ok("provider-keys", text)
    else:
        accepted = " or ".join(sorted(algorithms, reverse=True))
        yield error(
            "provider-keys",
            f"{text} None is for {accepted}, which {'are' if len(algorithms) > 1 else 'is'} accepted here.",
        )


def _summary(keys: KeySet, document: dict[str, Any]) -> str:
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


def clock(here: Here, name: str, asked: Asked) -> Iterator[Finding]:
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


def object_of(asked: Asked) -> dict[str, Any]:
    """The JSON object of a 200. Raises ``ValueError`` with what there is instead."""
    if asked.response.status != 200:
        raise ValueError(f"answers {asked.response.status}")
    return parse_object(asked.response.body)
