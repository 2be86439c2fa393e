"""Supabase Auth: access tokens of one project.

Sources: supabase.com/docs, "JWT claims reference", "JWT signing keys".

* ``aud`` is "authenticated" in every project of the world: what proves that a token is ours is the project's issuer.
* Only asymmetric keys: a project that still signs with its shared secret (HS256) has to migrate its signing keys.
* ``role`` must be "authenticated": "anon" is nobody, and "service_role" is the key to the whole project.
* Users write ``user_metadata`` themselves, so nothing is read from it; ``app_metadata`` is the project's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..core.jws import UnverifiedToken
from ..model import TokenKind
from .issuer import ACCESS, ClaimNames, IssuerProvider, refuse_kind

PROJECT = re.compile(r"[a-z0-9]{8,32}")
ALGORITHMS = frozenset({"ES256", "RS256"})
CLAIMS = ClaimNames(roles=("app_metadata", "roles"))


class SupabaseProvider(IssuerProvider):
    """Users are ``<name>:<sub>``."""

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        if claims.get("role") != "authenticated" or claims.get("is_anonymous", False) is not False:
            refuse_kind("its role is not authenticated: it names no signed-in user")
        super().kind_of(token, claims)
        return ACCESS

    def email_verified_in(self, claims: Mapping[str, Any]) -> bool:
        return False  # the only such claim is in user_metadata
