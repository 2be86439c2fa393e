"""WorkOS: AuthKit's session tokens, and the access tokens of WorkOS Connect, which MCP clients get.

Sources: workos.com/docs, "Session tokens", "Connect", "Model Context Protocol".

* A session token has no audience: it is ours because its keys are published for our client id, and its issuer names it.
  The issuer ``https://api.workos.com`` is everybody's, so it counts only where the operator writes it.
* A Connect token comes from the AuthKit domain, and its ``aud`` must be ours.
* ``act`` in either means that somebody else acts as the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..core.jws import UnverifiedToken
from ..core.policy import permissions_of, roles_of
from ..errors import TokenInvalid
from ..model import TokenKind
from .impersonation import ImpersonationSettings, RefusesImpersonation
from .issuer import ACCESS, ClaimNames, refuse_kind, text_at
from .oidc import Check

API = "https://api.workos.com"
SESSION = ClaimNames(tenant=("org_id",), permissions=("permissions",))
CONNECT = ClaimNames(tenant=("org_id",))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOSSettings(ImpersonationSettings):
    """``tokens`` are of a session or of Connect; ``client_id`` is our application's, for sessions."""

    tokens: Literal["session", "connect"]
    client_id: str | None = None


class WorkOSProvider(RefusesImpersonation):
    """Users are ``<name>:<sub>``, the organisation is ``org_id``."""

    settings: WorkOSSettings

    def own_checks(self) -> tuple[tuple[str, Check], ...]:
        return (*super().own_checks(), ("application", self._check_application))

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        """Only session tokens have a session and no audience of ours; they do not stand in for each other."""
        if self.settings.tokens == "session" and text_at(claims, ("sid",)) is None:
            refuse_kind("it is of no session (sid)")
        super().kind_of(token, claims)
        return ACCESS

    def permissions_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        if self.settings.claims.permissions == SESSION.permissions:
            return permissions_of(claims.get("permissions"))
        return super().permissions_of(claims)

    def roles_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        role = text_at(claims, ("role",), 128)
        return super().roles_of(claims) | roles_of([] if role is None else [role])

    def _check_application(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if self.settings.tokens == "session" and claims.get("client_id", self.settings.client_id) != (
            self.settings.client_id
        ):
            raise TokenInvalid("client_mismatch")
