"""From what a credential says to the permissions of its holder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import TokenInvalid
from ..model import Identity, MCPUserContext, Tenant, VerifiedClaims
from .confirmation import thumbprint_of

# RFC 6749 section 3.3, scope-token; a blank inside one would read as two.
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,128}")
# They ask for claims about the user, not for rights here (OIDC Core section 5.4).
_ABOUT_THE_USER = frozenset(
    {"openid", "profile", "email", "address", "phone", "offline_access"}
    | {f"https://www.googleapis.com/auth/userinfo.{name}" for name in ("email", "profile")}
)


def is_permission(text: Any) -> bool:
    """Whether ``text`` can name a permission: one RFC 6749 scope-token of at most 128 characters."""
    return type(text) is str and _SCOPE_TOKEN.fullmatch(text) is not None


def scopes_of(value: Any) -> frozenset[str]:
    """A ``scope`` claim: a blank-separated string (RFC 6749) or a list. Raises ``TokenInvalid`` for another type."""
    if value is None:
        return frozenset()
    return permissions_of(value.split(" ") if type(value) is str else value) - _ABOUT_THE_USER


def permissions_of(value: Any) -> frozenset[str]:
    """A list of permission names. What cannot name one grants nothing; a wrong type raises ``TokenInvalid``."""
    if value is None:
        return frozenset()
    if type(value) is not list:
        raise TokenInvalid("claims_malformed")
    return frozenset(filter(is_permission, value))


def roles_of(value: Any) -> frozenset[str]:
    """A list of role names: printable, 128 characters at most. Raises ``TokenInvalid`` for another type."""
    if value is None:
        return frozenset()
    if type(value) is not list:
        raise TokenInvalid("claims_malformed")
    return frozenset(n for n in value if type(n) is str and 0 < len(n) <= 128 and n.isprintable())


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's say: what everybody admitted may do, and what each role adds."""

    default: frozenset[str] = frozenset()
    by_role: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def permissions(self, identity: Identity) -> frozenset[str]:
        """Everything the credential, its roles and the default grant together."""
        granted: Iterable[frozenset[str]] = (self.by_role.get(role, frozenset()) for role in identity.roles)
        return identity.permissions.union(self.default, *granted)

    def context(self, verified: VerifiedClaims, identity: Identity, tenant: Tenant) -> MCPUserContext:
        """The identity inside its tenant with its permissions. Raises ``TokenInvalid`` for a credential that is bound
        to something whose proof is unknown here."""
        return MCPUserContext(
            user_id=identity.user_id,
            provider=identity.provider,
            subject=identity.subject,
            tenant_id=tenant.tenant_id,
            email=identity.email,
            email_verified=identity.email_verified,
            name=identity.name,
            picture=identity.picture,
            permissions=self.permissions(identity),
            roles=identity.roles,
            client_id=identity.client_id,
            expires_at=verified.expires_at,
            claims=verified.claims,
            bound_to=thumbprint_of(verified.claims),
        )
