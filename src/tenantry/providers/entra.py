"""Microsoft Entra ID: access tokens for our own API, of one directory or of several.

Sources: learn.microsoft.com, "Access token claims reference", "Secure applications and APIs by validating claims";
the signing-key check of Microsoft's IdentityModel library (AadTokenValidationParametersExtension).

* The API's manifest, not the endpoint a client used, decides between v1 and v2 tokens: both issuers of each directory
  are known, and a directory that is not listed has none here.
* The user is ``tid:oid``. ``email``, ``upn`` and ``preferred_username`` can be set by anybody who runs a directory of
  his own, and say nothing here.
* Any application of the directory can get a token for our audience: one without ``scp`` or ``roles`` was granted
  nothing and is refused.
* Of keys that serve several directories, each says whose tokens it signs.
* The directory of personal Microsoft accounts is nobody's company: its people have a tenant each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.jws import UnverifiedToken, parse_claims
from ..core.keys import VerificationKey
from ..core.policy import permissions_of
from ..errors import TokenInvalid
from ..model import TokenKind
from ..ports import Clock, Fetch, Observer
from .issuer import ACCESS, ClaimNames, IssuerProvider, IssuerSettings, claim_at, refuse_kind, text_at
from .oidc import Check

PERSONAL = "9188040d-6c67-4c5b-b112-36a304b66dad"  # the directory of personal Microsoft accounts
AUTHORITY = "https://login.microsoftonline.com"
# Where the issuers of v1 tokens begin, by authority.
STS = {AUTHORITY: "https://sts.windows.net", "https://login.partner.microsoftonline.cn": "https://sts.chinacloudapi.cn"}
GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CLAIMS = ClaimNames(permissions=("scp",))
_GRAPH = frozenset({"00000003-0000-0000-c000-000000000000", "https://graph.microsoft.com", "https://graph.windows.net"})
_TEMPLATE = "{tenantid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EntraSettings(IssuerSettings):
    """``tenants`` are the directories' ids (GUIDs, lower case), ``issuers`` follow from them: ``entra_issuers``."""

    authority: str = AUTHORITY
    sts: str = STS[AUTHORITY]


def entra_issuers(tid: str, authority: str, sts: str) -> tuple[str, str]:
    """The v2 and the v1 issuer of a directory: the first without a slash at its end, the second with one."""
    return f"{authority}/{tid}/v2.0", f"{sts}/{tid}/"


class EntraProvider(IssuerProvider):
    """Users are ``<name>:<tid>:<oid>``; the organisation is ``tid``."""

    settings: EntraSettings

    def __init__(self, settings: EntraSettings, fetch: Fetch, clock: Clock, observe: Observer) -> None:
        directories = settings.tenants or frozenset()
        self._directory = {
            issuer: tid for tid in directories for issuer in entra_issuers(tid, settings.authority, settings.sts)
        }
        super().__init__(settings, fetch, clock, observe)

    def own_checks(self) -> tuple[tuple[str, Check], ...]:
        return (
            ("Microsoft Graph", self._check_graph),
            ("directory", self._check_directory),
            *super().own_checks(),
            ("grant", self._check_grant),
        )

    def check_key(self, token: UnverifiedToken, key: VerificationKey) -> None:
        """The key's issuer, with the directory filled in where it has a gap for it, must be the token's. It is written
        in the v2 form also where the token is v1. Keys that are fetched for one directory need not say."""
        tid = self._directory.get(parse_claims(token).get("iss", ""), "")
        if key.issuer is None and len(self.settings.tenants or ()) == 1:
            return
        issuer = (key.issuer or "").replace(_TEMPLATE, tid)
        if issuer not in entra_issuers(tid, self.settings.authority, self.settings.sts):
            raise TokenInvalid("key_unknown", detail="the key signs for another directory than the token names")

    def kind_of(self, token: UnverifiedToken, claims: Mapping[str, Any]) -> TokenKind:
        """An ID token has the same audience as a v2 access token, and may have roles; it names no client."""
        if text_at(claims, ("azp",)) is None and text_at(claims, ("appid",)) is None:
            refuse_kind("it names no client (azp, appid), as ID tokens do: send the access token")
        super().kind_of(token, claims)
        return ACCESS

    def subject_of(self, claims: Mapping[str, Any]) -> str:
        tid, oid = text_at(claims, ("tid",)), text_at(claims, ("oid",))
        if tid is None or oid is None or not GUID.fullmatch(tid) or not GUID.fullmatch(oid):
            raise TokenInvalid("subject_invalid")
        return f"{tid}:{oid}"

    def user_id_of(self, subject: str) -> str:
        return f"{self.name}:{subject}"  # two GUIDs: the colon between them can be nothing else

    def organization_of(self, claims: Mapping[str, Any]) -> str | None:
        tid = text_at(claims, ("tid",))
        return None if tid == PERSONAL else tid

    def permissions_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """What the user delegated; for an application acting as itself the roles it was assigned."""
        if "scp" in claims:
            return super().permissions_of(claims)
        return permissions_of(claims.get("roles"))

    def roles_of(self, claims: Mapping[str, Any]) -> frozenset[str]:
        """``TokenInvalid`` for groups that are too many for a token: absent is not none."""
        name = self.settings.claims.roles[0]
        if name not in claims and claim_at(claims, ("_claim_names", name)) is not None:
            detail = f"{name} are too many to be in the token: assign app roles, or only the groups of the application"
            raise TokenInvalid("claims_malformed", detail=detail)
        return super().roles_of(claims)

    def email_of(self, claims: Mapping[str, Any]) -> str | None:
        """Shown only where Microsoft says that the owner of its domain has been verified; never evidence."""
        return super().email_of(claims) if self.email_verified_in(claims) else None

    def email_verified_in(self, claims: Mapping[str, Any]) -> bool:
        verified = claims.get("xms_edov")
        return verified is True or (type(verified) is int and verified == 1)

    def _check_graph(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if text_at(claims, ("aud",)) in _GRAPH:  # its signature cannot be verified by anybody but Graph
            detail = "this is a Microsoft Graph token: ask for a scope of this API, api://<its id>/<scope>"
            raise TokenInvalid("audience_mismatch", detail=detail)

    def _check_directory(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        issuer = text_at(claims, ("iss",)) or ""
        if text_at(claims, ("tid",)) != self._directory.get(issuer, ""):
            raise TokenInvalid("issuer_mismatch")

    def _check_grant(self, token: UnverifiedToken, claims: Mapping[str, Any], now: float) -> None:
        if not (self.permissions_of(claims) or permissions_of(claims.get("roles"))):
            detail = "neither scp nor roles: any application of the directory can get such a token"
            raise TokenInvalid("token_kind_refused", detail=detail)
        self.roles_of(claims)
