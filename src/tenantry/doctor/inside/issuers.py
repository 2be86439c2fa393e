"""The issuers of MCP_HTTP_OIDC_PROVIDERS, asked for keys as the gate will ask: by discovery, at a URL, in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import cast

from ...adapters.clock import SystemClock
from ...observations import Misconfigured, Observation
from ...ports import Fetch
from ...providers.discovery import DiscoveredKeys
from ...providers.issuer import IssuerSettings
from ...providers.kubernetes import KeysInFile, KubernetesSettings
from ..findings import Finding, error
from .here import Here
from .keys import published_keys


async def issuers_publish_keys(here: Here) -> AsyncIterator[Finding]:
    for entry in here.settings.oidc_providers or ():
        async for finding in _keys_of(here, entry.issuer_settings(here.settings.clock_skew)):
            yield finding


async def _keys_of(here: Here, settings: IssuerSettings) -> AsyncIterator[Finding]:
    problems: list[str] = []

    def observe(observation: Observation) -> None:
        if isinstance(observation, Misconfigured):
            problems.append(observation.hint)

    url, fetch = settings.keys_url, cast(Fetch, here.fetch)
    if isinstance(settings, KubernetesSettings) and settings.keys_file is not None:
        fetch = KeysInFile(settings.keys_file)
    elif url is None:
        fetch = DiscoveredKeys(settings.name, settings.issuers[0], here.fetch, SystemClock(), observe)
    url = fetch.url if isinstance(fetch, DiscoveredKeys) else url or ""
    async for finding in published_keys(here, settings.name, url, fetch, settings.algorithms):
        yield finding
    for problem in problems:
        yield error("provider", f"{settings.name}: {problem}", "Mend its entry in MCP_HTTP_OIDC_PROVIDERS.")
