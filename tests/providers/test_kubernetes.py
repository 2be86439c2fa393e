"""Kubernetes: service accounts that are not the one, old tokens, and keys out of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.providers.issuers import a_door
from tests.providers.workloads import NOBODY, a_door_by
from tests.support import World

from tenantry.devidp import OMIT
from tenantry.devidp.issuers.kubernetes import Kubernetes

pytestmark = pytest.mark.anyio


@pytest.fixture
def cluster(world: World) -> Kubernetes:
    return world.idp.issuers.kubernetes


async def test_a_token_of_the_old_kind_is_refused_for_each_of_its_faults(world: World, cluster: Kubernetes) -> None:
    door = a_door(world, "kubernetes")
    assert await door.verdict(cluster.old_token("ann")) == (401, "issuer_unknown")
    assert await door.verdict(cluster.old_token("ann", iss=cluster.issuer)) == (401, "subject_invalid")
    assert await door.verdict(cluster.id_token("ann", exp=OMIT)) == (401, "claims_malformed")


async def test_a_token_for_the_api_server_is_not_for_us(world: World, cluster: Kubernetes) -> None:
    door = a_door(world, "kubernetes")
    now = cluster.now()
    assert await door.verdict(cluster.api_server_token("ann", exp=now + 3600)) == (401, "audience_mismatch")
    refusal = await door.refuse(cluster.api_server_token("ann", aud=[cluster.audience]))
    assert (refusal.reason, "more than a day" in str(refusal.detail)) == ("claims_malformed", True)


async def test_another_account_and_the_same_name_in_another_namespace_are_refused(
    world: World, cluster: Kubernetes
) -> None:
    door = a_door(world, "kubernetes")
    for token in (cluster.id_token("erin"), cluster.id_token("ann", namespace="staging")):
        assert await door.verdict(token) == NOBODY


@pytest.mark.parametrize(
    "bound",
    [
        OMIT,
        None,
        {},
        "prod",
        {"namespace": "prod"},
        {"namespace": "staging", "serviceaccount": {"name": "ann-sync"}},
        {"namespace": "prod", "serviceaccount": {"name": "bob-sync"}},
        {"namespace": "prod", "serviceaccount": [{"name": "ann-sync"}]},
    ],
)
async def test_the_bound_object_must_name_the_subject_s_account(world: World, cluster: Kubernetes, bound: Any) -> None:
    token = cluster.id_token("ann", **{"kubernetes.io": bound})
    assert await a_door(world, "kubernetes").verdict(token) == (401, "subject_invalid")


@pytest.mark.parametrize(
    "subject",
    [
        "system:serviceaccount:prod:ann-sync:x",
        "system:serviceaccount:prod:",
        "system:node:node-1",
        "SYSTEM:x",
        "ann-sync",
    ],
)
async def test_a_subject_that_is_no_service_account_is_refused(world: World, cluster: Kubernetes, subject: str) -> None:
    assert await a_door(world, "kubernetes").verdict(cluster.id_token("ann", sub=subject)) == (401, "subject_invalid")


async def test_an_account_that_was_made_again_under_its_name_is_refused_where_its_uid_is_pinned(
    world: World, cluster: Kubernetes
) -> None:
    door = a_door_by(world, "kubernetes", {"serviceaccount_uid": cluster.uid("ann")})
    assert (await door.admit(cluster.id_token("ann"))).user_id == "kubernetes:sa:prod:ann-sync"
    again = {"namespace": "prod", "serviceaccount": {"name": "ann-sync", "uid": cluster.uid("ann", "again")}}
    assert await door.verdict(cluster.id_token("ann", **{"kubernetes.io": again})) == NOBODY


async def test_keys_in_a_file_are_used_without_a_call_and_read_again_after_a_rotation(
    world: World, cluster: Kubernetes, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(cluster.jwks()))
    door = a_door(world, "kubernetes", without=("jwks_uri",), jwks_file=str(file))
    assert await door.admit(cluster.id_token("ann"))
    cluster.keys.rotate()
    fresh = cluster.id_token("ann")
    assert (await door.refuse(fresh)).reason == "key_unknown"
    file.write_text(json.dumps(cluster.jwks()))
    world.clock.advance(60)
    assert await door.admit(cluster.id_token("ann"))
    file.unlink()
    assert await door.admit(cluster.id_token("ann", jti="while the file is away"))
    assert len(world.idp.calls) == 0


async def test_keys_by_discovery_are_found_at_the_cluster_s_issuer(world: World, cluster: Kubernetes) -> None:
    door = a_door(world, "kubernetes", without=("jwks_uri",))
    assert await door.admit(cluster.id_token("ann"))
    assert world.idp.calls.count("kubernetes", "discovery") == 1
