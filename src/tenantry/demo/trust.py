"""What makes the demo's server trust every provider that the development identity provider can be."""

from __future__ import annotations

from typing import Any, Final

from tenantry.devidp import DevIdp
from tenantry.devidp.introspection import Introspection
from tenantry.devidp.issuers import Issuer
from tenantry.devidp.issuers.base import AUDIENCE

ACCOUNT: Final = "110248495921238986001"  # a service account's unique id, made up


def trust_all(idp: DevIdp, audience: str) -> dict[str, Any]:
    """The settings, beside those of the development identity provider itself, of a server at ``audience``."""
    faces: tuple[Issuer | Introspection, ...] = (*idp.issuers.values(), idp.introspection)
    for face in faces:
        if face.audience == AUDIENCE:  # what products call otherwise stays as they call it
            face.audience = audience
    return {
        "oidc_providers": [*idp.issuers.entries(), _service_accounts(idp, audience)],
        "introspection_providers": [idp.introspection.entry()],
    }


def _service_accounts(idp: DevIdp, audience: str) -> dict[str, Any]:
    """Google's, whose tokens are signed with the keys of people's."""
    rules = [{"match": {"sub": ACCOUNT}, "tenant": "acme", "permissions": ["notes:write"]}]
    entry = {"name": "google-workload", "preset": "google-workload", "audience": audience, "rules": rules}
    return {**entry, "jwks_uri": f"{idp.base_url}/oauth2/v3/certs"}
