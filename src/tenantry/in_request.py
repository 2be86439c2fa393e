"""Where a refusal that is raised while the app runs is left for the middleware, which then answers with it.

The app's host would make a tool error or a 500 of it. Each request has a ``RefusalSlot`` of its own, in the state of
its ASGI scope and in a context variable. As with the caller (``context.py``) the scope is asked first: on stateful
MCP 1.x sessions the variable belongs to the request that began the session.
"""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any, TypeVar

from .errors import Refusal

Scope = MutableMapping[str, Any]
R = TypeVar("R", bound=Refusal)

STATE_KEY = "refusal_slot"


class RefusalSlot:
    """The last refusal of one request, for as long as its app runs."""

    __slots__ = ("_closed", "refusal")

    def __init__(self) -> None:
        self.refusal: Refusal | None = None
        self._closed = False

    def record(self, refusal: Refusal) -> None:
        if not self._closed:
            self.refusal = refusal

    def close(self) -> None:
        """Its answer is out: what is raised in work that outlives the request is not about it."""
        self._closed = True


slot_variable: ContextVar[RefusalSlot | None] = ContextVar("tenantry_refusal_slot", default=None)


def record(refusal: R, source: Any = None) -> R:
    """``refusal``, to be raised; left for the middleware of the request in ``source`` or else of the one at hand."""
    scope = request_scope(source)
    slot = slot_variable.get() if scope is None else (scope.get("state") or {}).get(STATE_KEY)
    if isinstance(slot, RefusalSlot):
        slot.record(refusal)
    return refusal


def request_scope(source: Any = None) -> Scope | None:
    """The ASGI scope inside an MCP context, a request or a scope, else that of the request which MCP 1.x handles at the
    moment; None when there is no request in either."""
    scope = scope_inside(source)
    return _mcp1_scope() if scope is None else scope


def scope_inside(source: Any) -> Scope | None:
    """The same for ``source`` alone."""
    if isinstance(source, dict):
        return source
    for attribute in ("request_context", "request"):
        try:
            inner = getattr(source, attribute, None)
        except (LookupError, ValueError, RuntimeError):  # hosts raise these outside of a request
            inner = None
        source = inner if inner is not None else source
    scope = getattr(source, "scope", None)
    return scope if isinstance(scope, dict) else None


def host_user() -> Any:
    """The user of the MCP SDK's own auth at the moment, None without: it is set and taken back with each request."""
    variable = getattr(sys.modules.get("mcp.server.auth.middleware.auth_context"), "auth_context_var", None)
    return variable.get(None) if isinstance(variable, ContextVar) else None


def _mcp1_scope() -> Scope | None:
    """MCP 1.x keeps the request at hand in a variable that is right where ours is frozen; 2.x has no such name."""
    variable = getattr(sys.modules.get("mcp.server.lowlevel.server"), "request_ctx", None)
    context = variable.get(None) if isinstance(variable, ContextVar) else None
    return None if context is None else scope_inside(context)
