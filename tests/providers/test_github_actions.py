"""GitHub Actions: every way in which a job that is not ours could seem to be."""

from __future__ import annotations

from typing import Any

import pytest
from tests.providers.issuers import a_door
from tests.providers.workloads import NOBODY, a_door_by
from tests.support import World

from tenantry.devidp import OMIT
from tenantry.devidp.issuers.github_actions import FORK_ID, OWNER_ID, REPOSITORY_ID, GitHubActions

pytestmark = pytest.mark.anyio


@pytest.fixture
def github(world: World) -> GitHubActions:
    return world.idp.issuers.github_actions


async def test_another_repository_gets_tokens_for_our_audience_and_is_refused(
    world: World, github: GitHubActions
) -> None:
    door = a_door(world, "github-actions")
    assert await door.verdict(github.stranger_token("ann")) == NOBODY
    assert await door.verdict(github.stranger_token("ann", sub=f"repo:acme/app@{REPOSITORY_ID}:ref:x")) == NOBODY
    assert await door.verdict(github.stranger_token("ann", repository="acme/app", repository_owner="acme")) == NOBODY


async def test_a_name_that_was_given_away_and_taken_again_is_another_repository(
    world: World, github: GitHubActions
) -> None:
    door = a_door(world, "github-actions")
    assert await door.verdict(github.id_token("ann", repository_id="1000", owner_id="77")) == NOBODY
    renamed = github.id_token("ann", of="acme-renamed/app-renamed")
    assert (await door.admit(renamed)).user_id == f"github-actions:repo:{REPOSITORY_ID}"


async def test_the_old_form_of_the_subject_the_new_one_and_a_template_are_one_user(
    world: World, github: GitHubActions
) -> None:
    door = a_door(world, "github-actions")
    subjects = ["repo:acme/app:ref:refs/heads/main", "repository_owner:acme%3Ainc", "repo:acme/app:environment:prod"]
    tokens = [github.id_token("ann"), github.old_id_token("ann"), *(github.id_token("ann", sub=s) for s in subjects)]
    assert {(await door.admit(token)).user_id for token in tokens} == {f"github-actions:repo:{REPOSITORY_ID}"}


async def test_a_pull_request_of_a_fork_is_refused_whatever_the_rule_leaves_out(
    world: World, github: GitHubActions
) -> None:
    door = a_door_by(world, "github-actions", {"repository_id": REPOSITORY_ID})
    assert await door.verdict(github.pull_request_token("ann")) == NOBODY
    assert await door.verdict(github.pull_request_token("ann", repository_id=FORK_ID)) == NOBODY


async def test_pull_request_target_has_our_branch_as_ref_and_is_refused(world: World, github: GitHubActions) -> None:
    door = a_door(world, "github-actions")
    refusal = await door.refuse(github.pull_request_target_token("ann"))
    assert (refusal.status, refusal.reason) == NOBODY
    assert str(refusal.detail).endswith("differs in event_name")


@pytest.mark.parametrize(
    "event", ["issue_comment", "workflow_run", "issues", "fork", "watch", "dynamic", "new", "", OMIT]
)
async def test_an_event_that_strangers_cause_is_refused_unless_a_rule_names_it(
    world: World, github: GitHubActions, event: Any
) -> None:
    assert await a_door(world, "github-actions").verdict(github.id_token("ann", event_name=event)) == NOBODY
    if isinstance(event, str) and event:
        named = a_door_by(world, "github-actions", {"repository_id": REPOSITORY_ID, "event_name": event})
        assert await named.admit(github.id_token("ann", event_name=event))
        assert await named.verdict(github.id_token("ann")) == NOBODY


@pytest.mark.parametrize(
    "ref", ["refs/heads/main2", "refs/tags/main", "REFS/HEADS/MAIN", "refs/heads/mai", "main", OMIT]
)
async def test_another_branch_is_refused_and_no_part_of_a_name_counts(
    world: World, github: GitHubActions, ref: Any
) -> None:
    assert await a_door(world, "github-actions").verdict(github.id_token("ann", ref=ref)) == NOBODY


async def test_a_job_outside_the_environment_is_refused(world: World, github: GitHubActions) -> None:
    door = a_door_by(world, "github-actions", {"repository_id": REPOSITORY_ID, "environment": "prod"})
    assert await door.admit(github.id_token("ann", environment="prod"))
    for environment in ("staging", "Prod", "prod ", ["prod"], None, OMIT):
        assert await door.verdict(github.id_token("ann", environment=environment)) == NOBODY


async def test_a_rule_can_pin_the_reusable_workflow(world: World, github: GitHubActions) -> None:
    deploy = "acme/deploy/.github/workflows/notes.yml@refs/heads/main"
    door = a_door_by(world, "github-actions", {"repository_owner_id": OWNER_ID, "job_workflow_ref": deploy})
    assert await door.admit(github.id_token("ann", of="acme/any", repository_id="1000", job_workflow_ref=deploy))
    for other in (deploy.replace("main", "patch-1"), deploy.replace("notes", "evil"), OMIT):
        assert await door.verdict(github.id_token("ann", job_workflow_ref=other)) == NOBODY
    assert await door.verdict(github.stranger_token("ann", job_workflow_ref=deploy)) == NOBODY


@pytest.mark.parametrize(
    "number", [987654321, 987654321.0, True, "0987654321", " 987654321", "987654321\n", "٩", "", OMIT]
)
async def test_an_id_of_another_form_is_nobody_s(world: World, github: GitHubActions, number: Any) -> None:
    """Also where a rule by the owner's id would have matched."""
    door = a_door_by(world, "github-actions", {"repository_id": REPOSITORY_ID}, {"repository_owner_id": OWNER_ID})
    assert await door.verdict(github.id_token("ann", repository_id=number)) == (401, "subject_invalid")


async def test_a_number_that_reads_like_the_owner_s_id_is_not_its_text(world: World, github: GitHubActions) -> None:
    door = a_door_by(world, "github-actions", {"repository_owner_id": OWNER_ID})
    assert await door.admit(github.id_token("ann"))
    for number in (int(OWNER_ID), [OWNER_ID], {OWNER_ID: 1}):
        assert await door.verdict(github.id_token("ann", owner_id=number)) == NOBODY


async def test_the_default_audience_of_every_workflow_is_not_ours(world: World, github: GitHubActions) -> None:
    door = a_door(world, "github-actions")
    for audience in ("https://github.com/acme", "sts.amazonaws.com", [], OMIT):
        assert await door.verdict(github.id_token("ann", aud=audience)) == (401, "audience_mismatch")


async def test_the_issuer_of_an_enterprise_or_a_server_is_another_issuer(world: World, github: GitHubActions) -> None:
    door = a_door(world, "github-actions")
    for issuer in ("https://token.actions.githubusercontent.com", f"{github.issuer}/acme-inc", "https://github.com"):
        assert await door.verdict(github.id_token("ann", iss=issuer)) == (401, "issuer_unknown")


async def test_equal_ids_of_two_servers_are_two_users(world: World, github: GitHubActions) -> None:
    """Numbers are counted anew on each Enterprise Server: the entry's name keeps them apart."""
    door = world.door(only=[], oidc_providers=[{**github.entry(), "name": "ghes"}])
    assert (await door.admit(github.id_token("ann"))).user_id == f"ghes:repo:{REPOSITORY_ID}"
