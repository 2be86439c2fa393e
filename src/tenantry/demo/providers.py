"""``tenantry demo --all-providers``: one caller of every provider there is. A new one joins ``LINES`` with one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenantry.core.jws import parse_claims, parse_jws
from tenantry.core.tenancy import organization_tenant_id, personal_tenant_id
from tenantry.devidp import DevIdp
from tenantry.devidp.issuers.base import company, guid

from .cast import Caller
from .trust import ACCOUNT

_LASTING = 3600  # seconds: longer than the tokens of some products live, and than anybody looks at a demo


@dataclass(frozen=True, slots=True)
class Line:
    """``name`` is that of the provider, ``kind`` what is minted for Ann. What must come out of it is written as the
    token's claims say it: ``subject``, and either her ``organization``, the ``tenant`` that a rule of the operator
    names, or a tenant of her own."""

    name: str
    credential: str
    subject: str = "{sub}"
    organization: str | None = None
    tenant: str | None = None
    kind: str = "access_token"


LINES = (
    Line("generic", "OIDC JWT (RFC 9068)", organization="{org[id]}"),
    Line("entra", "Entra access token", "{tid}:{oid}", "{tid}"),
    Line("okta", "Okta access token", "{uid}", "acme"),
    Line("keycloak", "Keycloak token", organization="{organization}"),
    Line("cognito", "Cognito token", organization="acme"),
    Line("apple", "Apple ID token", kind="id_token"),
    Line("workos", "WorkOS token", organization="{org_id}"),
    Line("clerk", "Clerk session token", organization="{o[id]}"),
    Line("supabase", "Supabase token", organization="{app_metadata[org]}"),
    Line("firebase", "Firebase ID token", kind="id_token"),
    Line("github-actions", "GitHub Actions job", "repo:{repository_id}", tenant="acme", kind="id_token"),
    Line("gitlab-ci", "GitLab CI job", "project:{project_id}", tenant="acme", kind="id_token"),
    Line("kubernetes", "Kubernetes account", "sa:prod:ann-sync", tenant="acme", kind="id_token"),
)


def everybody_else(idp: DevIdp, audience: str) -> list[Caller]:
    """A caller of each, called after it."""
    return [*(_caller(idp, line) for line in LINES), _service_account(idp, audience), _opaque(idp)]


def _caller(idp: DevIdp, line: Line) -> Caller:
    face = idp.issuers[line.name]
    token = str(getattr(face, line.kind)("ann", exp=face.now() + _LASTING))
    claims = parse_claims(parse_jws(token.encode()))
    user_id = f"{line.name}:{line.subject.format_map(claims)}"
    return Caller(line.name, line.credential, token, line.name, user_id, _tenant(line, claims, user_id))


def _tenant(line: Line, claims: Mapping[str, Any], user_id: str) -> str:
    if line.organization is not None:
        return organization_tenant_id(line.name, line.organization.format_map(claims))
    return line.tenant or personal_tenant_id(user_id)


def _service_account(idp: DevIdp, audience: str) -> Caller:
    token = idp.google.service_account_id_token(audience, sub=ACCOUNT, azp=ACCOUNT)
    name = "google-workload"
    return Caller(name, "service account", token, name, f"{name}:sa:{ACCOUNT}", "acme")


def _opaque(idp: DevIdp) -> Caller:
    """A token that its server is asked about (RFC 7662)."""
    user_id = f"opaque:{guid(idp.introspection.name, 'ann')}"
    tenant = organization_tenant_id("opaque", company(idp.people["ann"]))
    return Caller("opaque", "opaque (RFC 7662)", idp.introspection.access_token("ann"), "opaque", user_id, tenant)
