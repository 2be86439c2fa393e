from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mcp.server.context import ServerRequestContext
from starlette.requests import Request

from tenantry import current_user, require_permission
from tenantry.context import user_variable
from tenantry.errors import ConfigurationError, CredentialMissing, InsufficientScope, Refusal
from tenantry.in_request import RefusalSlot, slot_variable
from tenantry.model import MCPUserContext

pytestmark = pytest.mark.anyio

READER = MCPUserContext("google:r", "google", "r", "acme_com", permissions=frozenset({"notes:read"}))
BOTH = MCPUserContext("google:b", "google", "b", "acme_com", permissions=frozenset({"notes:*"}))
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


@pytest.mark.parametrize("permission", ["", " ", "notes write", 'a"b', "ключ", "a\n", "x" * 129, None, 1, write])
def test_what_cannot_be_a_permission_is_a_mistake_found_at_import(permission: Any) -> None:
    with pytest.raises(ConfigurationError, match="name of a permission"):
        require_permission(permission)
    with pytest.raises(ConfigurationError, match="name of a permission"):
        require_permission("notes:read", permission)
    with pytest.raises(ConfigurationError, match="name of a permission"):
        require_permission(READER, permission)


def test_a_decorator_without_a_permission_is_a_mistake_found_at_import() -> None:
    with pytest.raises(ConfigurationError, match="name of a permission"):
        require_permission()  # type: ignore[call-overload]


@pytest.mark.parametrize("decorated", [type("Endpoint", (), {}), "notes:read", classmethod(write), None])
def test_what_is_no_function_is_not_decorated(decorated: Any) -> None:
    with pytest.raises(ConfigurationError, match="on a function"):
        require_permission("notes:write")(decorated)


# --- Several permissions ----------------------------------------------------------------------------------------------


def named(function: Any, *args: Any) -> tuple[str, ...]:
    """The permissions that the refusal of ``function`` names."""
    with pytest.raises(InsufficientScope) as caught:
        function(*args)
    return caught.value.scopes


async def test_of_several_permissions_all_are_needed_and_named(signed_in: Any) -> None:
    several = require_permission("notes:write", "notes:share", "notes:write")(lambda: "done")
    signed_in(WRITER)
    assert named(several) == ("notes:write", "notes:share")
    assert named(require_permission, WRITER, "notes:read", "notes:share") == ("notes:read", "notes:share")
    signed_in(BOTH)
    assert several() == "done"
    require_permission(BOTH, "notes:read", "notes:share")


async def test_a_function_that_is_decorated_twice_needs_and_names_both(signed_in: Any) -> None:
    twice = require_permission("notes:write")(require_permission("notes:share")(lambda: "done"))
    signed_in(WRITER)
    assert named(twice) == ("notes:write", "notes:share")
    signed_in(READER)
    assert named(twice) == ("notes:write", "notes:share")
    signed_in(BOTH)
    assert twice() == "done"


async def test_one_requirement_may_go_on_several_functions(signed_in: Any) -> None:
    writers = require_permission("notes:write")
    first, second = writers(lambda: 1), writers(lambda: 2)
    signed_in(WRITER)
    assert (first(), second()) == (1, 2)
    signed_in(READER)
    assert named(first) == named(second) == ("notes:write",)


# --- Other callables --------------------------------------------------------------------------------------------------


class Later:
    async def __call__(self) -> str:
        return "done"


async def test_callables_that_are_awaited_stay_so(signed_in: Any) -> None:
    for function in (functools.partial(write_later), Later()):
        guarded = require_permission("notes:write")(function)
        assert inspect.iscoroutinefunction(guarded)
        signed_in(READER)
        with pytest.raises(InsufficientScope):
            await guarded()
        signed_in(WRITER)
        assert await guarded() in ("written", "done")


async def test_a_method_is_guarded_with_its_instance(signed_in: Any) -> None:
    class Endpoint:
        @require_permission("notes:write")
        def get(self, request: Request) -> Any:
            return self, request

        @require_permission("notes:write")
        @staticmethod
        def plain() -> str:
            return "done"

    endpoint, request = Endpoint(), request_of(WRITER)
    assert endpoint.get(request) == (endpoint, request)
    assert named(endpoint.get, request_of(READER)) == ("notes:write",)


def test_as_a_dependency_it_asks_for_the_request_and_nothing_else() -> None:
    requirement = require_permission("notes:write")
    assert list(inspect.signature(requirement).parameters) == ["request"]
    requirement(request=request_of(WRITER))
    with pytest.raises(InsufficientScope):
        requirement(request=request_of(READER))
    with pytest.raises(CredentialMissing):
        requirement(request=request_of(None))


# --- What is left for the middleware ----------------------------------------------------------------------------------


def with_slot(user: MCPUserContext | None) -> tuple[Request, RefusalSlot]:
    slot = RefusalSlot()
    return Request({"type": "http", "headers": [], "state": {"user": user, "refusal_slot": slot}}), slot


@pytest.mark.parametrize("how", ["direct", "decorator", "current_user"])
async def test_a_refusal_is_left_with_its_own_request_and_not_with_the_one_in_the_variable(how: str) -> None:
    request, own = with_slot(None if how == "current_user" else READER)
    other = RefusalSlot()
    token = slot_variable.set(other)
    with pytest.raises(Refusal) as caught:
        {"direct": lambda: require_permission(request, "notes:write"), "decorator": lambda: write(request),
         "current_user": lambda: current_user(request)}[how]()  # fmt: skip
    slot_variable.reset(token)
    assert own.refusal is caught.value
    assert other.refusal is None


async def test_without_a_request_it_is_left_in_the_variable(signed_in: Any) -> None:
    slot = RefusalSlot()
    token = slot_variable.set(slot)
    signed_in(READER)
    with pytest.raises(InsufficientScope) as caught:
        READER.require_permission("notes:write")
    slot_variable.reset(token)
    assert slot.refusal is caught.value


def test_what_a_check_lets_through_leaves_nothing() -> None:
    request, slot = with_slot(WRITER)
    require_permission(request, "notes:write")
    assert slot.refusal is None
