"""Sign in with Apple: ID tokens, the only ones Apple gives for a person.

Sources: developer.apple.com, "Verifying a user", "Authenticating users with Sign in with Apple".

* The issuer is pinned, not discovered: in June 2025 Apple's discovery document named another one for a while, and the
  tokens kept the old. A second spelling counts only where the operator configures it.
* ``aud`` is one of our Services ids or bundle ids; ``sub`` names a person for our developer team only.
* ``email_verified`` is a boolean or the text "true". An address of Apple's relay is nobody's domain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.jws import UnverifiedToken
from ..model import TokenKind
from .issuer import ID, IssuerProvider, claim_at, refuse_kind

ISSUER = "https://appleid.apple.com"
KEYS_URL = "https://appleid.apple.com/auth/keys"


class AppleProvider(IssuerProvider):
    """Users are ``<name>:<sub>``."""

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        if "events" in claims:  # server-to-server notifications have the same issuer, keys and audience
            refuse_kind("it is a notification from Apple to its developer")
        return ID

    def email_verified_in(self, claims: Mapping[str, Any]) -> bool:
        said = claim_at(claims, self.settings.claims.email_verified)
        return said is True or (type(said) is str and said == "true")
