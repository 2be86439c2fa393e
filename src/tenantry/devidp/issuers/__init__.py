"""Issuers of signed tokens beside Google and Auth0, one file each, every one below a path of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..clock import Clock
from ..people import People
from .apple import Apple
from .base import Issuer
from .clerk import Clerk
from .cognito import Cognito
from .entra import Entra
from .firebase import Firebase
from .generic import Generic
from .github_actions import GitHubActions
from .gitlab_ci import GitLabCI
from .keycloak import Keycloak
from .kubernetes import Kubernetes
from .okta import Okta
from .supabase import Supabase
from .workos import WorkOS

__all__ = ["Issuer", "Issuers"]


class Issuers(Mapping[str, Issuer]):
    """All of them, by name and by attribute: ``idp.issuers.entra.access_token("ann")``."""

    def __init__(self, *, clock: Clock, people: People, base_url: Callable[[], str]) -> None:
        around: dict[str, Any] = {"clock": clock, "people": people, "base_url": base_url}
        self.generic = Generic(**around)
        self.entra = Entra(**around)
        self.okta = Okta(**around)
        self.keycloak = Keycloak(**around)
        self.cognito = Cognito(**around)
        self.apple = Apple(**around)
        self.workos = WorkOS(**around)
        self.clerk = Clerk(**around)
        self.supabase = Supabase(**around)
        self.firebase = Firebase(**around)
        self.github_actions = GitHubActions(**around)
        self.gitlab_ci = GitLabCI(**around)
        self.kubernetes = Kubernetes(**around)
        self._by_name: dict[str, Issuer] = {
            issuer.name: issuer for issuer in vars(self).values() if isinstance(issuer, Issuer)
        }

    def entries(self, *names: str) -> list[dict[str, Any]]:
        """MCP_HTTP_OIDC_PROVIDERS of a server in development that trusts those named, or all."""
        return [self[name].entry() for name in names or self]

    def __getitem__(self, name: str) -> Issuer:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)
