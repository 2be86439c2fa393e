"""The three lines that mount tenantry on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .adapters.asgi import GateMiddleware
from .adapters.clock import SystemClock
from .adapters.expiry import App
from .adapters.transport import Transport

if TYPE_CHECKING:
    from .gate import Gate
    from .settings import Settings


class TenantryMiddleware(GateMiddleware):
    """``app = TenantryMiddleware(mcp.streamable_http_app())``

    Settings come from the environment (``MCP_HTTP_*``), or ``settings=Settings(...)``; what is made from them
    starts and is closed with the app's lifespan. ``gate=Gate(...)`` takes a gate of your own making, with
    ``transport``; it stays yours to close. Raises ``ConfigurationError`` at once when the settings are not
    complete and safe.
    """

    def __init__(
        self,
        app: App | Any,
        *,
        settings: Settings | None = None,
        gate: Gate | None = None,
        transport: Transport | None = None,
    ) -> None:
        if gate is not None:
            super().__init__(app, gate, transport or Transport(), SystemClock())
            return
        from .assemble import assemble
        from .settings import Settings

        made = assemble(settings or Settings())
        super().__init__(
            app,
            made.gate,
            transport or made.transport,
            made.outside.clock,
            health=made.health,
            resources=made.resources,
            start=made.start,
            close=made.aclose,
        )
