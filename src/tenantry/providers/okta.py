"""Okta: access tokens of a custom authorization server.

Sources: developer.okta.com, "Validate access tokens", "API access management", "Authorization servers".

* Only custom authorization servers (``https://<domain>/oauth2/<id>``): tokens of the organisation's own server
  (``https://<domain>``) are for Okta's APIs, and Okta says that nobody else may validate them.
* The user is ``uid``. ``sub`` is the login, usually an address, and can change.
* A token without ``uid`` is of a service, which says so: ``sub`` is its client.
* ``scp`` is an array.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..core.jws import UnverifiedToken
from ..core.policy import permissions_of, scopes_of
from ..errors import TokenInvalid
from ..model import TokenKind
from .issuer import ACCESS, ClaimNames, IssuerProvider, claim_at, refuse_kind, text_at

# http only to a stand-in, which may have a path of its own.
ISSUER = re.compile(r"(?:https://[^/]+|http://[^/]+(?:/[^/]+)*)/oauth2/[A-Za-z0-9_-]+")
CLAIMS = ClaimNames(permissions=("scp",), roles=("groups",))
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class OktaProvider(IssuerProvider):
    """Users are ``<name>:<uid>``, services ``<name>:client:<cid>``."""

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        """Access tokens name their client in ``cid``; ID tokens do not, and their id begins otherwise."""
        if text_at(claims, ("cid",)) is None or str(claims.get("jti", "")).startswith("ID."):
            refuse_kind("it names no client (cid), as ID tokens do: send the access token")
        super().kind_of(token, claims)
        return ACCESS

    def subject_of(self, claims: Mapping[str, Any]) -> str:
        uid, cid = text_at(claims, ("uid",)), text_at(claims, ("cid",)) or ""
        if uid is None and "uid" not in claims and claims.get("sub") == cid and _ID.fullmatch(cid):
            return f"client:{cid}"
        if uid is None or not _ID.fullmatch(uid):
            raise TokenInvalid("subject_invalid")
        return uid

    def user_id_of(self, subject: str) -> str:
        return f"{self.name}:{subject}"  # a uid has no colon

    def permissions_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        granted = claim_at(claims, self.settings.claims.permissions)
        return scopes_of(sorted(permissions_of(granted)))  # an array, and nothing else
