from __future__ import annotations

from typing import Any

import pytest

from tenantry.core.claims import ClaimRules, check_claims, check_subject, numeric_date
from tenantry.errors import ConfigurationError, TokenInvalid
from tenantry.testing import NOW

GOOD: dict[str, Any] = {"iss": "https://issuer/", "aud": "us", "sub": "1", "iat": NOW - 60, "exp": NOW + 60}
RULES = ClaimRules(frozenset({"https://issuer/"}), frozenset({"us", "our-app"}), frozenset({"RS256"}))
PARTIES = ClaimRules(
    frozenset({"https://issuer/"}), frozenset({"us"}), frozenset({"RS256"}), authorized_parties=frozenset({"app"})
)
ABSENT = object()


def judge(rules: ClaimRules = RULES, now: float = NOW, **changes: Any) -> str:
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not ABSENT}
    try:
        check_claims(claims, rules, now)
    except TokenInvalid as refusal:
        return refusal.reason
    return "accepted"


def test_good_claims_are_accepted() -> None:
    assert judge() == "accepted"


@pytest.mark.parametrize(
    "issuer",
    [
        ABSENT,
        None,
        "",
        1,
        True,
        ["https://issuer/"],
        {"https://issuer/": 1},
        "https://issuer",
        "https://issuer//",
        "https://ISSUER/",
        "HTTPS://issuer/",
        "http://issuer/",
        "https://issuer/ ",
        " https://issuer/",
        "https://issuer/#",
        "https://issuer/?",
        "https://issuer:443/",
        "https://issuer.evil/",
        "https://evil/https://issuer/",
        "issuer",
        "https://issuer/\u0000",
        "https://issue\u0433/",
    ],
)
def test_an_issuer_that_is_not_exactly_the_configured_one_is_refused(issuer: Any) -> None:
    assert judge(iss=issuer) == "issuer_mismatch"


@pytest.mark.parametrize("audience", ["us", ["us"], ["us", "them"], ["them", "our-app"]])
def test_an_audience_with_us_in_it_is_accepted(audience: Any) -> None:
    assert judge(aud=audience) == "accepted"


@pytest.mark.parametrize(
    "audience",
    [
        ABSENT,
        None,
        "",
        [],
        [""],
        "u",
        "uss",
        "us ",
        "US",
        "them us",
        "us,them",
        "https://us",
        ["them"],
        {"us": 1},
        1,
        True,
        ["us", 1],
        ["us", None],
        ["us", ["us"]],
        [["us"]],
        {"aud": "us"},
        "*",
        ["*"],
    ],
)
def test_an_audience_without_exactly_us_or_of_another_type_is_refused(audience: Any) -> None:
    assert judge(aud=audience) == "audience_mismatch"


@pytest.mark.parametrize(
    "subject",
    [
        ABSENT,
        None,
        "",
        0,
        1,
        True,
        ["1"],
        {"1": 1},
        "a" * 256,
        "a\nb",
        "a\x00",
        "\t",
        "a\x7f",
        "a\u200bb",
        "a\u202eb",
        "a\u2028b",
        "\ud800",
        "\ufeffa",
        "a\u00adb",
    ],
)
def test_a_subject_that_cannot_name_somebody_for_good_is_refused(subject: Any) -> None:
    assert judge(sub=subject) == "subject_invalid"


@pytest.mark.parametrize("subject", ["1", "auth0|abc", "a" * 255, "\u00e9", "\u6f22"])
def test_a_printable_subject_is_kept_as_it_is(subject: str) -> None:
    assert check_subject(subject) == subject


@pytest.mark.parametrize("name", ["exp", "iat"])
@pytest.mark.parametrize(
    "value",
    [
        ABSENT,
        None,
        "",
        str(int(NOW) + 60),
        f" {int(NOW)}_000 ",
        True,
        False,
        [NOW],
        {},
        -1,
        -0.5,
        1e30,
        10**13,
        float("nan"),
        float("inf"),
        float("-inf"),
    ],
)
def test_exp_and_iat_are_real_numbers_within_reason(name: str, value: Any) -> None:
    assert judge(**{name: value}) == "claims_malformed"


@pytest.mark.parametrize("value", [None, "0", True, float("nan"), -1])
def test_an_nbf_that_is_no_date_is_refused_rather_than_ignored(value: Any) -> None:
    assert judge(nbf=value) == "claims_malformed"


@pytest.mark.parametrize(
    ("after_exp", "verdict"), [(-1, "accepted"), (29.9, "accepted"), (30, "token_expired"), (1e6, "token_expired")]
)
def test_a_token_expires_when_its_leeway_is_over(after_exp: float, verdict: str) -> None:
    assert judge(now=GOOD["exp"] + after_exp) == verdict


@pytest.mark.parametrize("name", ["iat", "nbf"])
@pytest.mark.parametrize(
    ("ahead", "verdict"), [(30, "accepted"), (30.1, "token_not_yet_valid"), (1e6, "token_not_yet_valid")]
)
def test_a_token_from_the_future_is_not_valid_yet(name: str, ahead: float, verdict: str) -> None:
    assert judge(**{name: NOW + ahead, "exp": NOW + 2e6}) == verdict


def test_without_leeway_a_token_is_dead_the_moment_it_expires() -> None:
    strict = ClaimRules(RULES.issuers, RULES.audiences, RULES.algorithms, leeway=0)
    assert judge(strict, now=GOOD["exp"]) == "token_expired"


@pytest.mark.parametrize("confirmation", [{}, None, {"jkt": "x"}, {"x5t#S256": "x"}, "", False])
def test_a_sender_constrained_token_is_refused_as_a_plain_bearer(confirmation: Any) -> None:
    assert judge(cnf=confirmation) == "sender_constrained"


@pytest.mark.parametrize("party", ["", "App", "app ", None, 1, True, ["app"], {"app": 1}])
def test_an_authorized_party_that_is_not_exactly_ours_is_refused(party: Any) -> None:
    assert judge(PARTIES, azp=party) == "client_mismatch"


def test_our_authorized_party_and_an_absent_one_are_accepted() -> None:
    assert judge(PARTIES, azp="app") == judge(PARTIES) == "accepted"


@pytest.mark.parametrize("empty", ["issuers", "audiences", "algorithms", "types"])
def test_an_empty_expectation_is_a_configuration_error(empty: str) -> None:
    rules: dict[str, Any] = dict.fromkeys(("issuers", "audiences", "algorithms", "types"), frozenset({"x"}))
    with pytest.raises(ConfigurationError, match=empty):
        ClaimRules(**{**rules, empty: frozenset()})


def test_an_absent_date_is_none_and_zero_is_a_date() -> None:
    assert numeric_date({}, "nbf") is None
    assert numeric_date({"nbf": 0}, "nbf") == 0.0
