"""What every endpoint of the authorization server needs: its errors, its parameters, its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.responses import JSONResponse

_NOT_STORED = {"cache-control": "no-store", "pragma": "no-cache"}


class OAuthError(Exception):
    """``error`` is the code on the wire: RFC 6749 sections 4.1.2.1 and 5.2, RFC 7591 section 3.2.2, RFC 8707
    section 2. ``status`` is that of a direct answer; an error in a redirect has none."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status

    def answer(self, headers: Mapping[str, str] | None = None) -> JSONResponse:
        """RFC 6749 section 5.2."""
        body = {"error": self.error, "error_description": self.description}
        return JSONResponse(body, self.status, {**_NOT_STORED, **(headers or {})})


class Parameters:
    """A query or a form. One without a value counts as left out, and one that is given twice is an error (RFC 6749
    section 3.1), except where ``all`` is asked for."""

    def __init__(self, encoded: str) -> None:
        self._pairs = [(name, value) for name, value in parse_qsl(encoded) if value]

    def all(self, name: str) -> list[str]:
        return [value for given, value in self._pairs if given == name]

    def one(self, name: str) -> str | None:
        """The value; None where it is missing."""
        values = self.all(name)
        if len(values) > 1:
            raise OAuthError("invalid_request", f"{name} is given more than once")
        return values[0] if values else None

    def required(self, name: str) -> str:
        """The value; ``OAuthError`` where it is missing."""
        value = self.one(name)
        if value is None:
            raise OAuthError("invalid_request", f"{name} is missing")
        return value

    def without(self, *names: str) -> list[tuple[str, str]]:
        """The pairs with other names."""
        return [(name, value) for name, value in self._pairs if name not in names]


def stored_nowhere(body: Mapping[str, Any], status: int = 200) -> JSONResponse:
    """JSON with a secret in it (RFC 6749 section 5.1)."""
    return JSONResponse(dict(body), status, _NOT_STORED)


def resources_of(asked: Parameters) -> tuple[str, ...]:
    """What tokens are wanted for: every ``resource`` (RFC 8707), or Auth0's older ``audience``; maybe nothing."""
    audience = asked.one("audience")
    resources = tuple(dict.fromkeys(asked.all("resource")))
    for resource in resources:
        if not _is_resource(resource):
            raise OAuthError("invalid_target", "resource must be an absolute URI without a fragment")
    return resources or ((audience,) if audience else ())


def _is_resource(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
    except ValueError:
        return False
    return bool(parts.scheme and (parts.netloc or parts.path)) and "#" not in uri


def scopes_within(asked: str | None, allowed: str) -> str:
    """The scopes asked for, each of which must be allowed; all that are allowed where none is asked for (RFC 6749
    section 6)."""
    if asked is None:
        return allowed
    if not set(asked.split()) <= set(allowed.split()):
        raise OAuthError("invalid_scope", "a scope is asked for that was not granted")
    return " ".join(dict.fromkeys(asked.split()))
