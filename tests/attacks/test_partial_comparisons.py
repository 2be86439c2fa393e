"""Comparisons that stop too early: facts section 21 H (and A, as far as the token alone shows it)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.attacks.tokens import (
    ADMITTED,
    AUDIENCE,
    AUTH0_ISSUER,
    CLIENT_ID,
    GOOGLE_ISSUER,
    STRANGER,
    Entrance,
    auth0,
    google,
)

from tenantry.devidp import OMIT


@pytest.fixture(scope="module")
def entrance() -> Iterator[Entrance]:
    made = Entrance()
    yield made
    made.close()


def near(text: str) -> list[Any]:
    """What a partial, folding or type-confused comparison takes for ``text``."""
    return [
        text[:-1],
        text[1:],
        text + "/",
        text + " ",
        " " + text,
        text + "\n",
        text + "\x00",
        text + "x",
        "x" + text,
        text.upper(),
        text.title(),
        text * 2,
        text.replace("https", "http"),
        text.replace(".", "\uff0e", 1),
        text.replace("o", "\u043e", 1),
        text.replace("a", "%61", 1),
        "",
        text[0],
        ".",
        "/",
        "*",
        "%",
        text + "#",
        text + "?x",
        f"{text},{text}",
        f"{text} other",
        f'"{text}"',
        [[text]],
        {text: True},
        {"value": text},
        None,
        True,
        1,
    ]


def different(text: str) -> list[Any]:
    return [other for other in near(text) if other != text]


@pytest.mark.parametrize("issuer", [OMIT, [GOOGLE_ISSUER], [AUTH0_ISSUER, GOOGLE_ISSUER], *different(GOOGLE_ISSUER)])
def test_googles_issuer_is_compared_whole_cve_2024_53861_cve_2025_30144(entrance: Entrance, issuer: Any) -> None:
    assert entrance.verdict(google(iss=issuer)) == "issuer_unknown"


@pytest.mark.parametrize("issuer", [OMIT, [AUTH0_ISSUER], AUTH0_ISSUER.rstrip("/"), *different(AUTH0_ISSUER)])
def test_auth0s_issuer_is_compared_whole_and_with_its_slash(entrance: Entrance, issuer: Any) -> None:
    assert entrance.verdict(auth0(iss=issuer)) == "issuer_unknown"


def test_googles_issuer_has_two_spellings_and_no_third(entrance: Entrance) -> None:
    assert entrance.verdict(google(iss="accounts.google.com")) == ADMITTED
    for other in (
        "http://accounts.google.com",
        "//accounts.google.com",
        "accounts.google.com/",
        "www.accounts.google.com",
    ):
        assert entrance.verdict(google(iss=other)) == "issuer_unknown"


@pytest.mark.parametrize("audience", [OMIT, [], [""], *different(CLIENT_ID)])
def test_a_google_audience_is_exactly_one_of_ours_ghsa_p2fr_6hmx_4528(entrance: Entrance, audience: Any) -> None:
    assert entrance.verdict(google(aud=audience)) == "audience_mismatch"
    assert entrance.verdict(google(aud=[audience] if audience is not OMIT else OMIT)) == "audience_mismatch"


@pytest.mark.parametrize("audience", [OMIT, [], f"{AUTH0_ISSUER}userinfo", *different(AUDIENCE)])
def test_an_auth0_audience_is_exactly_ours(entrance: Entrance, audience: Any) -> None:
    assert entrance.verdict(auth0(aud=audience)) == "audience_mismatch"


def test_one_entry_of_another_type_spoils_the_whole_audience(entrance: Entrance) -> None:
    for spoiled in (
        [AUDIENCE, 1],
        [AUDIENCE, None],
        [None, AUDIENCE],
        [AUDIENCE, [AUDIENCE]],
        [AUDIENCE, {}],
        [True, AUDIENCE],
    ):
        assert entrance.verdict(auth0(aud=spoiled)) == "audience_mismatch"
    assert entrance.verdict(auth0(aud=["x", AUDIENCE])) == ADMITTED


def test_our_audience_in_another_claim_is_not_the_audience(entrance: Entrance) -> None:
    for name in ("azp", "client_id", "resource", "audience", "Aud", "aud "):
        assert entrance.verdict(auth0(aud=OMIT, **{name: AUDIENCE})) == "audience_mismatch"


@pytest.mark.parametrize("party", different(CLIENT_ID))
def test_a_google_token_that_another_client_asked_for_is_refused(entrance: Entrance, party: Any) -> None:
    assert entrance.verdict(google(azp=party)) == "client_mismatch"


def test_a_service_account_cannot_choose_its_way_in(entrance: Entrance) -> None:
    account = "robot@project.iam.gserviceaccount.com"
    assert entrance.verdict(google(azp="123456", email=account)) == "service_account_refused"
    assert entrance.verdict(google(azp=CLIENT_ID, email=account)) == "service_account_refused"
    assert entrance.verdict(google(azp=OMIT, email=account.upper())) == "service_account_refused"


def test_an_audience_of_one_provider_means_nothing_to_another(entrance: Entrance) -> None:
    assert entrance.verdict(google(aud=AUDIENCE)) == "audience_mismatch"
    assert entrance.verdict(auth0(aud=CLIENT_ID)) == "audience_mismatch"


@pytest.mark.parametrize("mark", ["nonce", "at_hash", "c_hash"])
def test_an_id_token_of_auth0_is_no_access_token(entrance: Entrance, mark: str) -> None:
    for value in ("x", "", None, 0):
        assert entrance.verdict(auth0(**{mark: value})) == "token_kind_refused"


@pytest.mark.parametrize("confirmation", [{"jkt": "x"}, {"x5t#S256": "x"}, {}, None, ""])
def test_a_sender_constrained_token_is_no_bearer_token(entrance: Entrance, confirmation: Any) -> None:
    for make in (google, auth0):
        assert entrance.verdict(make(cnf=confirmation)) == "sender_constrained"


@pytest.mark.parametrize(
    ("hosted", "tenant_id"), [("acme.com", "acme_com"), ("ACME.com", "acme_com"), ("sub.acme.com", "sub_acme_com")]
)
def test_a_hosted_domain_is_a_tenant_of_exactly_that_domain(entrance: Entrance, hosted: str, tenant_id: str) -> None:
    assert entrance.admit(google(hd=hosted)).tenant_id == tenant_id


@pytest.mark.parametrize(
    "hosted",
    [
        "acme.com.",
        "acme_com",
        "ac\u043ce.com",
        "\uff41cme.com",
        "acme\u3002com",
        "",
        "acme",
        1,
        True,
        ["acme.com"],
        {"hd": "acme.com"},
    ],
)
def test_a_hosted_domain_that_is_not_canonical_lets_nobody_in(entrance: Entrance, hosted: Any) -> None:
    assert entrance.verdict(google(hd=hosted)) == "claims_malformed"


def test_a_company_address_without_hosted_domain_makes_nobody_a_member(entrance: Entrance) -> None:
    """A consumer account may carry anybody's address, verified long ago: nOAuth and its kin."""
    user = entrance.admit(google(hd=OMIT, email="ceo@acme.com", email_verified=True))
    assert user.tenant_id.startswith("u___")


def test_the_same_subject_at_two_providers_is_two_people(entrance: Entrance) -> None:
    one, other = entrance.admit(google(sub="1", hd=OMIT)), entrance.admit(auth0(sub="1", org_id=OMIT))
    assert one.user_id != other.user_id
    assert one.tenant_id != other.tenant_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a:b", "a%3Ab"),
        ("a%3Ab", "a%253Ab"),
        ("A", "a"),
        ("a b", "a%20b"),
        ("\u00e9", "e\u0301"),
        ("\u00e9", "%C3%A9"),
        ("\u2460", "1"),
    ],
)
def test_subjects_that_look_alike_are_two_people(entrance: Entrance, one: str, other: str) -> None:
    first, second = entrance.admit(auth0(sub=one, org_id=OMIT)), entrance.admit(auth0(sub=other, org_id=OMIT))
    assert first.user_id.count(":") == second.user_id.count(":") == 1  # "<provider>:<stable id>", escaped
    assert first.user_id != second.user_id
    assert first.tenant_id != second.tenant_id


def test_no_near_miss_of_a_strangers_token_is_let_in(entrance: Entrance) -> None:
    for issuer in (GOOGLE_ISSUER, AUTH0_ISSUER):
        token = STRANGER.sign(
            {"iss": issuer, "aud": [CLIENT_ID, AUDIENCE], "sub": "1", "iat": 1794999940, "exp": 1795003000}
        )
        assert entrance.verdict(token) != ADMITTED
