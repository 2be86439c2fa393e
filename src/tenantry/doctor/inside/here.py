"""What the checks of the settings share: the settings, the environment they came from, and the way to providers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...adapters.http import HttpFetch
from ...ports import Fetch, HttpRequest, HttpResponse

if TYPE_CHECKING:
    from ...settings import Settings


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer, the seconds it took, and our clock when it came (seconds since the epoch)."""

    response: HttpResponse
    seconds: float
    moment: float


@dataclass(frozen=True, slots=True)
class Here:
    """``environ`` tells the platform; ``fetch`` is the client that the server itself uses."""

    settings: Settings
    environ: Mapping[str, str]
    fetch: HttpFetch

    async def ask(self, request: HttpRequest, fetch: Fetch | None = None) -> Asked:
        """Raises ``FetchFailed``."""
        began = time.monotonic()
        response = await (fetch or self.fetch)(request)
        return Asked(response, time.monotonic() - began, time.time())
