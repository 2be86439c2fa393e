"""Clerk: session tokens of one instance.

Sources: clerk.com/docs, "Session tokens" (versions 1 and 2), "Manual JWT verification".

* There is no audience: the issuer is the instance's own, and ``azp``, the origin that asked for the token, must be one
  of our sites. Clerk leaves ``azp`` out where a browser sends no origin: such a token is refused.
* The organisation that is active is ``o.id`` (version 2) or ``org_id`` (version 1).
* ``sts`` "pending" is a session that has not finished signing in; ``act`` is somebody who acts as the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.jws import UnverifiedToken
from ..core.policy import permissions_of, roles_of
from ..errors import TokenInvalid
from ..model import TokenKind
from .impersonation import ImpersonationSettings, RefusesImpersonation
from .issuer import ACCESS, claim_at, refuse_kind, text_at
from .oidc import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class ClerkSettings(ImpersonationSettings):
    """``authorized_parties`` are the origins of our sites."""

    authorized_parties: frozenset[str]


class ClerkProvider(RefusesImpersonation):
    """Users are ``<name>:<sub>``."""

    settings: ClerkSettings

    def own_checks(self) -> tuple[tuple[str, Check], ...]:
        own = (("origin", self._check_origin), ("active organization", self._check_active))
        return (*super().own_checks(), *own)

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        if text_at(claims, ("sid",)) is None or token.type == "at+jwt":
            refuse_kind("it is of no session (sid)")
        if claims.get("sts", "active") != "active":
            refuse_kind("its session is pending: the user has not finished signing in")
        super().kind_of(token, claims)
        return ACCESS

    def organization_of(self, claims: Mapping[str, Any]) -> str | None:
        if self.settings.organization is not None:
            return self.settings.organization
        return text_at(claims, ("o", "id")) or text_at(claims, ("org_id",))

    def permissions_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        return super().permissions_of(claims) | permissions_of(claims.get("org_permissions"))

    def roles_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        active = text_at(claims, ("o", "rol"), 128) or text_at(claims, ("org_role",), 128)
        return super().roles_of(claims) | roles_of([] if active is None else [active])

    def _check_origin(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if text_at(claims, ("azp",)) not in self.settings.authorized_parties:
            raise TokenInvalid("client_mismatch")

    def _check_active(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        named = claim_at(claims, ("o", "id")) or claims.get("org_id") or ("o" in claims)
        if named and self.organization_of(claims) is None:
            raise TokenInvalid("claims_malformed")
        allowed = self.settings.tenants
        if allowed is not None and self.organization_of(claims) not in allowed:
            raise TokenInvalid("organization_missing")
