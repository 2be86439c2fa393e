from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.server.context import ServerRequestContext
from starlette.requests import Request

from tenantry import require_permission
from tenantry.context import user_variable
from tenantry.errors import ConfigurationError, CredentialMissing, InsufficientScope
from tenantry.model import MCPUserContext

pytestmark = pytest.mark.anyio

READER = MCPUserContext("google:r", "google", "r", "acme_com", permissions=frozenset({"notes:read"}))
WRITER = MCPUserContext("google:w", "google", "w", "acme_com", permissions=frozenset({"notes:write"}))


def request_of(user: MCPUserContext | None) -> Request:
    return Request({"type": "http", "headers": [], "state": {"user": user}})


def lowlevel(user: MCPUserContext | None) -> Any:
    return ServerRequestContext(
        session=None, lifespan_context={}, protocol_version="2026-07-28", method="tools/call", request=request_of(user)
    )


@pytest.fixture
async def signed_in() -> AsyncIterator[Any]:
    """Leaves somebody in the context variable of the test."""
    yield user_variable.set
    user_variable.set(None)


@require_permission("notes:write")
def write(*args: Any, **kwargs: Any) -> str:
    """Write a note."""
    return "written"


@require_permission("notes:write")
async def write_later(*args: Any, **kwargs: Any) -> str:
    return "written"


async def test_the_decorator_lets_the_holder_through(signed_in: Any) -> None:
    signed_in(WRITER)
    assert write() == "written"
    assert await write_later() == "written"


async def test_the_decorator_refuses_everybody_else_and_the_function_does_not_run(signed_in: Any) -> None:
    signed_in(READER)
    ran = []
    guarded = require_permission("notes:write")(lambda: ran.append(1))
    with pytest.raises(InsufficientScope) as caught:
        guarded()
    with pytest.raises(InsufficientScope):
        await write_later()
    assert caught.value.scopes == ("notes:write",)
    assert ran == []


async def test_nobody_signed_in_is_no_permission() -> None:
    with pytest.raises(CredentialMissing):
        write()
    with pytest.raises(CredentialMissing):
        await write_later()


@pytest.mark.parametrize("carry", [request_of, lowlevel])
@pytest.mark.parametrize("how", ["first", "later", "by name"])
async def test_the_request_among_the_arguments_decides_and_not_the_variable_left_by_somebody_else(
    carry: Any, how: str, signed_in: Any
) -> None:
    def call(function: Any, source: Any) -> Any:
        return {
            "first": lambda: function(source, "text"),
            "later": lambda: function("text", {"scope": {}}, source),
            "by name": lambda: function("text", ctx=source),
        }[how]()

    signed_in(WRITER)
    with pytest.raises(InsufficientScope):
        call(write, carry(READER))
    with pytest.raises(InsufficientScope):
        await call(write_later, carry(READER))
    with pytest.raises(CredentialMissing):
        call(write, carry(None))
    signed_in(READER)
    assert call(write, carry(WRITER)) == "written"
    assert await call(write_later, carry(WRITER)) == "written"


async def test_an_argument_shaped_like_a_scope_is_not_believed(signed_in: Any) -> None:
    signed_in(READER)
    with pytest.raises(InsufficientScope):
        write({"type": "http", "state": {"user": WRITER}})


def test_the_decorated_function_keeps_its_name_signature_and_kind() -> None:
    assert (write.__name__, write.__doc__) == ("write", "Write a note.")
    assert inspect.iscoroutinefunction(write_later)
    assert not inspect.iscoroutinefunction(write)


async def test_an_async_generator_is_guarded_before_its_first_item(signed_in: Any) -> None:
    @require_permission("notes:write")
    async def stream() -> Any:
        yield 1

    signed_in(READER)
    with pytest.raises(InsufficientScope):
        stream()
    signed_in(WRITER)
    assert [item async for item in stream()] == [1]


def test_the_direct_form_asks_a_context_a_request_or_a_scope() -> None:
    for source in (WRITER, request_of(WRITER), lowlevel(WRITER), dict(request_of(WRITER).scope)):
        require_permission(source, "notes:write")
        require_permission(source, "notes:read")
    for source in (READER, request_of(READER), lowlevel(READER), dict(request_of(READER).scope)):
        with pytest.raises(InsufficientScope):
            require_permission(source, "notes:write")
    with pytest.raises(CredentialMissing):
        require_permission(request_of(None), "notes:read")


@pytest.mark.parametrize("permission", ["", None, 1, write])
def test_a_decorator_without_a_permission_is_a_mistake_found_at_import(permission: Any) -> None:
    with pytest.raises(ConfigurationError, match="name of a permission"):
        require_permission(permission)
