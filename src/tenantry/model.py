"""The values a request turns into: frozen, valid by construction, secrets hidden in repr.

    Credential -> VerifiedClaims -> Identity -> Tenant -> MCPUserContext -> Admission

Each is made in exactly one place (``gate.py`` names them in order), so holding one is proof that the steps
before it were taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from .errors import InsufficientScope
from .in_request import record
from .limits import Limit

TokenKind = Literal["id_token", "access_token", "api_key"]
TenantSource = Literal["key", "rule", "organization", "domain", "mapping", "personal"]


@dataclass(frozen=True, slots=True)
class Credential:
    """What arrived: one secret, as the bytes of the header, and where it was found. Nothing is known of it yet."""

    secret: bytes = field(repr=False)
    source: Literal["bearer", "dpop", "x-api-key"] = "bearer"


class Claims(Mapping[str, Any]):
    """A read-only view of a JSON object kept as bytes and parsed on first use.

    A dict per cached token is a garbage-collection pause for everybody (``bench/memory.py`` measures it);
    bytes are not. What is read from it are fresh values: nobody can change what the next request sees.
    """

    __slots__ = ("_parsed", "_raw")

    def __init__(self, raw: bytes, parsed: Mapping[str, Any] | None = None) -> None:
        self._raw = raw
        self._parsed = parsed

    @classmethod
    def of(cls, claims: Mapping[str, Any]) -> Claims:
        """Freeze a mapping of JSON values."""
        return cls(json.dumps(dict(claims), separators=(",", ":"), ensure_ascii=False).encode())

    @property
    def raw(self) -> bytes:
        """The JSON object as it came."""
        return self._raw

    def _load(self) -> Mapping[str, Any]:
        if self._parsed is None:
            self._parsed = json.loads(self._raw)
        return self._parsed

    def __getitem__(self, name: str) -> Any:
        value = self._load()[name]
        return deepcopy(value) if type(value) in (list, dict) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())

    def __repr__(self) -> str:
        return f"Claims({', '.join(self)})"


@dataclass(frozen=True, slots=True)
class VerifiedClaims:
    """Authentic: its provider vouches for it, for us. Not yet accepted: the clock, the tenant and the policy
    are asked next, on every request.

    ``claims`` use the names of OIDC Core section 5.1, RFC 9068 and RFC 7662 whatever the provider calls them.
    ``expires_at`` is in seconds since the epoch; None means that the provider sets no limit. ``overdue``: its provider
    was to be asked again and cannot be (MCP_HTTP_OUTAGE_GRACE).
    """

    provider: str
    kind: TokenKind
    subject: str
    claims: Mapping[str, Any] = field(repr=False)
    expires_at: float | None
    overdue: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who, in our words, with the evidence for a tenant that this provider is authoritative for.

    The first kind that is there decides (``core/tenancy.py``): ``tenant_id`` (an API key's
    own record, a workload's rule), ``organization`` (an organisation id the provider owns), ``domain`` (canonical,
    lower-case).
    """

    user_id: str
    provider: str
    subject: str
    email: str | None = field(default=None, repr=False)
    email_verified: bool = False
    name: str | None = field(default=None, repr=False)
    picture: str | None = field(default=None, repr=False)
    client_id: str | None = None
    permissions: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    tenant_id: str | None = None
    organization: str | None = None
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whose data. ``named`` is true when the operator named it (mapping, allowed domain, key record, rule);
    ``evidence`` is the domain or "<provider>:<organisation>" it comes from, None for a person or a key."""

    tenant_id: str
    source: TenantSource
    named: bool
    evidence: str | None = None


@dataclass(frozen=True, slots=True)
class MCPUserContext:
    """The identity inside its tenant with its permissions: what tools see.

    ``user_id`` is "<provider>:<stable id>" ("google:123456789"); ``tenant_id`` names the tenant
    ("mycompany_com"), its data lives in the schema of the same name; ``expires_at`` is in seconds since the
    epoch, None when the credential has no end; ``claims`` is a read-only mapping; ``bound_to`` is the thumbprint
    (RFC 7638) of the key without which the credential is worth nothing, None for a bearer's.
    """

    user_id: str
    provider: str
    subject: str
    tenant_id: str
    email: str | None = field(default=None, repr=False)
    email_verified: bool = False
    name: str | None = field(default=None, repr=False)
    picture: str | None = field(default=None, repr=False)
    permissions: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    client_id: str | None = None
    expires_at: float | None = None
    claims: Mapping[str, Any] = field(default_factory=lambda: Claims(b"{}"), repr=False, compare=False)
    bound_to: str | None = field(default=None, repr=False)

    def has_permission(self, permission: str) -> bool:
        """Whether a granted permission is, or implies, ``permission`` (see ``permission_implies``)."""
        if permission in self.permissions:
            return True
        return any(permission_implies(granted, permission) for granted in self.permissions)

    def require_permission(self, permission: str) -> None:
        """Raise ``InsufficientScope`` unless ``has_permission(permission)``."""
        if not self.has_permission(permission):
            raise record(InsufficientScope("permission_missing", scopes=(permission,)))


class Admission(NamedTuple):
    """Let in: the caller, his tenant, whether the verdict came from the cache, what is left of his quotas, and whether
    the verdict is older than it may be while its provider can be asked (``MCP_HTTP_OUTAGE_GRACE``)."""

    user: MCPUserContext
    tenant: Tenant
    cached: bool
    limits: Sequence[Limit] = ()
    overdue: bool = False


class Anonymous(NamedTuple):
    """Let in without a credential, for methods that need none."""

    user: None = None
    limits: Sequence[Limit] = ()


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """What a store knows of one API key. ``digest`` is SHA-256 of the whole key, never the key.

    Times are seconds since the epoch. ``key_id`` is public: it is the look-up key and the user's name. A key
    without a ``tenant_id`` has a tenant of its own.
    """

    key_id: str
    digest: bytes = field(repr=False)
    name: str
    tenant_id: str | None = None
    permissions: frozenset[str] = frozenset()
    expires_at: float | None = None
    not_before: float | None = None
    revoked: bool = False


_LEVELS = {"read": 1, "write": 2, "admin": 3}


def permission_implies(granted: str, required: str) -> bool:
    """``admin > write > read``, bare or inside one resource, and ``notes:* > notes:anything``.

    A bare level implies bare levels only: ``admin`` does not imply ``notes:read`` (the stricter reading; grant
    ``notes:*`` to say that).
    """
    if granted == required:
        return True
    if granted.endswith(":*"):
        return required.startswith(granted[:-1]) and len(required) > len(granted) - 1
    resource, _, level = granted.rpartition(":")
    other_resource, _, other_level = required.rpartition(":")
    return resource == other_resource and _LEVELS.get(level, 0) > _LEVELS.get(other_level, 9)
