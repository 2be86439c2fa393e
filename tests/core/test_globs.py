from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.globs import MAX_ALIKE, Globs


def matches(pattern: str, name: str) -> bool:
    globs: Globs[str] = Globs()
    globs.add(pattern, pattern)
    return globs.find(name) is not None


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a", "a", True),
        ("a", "A", False),
        ("a", "ab", False),
        ("a", "ba", False),
        ("a*", "a", True),
        ("a*", "ab/c", True),
        ("a*", "A", False),
        ("*", "", True),
        ("*b", "ab", True),
        ("*b", "abc", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a?", "a\n", True),
        ("a*b*c", "axbxc", True),
        ("a*b*c", "acb", False),
        ("*aab", "aaaab", True),
        ("*ab?", "aababx", True),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("a.c", "abc", False),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        (r"a\?*", "a?b", True),
        (r"a\\b", r"a\b", True),
        ("notes://*", "notes://a/b?c", True),
        ("a{b,c}", "ab", False),
        ("!a", "b", False),
    ],
)
def test_a_pattern_is_about_the_whole_name(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


def by_hand(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return by_hand(pattern[1:], name) or (name != "" and by_hand(pattern, name[1:]))
    return name != "" and pattern[0] in ("?", name[0]) and by_hand(pattern[1:], name[1:])


letters = st.text(alphabet="ab*?", min_size=1, max_size=7).filter(lambda pattern: "**" not in pattern)


@given(st.lists(letters, max_size=8), st.text(alphabet="abc", max_size=8))
def test_the_first_pattern_that_matches_is_found(patterns: list[str], name: str) -> None:
    globs: Globs[str] = Globs()
    added = []
    for pattern in patterns:
        with suppress(ValueError):  # covered by an earlier one: the next test is about that
            globs.add(pattern, pattern)
            added.append(pattern)
    expected = next((pattern for pattern in added if by_hand(pattern, name)), None)
    assert globs.find(name) == expected
    assert globs.find(name) == expected, "remembered"


@given(letters, letters, st.text(alphabet="ab", max_size=8))
def test_a_pattern_refused_as_never_matching_never_does(first: str, second: str, name: str) -> None:
    globs: Globs[str] = Globs()
    globs.add(first, first)
    try:
        globs.add(second, second)
    except ValueError:
        assert not by_hand(second, name) or by_hand(first, name)


def test_an_evil_name_is_answered_for_an_evil_pattern() -> None:
    assert not matches("*a*a*a*a*a*a*a*a*a*a*b", "a" * 8000)


@pytest.mark.parametrize("pattern", ["", "a**", "**", "x" * 1025, "a\\", r"a\b", "a\n", "a\x00", "a\u200b"])
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        matches(pattern, "a")


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("*", "a"), ("a*", "ab"), ("a*", "ab*"), ("a*", "a?b"), ("a?", "ab")]
)
def test_a_pattern_that_an_earlier_one_covers_is_refused(first: str, second: str) -> None:
    globs: Globs[str] = Globs()
    globs.add(first, first)
    with pytest.raises(ValueError, match=r"never matches: .* comes first"):
        globs.add(second, second)


def test_a_pattern_may_come_before_one_that_covers_it() -> None:
    globs: Globs[str] = Globs()
    for pattern in ("ab", "a?", "a*", "*"):
        globs.add(pattern, pattern)
    assert [globs.find(name) for name in ("ab", "ac", "abc", "b")] == ["ab", "a?", "a*", "*"]


def test_patterns_that_cost_a_comparison_each_are_bounded() -> None:
    globs: Globs[int] = Globs()
    for number in range(MAX_ALIKE):
        globs.add(f"*_{number}", number)
    with pytest.raises(ValueError, match="more than"):
        globs.add("*_more", 0)


def test_random_names_are_answered_after_more_than_are_remembered() -> None:
    globs: Globs[str] = Globs()
    globs.add("a_*", "a")
    for number in range(5000):
        assert globs.find(f"a_{number}") == "a"
        assert globs.find(f"b_{number}") is None
