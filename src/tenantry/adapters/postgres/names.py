"""What a tenant and the parts of a deployment are called in PostgreSQL.

Roles belong to the whole cluster, so each carries its deployment's id: two deployments beside each other never
share one. A tenant id cannot begin with an underscore, so the service roles' names are nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...core.tenancy import opaque_schema_name, role_name, schema_name
from ...errors import Forbidden

_ID_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Names:
    """Where one tenant lives: its schema, and the role that may use it."""

    tenant_id: str
    schema: str
    role: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """One installation of tenantry: ``id`` is 32 hexadecimal digits, the same in all of its databases. ``audit_key``
    seals what operators do (MCP_HTTP_AUDIT_HMAC_KEY)."""

    id: str
    audit_key: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def mark(self) -> str:
        """The comment that every role of ours carries: what has our name without it is somebody else's."""
        return f"tenantry deployment {self.id}"

    @property
    def channel(self) -> str:
        """Where a change of the registry is announced (NOTIFY)."""
        return f"tenantry_{self.id[:_ID_DIGITS]}"

    @property
    def owner(self) -> str:
        """The role that owns the tenants' schemas. Nobody can log in as it."""
        return self._service("owner")

    @property
    def rest(self) -> str:
        """The role without any right in which connections rest outside of a scope."""
        return self._service("rest")

    @property
    def untrusted(self) -> str:
        """The group of those tenant roles that may log in (``untrusted.py``): it may connect, and nothing else."""
        return self._service("untrusted")

    def login(self, bucket: int) -> str:
        """The login that serves the tenants of a bucket."""
        return self._service(f"app_{bucket:03}")

    def names(self, tenant_id: str, *, opaque: bool = False) -> Names:
        """``opaque`` keeps the domain out of the catalog. Raises ``Forbidden`` for an id that no tenant can have."""
        try:
            schema = opaque_schema_name(tenant_id) if opaque else schema_name(tenant_id)
        except ValueError:
            raise Forbidden("tenant_unknown", detail="not a tenant id") from None
        return Names(tenant_id, schema, role_name(schema, self.id))

    def _service(self, name: str) -> str:
        return f"tenantry_{self.id[:_ID_DIGITS]}__{name}"
