from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.quota import Quota, Standing, parse_quota, spend, standing_of


def granted(quota: Quota, moments: list[float], weight: int = 1) -> list[bool]:
    arrival, answers = None, []
    for now in moments:
        arrival, standing = spend(arrival, quota, now, weight)
        answers.append(standing.wait == 0.0)
    return answers


def test_the_whole_limit_may_come_at_once_and_not_one_more() -> None:
    assert granted(Quota(5, 60.0), [0.0] * 7) == [True] * 5 + [False] * 2


@given(st.integers(1, 2000), st.floats(1, 86_400), st.floats(0, 1e7))
def test_at_any_moment_exactly_the_limit_passes(limit: int, window: float, now: float) -> None:
    """For the 115 days after a machine's start; of 2,000 a second, a year later 1,999 might."""
    assert granted(Quota(limit, window), [now] * (limit + 3)).count(True) == limit


def test_a_refused_request_spends_nothing() -> None:
    quota = Quota(1, 60.0)
    arrival, _ = spend(None, quota, 0.0)
    assert spend(arrival, quota, 1.0) == (arrival, Standing(59.0, 0, 59.0))
    assert spend(arrival, quota, 2.0) == (arrival, Standing(58.0, 0, 58.0))


def test_a_charge_tells_what_is_left_and_when_the_bucket_is_full_again() -> None:
    quota = Quota(10, 60.0)
    arrival, standing = spend(None, quota, 100.0)
    assert standing == Standing(0.0, 9, 6.0)
    arrival, standing = spend(arrival, quota, 100.0, 4)
    assert standing == Standing(0.0, 5, 30.0)
    arrival, standing = spend(arrival, quota, 100.0, 6)
    assert standing == Standing(6.0, 5, 30.0)
    assert spend(arrival, quota, 106.0, 6)[1] == Standing(0.0, 0, 60.0)


def test_a_charge_of_more_than_the_limit_takes_all_of_it() -> None:
    quota = Quota(10, 60.0)
    arrival, standing = spend(None, quota, 0.0, 25)
    assert standing == Standing(0.0, 0, 60.0)
    assert spend(arrival, quota, 0.0, 25)[1].wait == 60.0
    assert spend(arrival, quota, 60.0, 25)[1].wait == 0.0


@given(st.integers(1, 1000), st.floats(1, 86_400), st.integers(1, 1000), st.floats(0, 1e6), st.floats(0, 0.9))
def test_waiting_as_long_as_told_is_enough(limit: int, window: float, weight: int, now: float, part: float) -> None:
    quota, arrival, wait = Quota(limit, window), None, 0.0
    while not wait:
        arrival, (wait, _, _) = spend(arrival, quota, now, weight)
    now += wait * part
    arrival, (wait, _, _) = spend(arrival, quota, now, weight)
    assert wait > 0
    assert spend(arrival, quota, now + wait, weight)[1].wait == 0.0


def test_a_bucket_left_alone_is_full_again_and_not_fuller() -> None:
    quota = Quota(2, 10.0)
    assert granted(quota, [0.0, 0.0, 0.0, 1e6, 1e6, 1e6]) == [True, True, False] * 2


@given(
    st.integers(1, 20),
    st.integers(1, 100),
    st.lists(st.floats(0, 50, allow_nan=False), min_size=1, max_size=80),
)
def test_no_span_of_time_lets_more_through_than_the_limit_and_what_it_refills(
    limit: int, window: int, gaps: list[float]
) -> None:
    moments, now = [], 0.0
    for gap in gaps:
        now += gap
        moments.append(now)
    passed = [moment for moment, yes in zip(moments, granted(Quota(limit, window), moments), strict=True) if yes]
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            span = passed[last] - passed[first]
            assert last - first + 1 <= limit + span * limit / window + 0.02


@given(st.integers(1, 50), st.lists(st.integers(1, 60), max_size=80))
def test_a_store_that_counts_units_tells_the_same(limit: int, weights: list[int]) -> None:
    quota, arrival, used = Quota(limit, 60.0), None, 0
    for weight in weights:
        arrival, standing = spend(arrival, quota, 0.0, weight)
        passed = used + min(weight, limit) <= limit
        used += min(weight, limit) if passed else 0
        assert standing_of(quota, weight, used, passed) == pytest.approx(standing, abs=1e-4)
        assert (standing.wait == 0.0) is passed


@pytest.mark.parametrize(("text", "quota"), [("600/60", Quota(600, 60.0)), ("1/0.5", Quota(1, 0.5))])
def test_a_quota_is_requests_per_seconds(text: str, quota: Quota) -> None:
    assert parse_quota(text) == quota


@pytest.mark.parametrize(
    "text",
    ["", "600", "/", "600/", "/60", "0/60", "-1/60", "600/0", "600/-1", "600/nan", "600/inf", "600/86401", "x/y"],
)
def test_a_quota_that_says_nothing_sensible_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_quota(text)
