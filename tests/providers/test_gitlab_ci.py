"""GitLab CI: jobs of others, branches that anybody may push, and people under the same key."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door
from tests.providers.workloads import NOBODY, a_door_by
from tests.support import World

from tenantry.devidp import OMIT
from tenantry.devidp.issuers.gitlab_ci import NAMESPACE_ID, PROJECT_ID, GitLabCI

pytestmark = pytest.mark.anyio


@pytest.fixture
def gitlab(world: World) -> GitLabCI:
    return world.idp.issuers.gitlab_ci


async def test_another_project_of_the_instance_and_a_fork_are_refused(world: World, gitlab: GitLabCI) -> None:
    door = a_door_by(world, "gitlab-ci", {"project_id": PROJECT_ID})
    for token in (
        gitlab.stranger_token("ann"),
        gitlab.fork_token("ann"),
        gitlab.fork_token("ann", project_path="acme/app"),
    ):
        assert await door.verdict(token) == NOBODY


async def test_a_branch_that_anybody_may_push_is_refused_unless_a_rule_says_so(world: World, gitlab: GitLabCI) -> None:
    pinned = {"project_id": PROJECT_ID}
    assert await a_door_by(world, "gitlab-ci", pinned).verdict(gitlab.branch_token("ann")) == NOBODY
    # A fork's pipeline in our project, as older instances sign it.
    older = gitlab.fork_token("ann", project_id=PROJECT_ID, ref="main")
    assert await a_door_by(world, "gitlab-ci", pinned | {"ref": "main"}).verdict(older) == NOBODY
    both = a_door_by(world, "gitlab-ci", pinned, pinned | {"ref_protected": "false"})
    assert await both.admit(gitlab.branch_token("ann"))
    assert await both.admit(gitlab.id_token("ann"))


@pytest.mark.parametrize("said", [True, 1, "True", "1", "yes", ["true"], None, OMIT])
async def test_protected_is_the_text_true_and_nothing_else(world: World, gitlab: GitLabCI, said: Any) -> None:
    assert await a_door(world, "gitlab-ci").verdict(gitlab.id_token("ann", ref_protected=said)) == NOBODY


async def test_the_subject_s_path_counts_for_nothing(world: World, gitlab: GitLabCI) -> None:
    door = a_door(world, "gitlab-ci")
    forged = gitlab.stranger_token("ann", sub="project_path:acme/app:ref_type:branch:ref:main", project_path="acme/app")
    assert await door.verdict(forged) == NOBODY
    assert (await door.admit(gitlab.id_token("ann", of="moved/elsewhere"))).user_id == f"gitlab-ci:project:{PROJECT_ID}"


async def test_the_id_token_of_a_person_who_signed_in_with_gitlab_is_no_job(world: World, gitlab: GitLabCI) -> None:
    door = a_door_by(world, "gitlab-ci", {"project_id": PROJECT_ID}, {"namespace_id": NAMESPACE_ID})
    assert await door.verdict(gitlab.person_token("ann")) == (401, "subject_invalid")
    assert await door.verdict(gitlab.person_token("ann", project_id=4711)) == (401, "subject_invalid")
