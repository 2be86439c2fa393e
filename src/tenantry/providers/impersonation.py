"""Sessions in which somebody of the provider or an administrator acts as a user: ``act`` (RFC 8693 section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.jws import UnverifiedToken
from ..errors import TokenInvalid
from .issuer import IssuerProvider, IssuerSettings
from .oidc import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpersonationSettings(IssuerSettings):
    """``impersonation`` true lets such sessions in; tools then find the actor in ``user.claims["act"]``."""

    impersonation: bool = False


class RefusesImpersonation(IssuerProvider):
    """An issuer whose tokens may be of somebody who only acts as the user."""

    settings: ImpersonationSettings

    def own_checks(self) -> tuple[tuple[str, Check], ...]:
        return (*super().own_checks(), ("impersonation", self._check_actor))

    def _check_actor(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if "act" in claims and not self.settings.impersonation:
            detail = "somebody else acts as this user (act): impersonation is not accepted here"
            raise TokenInvalid("token_kind_refused", detail=detail)
