"""What people have granted: authorization codes, good once and for a minute, and refresh tokens, each good once.

All that comes of one sign-in is a family. A code or a refresh token that comes back after it was spent is in two
hands, and nobody can tell whose are honest: the family ends (RFC 9700 sections 2.1.1 and 4.14.2).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from .clock import Clock
from .oauth import OAuthError
from .people import Person

CODE_LIFETIME: Final = 60.0  # seconds; RFC 6749 section 4.1.2 allows ten minutes at most


@dataclass(frozen=True, slots=True)
class Grant:
    """What ``person`` allowed a client: ``scope`` for ``resources``."""

    person: Person
    client_id: str
    scope: str
    resources: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Family:
    """Everything that one sign-in led to. ``key`` is the thumbprint that its refresh tokens are bound to."""

    ended: bool = False
    key: str | None = None
    access_tokens: list[str] = field(default_factory=list, repr=False)


@dataclass(slots=True, eq=False)
class Code:
    """A code with what must match when it is spent."""

    grant: Grant
    redirect_uri: str
    challenge: str
    nonce: str | None
    expires_at: float
    family: Family = field(default_factory=Family)
    spent: bool = False


@dataclass(slots=True, eq=False)
class _Refresh:
    grant: Grant
    family: Family
    spent: bool = False


class Grants:
    """The codes and refresh tokens. ``forget`` is told of each access token of a family that ends."""

    def __init__(self, clock: Clock, forget: Callable[[str], None]) -> None:
        self._clock = clock
        self._forget = forget
        self._codes: dict[str, Code] = {}
        self._refreshes: dict[str, _Refresh] = {}
        self._holders: dict[str, str] = {}  # access token -> the client it was issued to

    def new_code(self, grant: Grant, redirect_uri: str, challenge: str, nonce: str | None) -> str:
        """A code that answers one authorization request."""
        value = secrets.token_urlsafe(32)
        self._codes[value] = Code(grant, redirect_uri, challenge, nonce, self._clock.now() + CODE_LIFETIME)
        return value

    def spend_code(self, value: str, client_id: str) -> Code:
        """The code, which is spent from now on; ``OAuthError`` (invalid_grant) where it is no good."""
        code = self._codes.get(value)
        if code is None or code.grant.client_id != client_id:
            raise OAuthError("invalid_grant", "the code is not one that this client was given")
        if code.spent:
            self.end(code.family)
            raise OAuthError("invalid_grant", "the code was used before: what it led to is revoked")
        code.spent = True
        if code.expires_at <= self._clock.now():
            raise OAuthError("invalid_grant", "the code has expired")
        return code

    def new_refresh(self, grant: Grant, family: Family) -> str:
        value = f"v1.{secrets.token_urlsafe(40)}"
        self._refreshes[value] = _Refresh(grant, family)
        return value

    def refreshed(self, value: str, client_id: str) -> tuple[Grant, Family]:
        """What a refresh token stands for; ``OAuthError`` (invalid_grant) where it is no good."""
        refresh = self._refreshes.get(value)
        if refresh is None or refresh.grant.client_id != client_id:
            raise OAuthError("invalid_grant", "the refresh token is not one that this client was given")
        if refresh.spent:
            self.end(refresh.family)
        if refresh.family.ended:
            raise OAuthError("invalid_grant", "the refresh token was used before or revoked: sign in again")
        return refresh.grant, refresh.family

    def spend_refresh(self, value: str) -> None:
        """From now on the token is one that was used before."""
        self._refreshes[value].spent = True

    def issued(self, access_token: str, grant: Grant, family: Family) -> None:
        """Remember what is to be forgotten with the family."""
        family.access_tokens.append(access_token)
        self._holders[access_token] = grant.client_id

    def revoke(self, token: str, client_id: str) -> None:
        """A refresh token with its family, or an access token; nothing for a token that nobody knows. ``OAuthError``
        where it is another client's."""
        refresh = self._refreshes.get(token)
        holder = self._holders.get(token, client_id) if refresh is None else refresh.grant.client_id
        if holder != client_id:
            raise OAuthError("invalid_grant", "the token was issued to another client")
        if refresh is None:
            self._forget(token)
        else:
            self.end(refresh.family)

    def end(self, family: Family) -> None:
        """Revoke what can be revoked; a server that validates access tokens by their signature sees their ``exp``."""
        family.ended = True
        for token in family.access_tokens:
            self._forget(token)
