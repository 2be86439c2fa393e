"""The three lines that mount tenantry on a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .adapters.asgi import GateMiddleware
from .adapters.clock import SystemClock
from .adapters.expiry import App
from .adapters.front import Front
from .adapters.transport import Transport

if TYPE_CHECKING:
    from .core.rules import Rules
    from .gate import Gate
    from .reload import Reloader
    from .settings import Settings


class TenantryMiddleware(GateMiddleware):
    """``app = TenantryMiddleware(mcp.streamable_http_app())``

    Settings come from the environment (``MCP_HTTP_*``), or ``settings=Settings(...)``; what is made from them
    starts and is closed with the app's lifespan. ``gate=Gate(...)`` takes a gate of your own making, with
    ``transport``; it stays yours to close. ``rules`` is a policy in Python, in the place of one in a file; ``read``
    gives the settings anew at a reload (by default the environment and its file). Raises ``ConfigurationError`` at
    once when the settings are not complete and safe.
    """

    def __init__(
        self,
        app: App | Any,
        *,
        settings: Settings | None = None,
        gate: Gate | None = None,
        transport: Transport | None = None,
        rules: Rules | None = None,
        read: Callable[[], Settings] | None = None,
    ) -> None:
        self._reloader: Reloader | None = None
        if gate is not None:
            super().__init__(app, Front(gate, transport or Transport(), SystemClock(), gate.observe))
            return
        from .assemble import assemble
        from .reload import Reloader
        from .settings import Settings

        made = assemble(settings or Settings(), rules=rules)
        super().__init__(app, made.front)
        self._reloader = Reloader(self, made, read or (Settings if settings is None else lambda: settings), rules)
        self._start, self._close = self._reloader.start, self._reloader.aclose

    def reload(self) -> bool:
        """Read settings, policy and keys anew without dropping a request; false when they were refused, and the old
        ones go on. Belongs to the event loop that serves requests."""
        return self._reloader is not None and self._reloader.now()
