"""MCP_HTTP_OUTAGE_GRACE: a caller who is known goes on while his provider is really out of reach, for so long, and
never past the end of his token. In every doubt he does not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import Door, together

from tenantry.adapters.observers import LogObserver
from tenantry.devidp.faults import fault_of
from tenantry.errors import ConfigurationError
from tenantry.observations import Admitted, AdmittedInOutage
from tenantry.settings import Settings

from .stage import Stage, a_stage

pytestmark = pytest.mark.anyio

TTL, GRACE = 300.0, 600.0


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with a_stage() as stage:
        yield stage


def a_door(stage: Stage, **changes: Any) -> Door:
    return stage.door(**({"token_cache_ttl": TTL, "outage_grace": GRACE, "rate_limit_anonymous": "off"} | changes))


async def known(stage: Stage, door: Door, **options: Any) -> str:
    """The token of a caller who was let in."""
    token = stage.idp.google.access_token("ann", **options)
    await door.admit(token)
    return token


async def status(door: Door, token: str) -> int:
    try:
        await door.admit(token)
    except Exception as refusal:
        return int(getattr(refusal, "status", 0))
    return 200


async def test_it_begins_with_the_ttl_and_ends_after_the_grace(stage: Stage) -> None:
    door = a_door(stage)
    token = await known(stage, door)
    stage.road.block = "refused"
    stage.clock.advance(TTL + GRACE - 1)
    assert await status(door, token) == 200
    stage.clock.advance(1)
    assert await status(door, token) == 503


async def test_without_it_an_old_proof_is_worth_nothing(stage: Stage) -> None:
    door = a_door(stage, outage_grace=0)
    token = await known(stage, door)
    stage.road.block = "refused"
    stage.clock.advance(TTL)
    assert await status(door, token) == 503


@pytest.mark.parametrize("left", [301, 450, 899])
async def test_it_never_reaches_past_the_end_of_the_token(stage: Stage, left: int) -> None:
    door = a_door(stage, outage_grace=900)
    token = await known(stage, door, expires_in=left)
    stage.road.block = "refused"
    stage.clock.advance(left - 1)
    assert await status(door, token) == 200
    stage.clock.advance(1)
    assert await status(door, token) in (401, 503)


async def test_a_token_without_an_end_has_none(stage: Stage) -> None:
    door = a_door(stage)
    token = stage.idp.github.token("octo")
    await door.admit(token)
    stage.road.block = "refused"
    stage.clock.advance(TTL)
    assert await status(door, token) == 503


async def test_nobody_gets_in_by_it_who_was_not_in_before(stage: Stage) -> None:
    door = a_door(stage)
    await known(stage, door)
    stage.road.block = "refused"
    assert await status(door, stage.idp.google.access_token("bob")) == 503


async def test_a_refusal_by_the_provider_ends_it_for_good(stage: Stage) -> None:
    door = a_door(stage)
    token = await known(stage, door)
    stage.idp.google.revoke(token)
    stage.clock.advance(TTL)
    assert await status(door, token) == 401
    stage.road.block = "refused"
    stage.clock.advance(60)  # past the moment for which the refusal itself is remembered
    assert await status(door, token) == 503


@pytest.mark.parametrize(
    "doubt",
    [
        fault_of("html"),
        fault_of("not_json"),
        fault_of("redirect"),
        fault_of("huge"),
        fault_of("status", code=403),
        fault_of("status", code=404),
        fault_of("rate_limited"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status or ''}",
)
async def test_where_somebody_answered_there_is_none(stage: Stage, doubt: Any) -> None:
    door = a_door(stage)
    token = await known(stage, door)
    stage.idp.faults.set("google", doubt)
    stage.clock.advance(TTL)
    for _ in range(8):  # also while its circuit is open
        assert await status(door, token) == 503


async def test_where_somebody_else_s_certificate_answers_there_is_none(stage: Stage) -> None:
    door = a_door(stage)
    token = await known(stage, door)
    stage.road.block = "tls"
    stage.clock.advance(TTL)
    assert await status(door, token) == 503


async def test_our_own_wrong_secret_is_no_outage(stage: Stage) -> None:
    door = a_door(stage)
    token = stage.idp.github.token("octo", prefix="ghu_")
    await door.admit(token)
    stage.idp.github.apps[stage.idp.github.client_id] = "changed"
    stage.clock.advance(TTL)
    assert await status(door, token) == 503


async def test_a_key_that_was_taken_away_opens_nothing_in_an_outage(stage: Stage) -> None:
    """The set that is at hand lacks it, and the issuer cannot be asked: it may have been stolen."""
    door = a_door(stage, outage_grace=900)
    token = stage.idp.auth0.access_token("erin")
    await door.admit(token)
    stage.idp.auth0.keys.rotate(keep_previous=False)
    stage.clock.advance(TTL)
    await door.admit(stage.idp.auth0.access_token("fay"))
    stage.road.block = "refused"
    assert await status(door, token) in (401, 503)


async def test_the_provider_is_asked_first_and_a_circuit_makes_that_cheap(stage: Stage) -> None:
    door = a_door(stage)
    token = await known(stage, door)
    stage.road.block = "refused"
    stage.clock.advance(TTL)
    before = stage.road.calls
    for _ in range(500):
        assert await status(door, token) == 200
    assert stage.road.calls - before == 5


async def test_many_requests_of_one_caller_at_once_are_all_let_in(stage: Stage) -> None:
    door = a_door(stage)
    token = await known(stage, door)
    stage.road.block = "refused"
    stage.clock.advance(TTL)
    assert set(await together(50, lambda: status(door, token))) == {200}


async def test_it_ends_with_the_first_answer_and_the_proof_is_new_again(stage: Stage) -> None:
    door = a_door(stage)
    token = await known(stage, door)
    stage.road.block = "refused"
    stage.clock.advance(TTL)
    await door.admit(token)
    stage.road.block = None
    before = stage.road.calls
    await door.admit(token)
    await door.admit(token)
    assert stage.road.calls - before == 2  # tokeninfo and userinfo, once
    assert len(stage.seen.of(AdmittedInOutage)) == 1


async def test_everything_else_is_asked_anew(stage: Stage) -> None:
    """The quota counts, and the tenant is asked for."""
    door = a_door(stage, rate_limit_user="3/60")
    token = await known(stage, door)
    stage.road.block = "refused"
    stage.clock.advance(TTL)
    assert [await status(door, token) for _ in range(4)] == [200, 200, 200, 429]
    assert len(stage.seen.of(AdmittedInOutage)) == 3  # the fourth was not let in


async def test_each_admission_by_it_is_told_and_no_proof_is_claimed(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    door = a_door(stage)
    token = await known(stage, door)
    stage.road.block = "refused"
    stage.clock.advance(TTL)
    stage.seen.seen.clear()
    for _ in range(3):
        await door.admit(token)
    told = stage.seen.of(AdmittedInOutage)
    assert [seen.user.user_id for seen in told] == [f"google:{told[0].user.subject}"] * 3
    assert stage.seen.of(Admitted) == []
    LogObserver()(told[0])
    assert caplog.records[-1].levelname == "WARNING"
    assert told[0].user.user_id in caplog.records[-1].message


@pytest.mark.parametrize("value", ["-1", "901", "1e9", "nan", "forever"])
def test_it_is_a_quarter_of_an_hour_at_most(value: str) -> None:
    with pytest.raises(ConfigurationError, match="MCP_HTTP_OUTAGE_GRACE"):
        Settings(environment="development", api_key="k" * 40, outage_grace=value)  # type: ignore[arg-type]


def test_it_is_off_unless_somebody_wants_it() -> None:
    assert Settings(environment="development", api_key="k" * 40).outage_grace == 0
