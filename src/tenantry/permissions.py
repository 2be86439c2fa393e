"""Permissions inside tools: as a decorator, or asked directly."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, overload

from .context import current_user, has_request
from .errors import ConfigurationError
from .model import MCPUserContext

F = TypeVar("F", bound=Callable[..., Any])


@overload
def require_permission(permission: str, /) -> Callable[[F], F]: ...
@overload
def require_permission(source: Any, permission: str, /) -> None: ...
def require_permission(*arguments: Any) -> Any:
    """``@require_permission("notes:write")`` on a tool, or ``require_permission(ctx, "notes:write")`` inside one.

    ``ctx`` is an MCP context, a request, an ASGI scope or an ``MCPUserContext``. Raises ``InsufficientScope``
    (403, with the permission that would do), or ``CredentialMissing`` when nobody is signed in.
    """
    if len(arguments) == 2:
        source, permission = arguments
        user = source if isinstance(source, MCPUserContext) else current_user(source)
        user.require_permission(permission)
        return None
    (permission,) = arguments
    if not isinstance(permission, str) or not permission:
        raise ConfigurationError("require_permission needs the name of a permission, like 'notes:write'.")
    return lambda function: _guarded(function, permission)


def _guarded(function: Any, permission: str) -> Any:
    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            _caller(args, kwargs).require_permission(permission)
            return await function(*args, **kwargs)
    else:

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            _caller(args, kwargs).require_permission(permission)
            return function(*args, **kwargs)

    return guarded


def _caller(args: tuple[Any, ...], kwargs: dict[str, Any]) -> MCPUserContext:
    """From the first argument that carries a request; the context variable only when none does."""
    for value in (*args, *kwargs.values()):
        if has_request(value):
            return current_user(value)
    return current_user()
