"""The guard of a provider's grant: what it hears, when it holds calls back, whom it tells, what it never believes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from tests.support import World

from tenantry.core.matching import Presented
from tenantry.errors import Refusal, Unavailable
from tenantry.observations import BudgetLow
from tenantry.ports import HttpResponse
from tenantry.providers.budget import Budgets, BudgetState, ProviderBudget
from tenantry.providers.github import GitHubProvider, GitHubSettings
from tenantry.testing import NOW, FakeFetch, FrozenClock, Recorder

pytestmark = pytest.mark.anyio

HOUR = 3600
APP_TOKEN = "https://api.github.com/applications/Iv1.made-up/token"
USER = "https://api.github.com/user"
EMAILS = "https://api.github.com/user/emails"


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def seen() -> Recorder:
    return Recorder()


@pytest.fixture
def budget(clock: FrozenClock, seen: Recorder) -> ProviderBudget:
    return ProviderBudget("github", clock, seen)


def left(remaining: int, *, limit: int = 5000, reset: float = NOW + HOUR, resource: str = "core") -> dict[str, str]:
    return {
        "x-ratelimit-limit": str(limit),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(int(reset)),
        "x-ratelimit-resource": resource,
    }


def refused(budget: ProviderBudget, key: str = "acme_com") -> Refusal | None:
    try:
        budget.ask(key)
    except Unavailable as refusal:
        return refusal
    return None


def passed(budget: ProviderBudget, times: int, key: str = "acme_com") -> int:
    return sum(refused(budget, key) is None for _ in range(times))


# --- Holding back -----------------------------------------------------------------------------------------------------


def test_nothing_is_held_back_before_the_provider_said_anything_nor_while_it_grants_enough(
    budget: ProviderBudget, seen: Recorder
) -> None:
    assert passed(budget, 1000) == 1000
    budget.heard(left(500), 200)
    assert passed(budget, 1000) == 1000
    assert not budget.low
    assert seen.seen == []


def test_when_little_is_left_one_call_in_a_while_is_made_and_the_client_hears_when_to_come_again(
    budget: ProviderBudget, clock: FrozenClock
) -> None:
    budget.heard(left(360), 200)
    assert budget.low
    assert passed(budget, 1000) == 1
    refusal = refused(budget)
    assert refusal is not None
    assert (refusal.status, refusal.reason, refusal.retry_after) == (503, "provider_budget", 11)
    clock.advance(11)
    assert passed(budget, 1000) == 1


def test_a_tenant_that_floods_does_not_keep_the_others_out(budget: ProviderBudget, clock: FrozenClock) -> None:
    budget.heard(left(400), 200)
    for _ in range(200):
        passed(budget, 20, "flood_com")
        clock.advance(1)
    assert refused(budget, "quiet_com") is None
    assert refused(budget, "other_com") is None


def test_calls_that_are_under_way_count(budget: ProviderBudget) -> None:
    budget.heard(left(3, limit=5000), 200)
    tenants = [f"t{number}_com" for number in range(50)]
    assert sum(refused(budget, tenant) is None for tenant in tenants) <= 3


def test_with_nothing_left_everybody_waits_for_the_reset_and_no_longer(
    budget: ProviderBudget, clock: FrozenClock
) -> None:
    budget.heard(left(0, reset=NOW + 600), 403)
    refusal = refused(budget)
    assert refusal is not None
    assert refusal.retry_after == 600
    clock.advance(600)
    assert passed(budget, 100) == 100
    assert not budget.low


def test_resources_are_counted_apart_and_the_scarcest_is_minded(budget: ProviderBudget) -> None:
    budget.heard(left(10, resource="search", limit=30), 200)
    budget.heard(left(4900, resource="core"), 200)
    assert not budget.low
    budget.heard(left(1, resource="search", limit=30), 200)
    assert budget.low
    budget.heard(left(4899, resource="core"), 200)
    assert budget.low
    assert budget.state() == BudgetState(low=True, limit=30, remaining=1, reset=NOW + HOUR)


def test_whoever_is_told_to_stop_stops(budget: ProviderBudget, clock: FrozenClock) -> None:
    """docs.github.com: who goes on under a secondary limit may be banned."""
    budget.heard({**left(4000), "retry-after": "90"}, 403)
    refusal = refused(budget)
    assert refusal is not None
    assert (refusal.reason, refusal.retry_after) == ("provider_rate_limited", 90)
    assert budget.low
    clock.advance(90)
    assert passed(budget, 100) == 100


# --- What is believed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"x-ratelimit-remaining": "0"}, 200),
        ({**left(0), "x-ratelimit-limit": "many"}, 200),
        (left(0, reset=NOW - 10), 200),
        (left(0, reset=NOW + 10**7), 200),
        ({"retry-after": "60"}, 200),
        ({"retry-after": "never"}, 429),
        ({"retry-after": "-5"}, 403),
        ({"retry-after": "9" * 400}, 429),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 429),
        ({**left(4000), "date": "yesterday"}, 200),
    ],
)
def test_what_is_missing_or_absurd_holds_nobody_back(
    budget: ProviderBudget, headers: Mapping[str, str], status: int
) -> None:
    budget.heard(headers, status)
    assert passed(budget, 100) == 100


def test_a_provider_whose_clock_is_ahead_is_not_waited_for_longer(budget: ProviderBudget, clock: FrozenClock) -> None:
    theirs = NOW + 7200
    date = format_datetime(datetime.fromtimestamp(theirs, UTC), usegmt=True)
    budget.heard({**left(0, reset=theirs + 60), "date": date}, 403)
    refusal = refused(budget)
    assert refusal is not None
    assert refusal.retry_after == 60
    clock.advance(60)
    assert refused(budget) is None


def test_many_resources_take_bounded_memory(budget: ProviderBudget) -> None:
    for number in range(1000):
        budget.heard(left(4000, resource=f"r{number}"), 200)
    assert len(vars(budget)["_budgets"]) <= 8
    assert passed(budget, 10) == 10


# --- Who is told ------------------------------------------------------------------------------------------------------


def test_the_operator_is_told_once_each_time_that_little_is_left(
    budget: ProviderBudget, seen: Recorder, clock: FrozenClock
) -> None:
    for remaining in (501, 499, 498, 400, 0):
        budget.heard(left(remaining), 200)
    assert seen.of(BudgetLow) == [BudgetLow("github", 499, 5000, NOW + HOUR)]
    clock.advance(HOUR + 1)
    budget.heard(left(4999, reset=NOW + 2 * HOUR), 200)
    budget.heard(left(12, reset=NOW + 2 * HOUR), 200)
    assert [told.remaining for told in seen.of(BudgetLow)] == [499, 12]


def test_health_is_told_what_is_left(budget: ProviderBudget, clock: FrozenClock) -> None:
    assert budget.state() == BudgetState(low=False)
    budget.heard(left(321), 200)
    assert budget.state() == BudgetState(low=True, limit=5000, remaining=321, reset=NOW + HOUR)
    clock.advance(HOUR)
    assert budget.state() == BudgetState(low=False)


# --- For the gate -----------------------------------------------------------------------------------------------------


class Called:
    """A provider with a budget."""

    def __init__(self, budget: ProviderBudget) -> None:
        self.budget = budget


def test_an_unknown_token_comes_out_of_the_share_of_its_address_s_tenant(
    budget: ProviderBudget, clock: FrozenClock
) -> None:
    budgets = Budgets.of([Called(budget), object()])
    budgets.admitted("acme_com", b"1", "192.0.2.1")
    budget.heard(left(300), 200)
    budgets.ask("github", b"2", "192.0.2.1")
    for number in range(20):
        with pytest.raises(Unavailable, match="provider_budget"):
            budgets.ask("github", b"%d" % number, "192.0.2.1")
    budgets.ask("github", b"3", "198.51.100.7")  # of nobody known
    with pytest.raises(Unavailable):
        budgets.ask("github", b"4", "203.0.113.9")  # nor this one
    budgets.ask("google", b"5", None)


def test_while_little_is_left_proofs_are_believed_for_a_quarter_of_an_hour(budget: ProviderBudget) -> None:
    budgets = Budgets.of([Called(budget)])
    assert budgets.kept_longer("github", 300.0) == 0.0
    budget.heard(left(300), 200)
    assert budgets.kept_longer("github", 300.0) == 600.0
    assert budgets.kept_longer("github", 1200.0) == 0.0
    assert budgets.kept_longer("google", 300.0) == 0.0
    assert budgets.states() == {"github": budget.state()}


# --- GitHub -----------------------------------------------------------------------------------------------------------


def answer(status: int, body: bytes, headers: Mapping[str, str]) -> HttpResponse:
    return HttpResponse(status, headers, body)


def github(fetch: FakeFetch, clock: FrozenClock, seen: Recorder, **settings: Any) -> GitHubProvider:
    settings = {"client_id": "Iv1.made-up", "client_secret": "made up", **settings}
    return GitHubProvider(GitHubSettings(**settings), fetch, clock, seen)


VALID = b'{"app":{"client_id":"Iv1.made-up"},"user":{"id":1,"type":"User"},"scopes":[]}'


async def test_the_check_of_a_token_tells_what_is_left_for_this_server(clock: FrozenClock, seen: Recorder) -> None:
    fetch = FakeFetch({APP_TOKEN: answer(200, VALID, left(77))})
    provider = github(fetch, clock, seen)
    await provider.verify(Presented("github", "gho_made-up"))
    assert provider.budget.state().remaining == 77
    assert seen.of(BudgetLow) == [BudgetLow("github", 77, 5000, NOW + HOUR)]


async def test_a_token_that_is_refused_counts_as_well(clock: FrozenClock, seen: Recorder) -> None:
    provider = github(FakeFetch({APP_TOKEN: answer(404, b"{}", left(76))}), clock, seen)
    with pytest.raises(Refusal, match="token_rejected"):
        await provider.verify(Presented("github", "gho_made-up"))
    assert provider.budget.low


async def test_calls_with_a_user_s_own_token_say_nothing_about_this_server(clock: FrozenClock, seen: Recorder) -> None:
    """Else one user who has used his own hour up would keep everybody out."""
    spent = left(0) | {"retry-after": "600"}
    person = answer(200, b'{"id":1,"type":"User"}', spent)
    provider = github(FakeFetch({USER: person, EMAILS: answer(403, b"{}", spent)}), clock, seen, binding="none")
    await provider.verify(Presented("github", "gho_made-up"))
    assert not provider.budget.low
    fetch = FakeFetch({APP_TOKEN: answer(200, VALID, left(4000)), EMAILS: answer(403, b"{}", spent)})
    provider = github(fetch, clock, seen, tenant_from_email=True)
    with pytest.raises(Unavailable):
        await provider.verify(Presented("github", "gho_made-up"))
    assert not provider.budget.low


async def test_the_development_identity_provider_is_understood(world: World) -> None:
    """It counts as GitHub does, on the clock of the test."""
    provider = world.assembly(only=["github"]).gate.providers["github"]
    limited = world.idp.faults.during("github", "rate_limited", endpoint="app_token", retry_after=42)
    with limited, pytest.raises(Unavailable, match="provider_rate_limited"):
        await provider.verify(Presented("github", world.idp.github.token("octo")))
    assert Budgets.of([provider]).states()["github"].low
