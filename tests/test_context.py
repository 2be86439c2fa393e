from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mcp.server.context import ServerRequestContext
from starlette.requests import Request

from tenantry.context import current_user, has_request, peek_user, user_variable
from tenantry.errors import CredentialMissing
from tenantry.model import MCPUserContext

ANN = MCPUserContext("google:ann", "google", "ann", "acme_com")
BEN = MCPUserContext("google:ben", "google", "ben", "other_com")


def scope(user: Any = ANN) -> dict[str, Any]:
    return {"type": "http", "headers": [], "state": {"user": user}}


class FastContext:
    """The shape of FastMCP's and mcp's high-level Context: a property that raises outside of a request."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def request_context(self) -> Any:
        if isinstance(self._inner, Exception):
            raise self._inner
        return self._inner


def lowlevel(request: Any) -> Any:
    return ServerRequestContext(
        session=None, lifespan_context={}, protocol_version="2026-07-28", method="tools/call", request=request
    )


SOURCES = {
    "an ASGI scope": lambda scope: scope,
    "a Starlette request": Request,
    "the low-level MCP context": lambda scope: lowlevel(Request(scope)),
    "the high-level MCP context": lambda scope: FastContext(lowlevel(Request(scope))),
}


@pytest.fixture
def ben_is_left_over() -> Iterator[None]:
    """A context variable that still names the previous caller, as on a stateful MCP 1.x session."""
    token = user_variable.set(BEN)
    yield
    user_variable.reset(token)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.usefixtures("ben_is_left_over")
def test_the_caller_is_that_of_the_request_and_not_the_one_left_in_the_variable(kind: str) -> None:
    assert current_user(SOURCES[kind](scope())) is ANN


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("nobody", [None, "google:ann", {"user_id": "google:ann"}, object()])
@pytest.mark.usefixtures("ben_is_left_over")
def test_a_request_without_our_user_has_none_whatever_the_variable_says(kind: str, nobody: Any) -> None:
    source = SOURCES[kind](scope(nobody))
    assert peek_user(source) is None
    with pytest.raises(CredentialMissing):
        current_user(source)


@pytest.mark.usefixtures("ben_is_left_over")
def test_a_scope_without_state_has_no_user() -> None:
    assert peek_user({"type": "http"}) is None
    assert peek_user({"type": "http", "state": None}) is None


@pytest.mark.parametrize(
    "source", [None, lowlevel(None), FastContext(None), FastContext(LookupError()), FastContext(ValueError())]
)
@pytest.mark.usefixtures("ben_is_left_over")
def test_where_there_is_no_request_the_variable_is_asked(source: Any) -> None:
    assert current_user(source) is BEN


def test_outside_of_everything_nobody_is_signed_in() -> None:
    assert peek_user() is None
    with pytest.raises(CredentialMissing):
        current_user()


@pytest.mark.parametrize("kind", sorted(set(SOURCES) - {"an ASGI scope"}))
def test_a_host_object_with_a_request_is_recognized(kind: str) -> None:
    assert has_request(SOURCES[kind](scope()))


@pytest.mark.parametrize("value", [None, 1, "text", {}, scope(), [scope()], lowlevel(None), FastContext(LookupError())])
def test_what_a_caller_can_send_as_an_argument_is_never_taken_for_a_request(value: Any) -> None:
    assert not has_request(value)


def test_an_argument_model_with_a_field_named_scope_is_no_request() -> None:
    class Search:
        def __init__(self) -> None:
            self.scope = {"type": "folder", "state": {"user": "google:ann"}}

    assert not has_request(Search())
