"""The caller, where each host looks for him: request scope, the MCP SDK's user, and both context variables.

The SDK binds a session to its principal only if ``scope["user"]`` is its own ``AuthenticatedUser``, over an access
token that names the principal (``access_token.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from functools import cache
from typing import Any, NamedTuple

from ..context import user_variable
from ..in_request import STATE_KEY, RefusalSlot, slot_variable
from ..model import MCPUserContext
from .access_token import access_token
from .expiry import Scope


class _Host(NamedTuple):
    """What the MCP SDK in this process expects."""

    user: Callable[[MCPUserContext], Any]
    credentials: Callable[[Any], Any]
    variable: ContextVar[Any]


def publish(scope: Scope, user: MCPUserContext | None, slot: RefusalSlot) -> tuple[Scope, list[Token[Any]]]:
    """(the scope for the app, what ``withdraw`` takes to take everything back). The caller's own scope is not touched.
    None is an anonymous caller: whatever says otherwise is taken out. ``slot`` is for what is refused to him."""
    if user is None:
        return _nobody(scope, slot)
    mine = {**scope, "state": {**(scope.get("state") or {}), "user": user, STATE_KEY: slot}}
    tokens: list[Token[Any]] = [user_variable.set(user), slot_variable.set(slot)]
    if "mcp" in sys.modules:  # an app that speaks MCP has imported it; nobody else pays for the import
        host = _host()
        mine["user"] = theirs = host.user(user)
        mine["auth"] = host.credentials(user.permissions)
        tokens.append(host.variable.set(theirs))
    return mine, tokens


def withdraw(tokens: Iterable[Token[Any]]) -> None:
    """Set every context variable to what it was."""
    for token in tokens:
        token.var.reset(token)


def _nobody(scope: Scope, slot: RefusalSlot) -> tuple[Scope, list[Token[Any]]]:
    mine = {name: value for name, value in scope.items() if name not in ("user", "auth")}
    state = {name: value for name, value in (scope.get("state") or {}).items() if name != "user"}
    mine["state"] = {**state, STATE_KEY: slot}
    tokens: list[Token[Any]] = [user_variable.set(None), slot_variable.set(slot)]
    if "mcp" in sys.modules:
        tokens.append(_host().variable.set(None))
    return mine, tokens


@cache
def _host() -> _Host:
    from mcp.server.auth.middleware.auth_context import auth_context_var
    from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
    from starlette.authentication import AuthCredentials

    class TenantryUser(AuthenticatedUser):
        """The SDK's user over our context. The SDK's own models are made only when somebody asks for them."""

        def __init__(self, user: MCPUserContext) -> None:
            self.username = user.client_id or user.user_id
            self.tenantry = user

        # The SDK's class sets both as attributes; nearly no request ever reads them.
        @property
        def scopes(self) -> list[str]:  # type: ignore[override]
            return sorted(self.tenantry.permissions)

        @property
        def access_token(self) -> Any:  # type: ignore[override]
            return access_token(self.tenantry)

    return _Host(TenantryUser, AuthCredentials, auth_context_var)
