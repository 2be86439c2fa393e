"""Keycloak: access tokens of one realm.

Sources: keycloak.org, "Server Administration Guide": audience support, protocol mappers, client scopes.

* ``aud`` names our client only with an Audience mapper. Without one it is ``account`` or absent, and a token of any
  client of the realm looks alike: refused, unless the operator binds by ``azp`` instead.
* The payload has a ``typ`` of its own: ``Bearer`` or ``DPoP`` is an access token, ``ID``, ``Refresh``, ``Offline`` and
  ``Logout`` are signed by the same keys.
* Realm roles and the roles of each client are separate lists. A role of a client is called ``<client>:<role>`` here.
* A lightweight access token names no roles, and may name no subject: such a one is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.jws import UnverifiedToken
from ..core.policy import roles_of
from ..errors import TokenInvalid
from ..model import TokenKind
from .issuer import ACCESS, ClaimNames, IssuerProvider, IssuerSettings, claim_at, refuse_kind, text_at
from .oidc import Check

ISSUER = re.compile(r"https?://[^/]+(?:/[^/?#]+)*/realms/[^/?#]+")
CLAIMS = ClaimNames(roles=("realm_access", "roles"))
_ACCESS = frozenset({"Bearer", "DPoP"})


@dataclass(frozen=True, slots=True, kw_only=True)
class KeycloakSettings(IssuerSettings):
    """``role_clients`` are the clients whose roles count, beside the realm's own."""

    role_clients: tuple[str, ...] = ()


class KeycloakProvider(IssuerProvider):
    """Users are ``<name>:<sub>``."""

    settings: KeycloakSettings

    def own_checks(self) -> tuple[tuple[str, Check], ...]:
        return (*super().own_checks(), ("audience mapper", self._check_mapper))

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        if text_at(claims, ("typ",)) not in _ACCESS:
            refuse_kind("its payload's typ is not Bearer: it is an ID, refresh or logout token")
        super().kind_of(token, claims)
        return ACCESS

    def subject_of(self, claims: Mapping[str, Any]) -> str:
        if "sub" not in claims:
            detail = "a lightweight access token without sub: give its client the scope 'basic', or turn that off"
            raise TokenInvalid("subject_invalid", detail=detail)
        return super().subject_of(claims)

    def roles_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        found = super().roles_of(claims)
        for client in self.settings.role_clients:
            roles = roles_of(claim_at(claims, ("resource_access", client, "roles")))
            found |= {f"{client}:{role}" for role in roles}
        return found

    def _check_mapper(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if self.settings.audiences is not None and claims.get("aud") in (None, "account", ["account"]):
            client = text_at(claims, ("azp",))
            detail = "Keycloak named no audience: add an Audience mapper for this server to a scope of the client"
            raise TokenInvalid("audience_mismatch", detail=detail if client else None)
