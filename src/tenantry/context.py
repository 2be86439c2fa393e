"""The caller of the request at hand: from the request itself first, from a context variable only as a fallback.

On stateful MCP 1.x sessions the context of the session's task is frozen when the session begins, so our context
variable may name the *previous* caller of that session; the request scope never does. Pass what your host gives
you (an MCP ``Context``, a Starlette ``Request``, an ASGI scope) and the scope is read.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from .errors import CredentialMissing
from .in_request import STATE_KEY, host_user, record, request_scope, scope_inside, slot_variable
from .model import MCPUserContext

user_variable: ContextVar[MCPUserContext | None] = ContextVar("tenantry_user", default=None)


def current_user(source: Any = None) -> MCPUserContext:
    """The caller, from ``source`` (MCP context, request or ASGI scope) or else from the request at hand.

    Raises ``CredentialMissing`` when there is none, also when ``source`` has a request without a user: the
    context variable is then somebody else's.
    """
    user = peek_user(source)
    if user is None:
        raise record(CredentialMissing("credential_missing"), source)
    return user


def peek_user(source: Any = None) -> MCPUserContext | None:
    """Like ``current_user``, but None when nobody is signed in."""
    scope = request_scope(source)
    if scope is None:
        user, behind_gate = user_variable.get(), slot_variable.get() is not None
    else:
        state = scope.get("state") or {}
        user, behind_gate = state.get("user"), STATE_KEY in state
    if isinstance(user, MCPUserContext):
        return user
    return None if behind_gate else _of_host(host_user() if scope is None else scope.get("user"))


def _of_host(user: Any) -> MCPUserContext | None:
    """Behind the host's own auth (``adapters/mcp_sdk.py``, ``adapters/fastmcp.py``) its user has the token that we
    made, and that has ours."""
    found = getattr(getattr(user, "access_token", None), "tenantry", None)
    return found if isinstance(found, MCPUserContext) else None


def has_request(source: Any) -> bool:
    """Whether ``source`` is a host's context or request object with a request in it. A plain dict is not: among a
    tool's arguments it is the caller's own words."""
    if isinstance(source, dict):
        return False
    scope = scope_inside(source)
    return scope is not None and scope.get("type") in ("http", "websocket")
