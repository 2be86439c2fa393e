from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.linear import MAX_STATES, MAX_TEXT, Expression


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "a",
        "a|b|",
        "(a|b)*c",
        "(?:ab)+",
        "a{2}b{1,}c{0,2}d{0}",
        "[a-c]?[^b]",
        r"\d+\.\w*\s?",
        r"\*\[\$",
        "(a*)*b",
        "(a?){3}b",
        "(?:a|ab)(?:c|bcd)",
        "^ab$",
        "((a|b)(c|d)){1,2}",
        "a.b",
        "[]a]+",
        "(a+|b?)+c",
        "(?i)aB[c-d]",
    ],
)
@given(text=st.text(alphabet="abcdAB1. *[$\n]", max_size=8))
def test_it_matches_what_python_s_expressions_match(pattern: str, text: str) -> None:
    expected = re.compile(pattern, re.DOTALL | re.ASCII).fullmatch(text) is not None
    assert Expression(pattern).matches(text) is expected


trees = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]"]),
    lambda inner: (
        st.tuples(inner, inner).map("".join)
        | st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{0,1}", "{1,}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        )
    ),
    max_leaves=6,
)


@given(trees, st.text(alphabet="abc", max_size=7))
def test_any_expression_matches_what_python_s_matches(pattern: str, text: str) -> None:
    with suppress(ValueError):  # too large; what is refused is below
        expression = Expression(pattern)
        assert expression.matches(text) is (re.fullmatch(pattern, text, re.DOTALL) is not None)


@pytest.mark.parametrize(
    "pattern", ["(a+)+b", "(a|a)*b", "(a|aa)+b", "a*a*a*a*a*a*a*a*b", "(.*a){12}b", "(a?){20}a{20}b"]
)
def test_an_evil_pattern_is_answered_for_an_evil_text(pattern: str) -> None:
    """Each takes a backtracking engine longer than the tests have; here every character is looked at once."""
    expression = Expression(pattern)
    assert not expression.matches("a" * MAX_TEXT)
    assert expression.matches("a" * (MAX_TEXT - 1) + "b") is ("{20}" not in pattern)


def test_a_text_that_is_too_long_does_not_match() -> None:
    assert Expression("a*").matches("a" * MAX_TEXT)
    assert not Expression("a*").matches("a" * (MAX_TEXT + 1))


def test_digits_letters_and_case_are_those_of_ascii() -> None:
    assert not Expression(r"\d").matches("\u0661")
    assert not Expression(r"\w").matches("é")
    assert not Expression("(?i)k").matches("\u212a")


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        ")",
        "a)",
        "(a",
        "[a",
        "[z-a]",
        "*",
        "a**",
        "a*?",
        "a*+",
        "a{2}{3}",
        "a{3,2}",
        "a{,2}",
        "a{x}",
        "a{99999}",
        "a}",
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?P<n>a)",
        "(?>a)",
        "(?s)a",
        r"(a)\1",
        r"\ba",
        r"\Aa",
        r"\pL",
        "a^b",
        "a$b",
        "\\",
        "[a--b]",
        "[[a]]",
        "(" * 40 + ")" * 40,
        "a{300}",
        "((a{20}){20})",
        "((a{99}){99}){99}",
    ],
)
def test_what_is_not_supported_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError):
        Expression(pattern)


def test_a_pattern_has_a_bounded_number_of_states() -> None:
    Expression("a" * (MAX_STATES // 2 - 3))
    with pytest.raises(ValueError, match="too large"):
        Expression("a" * MAX_STATES)
