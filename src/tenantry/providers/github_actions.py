"""GitHub Actions: a job of a workflow, known by its repository's id.

Sources: docs.github.com, "OpenID Connect reference", "Events that trigger workflows".

* The subject and everything else with a name in it can change hands: names of owners and repositories are given away
  again, the subject's form changed in July 2026, and organisations write templates of their own for it.
* The workflow file of the default branch runs, with that branch as ``ref``, also for events that strangers cause:
  ``pull_request_target``, ``issue_comment``, ``workflow_run``. A rule means none of these unless it names one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .workload import NUMBER, Platform, WorkloadProvider, number_at, plainly

ISSUER = "https://token.actions.githubusercontent.com"
# With an enterprise's own issuer, data residency, and Enterprise Server.
ISSUERS = re.compile(
    r"https://token\.actions\.githubusercontent\.com(?:/[A-Za-z0-9_-]+)?"
    r"|https://token\.actions\.[a-z0-9-]+\.ghe\.com"
    r"|https://[^/?#@]+/_services/token"
)
# Whoever causes one of these may write to the repository. Events that are new tomorrow are not among them.
_OF_WRITERS = frozenset(
    "push workflow_dispatch repository_dispatch schedule release deployment merge_group create delete".split()
)


class GitHubActionsProvider(WorkloadProvider):
    """Users are ``<name>:repo:<repository_id>``."""

    platform = Platform(
        claims=plainly(
            "repository_id repository_owner_id enterprise_id repository repository_owner repository_visibility "
            "ref ref_type ref_protected event_name environment environment_node_id workflow_ref workflow_sha "
            "job_workflow_ref job_workflow_sha runner_environment actor_id sha sub"
        ),
        pins={"repository_id": NUMBER, "repository_owner_id": NUMBER},
        unless_said={"event_name": _OF_WRITERS},
    )

    def workload_of(self, claims: Mapping[str, Any]) -> str:
        return f"repo:{number_at(claims, 'repository_id')}"
