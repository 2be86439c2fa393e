"""Amazon Cognito: tokens of one user pool.

Sources: docs.aws.amazon.com/cognito, "Verifying JSON web tokens", "Understanding the access token".

* An access token names its app client in ``client_id`` and has no ``aud`` (unless the pool binds it to a resource); an
  ID token names it in ``aud``. Whoever asks for neither accepts every app of the pool.
* ``token_use`` says which of the two it is, and must.
* The user is ``sub``; ``username`` can be chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.jws import UnverifiedToken
from ..errors import TokenInvalid
from ..model import TokenKind
from .issuer import ACCESS, ID, ClaimNames, IssuerProvider, IssuerSettings, refuse_kind, text_at
from .oidc import Check

ISSUER = re.compile(r"https://cognito-idp\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(?P=region)_[A-Za-z0-9]+")
CLAIMS = ClaimNames(roles=("cognito:groups",))
_KINDS: Mapping[str, TokenKind] = {"access": ACCESS, "id": ID}


@dataclass(frozen=True, slots=True, kw_only=True)
class CognitoSettings(IssuerSettings):
    """``clients`` are our app clients; ``resources`` what an access token must be bound to (``aud``), None for pools
    that bind to none. ``audiences`` is None: which claim counts depends on the kind."""

    resources: frozenset[str] | None = None


class CognitoProvider(IssuerProvider):
    """Users are ``<name>:<sub>``."""

    settings: CognitoSettings

    def own_checks(self) -> tuple[tuple[str, Check], ...]:
        return (*super().own_checks(), ("resource", self._check_resource))

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        kind = _KINDS.get(text_at(claims, ("token_use",)) or "")
        if kind not in self.settings.accept:
            refuse_kind("its token_use is not one that is accepted here")
        return kind

    def _check_client(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        claim = "client_id" if self.kind_of(token, claims) == ACCESS else "aud"
        if text_at(claims, (claim,)) not in (self.settings.clients or ()):
            raise TokenInvalid("client_mismatch")

    def _check_resource(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        resources = self.settings.resources
        if resources is None or self.kind_of(token, claims) == ID:
            return
        named = claims.get("aud")
        if type(named) is not str and type(named) is not list:
            raise TokenInvalid("audience_mismatch")
        audiences = [named] if type(named) is str else named
        if not all(type(entry) is str for entry in audiences) or resources.isdisjoint(audiences):
            raise TokenInvalid("audience_mismatch")
