"""Firebase Authentication and Google Identity Platform: ID tokens of one project.

Sources: firebase.google.com/docs/auth/admin/verify-id-tokens, cloud.google.com/identity-platform/docs/multi-tenancy.

* The same keys sign for every project: issuer and audience, both made of the project's id, tell them apart.
* ``auth_time`` must be in the past, ``sub`` has 128 characters at most.
* An anonymous sign-in names nobody. ``firebase.tenant`` is the Identity Platform tenant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..core.claims import numeric_date
from ..core.jws import UnverifiedToken
from ..errors import TokenInvalid
from ..model import TokenKind
from .issuer import ID, ClaimNames, IssuerProvider, refuse_kind, text_at
from .oidc import Check

ISSUER = "https://securetoken.google.com"
KEYS_URL = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com"
PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
CLAIMS = ClaimNames(tenant=("firebase", "tenant"))
LONGEST_SUBJECT = 128


class FirebaseProvider(IssuerProvider):
    """Users are ``<name>:<sub>``."""

    def own_checks(self) -> tuple[tuple[str, Check], ...]:
        return (*super().own_checks(), ("sign-in", self._check_sign_in))

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        if text_at(claims, ("firebase", "sign_in_provider")) in (None, "anonymous"):
            refuse_kind("it is of an anonymous sign-in, or of none")
        return ID

    def subject_of(self, claims: Mapping[str, Any]) -> str:
        subject = super().subject_of(claims)
        if len(subject) > LONGEST_SUBJECT:
            raise TokenInvalid("subject_invalid")
        return subject

    def _check_sign_in(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        signed_in = numeric_date(claims, "auth_time")
        if signed_in is None or signed_in > now + self.settings.leeway:
            raise TokenInvalid("claims_malformed")
