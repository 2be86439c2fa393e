from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.quota import Quota, parse_quota, spend


def granted(quota: Quota, moments: list[float]) -> list[bool]:
    arrival, answers = None, []
    for now in moments:
        arrival, wait = spend(arrival, quota, now)
        answers.append(wait == 0.0)
    return answers


def test_the_whole_limit_may_come_at_once_and_not_one_more() -> None:
    assert granted(Quota(5, 60.0), [0.0] * 7) == [True] * 5 + [False] * 2


def test_a_refused_request_spends_nothing() -> None:
    quota = Quota(1, 60.0)
    arrival, _ = spend(None, quota, 0.0)
    assert spend(arrival, quota, 1.0) == (arrival, 59.0)
    assert spend(arrival, quota, 2.0) == (arrival, 58.0)


def test_waiting_as_long_as_told_is_enough() -> None:
    quota = Quota(3, 10.0)
    arrival = None
    for _ in range(3):
        arrival, _ = spend(arrival, quota, 100.0)
    _, wait = spend(arrival, quota, 100.0)
    assert wait > 0
    assert spend(arrival, quota, 100.0 + wait)[1] == 0.0


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
            assert last - first + 1 <= limit + span * limit / window + 1e-4


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
