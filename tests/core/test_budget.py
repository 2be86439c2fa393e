"""The last calls of a provider's grant: what its headers say, and who gets what is left."""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.budget import NEW, Budget, Origins, Shares, newer, read_budget

NOW, MONOTONIC = 1_795_000_000.0, 1000.0
HOUR = 3600.0
GITHUB = {
    "x-ratelimit-limit": "5000",
    "x-ratelimit-remaining": "4987",
    "x-ratelimit-used": "13",
    "x-ratelimit-reset": str(int(NOW) + 1800),
    "x-ratelimit-resource": "core",
}


def budget(remaining: int, *, limit: int = 5000, reset: float = NOW + HOUR) -> Budget:
    return Budget(limit, remaining, reset, MONOTONIC + reset - NOW)


# --- Headers ----------------------------------------------------------------------------------------------------------


def test_github_s_headers_say_what_is_left_and_until_when() -> None:
    assert read_budget(GITHUB, NOW, MONOTONIC) == ("core", Budget(5000, 4987, NOW + 1800, MONOTONIC + 1800))


def test_a_reset_may_be_the_seconds_until_then_and_the_resource_may_be_unnamed() -> None:
    headers = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "60"}
    assert read_budget(headers, NOW, MONOTONIC) == ("", Budget(10, 0, NOW + 60, MONOTONIC + 60))


@pytest.mark.parametrize("name", ["limit", "remaining", "reset"])
@pytest.mark.parametrize(
    "text", [None, "", "-1", "1e9", "nan", "inf", "0x10", "5 000", "١٢٣", "²", "9" * 5000, "abc", "1.5", "4987, 4987"]
)
def test_headers_that_are_missing_or_malformed_say_nothing(name: str, text: str | None) -> None:
    headers = {key: value for key, value in GITHUB.items() if key != f"x-ratelimit-{name}"}
    if text is not None:
        headers[f"x-ratelimit-{name}"] = text
    assert read_budget(headers, NOW, MONOTONIC) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("limit", "0"),
        ("limit", "12"),  # fewer than remain
        ("remaining", "5001"),
        ("reset", str(int(NOW))),  # it has been
        ("reset", str(int(NOW) - 10**6)),
        ("reset", str(int(NOW) + 10**6)),  # nobody's window is so long
        ("reset", str(int(NOW) * 1000)),  # milliseconds
        ("reset", "0"),
    ],
)
def test_headers_that_cannot_be_true_say_nothing(name: str, text: str) -> None:
    assert read_budget({**GITHUB, f"x-ratelimit-{name}": text}, NOW, MONOTONIC) is None


@given(st.dictionaries(st.sampled_from(list(GITHUB)), st.text(max_size=20)))
def test_no_header_makes_reading_fail(headers: dict[str, str]) -> None:
    found = read_budget({**GITHUB, **headers}, NOW, MONOTONIC)
    assert found is None or 0 <= found[1].remaining <= found[1].limit


def test_little_is_less_than_a_tenth_until_the_reset() -> None:
    assert not budget(500).low(MONOTONIC)
    assert budget(499).low(MONOTONIC)
    assert not budget(499).low(MONOTONIC + HOUR)


def test_of_two_answers_that_overtook_each_other_the_later_is_believed() -> None:
    assert newer(budget(100), budget(101)) == budget(100)
    assert newer(budget(100), budget(99)) == budget(99)
    assert newer(None, budget(99)) == budget(99)


def test_a_new_window_and_a_new_limit_are_believed_at_once() -> None:
    assert newer(budget(0), budget(4999, reset=NOW + 2 * HOUR)).remaining == 4999
    assert newer(budget(0), budget(14_999, limit=15_000)).remaining == 14_999


# --- Shares -----------------------------------------------------------------------------------------------------------


def an_hour(every: Mapping[str, float], *, calls: int = 500, seed: int = 1) -> dict[str, tuple[int, int]]:
    """(granted, wanted) of each key that wants a call ``every`` so many seconds, about, and comes again as told."""
    shares, chance = Shares(), random.Random(seed)
    granted, wanted = dict.fromkeys(every, 0), dict.fromkeys(every, 0)
    coming = [(MONOTONIC + chance.random() * seconds, key, True) for key, seconds in every.items()]
    heapq.heapify(coming)
    while coming[0][0] < MONOTONIC + HOUR:
        now, key, new = heapq.heappop(coming)
        wait = shares.wait(key, calls - sum(granted.values()), MONOTONIC + HOUR - now, now)
        granted[key] += wait == 0.0
        wanted[key] += new
        pause = every[key] * chance.uniform(0.9, 1.1)
        heapq.heappush(coming, (now + min(pause, max(1.0, wait) if wait else pause), key, not 0 < wait < pause))
    return {key: (granted[key], wanted[key]) for key in every}


@pytest.mark.parametrize("seed", range(5))
def test_who_asks_seldom_is_always_served_beside_one_who_floods(seed: int) -> None:
    result = an_hour({"flood": 0.2, "quiet": 300.0}, seed=seed)
    assert result["quiet"][0] >= result["quiet"][1] - 1 > 9  # the last call of the hour may be gone
    assert result["flood"][0] >= 480  # and what he leaves is not wasted


def test_those_who_ask_for_more_than_there_is_get_the_same() -> None:
    result = an_hour({f"flood:{number}": 1.0 for number in range(10)})
    assert sum(granted for granted, _ in result.values()) <= 500
    assert all(45 <= granted <= 51 for granted, _ in result.values())


def test_one_who_asks_for_less_than_his_part_leaves_the_rest_to_the_others() -> None:
    result = an_hour({"a": 0.5, "b": 0.5, "c": 60.0})
    assert result["c"][0] >= 0.9 * result["c"][1]
    assert result["a"][0] + result["b"][0] >= 400
    assert result["a"][0] == pytest.approx(result["b"][0], abs=10)


def test_beside_a_hundred_who_flood_twenty_who_ask_now_and_then_are_not_behind() -> None:
    floods = {f"flood:{number}": 1.0 for number in range(100)}
    quiet = {f"quiet:{number}": 400.0 for number in range(20)}
    result = an_hour(floods | quiet)
    assert min(result[key][0] for key in quiet) >= min(result[key][0] for key in floods) - 1 > 0


def test_never_more_calls_than_are_left_and_all_of_them_where_they_are_wanted() -> None:
    many = an_hour({f"one:{number}": 1800.0 for number in range(200)}, calls=100)
    assert sum(granted for granted, _ in many.values()) <= 100
    assert an_hour({"only": 0.5})["only"][0] >= 495


def test_the_calls_of_one_who_floods_are_spread_over_the_whole_time() -> None:
    shares, granted = Shares(), []
    for second in range(3600):
        now = MONOTONIC + second
        if not shares.wait("flood", 60 - len(granted), HOUR - second, now):
            granted.append(second)
    gaps = [later - earlier for earlier, later in pairwise(granted)]
    assert len(granted) >= 59
    assert 55 <= min(gaps) <= max(gaps) <= 65


def test_waiting_as_long_as_told_is_enough_for_the_only_one_who_asks() -> None:
    shares, now = Shares(), MONOTONIC
    for calls in range(500, 450, -1):
        assert shares.wait("a", calls, MONOTONIC + HOUR - now, now) == 0.0
        wait = shares.wait("a", calls - 1, MONOTONIC + HOUR - now, now)
        assert 0 < wait <= 8
        now += wait


def test_with_no_call_left_everybody_waits_for_the_reset() -> None:
    assert Shares().wait("a", 0, 1234.0, MONOTONIC) == 1234.0
    assert Shares().wait("a", -3, 1234.0, MONOTONIC) == 1234.0


def test_many_keys_take_bounded_memory_and_no_more_calls() -> None:
    shares, left = Shares(), 500
    for number in range(20_000):
        left -= shares.wait(f"key:{number}", left, HOUR, MONOTONIC + number / 1000) == 0.0
    assert 0 < left < 500
    assert len(vars(shares)["_shares"]) <= 1001


# --- Whose share ------------------------------------------------------------------------------------------------------


def test_a_newcomer_is_of_the_tenant_that_his_token_or_else_his_address_was_last_let_in_to() -> None:
    origins = Origins()
    assert origins.of(b"token", "192.0.2.1") == NEW
    origins.saw("acme_com", b"token", "192.0.2.1")
    assert origins.of(b"token", "192.0.2.9") == "acme_com"
    assert origins.of(b"other", "192.0.2.1") == "acme_com"
    origins.saw("other_com", b"other", "192.0.2.1")
    assert origins.of(b"token", "192.0.2.1") == "acme_com"
    assert origins.of(b"never", "192.0.2.1") == "other_com"


def test_no_address_is_nobody_s() -> None:
    origins = Origins()
    origins.saw("acme_com", b"token", None)
    assert origins.of(b"other", None) == NEW


def test_who_has_not_been_seen_for_long_is_forgotten() -> None:
    origins = Origins()
    origins.saw("acme_com", "192.0.2.1")
    for number in range(20_000):
        origins.saw("other_com", number)
        if number < 15_000:
            origins.saw("acme_com", "192.0.2.2")
    assert origins.of("192.0.2.1") == NEW
    assert origins.of("192.0.2.2") == "acme_com"
    assert sum(len(table) for table in vars(origins).values()) <= 20_000
