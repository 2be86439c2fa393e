"""What an entry for jobs and service accounts may not say: every mistake that would let a stranger's job in."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import refused
from tests.providers.workloads import OURS, rule

from tenantry.errors import ConfigurationError
from tenantry.settings import Settings

GITHUB = {
    "name": "ci",
    "preset": "github-actions",
    "audience": OURS,
    "rules": [rule({"repository_id": "987654321"})],
}
GITLAB = {"name": "ci", "preset": "gitlab-ci", "audience": OURS, "rules": [rule({"project_id": "4711"})]}
GOOGLE = {"name": "robots", "preset": "google-workload", "audience": OURS, "rules": [rule({"sub": "1102"})]}
CLUSTER = {
    "name": "cluster",
    "preset": "kubernetes",
    "issuer": "https://kubernetes.default.svc.cluster.local",
    "audience": OURS,
    "rules": [rule({"sub": "system:serviceaccount:prod:sync"})],
}


@pytest.mark.parametrize(
    ("entry", "match", "said"),
    [
        (GITHUB, {}, "is not an object of at least one condition"),
        (
            GITHUB,
            {"repository": "acme/app"},
            "pins no id that is given once: it needs repository_id or repository_owner_id",
        ),
        (GITHUB, {"sub": "repo:acme/app:ref:refs/heads/main"}, "pins no id"),
        (GITHUB, {"environment": "prod", "ref": "refs/heads/main"}, "pins no id"),
        (GITHUB, {"repository_id": 987654321}, "repository_id is not a text"),
        (GITHUB, {"repository_id": "acme/app"}, "repository_id that no token has"),
        (GITHUB, {"repository_id": "0987"}, "repository_id that no token has"),
        (GITHUB, {"repository_id": ""}, "repository_id is empty"),
        (GITHUB, {"repository_id": "1", "ref": "refs/heads/*"}, "ref has a *"),
        (GITHUB, {"repository_id": "1", "enviroment": "prod"}, "unknown condition"),
        (GITHUB, {"repository_id": "1", "environment": ["prod"]}, "environment is not a text"),
        (GITLAB, {"project_path": "acme/app"}, "it needs project_id or namespace_id"),
        (GITLAB, {"project_id": "1", "ref_protected": True}, "ref_protected is not a text"),
        (GOOGLE, {"email": "robot@made-up-project.iam.gserviceaccount.com"}, "it needs sub"),
        (GOOGLE, {"sub": "robot@made-up-project.iam.gserviceaccount.com"}, "sub that no token has"),
        (CLUSTER, {"node": "node-1"}, "it needs sub or serviceaccount_uid"),
        (CLUSTER, {"sub": "system:serviceaccounts:prod"}, "sub that no token has"),
        (CLUSTER, {"sub": "system:serviceaccount:prod:"}, "sub that no token has"),
    ],
)
def test_a_rule_that_pins_nobody_for_good_is_refused(entry: dict[str, Any], match: dict[str, Any], said: str) -> None:
    message = refused({**entry, "rules": [rule(match)]})
    assert message.startswith(f"MCP_HTTP_OIDC_PROVIDERS: entry {entry['name']!r}")
    assert said in message


@pytest.mark.parametrize(
    ("entry", "changes", "said"),
    [
        (GITHUB, {"rules": []}, "member 'rules'"),
        (GITHUB, {"rules": None}, "member 'rules'"),
        (GITHUB, {"rules": [{"match": {"repository_id": "1"}, "tenant": "acme"}]}, "member 'rules.0.permissions'"),
        (GITHUB, {"rules": [{"match": {"repository_id": "1"}, "permissions": ["a"]}]}, "member 'rules.0.tenant'"),
        (GITHUB, {"rules": [rule({"repository_id": "1"}, "ACME")]}, "is not the name of a tenant"),
        (GITHUB, {"rules": [{**rule({"repository_id": "1"}), "permissions": []}]}, "member 'rules.0.permissions'"),
        (GITHUB, {"rules": [rule({"repository_id": "1"}, "acme", "a b")]}, "holds one with blanks"),
        (GITHUB, {"rules": [rule({"repository_id": "1"}, extra=1)]}, "there is no such member"),
        (
            GITHUB,
            {"rules": [rule({"repository_id": "1"}), rule({"repository_id": "1", "ref": "x"})]},
            "'ci rule 2' is never reached: 'ci rule 1' before it matches first",
        ),
        (GITHUB, {"audience": None}, "member 'audience'"),
        (GITHUB, {"audience": []}, "member 'audience'"),
        (GITHUB, {"audience": "https://github.com/acme"}, "audience is the platform's own"),
        (GITHUB, {"audience": [OURS, "sts.amazonaws.com"]}, "audience is another service's"),
        (GITHUB, {"audience": "https://iam.googleapis.com/projects/1/x"}, "audience is another service's"),
        (
            GITHUB,
            {"issuer": "https://ghes.example/_services/token", "audience": "https://ghes.example/acme"},
            "audience is the platform's own",
        ),
        (
            GITHUB,
            {"issuer": "https://token.actions.acme.ghe.com", "audience": "https://acme.ghe.com/acme"},
            "audience is the platform's own",
        ),
        (GITLAB, {"audience": "https://gitlab.com"}, "audience is the platform's own"),
        (GOOGLE, {"audience": "1-web.apps.googleusercontent.com"}, "audience is an OAuth client's"),
        (CLUSTER, {"audience": "https://kubernetes.default.svc"}, "audience is another service's"),
        (CLUSTER, {"audience": "https://kubernetes.default.svc.cluster.local"}, "audience is the platform's own"),
        (
            GITHUB,
            {"issuer": "https://token.actions.githubusercontent.com.evil.example"},
            "is not an issuer of GitHub Actions",
        ),
        (GITHUB, {"issuer": "https://token.actions.githubusercontent.com/a/b"}, "is not an issuer of GitHub Actions"),
        (GITHUB, {"issuer": "http://ghes.example/_services/token"}, "it must be https"),
        (GITLAB, {"issuer": "https://gitlab.example/"}, "without a slash at its end"),
        (GITHUB, {"organization": "acme"}, "organization is about people"),
        (GITHUB, {"tenant_from_email": True}, "tenant_from_email is about people"),
        (GITLAB, {"clients": ["x"]}, "clients is about people"),
        (GITLAB, {"dpop": "accept"}, "dpop is about people and their clients"),
        (CLUSTER, {"issuer": "kubernetes/serviceaccount"}, "it is not an address"),
        (CLUSTER, {"jwks_file": "/nonexistent/keys.json"}, "member 'jwks_file': names no file that can be read"),
        (CLUSTER, {"jwks_file": __file__}, "member 'jwks_file': holds no JSON Web Key set"),
        (CLUSTER, {"algorithms": ["HS256"]}, "member 'algorithms'"),
    ],
)
def test_an_entry_that_is_wrong_is_refused(entry: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    assert said in refused({**entry, **changes})


@pytest.mark.parametrize(
    ("issuer", "said"),
    [
        ("https://token.actions.githubusercontent.com", '"preset": "github-actions"'),
        ("https://gitlab.com", '"preset": "gitlab-ci"'),
        ("https://accounts.google.com", "'google' already"),
    ],
)
def test_a_platform_that_signs_for_everybody_needs_its_preset(issuer: str, said: str) -> None:
    assert said in refused({"name": "ci", "issuer": issuer, "audience": OURS, "jwks_uri": f"{issuer}/keys"})


def test_two_entries_for_google_s_accounts_and_two_settings_for_them_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="is the issuer of 'robots' already"):
        Settings(public_url=OURS, oidc_providers=[GOOGLE, {**GOOGLE, "name": "others"}])
    said = refused(GOOGLE, google_client_id=["1-web.apps.googleusercontent.com"], google_service_accounts=["1102"])
    assert "MCP_HTTP_GOOGLE_SERVICE_ACCOUNTS lets service accounts in, too" in said
