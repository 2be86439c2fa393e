"""The entries of MCP_HTTP_OIDC_PROVIDERS for jobs and service accounts: our own audience, and rules that pin ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ..core.keys import parse_key_set
from ..core.policy import is_permission
from ..core.strict_json import parse_object
from ..core.tenancy import check_tenant_id
from ..providers import github_actions, gitlab_ci, google, google_workload, kubernetes
from ..providers.issuer import ID
from ..providers.workload import Conditions, Rule, WorkloadProvider, WorkloadSettings
from .oidc import Algorithms, OidcEntry, OneOrMore, Text

MAX_KEYS_FILE = 512 * 1024  # bytes, as of a set that is fetched
# What is said of people, their organisations and their clients.
_OF_PEOPLE = ("clients", "organization", "tenants", "tenant_from_email", "claims", "advertise", "dpop")
# Audiences of services that many jobs ask tokens for: whoever receives one there could send it here.
_OTHERS = frozenset({"sts.amazonaws.com", "api://AzureADTokenExchange", "sigstore", "vault", "pypi", "testpypi", "api"})
_OTHERS_HOSTS = ("iam.googleapis.com", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")


def _texts(value: Any) -> Any:
    if not isinstance(value, dict) or not value:
        raise ValueError("is not an object of at least one condition")
    for name, text in value.items():
        if not isinstance(text, str):
            raise ValueError(  # noqa: TRY004 - pydantic reports ValueError alone
                f"{name} is not a text: ids are written in quotes, and so are true and false"
            )
        if not text.strip() or text != text.strip() or not text.isprintable():
            raise ValueError(f"{name} is empty or has blanks around it")
        if "*" in text:
            raise ValueError(f"{name} has a *: values are compared character for character, there are no patterns")
    return value


class RuleEntry(BaseModel):
    """``match``: condition -> its value. ``name`` is what callers under the rule are shown as."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    match: Annotated[Mapping[str, str], BeforeValidator(_texts)]
    tenant: Text
    permissions: OneOrMore
    name: Text | None = Field(None, max_length=128)

    @field_validator("tenant")
    @classmethod
    def _a_tenant(cls, value: str) -> str:
        try:
            return check_tenant_id(value)
        except ValueError:
            raise ValueError("is not the name of a tenant") from None

    @field_validator("permissions")
    @classmethod
    def _a_permission_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(is_permission, value)):
            raise ValueError("holds one with blanks, quotes or backslashes")
        return value


class WorkloadEntry(OidcEntry):
    """``audience``: ours, which no other service has. ``rules``: the first that matches decides, none refuses."""

    provider: ClassVar[type[WorkloadProvider]]
    sign_in: ClassVar[bool] = False

    audience: OneOrMore
    rules: Annotated[tuple[RuleEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _of_workloads(self) -> WorkloadEntry:
        for member in _OF_PEOPLE:
            if member in self.model_fields_set:
                raise ValueError(f"{member} is about people and their clients: rules say who calls for which tenant")
        for audience in self.audience:
            _check_audience(audience, self.workload_issuers())
        rules = self.provider_rules()
        for later, rule in enumerate(rules):
            for earlier in rules[:later]:
                if _covers(earlier.conditions, rule.conditions):
                    raise ValueError(f"rules: {rule.name!r} is never reached: {earlier.name!r} before it matches first")
        return self

    def workload_issuers(self) -> tuple[str, ...]:
        raise NotImplementedError

    def provider_rules(self) -> tuple[Rule, ...]:
        """The rules with what they leave unsaid. Raises ``ValueError`` for one that pins nobody."""
        return tuple(self._rule(number, entry) for number, entry in enumerate(self.rules, 1))

    def _rule(self, number: int, entry: RuleEntry) -> Rule:
        name, platform = entry.name or f"{self.name} rule {number}", self.provider.platform
        for condition in entry.match:
            if condition not in platform.claims:
                raise ValueError(f"rules: {name!r} has an unknown condition: there are {', '.join(platform.claims)}")
        pins = [pin for pin in platform.pins if pin in entry.match]
        if not pins:
            raise ValueError(
                f"rules: {name!r} pins no id that is given once: it needs {' or '.join(platform.pins)} (anybody's jobs "
                "get tokens for your audience, and names are given away again)"
            )
        for pin in pins:
            if not platform.pins[pin].fullmatch(entry.match[pin]):
                raise ValueError(f"rules: {name!r} has a {pin} that no token has: it is an id, not a name")
        said = {condition: frozenset({text}) for condition, text in entry.match.items()}
        return Rule(name, {**platform.unless_said, **said}, entry.tenant, frozenset(entry.permissions))

    def workload(self, leeway: float, keys_url: str | None) -> dict[str, Any]:
        """The members of ``WorkloadSettings`` that are made alike for every platform."""
        return {
            **self.common(self.workload_issuers(), leeway),
            "audiences": frozenset(self.audience),
            "keys_url": self.jwks_uri or keys_url,
            "accept": frozenset({ID}),
            "rules": self.provider_rules(),
        }


def _covers(earlier: Conditions, later: Conditions) -> bool:
    """Whether whatever meets ``later`` meets ``earlier``."""
    return all(name in later and later[name] <= texts for name, texts in earlier.items())


def _check_audience(audience: str, issuers: tuple[str, ...]) -> None:
    place = urlsplit(audience).netloc.lower()
    own = {urlsplit(issuer).netloc.lower() for issuer in issuers}
    if place and place in {"github.com", *own, *(host.removeprefix("token.actions.") for host in own)}:
        raise ValueError(
            "audience is the platform's own, which jobs get without asking: name one of yours, as your public URL"
        )
    if audience in _OTHERS or place in _OTHERS_HOSTS:
        raise ValueError("audience is another service's: whoever receives a token there could send it here")
    if audience.endswith(".apps.googleusercontent.com"):
        raise ValueError("audience is an OAuth client's, for people who sign in: name one for jobs, as your public URL")


def _check_keys(path: Path) -> None:
    try:
        found = kubernetes.read_bounded(path, MAX_KEYS_FILE)
    except OSError:
        raise ValueError("names no file that can be read") from None
    try:
        parse_key_set(parse_object(found[:MAX_KEYS_FILE]))
    except ValueError:
        raise ValueError("holds no JSON Web Key set: kubectl get --raw /openid/v1/jwks prints it") from None


class GitHubActionsEntry(WorkloadEntry):
    """``issuer`` for an enterprise's own one, data residency, or an Enterprise Server."""

    provider = github_actions.GitHubActionsProvider

    preset: Literal["github-actions"]
    issuer: Text = github_actions.ISSUER

    @field_validator("issuer")
    @classmethod
    def _of_actions(cls, value: str) -> str:
        here = value.startswith("http://")  # refused elsewhere, outside development
        if not here and not github_actions.ISSUERS.fullmatch(value):
            raise ValueError("is not an issuer of GitHub Actions, like https://<host>/_services/token")
        return value

    def workload_issuers(self) -> tuple[str, ...]:
        return (self.issuer,)

    def issuer_settings(self, leeway: float) -> WorkloadSettings:
        return WorkloadSettings(**self.workload(leeway, f"{self.issuer}/.well-known/jwks"))


class GitLabCIEntry(WorkloadEntry):
    """``issuer``: the instance's URL."""

    provider = gitlab_ci.GitLabCIProvider

    preset: Literal["gitlab-ci"]
    issuer: Text = gitlab_ci.ISSUER

    @field_validator("issuer")
    @classmethod
    def _of_an_instance(cls, value: str) -> str:
        if value.endswith("/"):
            raise ValueError("is an instance's URL, without a slash at its end")
        return value

    def workload_issuers(self) -> tuple[str, ...]:
        return (self.issuer,)

    def issuer_settings(self, leeway: float) -> WorkloadSettings:
        return WorkloadSettings(**self.workload(leeway, f"{self.issuer}/oauth/discovery/keys"))


class GoogleWorkloadEntry(WorkloadEntry):
    """Service accounts; beside MCP_HTTP_GOOGLE_CLIENT_ID for those and in place of MCP_HTTP_GOOGLE_SERVICE_ACCOUNTS."""

    provider = google_workload.GoogleWorkloadProvider

    preset: Literal["google-workload"]

    def workload_issuers(self) -> tuple[str, ...]:
        return google.ISSUERS

    def issuer_settings(self, leeway: float) -> google_workload.GoogleWorkloadSettings:
        return google_workload.GoogleWorkloadSettings(**self.workload(leeway, google_workload.KEYS_URL))


class KubernetesEntry(WorkloadEntry):
    """``issuer``: the cluster's. Its keys are in ``jwks_file``, at ``jwks_uri``, or found by discovery."""

    provider = kubernetes.KubernetesProvider

    preset: Literal["kubernetes"]
    issuer: Text
    jwks_file: Path | None = None
    algorithms: Algorithms = ("RS256",)

    @field_validator("jwks_file")
    @classmethod
    def _a_set(cls, value: Path | None) -> Path | None:
        if value is not None:
            _check_keys(value)
        return value

    @model_validator(mode="after")
    def _one_source_of_keys(self) -> KubernetesEntry:
        if self.jwks_file is not None and (self.jwks_uri is not None or self.jwks_uri_fallback is not None):
            raise ValueError("jwks_file holds the keys, so no URL is asked: remove jwks_uri and jwks_uri_fallback")
        return self

    def workload_issuers(self) -> tuple[str, ...]:
        return (self.issuer,)

    def issuer_settings(self, leeway: float) -> kubernetes.KubernetesSettings:
        file = self.jwks_file
        return kubernetes.KubernetesSettings(
            **self.workload(leeway, None if file is None else file.absolute().as_uri()),
            algorithms=frozenset(self.algorithms),
            keys_file=file,
        )


WORKLOADS: Mapping[str, type[OidcEntry]] = {
    "github-actions": GitHubActionsEntry,
    "gitlab-ci": GitLabCIEntry,
    "google-workload": GoogleWorkloadEntry,
    "kubernetes": KubernetesEntry,
}
