"""GitLab CI: a job of a pipeline, known by its project's id; gitlab.com or an instance of one's own.

Sources: docs.gitlab.com, "OpenID Connect (OIDC) Authentication Using ID Tokens"; GitLab issue 563038.

* Ids, and ``"true"`` and ``"false"``, are texts.
* Whoever may push a branch runs a pipeline of the project, and one for a merge request may run code of a fork: a rule
  means protected branches and tags alone, unless it says otherwise.
* The same issuer signs ID tokens of people who sign in with GitLab: these have no ``project_id``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .workload import NUMBER, Platform, WorkloadProvider, number_at, plainly

ISSUER = "https://gitlab.com"


class GitLabCIProvider(WorkloadProvider):
    """Users are ``<name>:project:<project_id>``."""

    platform = Platform(
        claims=plainly(
            "project_id namespace_id project_path namespace_path project_visibility ref ref_type ref_path "
            "ref_protected environment environment_protected environment_action deployment_tier pipeline_source "
            "ci_config_ref_uri ci_config_sha job_project_id job_namespace_id runner_environment user_id "
            "user_access_level sha sub"
        ),
        pins={"project_id": NUMBER, "namespace_id": NUMBER},
        unless_said={"ref_protected": frozenset({"true"})},
    )

    def workload_of(self, claims: Mapping[str, Any]) -> str:
        return f"project:{number_at(claims, 'project_id')}"
