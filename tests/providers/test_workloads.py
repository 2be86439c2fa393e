"""CI jobs and service accounts: what a rule gives, and what holds on every platform alike."""

from __future__ import annotations

import pytest
from tests.providers.issuers import a_door
from tests.providers.workloads import NOBODY, a_door_by, rule
from tests.support import Door, Echo, World, a_client

from tenantry.assemble import Outside, assemble
from tenantry.cli.explaining import explain
from tenantry.devidp.issuers.github_actions import OWNER_ID, REPOSITORY_ID, GitHubActions
from tenantry.devidp.issuers.gitlab_ci import PROJECT_ID, GitLabCI
from tenantry.devidp.issuers.kubernetes import Kubernetes

pytestmark = pytest.mark.anyio
EVERY = ("github-actions", "gitlab-ci", "kubernetes")
every = pytest.mark.parametrize("name", EVERY)


@pytest.fixture
def github(world: World) -> GitHubActions:
    return world.idp.issuers.github_actions


@pytest.fixture
def gitlab(world: World) -> GitLabCI:
    return world.idp.issuers.gitlab_ci


@pytest.fixture
def cluster(world: World) -> Kubernetes:
    return world.idp.issuers.kubernetes


# What a rule gives


async def test_a_job_is_its_repository_s_id_in_the_rule_s_tenant_with_the_rule_s_permissions_alone(
    world: World, github: GitHubActions
) -> None:
    door = a_door(world, "github-actions")
    token = github.id_token("ann", scope="admin", permissions=["admin"], roles=["admin"], email="boss@acme.example")
    user = await door.admit(token)
    assert (user.user_id, user.subject) == (f"github-actions:repo:{REPOSITORY_ID}", f"repo:{REPOSITORY_ID}")
    assert (user.tenant_id, user.permissions, user.roles) == ("acme", {"notes:write"}, set())
    assert (user.name, user.email, user.email_verified) == ("the app's main", None, False)
    assert user.claims["actor"] == "ann"


async def test_a_pipeline_is_its_project_s_id_and_a_service_account_its_namespace_and_name(
    world: World, gitlab: GitLabCI, cluster: Kubernetes
) -> None:
    pipeline = await a_door(world, "gitlab-ci").admit(gitlab.id_token("ann"))
    assert (pipeline.user_id, pipeline.tenant_id) == (f"gitlab-ci:project:{PROJECT_ID}", "acme")
    account = await a_door(world, "kubernetes").admit(cluster.id_token("ann"))
    assert (account.user_id, account.name) == ("kubernetes:sa:prod:ann-sync", "kubernetes rule 1")


async def test_the_first_rule_that_matches_decides(world: World, github: GitHubActions) -> None:
    release = {"repository_id": REPOSITORY_ID, "environment": "prod"}
    door = a_door(
        world,
        "github-actions",
        rules=[
            rule(release, "acme_prod", "notes:*"),
            rule({"repository_id": REPOSITORY_ID}, "acme_test", "notes:read"),
            rule({"repository_owner_id": OWNER_ID}, "acme_rest", "notes:list"),
        ],
    )
    seen = [
        await door.admit(github.id_token("ann", environment="prod")),
        await door.admit(github.id_token("ann")),
        await door.admit(github.id_token("ann", of="acme/other", repository_id="1000")),
    ]
    assert [(user.tenant_id, sorted(user.permissions)) for user in seen] == [
        ("acme_prod", ["notes:*"]),
        ("acme_test", ["notes:read"]),
        ("acme_rest", ["notes:list"]),
    ]


async def test_the_tenant_of_a_rule_is_one_that_the_operator_named(world: World, github: GitHubActions) -> None:
    door = a_door(world, "github-actions", settings={"allowed_domains": ["acme.example"]})
    assert (await door.admit(github.id_token("ann"))).tenant_id == "acme"


async def test_a_rule_that_is_taken_away_by_a_reload_lets_nobody_in_any_more(
    world: World, github: GitHubActions
) -> None:
    token = github.id_token("ann")
    door = a_door(world, "github-actions")
    await door.admit(token)
    entry = {**github.entry(), "rules": [rule({"repository_id": "1000"})]}
    made = assemble(world.settings(only=[], oidc_providers=[entry]), before=door.made)
    try:
        assert await Door(made).verdict(token) == NOBODY
    finally:
        await made.aclose()


@every
async def test_what_no_rule_allows_is_refused_at_once_with_no_call_and_a_word_for_the_operator(
    world: World, name: str
) -> None:
    issuer = world.idp.issuers[name]
    pins = {"github-actions": "repository_id", "gitlab-ci": "project_id", "kubernetes": "serviceaccount_uid"}
    other = "00000000-0000-4000-8000-000000000000" if name == "kubernetes" else "1000"
    refusal = await a_door_by(world, name, {pins[name]: other}).refuse(issuer.id_token("ann"))
    assert (refusal.status, refusal.reason) == NOBODY
    assert refusal.detail is not None
    assert refusal.detail.endswith(f"differs in {pins[name]}")
    assert len(world.idp.calls) == 0


async def test_over_http_the_answer_is_a_challenge_that_quotes_nothing_of_the_token(
    world: World, github: GitHubActions
) -> None:
    guard = world.guard(Echo(), only=[], oidc_providers=[github.entry()])
    async with a_client(guard) as client:
        token = github.stranger_token("ann")
        answer = await client.post("/mcp", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.json()["error_description"] == "The token was issued to a workload that is not accepted"
    assert "mallory" not in answer.text + str(answer.headers)


# What every platform has in common


@every
async def test_a_token_that_lives_for_days_is_refused(world: World, name: str) -> None:
    issuer = world.idp.issuers[name]
    door = a_door(world, name)
    assert await door.admit(issuer.id_token("ann", exp=issuer.now() + 86_400))
    assert await door.verdict(issuer.id_token("ann", exp=issuer.now() + 86_401)) == (401, "claims_malformed")


@every
async def test_no_claim_of_any_type_is_taken_for_the_text_of_a_rule(world: World, name: str) -> None:
    pins = {"github-actions": ("ref", "refs/heads/main"), "gitlab-ci": ("ref", "main"), "kubernetes": ("sub", "x")}
    claim, text = pins[name]
    issuer, door = world.idp.issuers[name], a_door(world, name)
    for junk in ([text], {text: text}, {"": text}, None, True, 1, f"{text} ", text.upper()):
        assert (await door.refuse(issuer.id_token("ann", **{claim: junk}))).status == 401


@every
async def test_token_explain_names_the_check_and_the_conditions_that_differ(world: World, name: str) -> None:
    settings = world.settings(only=[], oidc_providers=[world.idp.issuers[name].entry()])
    outside = Outside(world.clock, world.fetch, world.seen)
    good = await explain(settings, world.idp.issuers[name].id_token("ann").encode(), outside=outside)
    assert (good.verdict, good.tenant and good.tenant.source) == ("valid", "rule")
    claims = {"iat": world.clock.now(), "exp": world.clock.now() + 9, "iss": world.idp.issuers[name].issuer}
    bad = await explain(settings, world.idp.issuers[name].keys.sign(claims).encode(), outside=outside)
    assert bad.verdict == "refused"
    assert {"workload", "rule", "audience"} <= {step.name for step in bad.steps if step.outcome == "refused"}
