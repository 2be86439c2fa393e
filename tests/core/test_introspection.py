"""An answer of RFC 7662: what it must say, and what nobody is let in by."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.core.introspection import IntrospectionRules, check_answer, check_unverified, is_active, subject_in
from tenantry.errors import ConfigurationError, TokenInvalid

OURS, ISSUER, NOW = "https://mcp.example/mcp", "https://as.example", 1_795_000_000
RULES = IntrospectionRules(frozenset({OURS}), None, ISSUER)
GONE = object()
# The example of RFC 7662 section 2.2, for us.
ANSWER = {
    "active": True,
    "client_id": "l238j323ds-23ij4",
    "username": "jdoe",
    "scope": "read write dolphin",
    "sub": "Z5O3upPC88QrAjx00dis",
    "aud": OURS,
    "iss": ISSUER,
    "exp": NOW + 3600,
    "iat": NOW,
    "extension_field": "twenty-seven",
}


def said(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**ANSWER, **changes}.items() if value is not GONE}


def refused(answer: dict[str, Any], rules: IntrospectionRules = RULES) -> str:
    with pytest.raises(TokenInvalid) as caught:
        check_answer(answer, rules, NOW)
    return caught.value.reason


def test_the_example_of_the_specification_is_an_answer() -> None:
    assert is_active(ANSWER)
    assert check_answer(ANSWER, RULES, NOW) == NOW + 3600
    assert subject_in(ANSWER, ANSWER["sub"]) == "Z5O3upPC88QrAjx00dis"


@pytest.mark.parametrize("active", ["true", "false", 1, 0, None, [], [True], {}, GONE])
def test_active_is_a_boolean_or_there_is_no_answer(active: Any) -> None:
    with pytest.raises(ValueError, match="active"):
        is_active(said(active=active))


def test_not_active_is_an_answer() -> None:
    assert is_active({"active": False}) is False


@pytest.mark.parametrize(
    "aud", [GONE, None, "", "https://other.example", OURS + "/", [OURS, 7], [], [[OURS]], {OURS: 1}, 7, True]
)
def test_an_audience_that_is_not_ours_is_refused(aud: Any) -> None:
    assert refused(said(aud=aud)) == "audience_mismatch"


def test_one_of_several_audiences_is_enough() -> None:
    assert check_answer(said(aud=["https://other.example", OURS]), RULES, NOW)


@pytest.mark.parametrize("named", [{"client_id": "theirs"}, {"client_id": GONE}, {"client_id": ["ours"]}])
def test_where_clients_are_listed_another_or_none_is_refused(named: dict[str, Any]) -> None:
    rules = IntrospectionRules(None, frozenset({"ours"}))
    assert refused(said(token_type="Bearer", **named), rules) == "client_mismatch"
    assert refused(said(token_type="Bearer", client_id="ours", azp="theirs"), rules) == "client_mismatch"
    assert check_answer(said(token_type="Bearer", client_id="ours", aud=GONE), rules, NOW)


def test_where_only_clients_are_listed_the_answer_must_say_that_it_is_an_access_token() -> None:
    """A refresh token has a client as well, and some servers say nothing else of it."""
    rules = IntrospectionRules(None, frozenset({"ours"}))
    assert refused(said(client_id="ours"), rules) == "token_kind_refused"
    for kind in ({"token_type": "Bearer"}, {"token_use": "access_token"}, {"typ": "Bearer"}):
        assert check_answer(said(client_id="ours", **kind), rules, NOW)


def test_where_both_are_listed_both_must_hold() -> None:
    rules = IntrospectionRules(frozenset({OURS}), frozenset({"ours"}))
    assert refused(said(client_id="ours", aud="x"), rules) == "audience_mismatch"
    assert refused(said(client_id="x"), rules) == "client_mismatch"


@pytest.mark.parametrize("issuer", ["https://AS.example", ISSUER + "/", None, "", [ISSUER], 7])
def test_another_issuer_is_refused_where_the_answer_has_one(issuer: Any) -> None:
    assert refused(said(iss=issuer)) == "issuer_mismatch"


def test_an_answer_without_issuer_is_the_issuers_own_word() -> None:
    assert check_answer(said(iss=GONE), RULES, NOW)


@pytest.mark.parametrize(
    "kind",
    [
        {"token_type": "refresh_token"},
        {"token_type": "Refresh"},
        {"token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"token_type": "N_A"},
        {"token_type": "mac"},
        {"token_type": ""},
        {"token_type": 7},
        {"token_type": ["Bearer"]},
        {"token_type": "Bearer", "token_use": "refresh_token"},
        {"token_type": "Bearer", "typ": "Refresh"},
        {"typ": "ID"},
        {"token_use": "id_token"},
    ],
)
def test_a_token_of_another_kind_is_refused(kind: dict[str, Any]) -> None:
    assert refused(said(**kind)) == "token_kind_refused"


@pytest.mark.parametrize("kind", ["Bearer", "bearer", "access_token", GONE, None])
def test_an_access_token_is_one_under_each_of_its_names(kind: Any) -> None:
    assert check_answer(said(token_type=kind, typ="Bearer", token_use="access_token"), RULES, NOW)


def test_active_and_past_its_end_is_refused_within_the_leeway() -> None:
    assert check_answer(said(exp=NOW - 29), RULES, NOW) == NOW - 29
    assert refused(said(exp=NOW - 30)) == "token_expired"


@pytest.mark.parametrize("exp", ["1795003600", True, None, [], -1, 10**13])
def test_an_end_that_is_no_date_is_refused(exp: Any) -> None:
    assert refused(said(exp=exp)) == "claims_malformed"


def test_a_token_without_an_end_has_none() -> None:
    assert check_answer(said(exp=GONE), RULES, NOW) is None


@pytest.mark.parametrize(
    "binding",
    [
        {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}},
        {"cnf": {"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}},
        {"cnf": None},
        {"cnf": {}},
        {"token_type": "DPoP"},
    ],
)
def test_a_token_that_is_bound_is_refused_where_no_proof_is_asked_for(binding: dict[str, Any]) -> None:
    assert refused(said(**binding)) == "sender_constrained"


def test_where_proofs_are_asked_for_a_key_must_be_named() -> None:
    rules = IntrospectionRules(frozenset({OURS}), None, bound=True)
    key = {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
    assert check_answer(said(token_type="DPoP", cnf=key), rules, NOW)
    assert refused(said(token_type="DPoP"), rules) == "sender_constrained"
    assert refused(said(token_type="DPoP", cnf={"x5t#S256": "a" * 43}), rules) == "sender_constrained"


def test_a_client_that_calls_for_itself_is_called_so() -> None:
    assert subject_in(said(sub=GONE), None) == "client:l238j323ds-23ij4"


def test_without_person_and_client_there_is_nobody() -> None:
    for answer in (said(client_id=GONE), said(client_id=None), said(client_id=""), said(client_id=7)):
        with pytest.raises(TokenInvalid):
            subject_in(answer, None)


@pytest.mark.parametrize("sub", ["client:l238j323ds-23ij4", "client:", "client:x", "", 7, ["a"], "a\nb", "x" * 256])
def test_no_person_is_taken_for_a_client_and_none_has_an_impossible_name(sub: Any) -> None:
    with pytest.raises(TokenInvalid, match="subject_invalid"):
        subject_in(ANSWER, sub)


def test_the_words_of_a_signed_token_refuse_and_never_accept() -> None:
    assert check_unverified({"exp": NOW + 5}, 30, NOW) == NOW + 5
    for claims in ({"exp": NOW - 60}, {"typ": "Refresh"}, {"exp": "later"}):
        with pytest.raises(TokenInvalid):
            check_unverified(claims, 30, NOW)


@pytest.mark.parametrize(
    ("audiences", "clients"), [(None, None), (frozenset(), None), (None, frozenset()), ({"a"}, set())]
)
def test_rules_that_would_accept_every_token_are_refused(audiences: Any, clients: Any) -> None:
    with pytest.raises(ConfigurationError, match="name at least one"):
        IntrospectionRules(audiences, clients)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.text(max_size=8) | st.just(OURS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*ANSWER, "cnf", "token_type", "typ", "azp"]), _JSON))
def test_any_answer_is_read_or_refused(changes: dict[str, Any]) -> None:
    answer = {**ANSWER, **changes}
    try:
        ends = check_answer(answer, RULES, NOW)
        subject = subject_in(answer, answer.get("sub"))
    except TokenInvalid:
        return
    assert ends is None or ends > NOW - 30
    assert answer["aud"] == OURS or OURS in answer["aud"]
    assert answer.get("iss", ISSUER) == ISSUER
    assert subject
