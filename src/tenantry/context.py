"""The caller of the request at hand: from the request itself first, from a context variable only as a fallback.

On stateful MCP 1.x sessions the context of the session's task is frozen when the session begins, so a context
variable may name the *previous* caller of that session; the request scope never does. Pass what your host gives
you (an MCP ``Context``, a Starlette ``Request``, an ASGI scope) and the scope is read.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .errors import CredentialMissing
from .model import MCPUserContext

user_variable: ContextVar[MCPUserContext | None] = ContextVar("tenantry_user", default=None)
_NO_REQUEST = object()


def current_user(source: Any = None) -> MCPUserContext:
    """The caller, from ``source`` (MCP context, request or ASGI scope) or else from the context variable.

    Raises ``CredentialMissing`` when there is none, also when ``source`` has a request without a user: the
    context variable is then somebody else's.
    """
    user = peek_user(source)
    if user is None:
        raise CredentialMissing("credential_missing")
    return user


def peek_user(source: Any = None) -> MCPUserContext | None:
    """Like ``current_user``, but None when nobody is signed in."""
    scope = _scope_of(source)
    if scope is _NO_REQUEST:
        return user_variable.get()
    state = scope.get("state") or {}
    user = state.get("user")
    return user if isinstance(user, MCPUserContext) else None


def has_request(source: Any) -> bool:
    """Whether ``source`` is a host's context or request object with a request in it. A plain dict is not: among a
    tool's arguments it is the caller's own words."""
    if isinstance(source, dict):
        return False
    scope = _scope_of(source)
    return scope is not _NO_REQUEST and scope.get("type") in ("http", "websocket")


def _scope_of(source: Any) -> Any:
    """The ASGI scope inside an MCP context, a request or a scope; ``_NO_REQUEST`` when there is no request."""
    if isinstance(source, dict):
        return source
    for attribute in ("request_context", "request"):
        try:
            inner = getattr(source, attribute, None)
        except (LookupError, ValueError, RuntimeError):  # hosts raise these outside of a request
            inner = None
        source = inner if inner is not None else source
    scope = getattr(source, "scope", None)
    return scope if isinstance(scope, dict) else _NO_REQUEST
