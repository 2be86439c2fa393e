"""Kubernetes: the tokens of one cluster's service accounts, which are called after the people here.

Faithful where real bugs hide: no ``typ``, a list as audience, the account named twice, and tokens of the old kind that
never end.
"""

from __future__ import annotations

from typing import Any, Final

from ..keyring import OMIT
from ..people import Person
from .base import Issuer, guid

NAMESPACE: Final = "prod"
API_SERVER: Final = "https://kubernetes.default.svc.cluster.local"


class Kubernetes(Issuer):
    name = "kubernetes"
    place = "/kubernetes"
    keys_place = "/kubernetes/openid/v1/jwks"
    kinds = ("id_token", "api_server_token", "old_token")

    def account(self, person: Person | str) -> str:
        return f"{self.person(person).key}-sync"

    def uid(self, person: Person | str, namespace: str = NAMESPACE) -> str:
        return guid(self.name, namespace, self.account(person))

    def id_token(self, person: Person | str, *, namespace: str = NAMESPACE, **claims: Any) -> str:
        """What is projected into a pod for our audience."""
        account = self.account(person)
        base = {
            "aud": [self.audience],
            "sub": f"system:serviceaccount:{namespace}:{account}",
            "nbf": self.now(),
            "jti": guid(self.name, "jti", account),
            "kubernetes.io": {
                "namespace": namespace,
                "node": {"name": "node-1", "uid": guid(self.name, "node-1")},
                "pod": {"name": f"{account}-7d9f", "uid": guid(self.name, "pod", account)},
                "serviceaccount": {"name": account, "uid": self.uid(person, namespace)},
            },
        }
        return self.signed(base, claims, header={"typ": OMIT})

    def api_server_token(self, person: Person | str, **claims: Any) -> str:
        """What every pod has: for the API server, and good for a year where that extends tokens."""
        return self.id_token(person, **{"aud": [API_SERVER], "exp": self.now() + 365 * 86_400, **claims})

    def old_token(self, person: Person | str, **claims: Any) -> str:
        """Out of a Secret: no end, no audience, no ``kubernetes.io`` object, and the same issuer everywhere."""
        account, place = self.account(person), "kubernetes.io/serviceaccount"
        names = {f"{place}/namespace": NAMESPACE, f"{place}/service-account.name": account}
        whole = {"iss": "kubernetes/serviceaccount", "iat": OMIT, "exp": OMIT, "nbf": OMIT, "aud": OMIT}
        return self.id_token(person, **{**whole, "kubernetes.io": OMIT, **names, **claims})

    def entry(self) -> dict[str, Any]:
        accounts = [f"system:serviceaccount:{NAMESPACE}:{self.account(person)}" for person in ("ann", "bob")]
        return {
            "name": self.name,
            "preset": "kubernetes",
            "issuer": self.issuer,
            "audience": self.audience,
            "jwks_uri": self.keys_url,
            "rules": [{"match": {"sub": sub}, "tenant": "acme", "permissions": ["notes:read"]} for sub in accounts],
        }
