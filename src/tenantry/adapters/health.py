"""``/livez`` and ``/readyz``: whether this process runs, and whether what it needs can be reached.

Both answer anybody, so they say no more than a reason's name, and a check is made once a second at most whoever asks.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping

from ..errors import ConfigurationError, Refusal
from ..flights import SingleFlight
from ..observations import Misconfigured
from ..ports import Clock, Observer
from ..providers.budget import Budgets
from .transport import Answer

Check = Callable[[], Awaitable[object]]

LIVE, READY = "/livez", "/readyz"
_GOOD_FOR_SECONDS = 1.0


class Health:
    """``checks`` by the name of the part; one that returns is in order. ``budgets``: what providers still grant, which
    is shown and changes nothing. Raises nothing."""

    def __init__(
        self, checks: Mapping[str, Check], clock: Clock, observe: Observer, *, budgets: Budgets | None = None
    ) -> None:
        self._budgets = budgets
        self._checks, self._clock, self._observe = checks, clock, observe
        self._flights: SingleFlight[dict[str, str]] = SingleFlight()
        self._seen: tuple[float, dict[str, str]] = (float("-inf"), {})

    async def answer(self, path: str) -> Answer | None:
        """What is said at ``path``; None where it is not one of the two."""
        if path == LIVE:
            return _answer(200, {"status": "ok"})
        if path != READY:
            return None
        parts = await self._parts()
        ready = all(state == "ok" for state in parts.values())
        return _answer(200 if ready else 503, {"status": "ok" if ready else "unavailable", **parts, **self._low()})

    def _low(self) -> dict[str, str]:
        """No numbers: everybody can ask."""
        states = {} if self._budgets is None else self._budgets.states()
        return {name: "few_calls_left" for name, state in states.items() if state.low}

    async def _parts(self) -> dict[str, str]:
        when, parts = self._seen
        if self._clock.monotonic() < when + _GOOD_FOR_SECONDS:
            return parts
        return await self._flights.run(b"", self._look)

    async def _look(self) -> dict[str, str]:
        parts = {name: await self._state(name, check) for name, check in self._checks.items()}
        self._seen = (self._clock.monotonic(), parts)
        return parts

    async def _state(self, name: str, check: Check) -> str:
        try:
            await check()
        except Refusal as refusal:
            return refusal.reason
        except ConfigurationError as error:
            self._observe(Misconfigured(name, str(error)))
            return "server_misconfigured"
        return "ok"

    async def aclose(self) -> None:
        await self._flights.aclose()


def _answer(status: int, document: Mapping[str, str]) -> Answer:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    if status == 503:
        headers.append((b"retry-after", b"5"))
    return Answer(status, headers, json.dumps(document).encode())
