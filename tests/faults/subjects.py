"""Who is asked in the matrix: a line for each kind of credential. A new provider joins ``SUBJECTS`` with one line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tenantry.testing import DevIdp

Source = Literal["keys", "calls", "none"]
KEYS, CALLS, NONE = "keys", "calls", "none"


@dataclass(frozen=True)
class Subject:
    """``source``: whether a credential is proved with published keys, by calls, or by nobody else. ``token`` is that of
    a person; ``provider`` is the name of its faults and the face of the development identity provider; ``expires``:
    whether the proof has an end of its own; ``counts``: whether its answers say how many calls are left."""

    name: str
    source: Source
    settings: Callable[[DevIdp], Mapping[str, Any]]
    token: Callable[[DevIdp, str], str]
    provider: str | None = None
    people: tuple[str, str] = ("ann", "bob")
    expires: bool = True
    counts: bool = False

    def rotate(self, idp: DevIdp) -> None:
        """The issuer signs with a new key from now on; the old one stays in its set."""
        face = idp.issuers.get(self.provider or "") or getattr(idp, self.provider or "")
        face.keys.rotate()


def _environment(*names: str) -> Callable[[DevIdp], Mapping[str, Any]]:
    """The settings of some providers, as the development identity provider prints them."""

    def settings(idp: DevIdp) -> dict[str, Any]:
        plain = {name.removeprefix("MCP_HTTP_").lower(): value for name, value in idp.settings().items()}
        return {name: value for name, value in plain.items() if name.split("_")[0] in names}

    return settings


def _github(prefix: str) -> Callable[[DevIdp, str], str]:
    return lambda idp, who: idp.github.token(who, prefix=prefix)


def _issuer(title: str, name: str, kind: str = "access_token") -> Subject:
    """One of MCP_HTTP_OIDC_PROVIDERS: its face is below ``idp.issuers``, under the name of its faults. Tokens live for
    an hour, which is longer than those of some products: what expires is no matter of faults."""

    def token(idp: DevIdp, who: str) -> str:
        issuer = idp.issuers[name]
        return str(getattr(issuer, kind)(who, exp=issuer.now() + 3600))

    return Subject(title, KEYS, lambda idp: {"oidc_providers": idp.issuers.entries(name)}, token, name)


ACCOUNTS = ("110248495921238986001", "110248495921238986002")  # made up, as all ids here


def _accounts(idp: DevIdp) -> dict[str, Any]:
    rules = [{"match": {"sub": number}, "tenant": "acme", "permissions": ["notes:read"]} for number in ACCOUNTS]
    entry = {"name": "google-workload", "preset": "google-workload", "audience": "https://mcp.example/mcp"}
    return {"oidc_providers": [{**entry, "jwks_uri": f"{idp.base_url}/oauth2/v3/certs", "rules": rules}]}


def _account(idp: DevIdp, who: str) -> str:
    return idp.google.service_account_id_token("https://mcp.example/mcp", sub=who, azp=who)


GOOGLE, AUTH0, GITHUB = (_environment(name) for name in ("google", "auth0", "github"))
OCTO = ("octo", "pat")


def _introspection(idp: DevIdp) -> dict[str, Any]:
    return {"introspection_providers": [idp.introspection.entry()]}


_KEY = "a-made-up-key-of-40-characters-0123456789"

SUBJECTS = (
    Subject("Google ID token", KEYS, GOOGLE, lambda idp, who: idp.google.id_token(who), "google"),
    Subject("Google access token", CALLS, GOOGLE, lambda idp, who: idp.google.access_token(who), "google"),
    Subject("Auth0", KEYS, AUTH0, lambda idp, who: idp.auth0.access_token(who), "auth0", ("erin", "fay")),
    Subject("GitHub OAuth app", CALLS, GITHUB, _github("gho_"), "github", OCTO, expires=False, counts=True),
    Subject("GitHub App", CALLS, GITHUB, _github("ghu_"), "github", OCTO, counts=True),
    _issuer("any OIDC issuer", "generic"),
    _issuer("Entra ID", "entra"),
    _issuer("Okta", "okta"),
    _issuer("Keycloak", "keycloak"),
    _issuer("Cognito", "cognito"),
    _issuer("Apple", "apple", "id_token"),
    _issuer("WorkOS", "workos"),
    _issuer("Clerk", "clerk"),
    _issuer("Supabase", "supabase"),
    _issuer("Firebase", "firebase", "id_token"),
    _issuer("GitHub Actions", "github-actions", "id_token"),
    _issuer("GitLab CI", "gitlab-ci", "id_token"),
    _issuer("Kubernetes", "kubernetes", "id_token"),
    Subject("Google service account", KEYS, _accounts, _account, "google", ACCOUNTS),
    Subject(
        "introspection", CALLS, _introspection, lambda idp, who: idp.introspection.access_token(who), "introspection"
    ),
    Subject("API key", NONE, lambda idp: {"api_key": _KEY}, lambda idp, who: _KEY),
)
