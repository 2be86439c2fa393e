"""A provider out of another package, held to what every provider keeps.

Its code is the operator's choice and not ours, so that little of it is believed: who somebody is follows from the
claims that it vouches for, under its own name; a tenant follows from ``org_id`` under its own name, and is nobody
else's unless MCP_HTTP_TENANT_MAPPING says so. It cannot say "API key", name a tenant, or let a mistake of its own be
an admission: whatever is not an answer is a 503.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from ..core.claims import check_subject
from ..core.matching import Presented
from ..core.policy import roles_of, scopes_of
from ..errors import Forbidden, Refusal, TokenInvalid, Unavailable
from ..model import Claims, Identity, VerifiedClaims
from ..observations import InternalError, ProviderFailed
from ..ports import Clock, Observer
from .base import DEADLINE, RETRY_AFTER, text_of, user_id

_ANSWERS = (TokenInvalid, Unavailable, Forbidden)  # anything else that is raised is a mistake


class Foreign(Protocol):
    """What is asked of the other package's object: ``tenantry.provider.Provider``."""

    @property
    def issuers(self) -> tuple[str, ...]: ...
    @property
    def prefixes(self) -> tuple[str, ...]: ...
    @property
    def authorization_servers(self) -> tuple[str, ...]: ...

    async def verify(self, presented: Presented) -> VerifiedClaims: ...
    def start(self) -> None: ...
    async def aclose(self) -> None: ...


class CustomProvider:
    """The provider called ``name`` around ``foreign``; its users are ``<name>:<subject>``. ``leeway`` in seconds."""

    cacheable = True

    def __init__(self, name: str, foreign: Foreign, clock: Clock, observe: Observer, leeway: float) -> None:
        self.name = name
        self.issuers = foreign.issuers
        self.prefixes = foreign.prefixes
        self.authorization_servers = foreign.authorization_servers
        self._foreign = foreign
        self._clock = clock
        self._observe = observe
        self._leeway = leeway

    async def verify(self, presented: Presented) -> VerifiedClaims:
        with self._no_mistakes("verify"):
            async with asyncio.timeout(DEADLINE):
                said = await self._foreign.verify(presented)
            verified = self._believed(said)
        if verified.expires_at is not None and self._clock.now() >= verified.expires_at + self._leeway:
            raise TokenInvalid("token_expired")
        return verified

    def identify(self, verified: VerifiedClaims) -> Identity:
        claims = verified.claims
        email = text_of(claims, "email")
        return Identity(
            user_id=user_id(self.name, verified.subject),
            provider=self.name,
            subject=verified.subject,
            email=email,
            email_verified=email is not None and claims.get("email_verified") is True,
            name=text_of(claims, "name"),
            picture=text_of(claims, "picture"),
            client_id=text_of(claims, "client_id"),
            permissions=scopes_of(claims.get("scope")),
            roles=roles_of(claims.get("roles")),
            organization=_organization(claims),
        )

    def start(self) -> None:
        try:
            self._foreign.start()
        except Exception as error:  # the server starts without: its callers get 503
            self._tell("start", error)

    async def aclose(self) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                await self._foreign.aclose()
        except Exception as error:  # the others are to be closed as well
            self._tell("close", error)

    def _believed(self, said: VerifiedClaims) -> VerifiedClaims:
        """``said`` under our name and with claims of its own copy, when every part of it can be read."""
        if type(said) is not VerifiedClaims or said.provider != self.name or said.kind == "api_key":
            raise TypeError("verify returns VerifiedClaims in the name of its provider")
        expires = said.expires_at
        if expires is not None and (type(expires) not in (int, float) or not math.isfinite(expires)):
            raise TypeError("expires_at is seconds since the epoch, or None")
        claims = Claims.of(said.claims)
        verified = VerifiedClaims(self.name, said.kind, check_subject(said.subject), claims, expires)
        self.identify(verified)
        return verified

    @contextmanager
    def _no_mistakes(self, what: str) -> Iterator[None]:
        try:
            yield
        except Refusal as refusal:
            if type(refusal) in _ANSWERS:
                raise
            self._tell(what, refusal)
        except (Exception, SystemExit) as error:  # nobody's token ends the server
            self._tell(what, error)
        else:
            return
        raise Unavailable("provider_unavailable", retry_after=RETRY_AFTER)

    def _tell(self, what: str, error: BaseException) -> None:
        """The type and the place alone: what an exception says may quote the credential."""
        self._observe(ProviderFailed(self.name, what, "timeout" if isinstance(error, TimeoutError) else "exception"))
        self._observe(InternalError.of(error))


def _organization(claims: Mapping[str, Any]) -> str | None:
    """One that cannot be read is refused rather than ignored: its people must not land somewhere else."""
    organization = text_of(claims, "org_id", 255)
    if organization is None and claims.get("org_id") is not None:
        raise TokenInvalid("claims_malformed")
    return organization
