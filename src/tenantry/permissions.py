"""Permissions inside handlers: as a decorator, as a FastAPI dependency, or asked directly."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, overload

from .context import current_user, has_request
from .core.policy import is_permission
from .errors import ConfigurationError, InsufficientScope
from .in_request import record
from .model import MCPUserContext

F = TypeVar("F", bound=Callable[..., Any])
_REQUIRED = "__tenantry_permissions__"


@overload
def require_permission(permission: str, /, *more: str) -> Requirement: ...
@overload
def require_permission(source: Any, permission: str, /, *more: str) -> None: ...
def require_permission(*arguments: Any) -> Any:
    """``@require_permission("notes:write")`` on a tool or endpoint, ``require_permission(ctx, "notes:write")`` inside
    one, or ``Depends(require_permission("notes:write"))`` in FastAPI. Of several permissions all are needed.

    ``ctx`` is an MCP context, a request, an ASGI scope or an ``MCPUserContext``. Raises ``InsufficientScope`` (the
    caller gets 403 with all permissions that would do), or ``CredentialMissing`` when nobody is signed in;
    ``ConfigurationError`` for what cannot be the name of a permission. To branch on a permission, ask
    ``user.has_permission``: a refusal raised here is answered also where the handler catches it and then fails.
    """
    if arguments and not isinstance(arguments[0], str) and len(arguments) > 1:
        return _require(arguments[0], _names(arguments[1:]))
    return Requirement(_names(arguments))


class Requirement:
    """What ``require_permission("notes:write")`` is: a decorator, and a dependency for FastAPI."""

    def __init__(self, permissions: tuple[str, ...]) -> None:
        self.permissions = permissions

    @overload
    def __call__(self, function: F, /) -> F: ...
    @overload
    def __call__(self, /, *, request: Any) -> None: ...
    def __call__(self, function: Any = ..., /, *, request: Any = None) -> Any:
        return _require(request, self.permissions) if function is ... else _guarded(function, self.permissions)

    @property
    def __signature__(self) -> inspect.Signature:
        """FastAPI reads it to know what to hand in; to a decorator nobody asks for it."""
        from starlette.requests import HTTPConnection

        keyword = inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature([inspect.Parameter("request", keyword, annotation=HTTPConnection)])


def _names(permissions: tuple[Any, ...]) -> tuple[str, ...]:
    if not permissions or not all(map(is_permission, permissions)):
        raise ConfigurationError(
            "require_permission needs the name of a permission, like 'notes:write': printable ASCII without blanks, "
            "quotes and backslashes, 128 characters at most."
        )
    return tuple(dict.fromkeys(permissions))


def _guarded(function: Any, permissions: tuple[str, ...]) -> Any:
    """``function`` behind the check. A generator is checked when it is made, before its first item."""
    if inspect.isclass(function) or not callable(function):
        raise ConfigurationError("require_permission goes on a function; of a class, put it on the methods.")
    needed = tuple(dict.fromkeys((*permissions, *getattr(function, _REQUIRED, ()))))  # so one challenge names all
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None)):  # noqa: B004

        @wraps(function)
        async def guarded(*args: Any, **kwargs: Any) -> Any:
            _require(_source(args, kwargs), needed)
            return await function(*args, **kwargs)
    else:

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            _require(_source(args, kwargs), needed)
            return function(*args, **kwargs)

    setattr(guarded, _REQUIRED, needed)
    return guarded


def _source(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The first argument that carries a request; the context variable is asked only when none does."""
    return next((value for value in (*args, *kwargs.values()) if has_request(value)), None)


def _require(source: Any, permissions: tuple[str, ...]) -> None:
    user = source if isinstance(source, MCPUserContext) else current_user(source)
    if not all(map(user.has_permission, permissions)):
        raise record(InsufficientScope("permission_missing", scopes=permissions), source)
